//! One connection of HTTP/2, the task that drives it, and a request's place on it.
//!
//! The task belongs to the [`Connection`]: it ends when the connection does, or soon after the last one who holds it
//! has let go, with a GOAWAY if the endpoint still takes one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;

use super::super::Upstream;
use super::super::endpoint::{Endpoint, InFlight};
use super::super::pool::PoolLimits;
use super::pool::Peer;
use crate::config::Balance;
use crate::exchange::Exchange;
use crate::io::Stream;
use crate::telemetry::metrics::{Closed, UpstreamStats};
use crate::timer::Deadline;
use crate::worker::Worker;

/// Bytes an endpoint may send on one stream before some of them are taken.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The most streams on a connection, whatever the endpoint allows.
const MOST_STREAMS: usize = 256;
/// Bytes it may send on all of them: as much as all streams together, so that one that is not read holds up no other.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 256;
/// Bytes of one request's body that may wait to be written.
const SEND_BUFFER: usize = 64 * 1024;
/// How many streams the endpoint takes before it has said so: a number that it cannot say.
const UNSAID: usize = usize::MAX - 1;
/// After so long without a sign of life, the next request asks for one.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a connection nobody holds may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection to an endpoint.
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    ping: RefCell<Option<PingPong>>,
    /// When an answer to a ping is overdue, if one was sent.
    overdue: Cell<Option<Instant>>,
    heard: Cell<Instant>,
    streams: Cell<usize>,
    served: Cell<u64>,
    oldest: Instant,
    /// Until when it may idle; none while it carries a stream.
    pub idle_until: Cell<Option<Instant>>,
    life: Rc<Life>,
    ending: Cell<Closed>,
    stats: Arc<UpstreamStats>,
    worker: usize,
}

/// What a connection and its task tell each other.
#[derive(Default)]
struct Life {
    /// Nobody holds the connection any more.
    released: Cell<bool>,
    /// It is to end at once.
    killed: Cell<bool>,
    /// The task is done.
    over: Cell<bool>,
    task: RefCell<Option<Waker>>,
    /// The endpoint has sent its settings.
    settled: Cell<bool>,
    /// Who waits for them.
    settling: RefCell<Option<Waker>>,
    /// What ended the connection.
    error: RefCell<Option<h2::Error>>,
}

impl Life {
    fn wake(&self) {
        if let Some(waker) = self.task.take() {
            waker.wake();
        }
    }

