//! QUIC: the UDP socket of a listener, and the connections that come over it.
//!
//! The socket belongs to one worker, like the TCP socket: it reads datagrams and sorts them by connection. A new
//! connection is handed to the worker with the fewest before its handshake, and there it stays: cryptography, timers,
//! and what is sent happen on that worker, where its requests are answered. quinn can be taken apart just there: what
//! drives a connection is spawned where the connection is accepted.

mod door;
mod relay;
mod setup;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use quinn::{ConnectionError, Incoming, Runtime as _, VarInt};

pub(crate) use self::door::Door;
use self::door::{Answer, Bounds, Handshake};
use self::relay::{Former, Relay};
use self::setup::Setup;
pub(crate) use self::setup::tls_info;
use super::admission::Admitted;
use super::handover::Inherited;
use super::tcp::{Load, Open, label};
use super::{ListenerState, Unbound};
use crate::config::{self, Address, Diagnostic};
use crate::exchange::Connection;
use crate::http::address::PeerLines;
use crate::http::h3;
use crate::io::{Clock, Phase};
use crate::telemetry::metrics::{Refused, Shaken, Unshaken};
use crate::tls::{TlsInfo, certificate};
use crate::worker::{Command, Worker};

/// `H3_NO_ERROR` (RFC 9114 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// How long before the end of a drain the connections that are left are closed.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// True if a listener is to speak HTTP/3.
pub(super) fn is_wanted(listener: &config::Listener) -> bool {
    listener.tls.is_some() && listener.speaks(config::Protocol::Http3)
}

/// Binds the UDP socket of a listener, if it needs one, beside the TCP socket at `address`.
pub(super) fn prepare(
    name: &str,
    listener: &config::Listener,
    address: &Address,
    inherited: Option<(&mut Inherited, &Address)>,
    bad: &mut Unbound,
) -> Option<Datagrams> {
    let Address::Tcp(address) = address else {
        return None;
    };
    if !is_wanted(listener) {
        return None;
    }
    let (handed, ways) = match inherited {
        Some((inherited, written)) => (
            inherited.take_udp(name, written),
            inherited.take_relays(name, written),
        ),
        None => (None, Vec::new()),
    };
    let socket = match handed {
        Some(Ok(socket)) => Ok(socket),
        _ => setup::bind(*address),
    };
    match socket {
        Ok(socket) => {
            let formers = ways.into_iter();
            Some(Datagrams {
                listener: name.to_owned(),
                socket,
                formers: formers
                    .filter_map(|(key, channel)| Former::new(key, channel).ok())
                    .collect(),
            })
        }
        Err(error) => {
            let message = format!("cannot take datagrams at `{address}` for HTTP/3: {error}");
            let mut diagnostic = Diagnostic::error(format!("listeners.{name}.protocols"), message);
            let is_taken = error.kind() == io::ErrorKind::AddrInUse;
            if is_taken {
                let help = "another process has this UDP port, or connections of a listener that was just removed \
                            still have; `ss -lnup` shows who";
                diagnostic = diagnostic.help(help);
            }
            bad.push(diagnostic, is_taken);
            None
        }
    }
}

/// A UDP socket that is ready to be read.
pub(super) struct Datagrams {
    pub listener: String,
    socket: UdpSocket,
    /// Processes that have connections on it.
    formers: Vec<Former>,
}

/// The UDP side of a listener that runs.
pub(super) struct Running {
    door: Arc<Door>,
    relay: Arc<Relay>,
    /// Another handle of the socket, to be handed to a successor.
    socket: Option<UdpSocket>,
}

impl Running {
    /// A socket with what is to read it.
    pub(super) fn begin(listener: &Arc<ListenerState>, datagrams: Datagrams) -> (Self, Acceptor) {
        let Datagrams { socket, formers, .. } = datagrams;
        let door = Arc::<Door>::default();
        let relay = Relay::new(formers);
        let running = Self {
            door: door.clone(),
            relay: relay.clone(),
            // Without a second handle the listener works; only an upgrade has to bind anew.
            socket: socket.try_clone().ok(),
        };
        (running, Acceptor::new(listener.clone(), door, relay, socket))
    }

    /// Takes no more connections, and has those there are end. With a successor that reads the same socket, new ones
    /// are left to that.
    pub(super) fn close(&self, has_successor: bool) {
        if has_successor {
            self.relay.leave();
        }
        self.door.close(has_successor);
    }

    /// For a successor: ways to those whose connections are on the socket, with the keys of their connection ids.
    pub(super) fn relays(&self) -> Vec<(u64, UnixDatagram)> {
        // Without them an upgrade cuts connections, but it works.
        self.relay.hand_over().unwrap_or_default()
    }

    /// Another handle of the socket.
    pub(super) fn socket(&self) -> Option<io::Result<UdpSocket>> {
        self.socket.as_ref().map(UdpSocket::try_clone)
    }
}

