//! TLS on listeners, with a real client and certificates made for each test.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod certificates;
mod client_auth;
mod handshakes;
mod http;
mod https_only;
mod reload;
mod resumption;
mod websocket;

use gatehouse_testkit::gateway::Builder;
use gatehouse_testkit::tls::Issued;

use crate::gateway;

/// A gateway whose only listener speaks TLS with these certificates, the first of which is the default, and answers
/// `secure` to everything. `tls` is added to its TLS settings, `sections` to the document.
fn secure(certificates: &[&Issued], tls: &str, sections: &str) -> Builder {
    certificates.iter().enumerate().fold(
        gateway(&document(certificates.len(), tls, sections)),
        |builder, (n, issued)| {
            builder
                .file(&format!("tls/{n}.pem"), &issued.cert)
                .file(&format!("tls/{n}.key"), &issued.key)
        },
    )
}

/// The document of [`secure`].
fn document(certificates: usize, tls: &str, sections: &str) -> String {
    let listed: Vec<_> = (0..certificates)
        .map(|n| format!("{{ cert: tls/{n}.pem, key: tls/{n}.key }}"))
        .collect();
    let listed = listed.join(", ");
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0", tls: {{ certificates: [ {listed} ]{tls} }} }} }}
routes:
  all: {{ match: {{ path: /** }}, reply: {{ body: secure }} }}
{sections}
"#
    )
}
