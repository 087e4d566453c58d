//! An HTTP/3 client for tests: quinn and the h3 crate behind blocking calls, each with a deadline; and a connection
//! on which a test writes its own frames.

mod frames;
mod message;

use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, ZeroRttAccepted};
use rustls::RootCertStore;
use tokio::runtime::{Builder, Runtime};

pub use frames::{FrameClient, FrameStream, Outcome, frame, headers_frame, varint};
pub use message::{Answer, Broken, Http3Request};

use crate::headers::Headers;
use crate::tls::Authority;
use crate::wait::PATIENCE;

/// Codes of RFC 9114 8.1 that tests look for.
pub mod code {
    pub const NO_ERROR: u64 = 0x100;
    pub const FRAME_UNEXPECTED: u64 = 0x105;
    pub const FRAME_ERROR: u64 = 0x106;
    pub const EXCESSIVE_LOAD: u64 = 0x107;
    pub const REQUEST_REJECTED: u64 = 0x10b;
    pub const REQUEST_CANCELLED: u64 = 0x10c;
    pub const REQUEST_INCOMPLETE: u64 = 0x10d;
    pub const MESSAGE_ERROR: u64 = 0x10e;
    pub const DECOMPRESSION_FAILED: u64 = 0x200;
}

/// A client that believes one authority. It keeps what it gets to come back, over all its connections.
pub struct Http3Client {
    runtime: Arc<Runtime>,
    endpoint: Endpoint,
    config: ClientConfig,
    name: String,
}

impl Http3Client {
    /// A client that believes this authority and asks for `localhost`.
    pub fn trusting(authority: &Authority) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self::on(runtime.expect("a runtime"), authority)
    }

    /// The same, but it does nothing while the test does not wait for it: packets lie unread meanwhile.
    pub fn trusting_by_hand(authority: &Authority) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        Self::on(runtime.expect("a runtime"), authority)
    }

    fn on(runtime: Runtime, authority: &Authority) -> Self {
        let runtime = Arc::new(runtime);
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        tls.enable_early_data = true;
        let config = QuicClientConfig::try_from(tls).expect("a cipher for QUIC");
        let endpoint = {
            let _inside = runtime.enter();
            Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a socket")
        };
        Self {
            runtime,
            endpoint,
            config: ClientConfig::new(Arc::new(config)),
            name: "localhost".to_owned(),
        }
    }

    /// The same with other settings of the transport.
    #[must_use]
    pub fn transport(mut self, change: impl FnOnce(&mut quinn::TransportConfig)) -> Self {
        let mut transport = quinn::TransportConfig::default();
        change(&mut transport);
        self.config.transport_config(Arc::new(transport));
        self
    }

    /// Begins to connect; nothing has been sent.
    #[track_caller]
    fn connecting(&self, to: SocketAddr) -> quinn::Connecting {
        let _inside = self.runtime.enter();
        self.endpoint
            .connect_with(self.config.clone(), to, &self.name)
            .expect("something to connect to")
    }

    /// Connects and finishes the handshake.
    #[track_caller]
    pub fn connect(&self, to: SocketAddr) -> Http3 {
        self.try_connect(to)
            .unwrap_or_else(|e| panic!("HTTP/3 to {to}: {e}"))
    }

    pub fn try_connect(&self, to: SocketAddr) -> Result<Http3, quinn::ConnectionError> {
        let quic = self.try_quic(to)?;
        Ok(Http3::over(self.runtime.clone(), quic))
    }

    /// Connects without HTTP/3: the test speaks it itself.
    #[track_caller]
    pub fn frames(&self, to: SocketAddr) -> FrameClient {
        let quic = self.try_quic(to).unwrap_or_else(|e| panic!("QUIC to {to}: {e}"));
        FrameClient {
            runtime: self.runtime.clone(),
            quic,
        }
    }

    fn try_quic(&self, to: SocketAddr) -> Result<Connection, quinn::ConnectionError> {
        let connecting = self.connecting(to);
        wait(&self.runtime, "the handshake", connecting)
    }

    /// Connects and may send at once, with the session of a connection before.
    #[track_caller]
    pub fn early(&self, to: SocketAddr) -> (Http3, ZeroRttAccepted) {
        let Ok((quic, accepted)) = self.connecting(to).into_0rtt() else {
            panic!("there is no session that allows early data");
        };
        (Http3::over(self.runtime.clone(), quic), accepted)
    }

    /// Tries to connect for a moment only: to where nobody may be.
    pub fn try_connect_briefly(&self, to: SocketAddr) -> Result<(), String> {
        let connecting = self.connecting(to);
        let patience = std::time::Duration::from_millis(500);
        let connected = self
            .runtime
            .block_on(async { tokio::time::timeout(patience, connecting).await });
        match connected {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("nobody answers".to_owned()),
        }
    }

    /// Like [`Http3Client::early`], or none if there is no session that allows it.
    pub fn try_early(&self, to: SocketAddr) -> Option<Connection> {
        self.connecting(to).into_0rtt().ok().map(|(quic, _)| quic)
    }

    /// Sends the first packet of a handshake, and never an answer to what comes back. The socket lives as long as
    /// what is given.
    #[track_caller]
    pub fn begin_only(&self, to: SocketAddr) -> std::net::UdpSocket {
        self.begin_from(to, Ipv4Addr::LOCALHOST, false)
    }

    /// The same from this address of the machine, but if it is asked to show that it receives what is sent there
    /// (`Retry`), it does.
    #[track_caller]
    pub fn begin_shown(&self, to: SocketAddr, from: Ipv4Addr) -> std::net::UdpSocket {
        self.begin_from(to, from, true)
    }

    #[track_caller]
    fn begin_from(&self, to: SocketAddr, from: Ipv4Addr, shows: bool) -> std::net::UdpSocket {
        // What the first packet looks like is learnt from a client that talks to us.
        let ear = std::net::UdpSocket::bind((from, 0)).expect("a socket");
        ear.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let connecting = self.connecting(ear.local_addr().expect("an address"));
        let mut packet = [0; 2048];
        let (len, client) = ear.recv_from(&mut packet).expect("a first packet");
        ear.send_to(&packet[..len], to).expect("to send");
        // It may send again what has not been answered yet.
        let mut from = |wanted: &dyn Fn(SocketAddr, &[u8]) -> bool| loop {
            let (len, whose) = ear.recv_from(&mut packet).expect("a packet");
            if wanted(whose, &packet[..len]) {
                break packet[..len].to_vec();
            }
        };
        if shows {
            let answer = from(&|whose, _| whose != client);
            // The bits of a long header that say what it is: Retry (RFC 9000 17.2).
            if answer[0] & 0xb0 == 0xb0 {
                ear.send_to(&answer, client).expect("to send");
                let shown = from(&|whose, packet| whose == client && has_token(packet));
                ear.send_to(&shown, to).expect("to send");
            }
        }
        drop(connecting);
        ear
    }

    /// Moves to another port, as when a phone changes networks.
    pub fn move_away(&self) {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let _inside = self.runtime.enter();
        self.endpoint.rebind(socket).expect("another socket");
    }

    /// Whether the server took what was sent early.
    pub fn was_accepted(&self, accepted: ZeroRttAccepted) -> bool {
        wait(&self.runtime, "the handshake", accepted)
    }
}

