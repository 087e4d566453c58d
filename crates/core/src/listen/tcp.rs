//! Accepts connections and spreads them evenly over the workers.
//!
//! One socket a listener and one accept loop, on one worker: no connection waits in the queue of a
//! worker that is busy. Each goes to the worker with the fewest, before anything is read from it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::admission::{Admitted, Refused as NotAdmitted};
use super::socket::{self, Bound, SocketFile};
use super::{ListenerState, Queue, handshake, last, proxy_protocol};
use crate::config::Protocol;
use crate::exchange::Connection;
use crate::gateway::Gateway;
use crate::http::address::PeerLines;
use crate::http::{h1, h2};
use crate::io::{Buffer, Clock, Phase, Stream};
use crate::telemetry::metrics::Refused;
use crate::worker::{Command, Worker};

/// The pause after the process ran out of something.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it goes without saying so again.
const TOLD_AGAIN: Duration = Duration::from_secs(5);

/// A listener's socket, to be accepted on by one worker.
pub(crate) struct Acceptor {
    listener: Arc<ListenerState>,
    socket: Bound,
    /// Dropped when nothing is accepted any more.
    ending: oneshot::Sender<()>,
}

/// The same, known to the worker's reactor. The Unix socket's file goes with it.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        #[allow(dead_code, reason = "held for its drop")] SocketFile,
    ),
}

