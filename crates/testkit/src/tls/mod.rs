//! A TLS client for tests, and the certificates they need. A [`Raw`] or a [`crate::Client`] over it does everything that
//! one over TCP does.

mod authority;
mod noting;

pub use authority::{Authority, Issued, Leaf};

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use noting::Noting;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, HandshakeKind, RootCertStore,
    SupportedProtocolVersion,
};

use crate::raw::{Raw, Socket};
use crate::wait::PATIENCE;
use crate::wire::Reader;

pub use rustls::version::{TLS12, TLS13};
pub use rustls::{self, AlertDescription, NamedGroup, SignatureScheme};

/// A session over TCP.
pub type Session = rustls::StreamOwned<ClientConnection, TcpStream>;

/// A client that believes one authority. It keeps the tickets it gets, over all its connections.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: ClientConfig,
    name: ServerName<'static>,
    staple: Arc<Mutex<Vec<u8>>>,
}

/// What a client is made of.
#[derive(Debug)]
pub struct Builder {
    authority: CertificateDer<'static>,
    identity: Option<(String, String)>,
    versions: Vec<&'static SupportedProtocolVersion>,
    schemes: Option<Vec<SignatureScheme>>,
    alpn: Vec<Vec<u8>>,
    name: String,
    sni: bool,
}

impl TlsClient {
    /// A client that believes this authority and asks for `localhost`.
    pub fn trusting(authority: &Authority) -> Builder {
        Builder {
            authority: authority.der(),
            identity: None,
            versions: vec![&TLS13, &TLS12],
            schemes: None,
            alpn: Vec::new(),
            name: "localhost".to_owned(),
            sni: true,
        }
    }

    /// The same client, asking for another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self {
            config: self.config.clone(),
            name: server_name(name),
            staple: self.staple.clone(),
        }
    }

    /// The same client without a memory of earlier sessions.
    #[must_use]
    pub fn fresh(&self) -> Self {
        let mut config = self.config.clone();
        config.resumption = rustls::client::Resumption::disabled();
        Self {
            config,
            name: self.name.clone(),
            staple: self.staple.clone(),
        }
    }

    /// The OCSP response that came with the last certificate.
    pub fn staple(&self) -> Vec<u8> {
        self.staple.lock().expect("no panic").clone()
    }

    /// Connects and finishes the handshake.
    #[track_caller]
    pub fn connect(&self, to: SocketAddr) -> Raw {
        self.try_connect(to)
            .unwrap_or_else(|e| panic!("TLS to {to}: {e}"))
    }

    /// A kept connection for requests.
    #[track_caller]
    pub fn client(&self, to: SocketAddr) -> crate::Client {
        crate::Client {
            raw: self.connect(to),
        }
    }

    pub fn try_connect(&self, to: SocketAddr) -> io::Result<Raw> {
        let tcp = TcpStream::connect_timeout(&to, PATIENCE)?;
        tcp.set_nodelay(true)?;
        self.over(tcp)
    }

    /// Finishes the handshake over a connection on which something may have been sent before.
    pub fn over(&self, tcp: TcpStream) -> io::Result<Raw> {
        Self::finish(self.begin(tcp))
    }

    /// A session that has sent nothing yet.
    #[track_caller]
    pub fn begin(&self, tcp: TcpStream) -> Session {
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        tcp.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let config = Arc::new(self.config.clone());
        let connection = ClientConnection::new(config, self.name.clone()).expect("a session");
        Session::new(connection, tcp)
    }

    /// Finishes the handshake of a session.
    pub fn finish(mut session: Session) -> io::Result<Raw> {
        while session.conn.is_handshaking() {
            session.conn.complete_io(&mut session.sock)?;
        }
        Ok(Raw {
            reader: Reader::new(Socket::Tls(Box::new(session))),
        })
    }

    /// Connects, where the gateway must refuse: in the handshake, or (a client's certificate in TLS 1.3) when the
    /// first byte is read. Gives what the client saw.
    #[track_caller]
    pub fn refused(&self, to: SocketAddr) -> io::Error {
        let mut raw = match self.try_connect(to) {
            Ok(raw) => raw,
            Err(error) => return error,
        };
        match io::Read::read(&mut raw.reader.stream, &mut [0]) {
            Ok(n) => panic!("expected to be refused, read {n} bytes"),
            Err(error) => error,
        }
    }
}

impl Builder {
    /// Shows this certificate if asked for one.
    #[must_use]
    pub fn identity(self, issued: &Issued) -> Self {
        Self {
            identity: Some((issued.cert.clone(), issued.key.clone())),
            ..self
        }
    }

    #[must_use]
    pub fn versions(self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self {
            versions: versions.to_vec(),
            ..self
        }
    }

    /// Verifies only signatures of these schemes.
    #[must_use]
    pub fn schemes(self, schemes: &[SignatureScheme]) -> Self {
        Self {
            schemes: Some(schemes.to_vec()),
            ..self
        }
    }

    #[must_use]
    pub fn alpn(self, protocols: &[&str]) -> Self {
        Self {
            alpn: protocols.iter().map(|p| p.as_bytes().to_vec()).collect(),
            ..self
        }
    }

    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// Sends no name.
    #[must_use]
    pub fn without_sni(self) -> Self {
        Self { sni: false, ..self }
    }

    #[track_caller]
    pub fn build(self) -> TlsClient {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Some(schemes) = &self.schemes {
            restrict(&mut provider, schemes);
        }
        let mut roots = RootCertStore::empty();
        roots.add(self.authority).expect("an authority");
        let provider = Arc::new(provider);
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .expect("a verifier");
        let staple = Arc::default();
        let verifier = Noting {
            usual,
            staple: Arc::clone(&staple),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain =
                    CertificateDer::pem_slice_iter(cert.as_bytes()).map(|c| c.expect("a certificate"));
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder
                    .with_client_auth_cert(chain.collect(), key)
                    .expect("an identity")
            }
        };
        config.alpn_protocols = self.alpn;
        config.enable_sni = self.sni;
        TlsClient {
            config,
            name: server_name(&self.name),
            staple,
        }
    }
}

/// Takes the algorithms away that the client shall not know.
fn restrict(provider: &mut CryptoProvider, schemes: &[SignatureScheme]) {
    let all = provider.signature_verification_algorithms;
    let mapping: Vec<_> = all
        .mapping
        .iter()
        .filter(|(scheme, _)| schemes.contains(scheme))
        .copied()
        .collect();
    // A test's client lives as long as the test.
    provider.signature_verification_algorithms.mapping = mapping.leak();
}

#[track_caller]
fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).expect("a server name")
}

/// What a session agreed on.
impl Raw {
    #[track_caller]
    pub fn session(&self) -> &ClientConnection {
        match &self.reader.stream {
            Socket::Tls(session) => &session.conn,
            other => panic!("not a TLS connection: {other:?}"),
        }
    }

    /// Whether the session is one of before, resumed.
    #[track_caller]
    pub fn is_resumed(&self) -> bool {
        self.session().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the gateway showed.
    #[track_caller]
    pub fn certificate(&self) -> Vec<u8> {
        let chain = self.session().peer_certificates().expect("certificates");
        chain.first().expect("a certificate").to_vec()
    }
}

/// The TLS error in an error of a connection, if that is what it is.
pub fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether the client refused the gateway's certificate because of its name.
pub fn is_wrong_name(error: &io::Error) -> bool {
    matches!(
        tls_error(error),
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ))
    )
}