/// True for a first packet with a token: version, ids, then its length (RFC 9000 17.2.2).
fn has_token(packet: &[u8]) -> bool {
    let after = |at: usize| packet.get(at).map(|len| at + 1 + usize::from(*len));
    let token = after(5).and_then(after).and_then(|at| packet.get(at));
    token.is_some_and(|length| *length > 0)
}

#[track_caller]
fn wait<F: Future>(runtime: &Runtime, what: &str, work: F) -> F::Output {
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, work).await })
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// A connection that speaks HTTP/3.
pub struct Http3 {
    runtime: Arc<Runtime>,
    pub quic: Connection,
    sender: SendRequest<OpenStreams, Bytes>,
    driver: Option<tokio::task::JoinHandle<h3::error::ConnectionError>>,
}

impl Http3 {
    #[track_caller]
    fn over(runtime: Arc<Runtime>, quic: Connection) -> Self {
        let transport = h3_quinn::Connection::new(quic.clone());
        let (mut driver, sender) = wait(&runtime, "settings", h3::client::new(transport)).expect("HTTP/3");
        let driver = runtime.spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
        Self {
            runtime,
            quic,
            sender,
            driver: Some(driver),
        }
    }

    /// Sends a request and waits for the whole answer.
    #[track_caller]
    pub fn send(&mut self, request: &Http3Request) -> Answer {
        self.try_send(request)
            .unwrap_or_else(|e| panic!("{request:?}: {e:?}"))
    }

    pub fn try_send(&mut self, request: &Http3Request) -> Result<Answer, Broken> {
        let mut exchange = self.try_begin(request)?;
        if !request.body.is_empty() {
            exchange.try_write(&request.body)?;
        }
        if !request.trailers.is_empty() {
            exchange.send_trailers(&request.trailers)?;
        }
        exchange.try_finish()?;
        exchange.try_answer()
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.send(&Http3Request::new("GET", path))
    }

    /// Sends the head of a request.
    #[track_caller]
    pub fn begin(&mut self, request: &Http3Request) -> Exchange {
        self.try_begin(request)
            .unwrap_or_else(|e| panic!("{request:?}: {e:?}"))
    }