/// A listener's UDP socket, to be read by one worker.
pub(crate) struct Acceptor {
    listener: Arc<ListenerState>,
    door: Arc<Door>,
    relay: Arc<Relay>,
    socket: UdpSocket,
}

impl Acceptor {
    fn new(listener: Arc<ListenerState>, door: Arc<Door>, relay: Arc<Relay>, socket: UdpSocket) -> Self {
        Self {
            listener,
            door,
            relay,
            socket,
        }
    }

    /// Takes connections until the door is closed and all of them have ended.
    pub(crate) async fn run(self, worker: Rc<Worker>) {
        let Self {
            listener,
            door,
            relay,
            socket,
        } = self;
        let local = socket.local_addr().ok();
        let mut setup = Setup::default();
        let endpoint = setup.of(&worker, &listener).and_then(|config| {
            let config = quinn::ServerConfig::clone(&config);
            let runtime = Arc::new(quinn::TokioRuntime);
            let (ids, inner) = (relay.key.endpoint(), runtime.wrap_udp_socket(socket)?);
            let socket = relay::Socket::new(inner, relay);
            let endpoint = quinn::Endpoint::new_with_abstract_socket(ids, Some(config), socket, runtime);
            endpoint.map_err(Into::into)
        });
        let endpoint = match endpoint {
            Ok(endpoint) => endpoint,
            Err(error) => return tracing::error!(listener = &*listener.name, %error, "cannot take HTTP/3"),
        };
        let clock = Clock::new(&worker.timers, worker.metrics.clone());
        loop {
            let is_closed = door.is_closed();
            let deadline = listener.drain_deadline().filter(|_| is_closed);
            let patience = deadline.map(|at| at.saturating_duration_since(worker.now()));
            let incoming = tokio::select! {
                () = door.changed() => continue,
                () = endpoint.wait_idle(), if is_closed => return,
                () = pass(&clock, patience.unwrap_or_default().saturating_sub(LAST_WORDS)), if patience.is_some() => {
                    return part(&worker, &endpoint, &clock).await;
                }
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            if door.is_closed() {
                if door.has_successor() {
                    // The client sends again, and the successor may be the one that reads it.
                    incoming.ignore();
                } else {
                    listener.stats.refused(worker.index, Refused::Draining);
                    incoming.refuse();
                }
                continue;
            }
            match setup.of(&worker, &listener) {
                Ok(config) => place(&worker, &listener, &door, (incoming, config, local)),
                Err(error) => {
                    tracing::warn!(listener = &*listener.name, %error, "cannot take an HTTP/3 connection");
                    incoming.refuse();
                }
            }
        }
    }
}

/// Ready when that much time has passed.
async fn pass(clock: &Clock, time: Duration) {
    poll_fn(|cx| clock.poll_phase(cx, Phase::Leaving, time).map(drop)).await;
}

/// Tells the clients that are left that it is over: there is nothing that would tell them, as the end of a process tells
/// those of TCP.
async fn part(worker: &Worker, endpoint: &quinn::Endpoint, clock: &Clock) {
    worker.note_cut(endpoint.open_connections());
    endpoint.close(NO_ERROR, b"");
    clock.progress();
    let mut told = pin!(endpoint.wait_idle());
    poll_fn(|cx| match told.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => clock.poll_phase(cx, Phase::Leaving, LAST_WORDS).map(drop),
    })
    .await;
}

/// Gives a connection to the worker with the fewest.
fn place(
    worker: &Rc<Worker>,
    listener: &Arc<ListenerState>,
    door: &Arc<Door>,
    (incoming, config, local): (Incoming, Arc<quinn::ServerConfig>, Option<SocketAddr>),
) {
    let plan = worker.plan();
    let peer = incoming.remote_address();
    let ip = peer.ip().to_canonical();
    let shown = incoming.remote_address_validated().then_some(ip);
    let bounds = Bounds {
        most: plan.client.limits.handshakes,
        retry_above: plan.client.http3.retry_above,
    };
    let handshake = match door.begin(bounds, shown) {
        Answer::Begin(handshake) => handshake,
        Answer::Refuse => {
            worker.metrics.limit_hit("client.limits.handshakes");
            listener.stats.unshaken(worker.index, Unshaken::TooMany);
            return incoming.refuse();
        }
        Answer::Retry => {
            worker.metrics.address_checks.inc();
            // An address that is not validated may always be asked to show itself.
            let _ = incoming.retry();
            return;
        }
    };
    let admitted = match listener.admission.admit(Some(ip)) {
        Ok(admitted) => admitted,
        Err(refused) => {
            listener.stats.refused(worker.index, label(refused));
            worker.metrics.limit_hit(refused.setting());
            return incoming.refuse();
        }
    };
    let load = Load::lightest(worker);
    let target = load.worker;
    let arriving = Box::new(Arriving {
        handshake,
        incoming,
        config,
        local,
        peer,
        listener: listener.clone(),
        door: door.clone(),
        admitted,
        load,
    });
    if target == worker.index {
        return arriving.serve(worker);
    }
    let sent = worker
        .peers
        .get(target)
        .is_some_and(|peer| peer.send(Command::Arrive(arriving)).is_ok());
    if !sent {
        listener.stats.refused(worker.index, Refused::Resources);
    }
}

