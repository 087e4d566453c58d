//! TLS towards endpoints: whom an upstream trusts, and who it says we are.
//!
//! A [`ClientTls`] is state: the next plan finds it by the upstream's name, its settings and the contents of its files,
//! and with it the sessions that can be resumed. A change of any of these makes another one, with a fingerprint of its
//! own, which is part of the identity of endpoints: a connection is never used under settings it was not made under.

mod verify;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::types::EndpointHost;
use crate::config::{Diagnostic, Reader, TlsProfile, UpstreamProtocol, UpstreamTls};
use crate::state::States;
use crate::tls::certificate;

pub use verify::San;
use verify::{Verifier, Wants};

/// Sessions remembered for resumption, for each upstream.
const SESSIONS: usize = 256;

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The TLS of an upstream's connections.
#[derive(Debug)]
pub struct ClientTls {
    /// Offers what the upstream's `protocol` allows.
    config: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone.
    http1: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    fingerprint: u64,
}

/// What a TLS configuration is made with.
pub(crate) struct Making<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// Which HTTP is offered.
    pub protocol: UpstreamProtocol,
    /// Where what was made before is found.
    pub states: &'a States,
    /// Reads the files that the document names.
    pub reader: &'a Reader,
}

impl ClientTls {
    /// Makes the TLS of an upstream, or finds that of the plan before. All mistakes are told at once.
    pub(crate) fn make(settings: &UpstreamTls, making: &Making<'_>) -> Result<Arc<Self>, Vec<Diagnostic>> {
        let path = format!("upstreams.{}.tls", making.upstream);
        let mut mistakes = Vec::new();
        let mut file = |field: &str, file: Option<&Path>| {
            let file = file?;
            match making.reader.file(file) {
                Ok(bytes) => Some(bytes),
                Err(reason) => {
                    let message = format!("`{}` cannot be read: {reason}", file.display());
                    let diagnostic = Diagnostic::error(format!("{path}.{field}"), message);
                    mistakes.push(diagnostic.help("relative paths begin at the folder of the main document"));
                    None
                }
            }
        };
        let ca = file("ca", settings.ca.as_deref());
        let certificate = file("certificate", settings.certificate.as_deref());
        let key = file("key", settings.key.as_deref());
        if !mistakes.is_empty() {
            return Err(mistakes);
        }

        let mut hasher = DefaultHasher::new();
        (settings, making.protocol, &ca, &certificate, &key).hash(&mut hasher);
        let fingerprint = hasher.finish();
        let bad = |field: &str, file: &Option<PathBuf>, wrong: &str| {
            let file = file.as_deref().unwrap_or(Path::new("")).display();
            Diagnostic::halves(format!("{path}.{field}"), &format!("`{file}` {wrong}"))
        };
        let roots = match (&ca, settings.verify) {
            (_, false) => Ok(RootCertStore::empty().into()),
            (Some(pem), true) => authorities(pem).map_err(|wrong| bad("ca", &settings.ca, &wrong)),
            (None, true) => system_roots(making.states).map_err(|problem| {
                Diagnostic::error(
                    path.as_str(),
                    format!("the system has no root certificates: {problem}"),
                )
                .help("name a file with the authorities of the endpoints in `tls.ca`")
            }),
        };
        let identity = match (&certificate, &key) {
            (Some(chain), Some(key)) => identity(chain, key).map(Some).map_err(|wrong| match wrong {
                ("key", wrong) => bad("key", &settings.key, &wrong),
                (field, wrong) => bad(field, &settings.certificate, &wrong),
            }),
            _ => Ok(None),
        };
        let (roots, identity) = match (roots, identity) {
            (Ok(roots), Ok(identity)) => (roots, identity),
            (roots, identity) => return Err(roots.err().into_iter().chain(identity.err()).collect()),
        };
        let config = config(settings, making.protocol, &roots, identity).map_err(|error| {
            let wrong = format!("cannot be used with its key: {error}");
            vec![bad("certificate", &settings.certificate, &wrong)]
        })?;
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![HTTP1.to_vec()];
        let server_name = settings
            .server_name
            .as_deref()
            .and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let shape = format!("{fingerprint:016x}");
        Ok(making.states.adopt(&path, &shape, || Self {
            config: Arc::new(config),
            http1: Arc::new(http1),
            server_name,
            fingerprint,
        }))
    }