impl Socket {
    fn register(bound: Bound) -> io::Result<Self> {
        match bound {
            Bound::Tcp(socket) => TcpListener::from_std(socket).map(Self::Tcp),
            Bound::Unix(socket, file) => Ok(Self::Unix(UnixListener::from_std(socket)?, file)),
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                socket::accepted(&stream)?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Self::Unix(socket, _) => socket
                .accept()
                .await
                .map(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }
}

/// A stream that no reactor knows, on its way from one worker to another.
enum Raw {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Raw {
    fn leave(stream: Stream) -> io::Result<Self> {
        match stream {
            Stream::Tcp(stream) => stream.into_std().map(Self::Tcp),
            Stream::Unix(stream) => stream.into_std().map(Self::Unix),
            // A stream moves before its handshake, or not at all.
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn join(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

/// A connection on its way to its worker.
pub(crate) struct Accepted {
    raw: Raw,
    admission: Admission,
}

/// What was found out about a connection when it was accepted.
struct Admission {
    peer: Option<SocketAddr>,
    listener: Arc<ListenerState>,
    admitted: Admitted,
    load: Load,
}

/// Counts a connection for its worker while it lives.
pub(super) struct Load {
    gateway: Arc<Gateway>,
    pub(super) worker: usize,
}

impl Load {
    /// Counts one more for the worker with the fewest; the one that asks, if several have as few.
    pub(super) fn lightest(worker: &Worker) -> Self {
        let gateway = &worker.gateway;
        let fewest = (0..gateway.loads().len())
            .map(|i| (i + worker.index) % gateway.loads().len())
            .min_by_key(|&i| gateway.loads()[i].load(Ordering::Relaxed))
            .unwrap_or(worker.index);
        gateway.loads()[fewest].fetch_add(1, Ordering::Relaxed);
        Self {
            gateway: gateway.clone(),
            worker: fewest,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(load) = self.gateway.loads().get(self.worker) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Acceptor {
    pub(crate) fn new(listener: Arc<ListenerState>, socket: Bound, ending: oneshot::Sender<()>) -> Self {
        Self {
            listener,
            socket,
            ending,
        }
    }

    /// Accepts until the listener is closed.
    pub(crate) async fn run(self, worker: Rc<Worker>) {
        let listener = self.listener;
        let _ending = self.ending;
        let socket = match Socket::register(self.socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(listener = &*listener.name, %error, "cannot accept"),
        };
        let mut told = None;
        loop {
            let accepted = tokio::select! {
                () = listener.closed.notified() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => place(&worker, &listener, stream, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    listener.stats.refused(worker.index, Refused::Resources);
                    if told.is_none_or(|told: Instant| told.elapsed() >= TOLD_AGAIN) {
                        told = Some(Instant::now());
                        tracing::warn!(listener = &*listener.name, %error, "cannot accept; pausing");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if listener
            .closing
            .get()
            .is_some_and(|closing| closing.queue == Queue::Leave)
        {
            return;
        }
        let place = |stream, peer| place(&worker, &listener, stream, peer);
        if let Err(error) = last::empty(socket, place).await {
            listener.stats.refused(worker.index, Refused::Resources);
            tracing::warn!(listener = &*listener.name, %error, "connections that waited to be accepted were lost");
        }
    }
}

/// True for errors that say something of the connection, not of us.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Gives a connection to the worker with the fewest.
fn place(worker: &Rc<Worker>, listener: &Arc<ListenerState>, stream: Stream, peer: Option<SocketAddr>) {
    let plan = worker.plan();
    let speaks_for_others = |ip: IpAddr| {
        let proxy = plan
            .listeners
            .get(&*listener.name)
            .and_then(|l| l.proxy_protocol.as_ref());
        proxy.is_some_and(|proxy| proxy.from.iter().any(|cidr| cidr.contains(ip)))
    };
    let client = peer
        .map(|peer| peer.ip().to_canonical())
        .filter(|ip| !speaks_for_others(*ip));
    if stream.descriptor() >= worker.gateway.ceiling() {
        return listener.stats.refused(worker.index, Refused::Resources);
    }
    let admitted = match listener.admission.admit(client) {
        Ok(admitted) => admitted,
        Err(refused) => {
            listener.stats.refused(worker.index, label(refused));
            return worker.metrics.limit_hit(refused.setting());
        }
    };
    let load = Load::lightest(worker);
    let fewest = load.worker;
    let admission = Admission {
        peer,
        listener: listener.clone(),
        admitted,
        load,
    };
    if fewest == worker.index {
        serve(worker, stream, admission);
        return;
    }
    let sent = match (Raw::leave(stream), worker.peers.get(fewest)) {
        (Ok(raw), Some(peer)) => peer.send(Command::Serve(Accepted { raw, admission })).is_ok(),
        _ => false,
    };
    if !sent {
        listener.stats.refused(worker.index, Refused::Resources);
    }
}

pub(super) fn label(refused: NotAdmitted) -> Refused {
    match refused {
        NotAdmitted::Total => Refused::Total,
        NotAdmitted::Client => Refused::PerClient,
    }
}

impl Accepted {
    /// Serves the connection on this worker, in a task of its own.
    pub(crate) fn serve(self, worker: &Rc<Worker>) {
        match self.raw.join() {
            Ok(stream) => {
                serve(worker, stream, self.admission);
            }
            Err(_) => self
                .admission
                .listener
                .stats
                .refused(worker.index, Refused::Resources),
        }
    }
}

/// Serves one connection, in a task of its own. What is needed only at its beginning is boxed and freed, so
/// that the task of an idle connection stays small.
fn serve(worker: &Rc<Worker>, stream: Stream, admission: Admission) {
    let worker = worker.clone();
    let arriving = Box::pin(arrive(worker.clone(), stream, admission));
    tokio::task::spawn_local(async move {
        match arriving.await {
            Some(Driver::Http1(client)) => client.serve(worker).await,
            Some(Driver::Http2(client)) => Box::pin(client.serve(worker)).await,
            None => {}
        }
    });
}

/// A connection and what drives it.
enum Driver {
    Http1(h1::Client),
    Http2(h2::Client),
}

/// Chooses what drives a connection: what was agreed on in the handshake (ALPN). Without that it is HTTP/1,
/// which hands over if the client begins with HTTP/2 in the clear, unless the listener speaks that only.
fn driver(worker: &Worker, connection: Rc<Connection>, stream: Stream, first: Option<Buffer>) -> Driver {
    let is_http2 = match connection.tls.as_ref().map_or("", |tls| tls.alpn) {
        "" => {
            let plan = worker.plan();
            let listener = plan.listeners.get(&*connection.listener.name);
            listener.is_some_and(|listener| !listener.speaks(Protocol::Http1))
        }
        agreed => agreed == "h2",
    };
    if !is_http2 {
        return Driver::Http1(h1::Client::new(worker, connection, stream, first));
    }
    let clock = Rc::new(Clock::new(&worker.timers, worker.metrics.clone()));
    Driver::Http2(h2::Client::new(connection, stream, first, clock))
}

/// Finds out who connects. `None`: the connection is refused, which was counted.
async fn arrive(worker: Rc<Worker>, mut stream: Stream, admission: Admission) -> Option<Driver> {
    let Admission {
        peer,
        listener,
        mut admitted,
        load,
    } = admission;
    let mut arrival = Arrival {
        peer,
        local: stream.local(),
        first: None,
    };
    if let Err(why) = introduce(&worker, &listener, &mut stream, &mut arrival, &mut admitted).await {
        listener.stats.refused(worker.index, why);
        return None;
    }
    let Arrival { peer, local, first } = arrival;
    let ip = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
    let tls = worker.plan().tls.get(&*listener.name).cloned();
    let (stream, tls, first) = match tls {
        None => (stream, None, first),
        Some(tls) => {
            let (stream, info) = handshake::shake(&worker, &listener, &tls, ip, stream, first).await?;
            (stream, Some(info), None)
        }
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let connection = Rc::new(Connection {
        peer: ip,
        peer_port: peer.map_or(0, |peer| peer.port()),
        lines: PeerLines::new(ip, scheme, local.map_or(0, |local| local.port())),
        local,
        scheme,
        tls,
        requests: 0.into(),
        _open: Some(Open::new(&worker, listener.clone(), admitted, load)),
        listener,
    });
    Some(driver(&worker, connection, stream, first))
}

/// Counts a served connection for its listener, its worker and its client's caps.
pub(crate) struct Open {
    listener: Arc<ListenerState>,
    _admitted: Admitted,
    load: Load,
}

impl Open {
    pub(super) fn new(worker: &Worker, listener: Arc<ListenerState>, admitted: Admitted, load: Load) -> Self {
        listener.stats.opened(worker.index);
        Self {
            listener,
            _admitted: admitted,
            load,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.listener.stats.closed(self.load.worker);
    }
}

/// What is known of a connection before its first request.
struct Arrival {
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    first: Option<Buffer>,
}

/// Reads the PROXY header of a trusted sender; its word replaces what the socket says.
async fn introduce(
    worker: &Worker,
    listener: &ListenerState,
    stream: &mut Stream,
    arrival: &mut Arrival,
    admitted: &mut Admitted,
) -> Result<(), Refused> {
    let plan = worker.plan();
    let Some(proxy) = plan
        .listeners
        .get(&*listener.name)
        .and_then(|l| l.proxy_protocol.as_ref())
    else {
        return Ok(());
    };
    let is_trusted = match arrival.peer {
        Some(peer) => proxy
            .from
            .iter()
            .any(|cidr| cidr.contains(peer.ip().to_canonical())),
        // Whoever may open the socket's file is trusted.
        None => true,
    };
    if !is_trusted {
        return Ok(());
    }
    let clock = Clock::new(&worker.timers, worker.metrics.clone());
    let mut buffer = worker.buffers.small();
    loop {
        match proxy_protocol::parse(buffer.data()) {
            Ok(Some(header)) => {
                buffer.consume(header.len);
                if let Some(source) = header.source {
                    arrival.peer = Some(source);
                    let claimed = admitted.claim(source.ip().to_canonical());
                    claimed.map_err(|refused| {
                        worker.metrics.limit_hit(refused.setting());
                        label(refused)
                    })?;
                }
                if let Some(destination) = header.destination {
                    arrival.local = Some(destination);
                }
                break;
            }
            Err(proxy_protocol::Error::Missing) if !proxy.required && !buffer.is_empty() => break,
            Err(_) => return Err(Refused::ProxyProtocol),
            Ok(None) => {}
        }
        let read = std::future::poll_fn(|cx| {
            use std::task::Poll;
            match stream.poll_read(cx, buffer.space()) {
                Poll::Ready(read) => Poll::Ready(read.ok()),
                Poll::Pending => clock
                    .poll_phase(cx, Phase::Head, plan.client.timeouts.head)
                    .map(|_| None),
            }
        });
        match read.await {
            Some(n) if n > 0 => buffer.filled(n),
            _ => return Err(Refused::ProxyProtocol),
        }
    }
    arrival.first = (!buffer.is_empty()).then_some(buffer);
    Ok(())
}