/// A connection on its way to its worker, before its handshake.
pub(crate) struct Arriving {
    incoming: Incoming,
    config: Arc<quinn::ServerConfig>,
    local: Option<SocketAddr>,
    peer: SocketAddr,
    listener: Arc<ListenerState>,
    door: Arc<Door>,
    handshake: Handshake,
    admitted: Admitted,
    load: Load,
}

impl Arriving {
    /// Makes the connection on this worker and serves it, in a task of its own.
    pub(crate) fn serve(self: Box<Self>, worker: &Rc<Worker>) {
        let worker = worker.clone();
        tokio::task::spawn_local(async move {
            if let Some(client) = Box::pin(self.arrive(&worker)).await {
                client.serve(worker).await;
            }
        });
    }

    /// Shakes hands. `None`: nothing came of it.
    async fn arrive(self: Box<Self>, worker: &Rc<Worker>) -> Option<h3::Client> {
        let Self {
            incoming,
            config,
            local,
            peer,
            listener,
            door,
            handshake,
            admitted,
            load,
        } = *self;
        let shaken = shake(worker, (incoming, config), &listener, handshake).await;
        let (quic, tls) = match shaken {
            Ok(shaken) => shaken,
            Err(why) => {
                listener.stats.unshaken(worker.index, why);
                return None;
            }
        };
        let how = Shaken {
            is_tls13: true,
            // What quinn does not tell.
            resumed: false,
        };
        listener.stats.shaken(worker.index, how);
        let ip = peer.ip().to_canonical();
        let connection = Connection {
            peer: ip,
            peer_port: peer.port(),
            lines: PeerLines::new(ip, "https", local.map_or(0, |local| local.port())),
            local,
            scheme: "https",
            tls: Some(Box::new(tls)),
            requests: 0.into(),
            _open: Some(Open::new(worker, listener.clone(), admitted, load)),
            listener,
        };
        Some(h3::Client {
            connection: Rc::new(connection),
            door,
            quic,
        })
    }
}

/// Makes the connection, as far as it must be made before requests are looked at.
async fn shake(
    worker: &Rc<Worker>,
    (incoming, config): (Incoming, Arc<quinn::ServerConfig>),
    listener: &ListenerState,
    handshake: Handshake,
) -> Result<(quinn::Connection, TlsInfo), Unshaken> {
    let plan = worker.plan();
    let after = plan.client.timeouts.handshake;
    let early_data = setup::takes_early_data(&plan, listener);
    drop(plan);
    let clock = Clock::new(&worker.timers, worker.metrics.clone());
    let mut connecting = incoming.accept_with(config).map_err(|error| why(&error))?;
    let quic = if early_data {
        // What the client wants to speak must be known; that it is no replay need not.
        let known = in_time(&clock, after, connecting.handshake_data()).await;
        known.ok_or(Unshaken::Timeout)?.map_err(|error| why(&error))?;
        let (quic, completed) = connecting.into_0rtt().map_err(|_| Unshaken::Protocol)?;
        watch(worker, &quic, completed, (handshake, after));
        quic
    } else {
        let quic = in_time(&clock, after, connecting)
            .await
            .ok_or(Unshaken::Timeout)?;
        quic.map_err(|error| why(&error))?
    };
    let tls = tls_info(&quic);
    // A ticket vouches for a certificate as it was.
    if let Some(client) = &tls.client
        && client.not_after < certificate::unix(SystemTime::now())
    {
        return Err(Unshaken::BadCertificate);
    }
    Ok((quic, tls))
}

/// What a failed handshake is counted as.
fn why(error: &ConnectionError) -> Unshaken {
    match error {
        ConnectionError::TimedOut => Unshaken::Timeout,
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => Unshaken::Protocol,
        ConnectionError::ConnectionClosed(_) => Unshaken::Alert,
        _ => Unshaken::Gone,
    }
}

async fn in_time<F: Future>(clock: &Clock, after: Duration, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => clock.wait(cx, Phase::Handshake, after).map(|_| None),
    })
    .await
}

/// Ends a connection whose client does not complete the handshake, though it is being served already.
fn watch(
    worker: &Rc<Worker>,
    quic: &quinn::Connection,
    completed: quinn::ZeroRttAccepted,
    (handshake, after): (Handshake, Duration),
) {
    let clock = Clock::new(&worker.timers, worker.metrics.clone());
    let quic = quic.clone();
    tokio::task::spawn_local(async move {
        // What it resolves to means nothing on this side; a handshake that failed has ended the connection.
        if in_time(&clock, after, completed).await.is_none() {
            quic.close(VarInt::from_u32(0), b"");
        }
        drop(handshake);
    });
}