    /// Tells settings and files apart: the same number, the same connections.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The handshake with the host of an endpoint's URL. Waits as long as the endpoint does: the caller bounds it.
    pub async fn connect(
        &self,
        host: &EndpointHost,
        tcp: TcpStream,
        only_http1: bool,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => host_name(host)?,
        };
        let config = if only_http1 { &self.http1 } else { &self.config };
        TlsConnector::from(config.clone()).connect(name, tcp).await
    }
}

/// True if the other side agreed to HTTP/2.
pub(crate) fn chose_http2(session: &rustls::CommonState) -> bool {
    session.alpn_protocol() == Some(H2)
}

fn host_name(host: &EndpointHost) -> io::Result<ServerName<'static>> {
    match host {
        EndpointHost::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
        EndpointHost::Name(name) => ServerName::try_from(name.clone()).map_err(|_| {
            io::Error::other("the host is no name that a certificate can have; set `tls.server_name`")
        }),
    }
}

fn config(
    settings: &UpstreamTls,
    protocol: UpstreamProtocol,
    roots: &Arc<RootCertStore>,
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match settings.profile {
        TlsProfile::Intermediate => &[&TLS13, &TLS12],
        TlsProfile::Modern => &[&TLS13],
    };
    let provider = super::provider();
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let algorithms = provider.signature_verification_algorithms;
    let builder = if !settings.verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                wants: Wants::Nothing,
                algorithms,
            }))
    } else if settings.subject_alt_names.is_empty() {
        builder.with_root_certificates(roots.clone())
    } else {
        // Checked with the document.
        let names = settings
            .subject_alt_names
            .iter()
            .filter_map(|name| name.parse().ok());
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                wants: Wants::Names {
                    roots: roots.clone(),
                    names: names.collect(),
                },
                algorithms,
            }))
    };
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        UpstreamProtocol::Auto => vec![H2.to_vec(), HTTP1.to_vec()],
        UpstreamProtocol::Http1 => vec![HTTP1.to_vec()],
        UpstreamProtocol::Http2 => vec![H2.to_vec()],
    };
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS)));
    Ok(config)
}

/// What clients of other protocols than HTTP need: trusts these authorities in PEM, or else those of the system.
///
/// # Errors
/// Says what is wrong with the authorities.
pub fn trusting(states: &States, ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let roots = match ca {
        Some(pem) => authorities(pem)?,
        None => system_roots(states)?,
    };
    let builder = ClientConfig::builder_with_provider(super::provider());
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A certificate, those between it and its authority, and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(chain: &[u8], key: &[u8]) -> Result<Identity, (&'static str, String)> {
    let chain = certificate::chain(chain).map_err(|wrong| ("certificate", wrong))?;
    let key = certificate::key(key).map_err(|wrong| ("key", wrong))?;
    Ok((chain, key))
}

fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificate::chain(pem)? {
        roots
            .add(certificate)
            .map_err(|error| format!("has a certificate that cannot be an authority: {error}"))?;
    }
    Ok(Arc::new(roots))
}

/// What the system trusts, or why that is nothing. Read once, as long as some plan refers to it.
struct SystemRoots(Result<Arc<RootCertStore>, String>);

fn system_roots(states: &States) -> Result<Arc<RootCertStore>, String> {
    let found = states.adopt("tls.system_roots", "", || {
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (good, bad) = roots.add_parsable_certificates(loaded.certs);
        let problems: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        if good > 0 {
            tracing::debug!(good, bad, problems = problems.join("; "), "system roots read");
            return SystemRoots(Ok(Arc::new(roots)));
        }
        SystemRoots(Err(match problems.as_slice() {
            [] => "none were found".to_owned(),
            problems => problems.join("; "),
        }))
    });
    found.0.clone()
}
