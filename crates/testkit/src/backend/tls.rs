//! TLS in front of any backend: takes connections, checks what a test wants, passes the bytes on.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::{Authority, Issued};

/// What the server shows and wants.
pub struct Settings<'a> {
    identity: &'a Issued,
    alpn: Vec<Vec<u8>>,
    clients: Option<&'a Authority>,
    versions: Vec<&'static SupportedProtocolVersion>,
    cut: bool,
    silent: bool,
}

impl<'a> Settings<'a> {
    pub fn new(identity: &'a Issued) -> Self {
        Self {
            identity,
            alpn: Vec::new(),
            clients: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            cut: false,
            silent: false,
        }
    }

    /// Protocols in the order of its liking.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Wants a certificate of this authority.
    #[must_use]
    pub fn clients_of(mut self, authority: &'a Authority) -> Self {
        self.clients = Some(authority);
        self
    }

    #[must_use]
    pub fn only(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Ends connections without saying so in TLS.
    #[must_use]
    pub fn cutting(mut self) -> Self {
        self.cut = true;
        self
    }

    /// Accepts and never answers the handshake.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    fn config(&self) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&self.versions)
            .expect("versions");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der()).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let mut config = builder
            .with_single_cert(chain(self.identity), key(self.identity))
            .expect("a certificate");
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn chain(identity: &Issued) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(identity.cert.as_bytes())
        .collect::<Result<_, _>>()
        .expect("certificates")
}

fn key(identity: &Issued) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key")
}

/// A handshake that succeeded.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub resumed: bool,
    pub alpn: Option<String>,
    pub server_name: Option<String>,
    /// The client's certificate, as DER.
    pub client: Option<Vec<u8>>,
}

/// TLS in front of a backend that speaks in the clear.
pub struct TlsFront {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    failures: Arc<Mutex<Vec<String>>>,
    _stop: oneshot::Sender<()>,
}

impl TlsFront {
    pub fn start(settings: &Settings<'_>, behind: SocketAddr) -> Self {
        let (config, cut, silent) = (Arc::new(settings.config()), settings.cut, settings.silent);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen on a free port");
        let address = listener.local_addr().expect("the address listened on");
        listener
            .set_nonblocking(true)
            .expect("a listener that does not block");
        let (stop, stopped) = oneshot::channel::<()>();
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let (seen, failed) = (handshakes.clone(), failures.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let accept = async {
                    while let Ok((tcp, _)) = listener.accept().await {
                        let acceptor = TlsAcceptor::from(config.clone());
                        let (seen, failed) = (seen.clone(), failed.clone());
                        tokio::spawn(async move {
                            if silent {
                                let mut tcp = tcp;
                                let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
                                return;
                            }
                            match acceptor.accept(tcp).await {
                                Ok(stream) => {
                                    seen.lock().unwrap().push(facts(&stream));
                                    let _ = pass(stream, behind, cut).await;
                                }
                                Err(error) => failed.lock().unwrap().push(error.to_string()),
                            }
                        });
                    }
                };
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
        });
        Self {
            address,
            handshakes,
            failures,
            _stop: stop,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// By its address, which its certificate then must have.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The handshakes that succeeded, in order.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().unwrap().clone()
    }

    /// Why others did not.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }
}

fn facts(stream: &TlsStream<TcpStream>) -> Handshake {
    let session = stream.get_ref().1;
    Handshake {
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        alpn: session
            .alpn_protocol()
            .map(|name| String::from_utf8_lossy(name).into_owned()),
        server_name: session.server_name().map(str::to_owned),
        client: session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.to_vec()),
    }
}

async fn pass(stream: TlsStream<TcpStream>, behind: SocketAddr, cut: bool) -> io::Result<()> {
    let plain = TcpStream::connect(behind).await?;
    plain.set_nodelay(true)?;
    let (mut from_client, to_client) = split(stream);
    let (mut from_backend, mut to_backend) = split(plain);
    let up = async {
        let done = tokio::io::copy(&mut from_client, &mut to_backend).await;
        let _ = to_backend.shutdown().await;
        done.map(|_| ())
    };
    let down = back(&mut from_backend, to_client, cut);
    tokio::pin!(up, down);
    // When the backend has ended nothing more is to be said; a client that ended may still listen.
    tokio::select! {
        done = &mut down => done,
        _ = &mut up => down.await,
    }
}

async fn back(
    from: &mut ReadHalf<TcpStream>,
    mut to: WriteHalf<TlsStream<TcpStream>>,
    cut: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        to.write_all(&buffer[..n]).await?;
        to.flush().await?;
    }
    if cut { Ok(()) } else { to.shutdown().await }
}
