//! The TLS of upstreams: settings that contradict each other, or do nothing.

use super::Check;
use crate::config::Upstream;
use crate::config::types::Scheme;
use crate::tls::client::San;

impl Check<'_> {
    pub(super) fn upstream_tls(&mut self, path: &str, name: &str, upstream: &Upstream) {
        let Some(tls) = &upstream.tls else { return };
        let path = format!("{path}.tls");
        let broken = self.broken.has(&format!("upstreams.{name}"));
        if !broken && upstream.endpoints.iter().all(|e| e.url.scheme == Scheme::Http) {
            let message = format!(
                "upstream `{name}` has `tls` but no endpoint with it; write `https://` before theirs"
            );
            self.halves(path.as_str(), message);
        }
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => self.halves(
                format!("{path}.certificate"),
                format!(
                    "the `tls` of upstream `{name}` has a `certificate` without a `key`; name both files"
                ),
            ),
            (None, Some(_)) => self.halves(
                format!("{path}.key"),
                format!(
                    "the `tls` of upstream `{name}` has a `key` without a `certificate`; name both files"
                ),
            ),
            _ => {}
        }
        if !tls.verify && (tls.ca.is_some() || !tls.subject_alt_names.is_empty()) {
            let message = "`verify: false` means that no certificate is checked; take it out, or `ca` and `subject_alt_names`";
            self.halves(format!("{path}.verify"), message);
        }
        if let Some(server_name) = &tls.server_name
            && rustls::pki_types::ServerName::try_from(server_name.as_str()).is_err()
        {
            let message = format!("`{server_name}` is not a host name; expected such as `orders.internal`");
            self.halves(format!("{path}.server_name"), message);
        }
        for (index, text) in tls.subject_alt_names.iter().enumerate() {
            if text.parse::<San>().is_err() {
                let message = format!(
                    "`{text}` is no name in a certificate; expected a host name, an address or a URI such as `spiffe://example.org/orders`"
                );
                self.halves(format!("{path}.subject_alt_names[{index}]"), message);
            }
        }
    }
}
