//! TLS as a listener offers it: compiled from its settings, immutable, shared by all workers.
//!
//! Every file is read here, while a plan is compiled; a bad one is told with the place in the document that names it,
//! and then there is no new plan. What outlives a plan are the keys of session tickets, found by the listener's name.

mod client_auth;
mod resolver;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;

use super::certificate::{self, Facts, Unfit};
use super::tickets::{OwnKeys, Tickets};
use crate::config::{Certificate, Diagnostic, ListenerTls, Protocol, Reader, TlsProfile};
use crate::state::States;
use resolver::Resolver;

/// What TLS is compiled from.
pub struct Inputs<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// What it says.
    pub settings: &'a ListenerTls,
    /// What ALPN may choose, the preferred first.
    pub protocols: &'a [Protocol],
    /// Reads the files.
    pub reader: &'a Reader,
    /// Where the keys of tickets live on.
    pub states: &'a States,
    /// For the validity of certificates.
    pub now: SystemTime,
}

/// A certificate in use, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Its file, as the document names it.
    pub file: Box<str>,
    /// Until when it is good, in seconds since 1970.
    pub not_after: i64,
}

/// TLS of one listener.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    certificates: Vec<InUse>,
}

impl ServerTls {
    /// Reads all files and puts them together. `None`: something is wrong, which was added to `out`, warnings as well.
    pub fn compile(inputs: &Inputs<'_>, out: &mut Vec<Diagnostic>) -> Option<Self> {
        let provider = super::provider();
        let path = format!("listeners.{}.tls", inputs.listener);
        let certificates = inputs
            .settings
            .certificates
            .iter()
            .enumerate()
            .map(|(index, written)| {
                let path = format!("{path}.certificates[{index}]");
                Some((written, load(&path, written, inputs, &provider, out)?))
            });
        // All of them, to tell all mistakes; then whether there was one.
        let certificates: Vec<_> = certificates.collect();
        let client_auth = client_auth::verifier(&path, inputs, &provider, out);
        let certificates: Vec<_> = certificates.into_iter().collect::<Option<_>>()?;
        let client_auth = client_auth?;
        let tickets = tickets(&path, inputs, &client_auth.rules, out)?;

        let in_use = certificates
            .iter()
            .map(|(written, (_, facts)): &(&Certificate, (_, Facts))| InUse {
                file: written.cert.display().to_string().into(),
                not_after: facts.not_after,
            });
        let in_use = in_use.collect();
        let certificates = certificates.into_iter().map(|(_, certified)| certified).collect();
        let resolver = Arc::new(Resolver::new(certificates, inputs.settings.strict_sni));
        let versions: &[_] = match inputs.settings.profile {
            TlsProfile::Modern => &[&rustls::version::TLS13],
            TlsProfile::Intermediate => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let Ok(builder) = builder else {
            out.push(Diagnostic::error(
                path,
                "the cryptography has no suites for this profile",
            ));
            return None;
        };
        let mut config = builder
            .with_client_cert_verifier(client_auth.verifier)
            .with_cert_resolver(resolver.clone());
        config.alpn_protocols = inputs
            .protocols
            .iter()
            // HTTP/3 is not spoken over TCP.
            .filter(|protocol| **protocol != Protocol::Http3)
            .map(|protocol| protocol.alpn().to_vec())
            .collect();
        // Tickets hold all of a session: nothing is kept here for clients that may never come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match tickets {
            Some(tickets) => config.ticketer = tickets,
            None => config.send_tls13_tickets = 0,
        }
        Some(Self {
            config: Arc::new(config),
            resolver,
            certificates: in_use,
        })
    }

    /// What handshakes are made with: current certificates, versions, client authentication, tickets, and ALPN from
    /// the listener's protocols.
    pub fn accept_config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Whether clients must ask for a name that a certificate has.
    pub(crate) fn is_strict(&self) -> bool {
        self.resolver.is_strict()
    }

    /// Whether a connection whose client asked for the name `sni` may carry requests for `host` (without a port).
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        self.resolver.covers(sni, host)
    }

    /// The certificates, in the order they are written.
    pub fn certificates(&self) -> &[InUse] {
        &self.certificates
    }
}

/// Reads a file that a setting names; what is wrong with it is told there.
fn read(setting: &str, file: &Path, inputs: &Inputs<'_>, out: &mut Vec<Diagnostic>) -> Option<Vec<u8>> {
    match inputs.reader.file(file) {
        Ok(bytes) => Some(bytes),
        Err(reason) => {
            let message = format!("`{}` cannot be read: {reason}", file.display());
            let diagnostic = Diagnostic::error(setting, message);
            out.push(diagnostic.help("relative paths begin at the folder of the main document"));
            None
        }
    }
}

