//! How QUIC connections are set up: from the listener's TLS and the settings of HTTP/3.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, NoInitialCipherSuite, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{self, ClientAuthMode};
use crate::listen::ListenerState;
use crate::plan::Plan;
use crate::tls::{ClientCertificate, TlsInfo};
use crate::worker::Worker;

/// Bytes that may wait in the socket: a burst must not be lost while the worker answers requests. The system may have
/// lower bounds (`net.core.rmem_max`).
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Unidirectional streams of a client: control, two for QPACK, and some that mean nothing (RFC 9114 6.2).
const UNIDIRECTIONAL: u32 = 8;
/// Bytes that may be kept of connections that are not accepted yet, for each and in all.
const EARLY_BYTES: (u64, u64) = (64 * 1024, 8 * 1024 * 1024);
/// Connections that may wait to be accepted; they are, as soon as the worker looks.
const EARLY_CONNECTIONS: usize = 1024;
/// Sessions remembered for early data. Each is good for one connection.
const SESSIONS: usize = 4096;

/// Why there is no HTTP/3.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("the listener has no TLS")]
    NoTls,
    #[error(transparent)]
    Cipher(#[from] NoInitialCipherSuite),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Binds a UDP socket.
pub(in crate::listen) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    // Less than was asked for is no reason to fail.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// True if requests are looked at before the handshake is over. A certificate comes at its end.
pub(super) fn takes_early_data(plan: &Plan, listener: &ListenerState) -> bool {
    let asks_for_certificate = |listener: &config::Listener| {
        let tls = listener.tls.as_ref();
        tls.is_some_and(|tls| tls.client_auth.mode != ClientAuthMode::None)
    };
    plan.client.http3.early_data
        && !plan
            .listeners
            .get(&*listener.name)
            .is_some_and(asks_for_certificate)
}

/// What exchanges may know of a connection's TLS. quinn does not tell the cipher, nor whether a session was resumed.
pub(crate) fn tls_info(quic: &quinn::Connection) -> TlsInfo {
    let data = quic
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok());
    let certificates = quic
        .peer_identity()
        .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    TlsInfo {
        version: "TLSv1.3",
        cipher: "unknown",
        alpn: "h3",
        sni: data
            .and_then(|data| data.server_name)
            .map(|name| name.to_ascii_lowercase().into()),
        resumed: false,
        client: certificates.and_then(|chain| ClientCertificate::of(&chain)),
    }
}

/// What new connections are made with; made anew when the certificates or the settings are others.
#[derive(Default)]
pub(super) struct Setup(Option<Made>);

struct Made {
    tls: Arc<rustls::ServerConfig>,
    settings: config::Http3,
    early_data: bool,
    config: Arc<quinn::ServerConfig>,
}

impl Setup {
    /// The setup by the plan of this moment.
    pub fn of(
        &mut self,
        worker: &Worker,
        listener: &ListenerState,
    ) -> Result<Arc<quinn::ServerConfig>, SetupError> {
        let plan = worker.plan();
        let tls = plan
            .tls
            .get(&*listener.name)
            .ok_or(SetupError::NoTls)?
            .accept_config();
        let settings = &plan.client.http3;
        let early_data = takes_early_data(&plan, listener);
        if let Some(made) = &self.0
            && Arc::ptr_eq(&made.tls, &tls)
            && made.settings == *settings
            && made.early_data == early_data
        {
            return Ok(made.config.clone());
        }
        let crypto = Arc::new(QuicServerConfig::try_from(quic_tls(&tls, early_data))?);
        let mut config = match &self.0 {
            // Tokens that are on their way stay good.
            Some(made) => {
                let mut config = quinn::ServerConfig::clone(&made.config);
                config.crypto = crypto;
                config
            }
            None => quinn::ServerConfig::with_crypto(crypto),
        };
        config
            .transport_config(Arc::new(transport(settings)))
            .migration(settings.migration)
            .max_incoming(EARLY_CONNECTIONS)
            .incoming_buffer_size(EARLY_BYTES.0)
            .incoming_buffer_size_total(EARLY_BYTES.1);
        let config = Arc::new(config);
        self.0 = Some(Made {
            tls,
            settings: settings.clone(),
            early_data,
            config: config.clone(),
        });
        Ok(config)
    }
}

/// The listener's TLS as QUIC needs it: one protocol, and early data if it is wanted.
fn quic_tls(tls: &rustls::ServerConfig, early_data: bool) -> rustls::ServerConfig {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.max_early_data_size = 0;
    if early_data {
        // RFC 8446 8.1: a session that is good for one connection cannot be replayed as a whole. Tickets could be.
        tls.max_early_data_size = u32::MAX;
        tls.ticketer = Arc::new(NoTickets);
        tls.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    }
    tls
}

/// Says that sessions are kept here, and not by the client.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

fn transport(settings: &config::Http3) -> TransportConfig {
    let idle = settings.idle_timeout.get();
    let window = |size: config::Size| VarInt::from_u64(size.get()).unwrap_or(VarInt::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(settings.max_concurrent_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL))
        .stream_receive_window(window(settings.stream_window))
        .receive_window(window(settings.connection_window))
        .send_window(settings.connection_window.get())
        .max_idle_timeout(IdleTimeout::try_from(idle).ok())
        // A request that waits long must not look like a client that has vanished.
        .keep_alive_interval(Some((idle / 3).max(Duration::from_millis(100))))
        .datagram_receive_buffer_size(None);
    transport
}