    /// Sends a whole request without a body, and does nothing more. For a client made by
    /// [`Http3Client::trusting_by_hand`].
    #[track_caller]
    pub fn begin_and_stop(&mut self, request: &Http3Request) -> Exchange {
        let mut exchange = self.begin(request);
        exchange.finish();
        // What drives the connection has its turns to send, and no time to hear.
        self.runtime.block_on(async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        });
        exchange
    }

    pub fn try_begin(&mut self, request: &Http3Request) -> Result<Exchange, Broken> {
        let sending = self.sender.send_request(request.head.clone());
        let stream = wait(&self.runtime, "room for a request", sending)?;
        Ok(Exchange {
            runtime: self.runtime.clone(),
            stream,
        })
    }

    /// Waits until the gateway has closed the connection; with which code.
    #[track_caller]
    pub fn closed(&self) -> Option<u64> {
        close_code(&wait(
            &self.runtime,
            "the end of the connection",
            self.quic.closed(),
        ))
    }

    /// Packets sent, and of these those that were lost.
    pub fn packets(&self) -> (u64, u64) {
        let path = self.quic.stats().path;
        (path.sent_packets, path.lost_packets)
    }

    pub fn is_open(&self) -> bool {
        self.quic.close_reason().is_none()
    }

    /// The certificate that the gateway showed.
    #[track_caller]
    pub fn certificate(&self) -> Vec<u8> {
        let identity = self.quic.peer_identity().expect("certificates");
        let chain = identity
            .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
            .expect("certificates");
        chain.first().expect("a certificate").to_vec()
    }

    /// Runs something with the connection's runtime.
    #[track_caller]
    pub fn wait<F: Future>(&self, what: &str, work: F) -> F::Output {
        wait(&self.runtime, what, work)
    }
}

impl Drop for Http3 {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }
}

/// The code of an application's close.
pub fn close_code(error: &quinn::ConnectionError) -> Option<u64> {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

/// One request under way.
pub struct Exchange {
    runtime: Arc<Runtime>,
    stream: RequestStream<BidiStream<Bytes>, Bytes>,
}

impl Exchange {
    pub fn try_write(&mut self, data: &[u8]) -> Result<(), Broken> {
        let work = self.stream.send_data(Bytes::copy_from_slice(data));
        Ok(wait(&self.runtime, "room to write", work)?)
    }

    #[track_caller]
    pub fn write(&mut self, data: &[u8]) {
        self.try_write(data).unwrap_or_else(|e| panic!("write: {e:?}"));
    }

    /// Writes; if the gateway takes nothing for a while, `stuck` is called, and then the rest goes out.
    #[track_caller]
    pub fn write_or(&mut self, data: &[u8], stuck: impl FnOnce()) {
        let mut work = std::pin::pin!(self.stream.send_data(Bytes::copy_from_slice(data)));
        let patience = std::time::Duration::from_millis(500);
        let first = self
            .runtime
            .block_on(async { tokio::time::timeout(patience, work.as_mut()).await });
        let written = first.unwrap_or_else(|_| {
            stuck();
            wait(&self.runtime, "room to write", work)
        });
        written.unwrap_or_else(|e| panic!("write: {e:?}"));
    }

    pub fn send_trailers(&mut self, trailers: &[(String, String)]) -> Result<(), Broken> {
        let mut map = http::HeaderMap::new();
        for (name, value) in trailers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        Ok(wait(
            &self.runtime,
            "room to write",
            self.stream.send_trailers(map),
        )?)
    }

    pub fn try_finish(&mut self) -> Result<(), Broken> {
        Ok(wait(&self.runtime, "room to write", self.stream.finish())?)
    }

    #[track_caller]
    pub fn finish(&mut self) {
        self.try_finish().unwrap_or_else(|e| panic!("finish: {e:?}"));
    }

    /// Waits for the head of the answer.
    pub fn try_head(&mut self) -> Result<Answer, Broken> {
        let head = wait(&self.runtime, "an answer", self.stream.recv_response())?;
        Ok(Answer {
            status: head.status().as_u16(),
            headers: fields(head.headers()),
            body: Vec::new(),
            trailers: Headers::new(),
        })
    }

    #[track_caller]
    pub fn head(&mut self) -> Answer {
        self.try_head().unwrap_or_else(|e| panic!("head: {e:?}"))
    }

    /// The next piece of the body; none at its end.
    pub fn try_read(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let data = wait(&self.runtime, "more of the body", self.stream.recv_data())?;
        Ok(data.map(|mut data| data.copy_to_bytes(data.remaining()).to_vec()))
    }

    #[track_caller]
    pub fn read(&mut self) -> Option<Vec<u8>> {
        self.try_read().unwrap_or_else(|e| panic!("read: {e:?}"))
    }

    /// Waits for the whole answer.
    pub fn try_answer(&mut self) -> Result<Answer, Broken> {
        let mut answer = self.try_head()?;
        while let Some(piece) = self.try_read()? {
            answer.body.extend_from_slice(&piece);
        }
        let trailers = wait(
            &self.runtime,
            "the end of the answer",
            self.stream.recv_trailers(),
        )?;
        answer.trailers = trailers.as_ref().map(fields).unwrap_or_default();
        Ok(answer)
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().unwrap_or_else(|e| panic!("answer: {e:?}"))
    }

    /// Gives the request up, both ways.
    pub fn cancel(mut self) {
        let code = h3::error::Code::H3_REQUEST_CANCELLED;
        self.stream.stop_stream(code);
        self.stream.stop_sending(code);
    }
}

fn fields(map: &http::HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        headers.push(name.as_str(), crate::headers::latin1(value.as_bytes()));
    }
    headers
}