/// The same for what must be in it.
fn parse<T>(setting: &str, file: &Path, parsed: Result<T, String>, out: &mut Vec<Diagnostic>) -> Option<T> {
    let wrong = match parsed {
        Ok(value) => return Some(value),
        Err(wrong) => format!("`{}` {wrong}", file.display()),
    };
    out.push(Diagnostic::halves(setting, &wrong));
    None
}

fn load(
    path: &str,
    written: &Certificate,
    inputs: &Inputs<'_>,
    provider: &CryptoProvider,
    out: &mut Vec<Diagnostic>,
) -> Option<(CertifiedKey, Facts)> {
    let setting = |field: &str| format!("{path}.{field}");
    let (cert_setting, key_setting) = (setting("cert"), setting("key"));
    let chain = read(&cert_setting, &written.cert, inputs, out)
        .and_then(|bytes| parse(&cert_setting, &written.cert, certificate::chain(&bytes), out));
    let key = read(&key_setting, &written.key, inputs, out)
        .and_then(|bytes| parse(&key_setting, &written.key, certificate::key(&bytes), out));
    let ocsp = match &written.ocsp {
        None => Some(None),
        Some(file) => ocsp(&setting("ocsp"), file, inputs, out).map(Some),
    };
    let (mut certified, facts) = match certificate::certified(chain?, key?, provider) {
        Ok(certified) => certified,
        Err(unfit) => {
            let (cert, key) = (written.cert.display(), written.key.display());
            out.push(match unfit {
                Unfit::Certificate => {
                    Diagnostic::error(cert_setting, format!("`{cert}` has no X.509 certificate"))
                }
                Unfit::Key => {
                    Diagnostic::error(key_setting, format!("`{key}` has a key that is not supported"))
                        .hint("expected ECDSA (P-256, P-384, P-521), RSA from 2048 bits, or Ed25519")
                }
                Unfit::Mismatch => Diagnostic::error(
                    key_setting,
                    format!("`{key}` is not the key of the certificate `{cert}`"),
                )
                .help("the server's own certificate comes first in its file"),
            });
            return None;
        }
    };
    certified.ocsp = ocsp?;
    doubts(&cert_setting, written, &facts, certificate::unix(inputs.now), out);
    Some((certified, facts))
}

fn ocsp(setting: &str, file: &Path, inputs: &Inputs<'_>, out: &mut Vec<Diagnostic>) -> Option<Vec<u8>> {
    let der = read(setting, file, inputs, out)?;
    if certificate::is_ocsp_response(&der) {
        return Some(der);
    }
    let message = format!("`{}` is not a good OCSP response", file.display());
    let help = "`openssl ocsp -respout` writes one; it must be DER, and of status `successful`";
    out.push(Diagnostic::error(setting, message).help(help));
    None
}

/// What is doubtful about a certificate that can be used all the same.
fn doubts(setting: &str, written: &Certificate, facts: &Facts, now: i64, out: &mut Vec<Diagnostic>) {
    let file = written.cert.display();
    let day = |at: i64| jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string());
    if facts.not_after < now {
        let message = format!(
            "the certificate `{file}` has expired, at {}",
            day(facts.not_after)
        );
        out.push(Diagnostic::warning(setting, message).help("clients refuse it; renew it"));
    } else if facts.not_before > now {
        let message = format!(
            "the certificate `{file}` is not valid before {}",
            day(facts.not_before)
        );
        out.push(
            Diagnostic::warning(setting, message).help("clients refuse it until then; is the clock right?"),
        );
    }
    if facts.names.is_empty() {
        let message = format!("the certificate `{file}` has no DNS name");
        out.push(Diagnostic::warning(setting, message).help("only clients that ask for no other get it"));
    }
    if facts.must_staple && written.ocsp.is_none() {
        let message =
            format!("the certificate `{file}` wants a stapled OCSP response, but there is no `ocsp`");
        out.push(Diagnostic::warning(setting, message).help("clients that heed this refuse it"));
    }
}

/// Tickets, if they are wanted: `Some(None)` if not.
#[allow(
    clippy::option_option,
    reason = "the outer one says whether something is wrong"
)]
fn tickets(
    path: &str,
    inputs: &Inputs<'_>,
    rules: &[u8],
    out: &mut Vec<Diagnostic>,
) -> Option<Option<Arc<Tickets>>> {
    let settings = &inputs.settings.session_tickets;
    if !settings.enabled {
        return Some(None);
    }
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(digest::digest(&SHA256, rules).as_ref()) {
        *to = *from;
    }
    let rotate = settings.rotate.get();
    let tickets = if let Some(file) = &settings.key_file {
        let setting = format!("{path}.session_tickets.key_file");
        let bytes = read(&setting, file, inputs, out)?;
        parse(&setting, file, Tickets::shared(&bytes, digest, rotate), out)?
    } else {
        let shape = format!("rotate={rotate:?}");
        let keys = inputs.states.adopt(path, &shape, || OwnKeys::new(rotate));
        Tickets::own(keys, digest)
    };
    Some(Some(Arc::new(tickets)))
}