    /// Waits for the endpoint's settings: it speaks HTTP/2, and this is how many streams it takes. Nothing of a request
    /// is sent before.
    fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Result<(), Option<h2::Error>>> {
        if self.over.get() {
            return Poll::Ready(Err(self.error.take()));
        }
        if self.settled.get() {
            return Poll::Ready(Ok(()));
        }
        *self.settling.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn tell(&self) {
        if let Some(waker) = self.settling.take() {
            waker.wake();
        }
    }
}

impl Connection {
    /// Begins to speak HTTP/2 on a stream. Waits as long as the endpoint does: the caller bounds it. The error is that
    /// of the connection, if it has one.
    pub async fn begin(
        ex: &Exchange,
        upstream: &Upstream,
        stream: Stream,
        peer: &Rc<Peer>,
    ) -> Result<Rc<Self>, Option<h2::Error>> {
        let worker = &ex.worker;
        let head = u32::try_from(upstream.head.bytes).unwrap_or(u32::MAX);
        let (requests, mut connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .initial_max_send_streams(UNSAID)
            .max_header_list_size(head)
            .enable_push(false)
            .handshake(stream)
            .await?;
        let life = Rc::new(Life::default());
        let ping = connection.ping_pong();
        tokio::task::spawn_local(drive(
            connection,
            life.clone(),
            Rc::downgrade(peer),
            worker.timers.deadline(),
        ));
        let now = worker.now();
        upstream.stats.shard(worker.index).opened.inc();
        let connection = Rc::new(Self {
            requests,
            ping: RefCell::new(ping),
            overdue: Cell::new(None),
            heard: Cell::new(now),
            streams: Cell::new(0),
            served: Cell::new(0),
            oldest: now + upstream.pool.max_age,
            idle_until: Cell::new(None),
            life,
            ending: Cell::new(Closed::Failed),
            stats: upstream.stats.clone(),
            worker: worker.index,
        });
        poll_fn(|cx| connection.life.poll_settled(cx)).await?;
        connection.hear(worker.now());
        Ok(connection)
    }

    /// How many streams it may carry, by the endpoint's last word.
    pub fn room(&self) -> usize {
        self.requests.current_max_send_streams().min(MOST_STREAMS)
    }

    /// True if it carries as many streams as it may.
    pub fn is_full(&self) -> bool {
        self.streams.get() >= self.room()
    }

    /// Why it takes no more requests, if so.
    pub fn fault(&self, now: Instant, limits: &PoolLimits) -> Option<Closed> {
        let closed = || {
            self.requests
                .clone()
                .poll_ready(&mut Context::from_waker(Waker::noop()))
        };
        match () {
            () if self.served.get() >= limits.max_requests => Some(Closed::Requests),
            () if self.oldest <= now => Some(Closed::Age),
            () if self.idle_until.get().is_some_and(|until| until < now) => Some(Closed::Idle),
            // It is over, or the endpoint has sent a GOAWAY.
            () if self.life.over.get() || matches!(closed(), Poll::Ready(Err(_))) => Some(Closed::Peer),
            () => None,
        }
    }

    /// True if a ping was not answered in time.
    pub fn is_lost(&self, now: Instant) -> bool {
        let Some(overdue) = self.overdue.get() else {
            return false;
        };
        let mut cx = Context::from_waker(Waker::noop());
        let answered = match &mut *self.ping.borrow_mut() {
            Some(ping) => ping.poll_pong(&mut cx).is_ready(),
            None => true,
        };
        if answered {
            self.overdue.set(None);
            self.hear(now);
        }
        !answered && overdue <= now
    }

    /// Ends it at once, with all its streams.
    pub fn kill(&self) {
        self.life.killed.set(true);
        self.life.wake();
    }

    /// Says why it ends, once nobody holds it.
    pub fn ends(&self, why: Closed) {
        self.ending.set(why);
    }

    /// Notes a sign of life.
    pub fn hear(&self, now: Instant) {
        self.heard.set(now);
    }

    fn occupy(&self, now: Instant, patience: Duration) {
        self.streams.set(self.streams.get() + 1);
        self.served.set(self.served.get() + 1);
        if self.idle_until.take().is_some() {
            self.stats.shard(self.worker).idle.dec();
        }
        let silent = now.saturating_duration_since(self.heard.get()) >= SILENCE;
        if silent
            && self.overdue.get().is_none()
            && let Some(ping) = &mut *self.ping.borrow_mut()
            && ping.send_ping(Ping::opaque()).is_ok()
        {
            self.overdue.set(Some(now + patience));
        }
    }

    /// True if that was its last stream.
    pub fn vacate(&self) -> bool {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.streams.get() == 0
    }

    /// It carries nothing now and waits for its next request.
    pub fn idles(&self, until: Instant) {
        if self.idle_until.replace(Some(until)).is_none() {
            self.stats.shard(self.worker).idle.inc();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let shard = self.stats.shard(self.worker);
        if self.idle_until.get().is_some() {
            shard.idle.dec();
        }
        shard.closed(self.ending.get());
        self.life.released.set(true);
        self.life.wake();
    }
}

/// Moves frames until the connection is over.
async fn drive(
    mut connection: h2::client::Connection<Stream, Bytes>,
    life: Rc<Life>,
    peer: Weak<Peer>,
    deadline: Deadline,
) {
    let mut leaving = false;
    poll_fn(|cx| {
        if life.killed.get() {
            return Poll::Ready(());
        }
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            *life.error.borrow_mut() = result.err();
            return Poll::Ready(());
        }
        if !life.settled.get() && connection.max_concurrent_send_streams() != UNSAID {
            life.settled.set(true);
            life.tell();
        }
        if life.released.get() {
            if !std::mem::replace(&mut leaving, true) {
                deadline.set(GOODBYE);
            }
            if deadline.poll_expired(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        *life.task.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
    // Streams that are left learn of it by this.
    drop(connection);
    life.over.set(true);
    life.tell();
    if let Some(peer) = peer.upgrade() {
        peer.changed();
    }
}

/// A request's place on a connection.
pub(super) struct Lease {
    connection: Rc<Connection>,
    peer: Rc<Peer>,
    worker: Rc<Worker>,
    limits: PoolLimits,
    stats: Arc<UpstreamStats>,
    since: Instant,
    time: Option<Rc<Cell<u64>>>,
    reused: bool,
    _in_flight: Option<InFlight>,
}

impl Lease {
    pub fn new(
        ex: &mut Exchange,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        place: Place,
        since: Instant,
    ) -> Self {
        let shard = upstream.stats.shard(ex.worker.index);
        shard.in_flight.inc();
        let Place {
            connection,
            peer,
            reused,
        } = place;
        if reused {
            shard.reused.inc();
        }
        Self {
            connection,
            peer,
            worker: ex.worker.clone(),
            limits: upstream.pool,
            stats: upstream.stats.clone(),
            since,
            time: Some(ex.record.upstream_time(&ex.worker)),
            reused,
            _in_flight: (upstream.balance == Balance::LeastRequest).then(|| endpoint.begin()),
        }
    }

    /// True if the connection has served a request before this one.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request's head. An error means that nothing was sent.
    pub fn begin(
        &self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.connection.requests.clone().send_request(request, ends)
    }

    /// Notes a sign of life.
    pub fn hear(&self) {
        self.connection.hear(self.worker.now());
    }

    /// Notes that the endpoint has sent its last byte.
    pub fn end_time(&mut self) {
        if let Some(time) = self.time.take() {
            time.set(u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end_time();
        self.stats.shard(self.worker.index).in_flight.dec();
        self.peer
            .vacate(&self.connection, &self.limits, self.worker.now());
    }
}

/// Room for one stream on a connection, taken.
pub(super) struct Place {
    connection: Rc<Connection>,
    peer: Rc<Peer>,
    reused: bool,
}

impl Place {
    /// Takes room on a connection that has some. `patience` is how long an answer to a ping may take.
    pub fn take(connection: &Rc<Connection>, peer: &Rc<Peer>, now: Instant, patience: Duration) -> Self {
        let reused = connection.served.get() > 0;
        connection.occupy(now, patience);
        Self {
            connection: connection.clone(),
            peer: peer.clone(),
            reused,
        }
    }
}
