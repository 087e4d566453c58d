//! A worker's HTTP/2 connections, by endpoint.
//!
//! Requests fill the first connection that has room, so that those further back can idle out. While a new connection is
//! on its way, as many requests wait for it as it will probably carry; the others dial their own. All waiting is bounded
//! by the upstream's `timeouts.connect`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Instant;

use tokio::sync::Notify;

use super::super::Upstream;
use super::super::attempt::pooled;
use super::super::dial::{Dialled, Offer, dial};
use super::super::endpoint::Endpoint;
use super::super::pool::{PoolLimits, PooledStream};
use super::connection::{Connection, Place};
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::io::Phase;
use crate::telemetry::metrics::Closed;

/// How many streams an unknown endpoint probably takes on one connection.
const PROBABLY: usize = 100;

/// The HTTP/2 connections of one worker, by the number of their endpoint.
#[derive(Default)]
pub(crate) struct Pools {
    peers: RefCell<HashMap<u32, Rc<Peer>>>,
}

/// What a worker knows of an endpoint that may speak HTTP/2.
pub(super) struct Peer {
    /// Weak, so that an endpoint no upstream names any more goes away, and then its connections.
    endpoint: Weak<Endpoint>,
    connections: RefCell<Vec<Rc<Connection>>>,
    dialling: Cell<usize>,
    waiting: Cell<usize>,
    /// How many streams a connection carries, by the last one.
    room: Cell<usize>,
    /// True if the last handshake chose HTTP/1.1.
    speaks_http1: Cell<bool>,
    /// Counts failed attempts to connect, and keeps why the last did.
    failures: Cell<u64>,
    failure: RefCell<Option<(Code, String)>>,
    news: Notify,
}

/// What a request may be sent on.
pub(super) enum Taken {
    /// A place on a connection of HTTP/2.
    Place(Place),
    /// A connection of HTTP/1.1: the endpoint chose it.
    Http1(Box<PooledStream>),
}

impl Pools {
    fn peer(&self, endpoint: &Arc<Endpoint>) -> Rc<Peer> {
        let mut peers = self.peers.borrow_mut();
        peers
            .entry(endpoint.id)
            .or_insert_with(|| Rc::new(Peer::new(endpoint)))
            .clone()
    }

    /// Lets go of connections that idled too long, are too old, over, or go to endpoints that are gone; ends those that
    /// do not answer.
    pub fn sweep(&self, now: Instant) {
        self.peers.borrow_mut().retain(|_, peer| {
            let gone = peer.endpoint.strong_count() == 0;
            peer.sweep(now, gone);
            !gone
        });
    }
}

impl Peer {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::downgrade(endpoint),
            connections: RefCell::default(),
            dialling: Cell::new(0),
            waiting: Cell::new(0),
            room: Cell::new(PROBABLY),
            speaks_http1: Cell::new(false),
            failures: Cell::new(0),
            failure: RefCell::default(),
            news: Notify::new(),
        }
    }

    /// Something changed that those who wait should look at.
    pub fn changed(&self) {
        self.news.notify_waiters();
    }

    fn sweep(&self, now: Instant, gone: bool) {
        const NO_MORE: PoolLimits = PoolLimits {
            max_idle: usize::MAX,
            idle_timeout: std::time::Duration::MAX,
            max_age: std::time::Duration::MAX,
            max_requests: u64::MAX,
        };
        self.connections.borrow_mut().retain(|connection| {
            let why = match () {
                () if gone => Some(Closed::Removed),
                () if connection.is_lost(now) => {
                    connection.kill();
                    Some(Closed::Failed)
                }
                () => connection.fault(now, &NO_MORE),
            };
            if let Some(why) = why {
                connection.ends(why);
            }
            why.is_none()
        });
    }

    /// A place on the first connection that has room.
    fn place(self: &Rc<Self>, upstream: &Upstream, now: Instant) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| {
            let why = connection.fault(now, &upstream.pool);
            if let Some(why) = why {
                connection.ends(why);
            }
            why.is_none()
        });
        let free = connections.iter().find(|connection| !connection.is_full())?;
        self.room.set(free.room().max(1));
        Some(Place::take(free, self, now, upstream.timeouts.connect))
    }

    /// A stream has ended.
    pub fn vacate(&self, connection: &Rc<Connection>, limits: &PoolLimits, now: Instant) {
        if connection.vacate() {
            let mut connections = self.connections.borrow_mut();
            let idle = connections
                .iter()
                .filter(|other| other.idle_until.get().is_some())
                .count();
            let Some(at) = connections.iter().position(|other| Rc::ptr_eq(other, connection)) else {
                return;
            };
            if idle >= limits.max_idle {
                connection.ends(Closed::PoolFull);
                connections.remove(at);
            } else {
                connection.idles(now + limits.idle_timeout);
            }
        }
        self.news.notify_one();
    }

    /// True if another connection is worth having, with so many on their way.
    fn wants_another(&self) -> bool {
        self.speaks_http1.get() || self.waiting.get() >= self.dialling.get() * self.room.get()
    }

    fn failed(&self, failure: &Failure) {
        // The end of an exchange's own time says nothing about the endpoint.
        if failure.code() == Code::DeadlineExceeded {
            return;
        }
        self.failures.set(self.failures.get() + 1);
        *self.failure.borrow_mut() = Some((failure.code(), failure.log_detail().into_owned()));
    }

    /// Why a connection that was waited for did not come about, if that happened since `before`.
    fn failure_since(&self, before: u64) -> Option<Failure> {
        if self.failures.get() == before {
            return None;
        }
        let last = self.failure.borrow();
        let (code, detail) = last.as_ref()?;
        Some(Failure::new(*code).detail(detail.clone()))
    }
}

/// A count that is one higher as long as this lives.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection on its way. However it ends, those who wait for it look again.
struct Dialling<'a> {
    peer: &'a Peer,
    _counted: Counted<'a>,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.peer.changed();
    }
}

/// A place for a request: on a connection that has room, on one that is on its way, or on a new one.
pub(super) async fn take(
    ex: &Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
) -> Result<Taken, Failure> {
    let worker = &ex.worker;
    let peer = worker.multiplexed.peer(endpoint);
    loop {
        if let Some(place) = peer.place(upstream, worker.now()) {
            return Ok(Taken::Place(place));
        }
        if let Some(stream) = worker.pools.take(endpoint.id, worker.now()) {
            upstream.stats.shard(worker.index).reused.inc();
            return Ok(Taken::Http1(stream));
        }
        if peer.wants_another() {
            return open(ex, upstream, endpoint, &peer).await;
        }
        news(ex, upstream, &peer).await?;
    }
}

/// Waits until something changed at the peer.
async fn news(ex: &Exchange, upstream: &Upstream, peer: &Peer) -> Result<(), Failure> {
    let before = peer.failures.get();
    let _counted = Counted::new(&peer.waiting);
    let mut news = pin!(peer.news.notified());
    let waited = poll_fn(|cx| match news.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(())),
        Poll::Pending => ex
            .clock
            .wait(cx, Phase::Connect, upstream.timeouts.connect)
            .map(Err),
    })
    .await;
    waited?;
    peer.failure_since(before).map_or(Ok(()), Err)
}

/// Dials, for this request and for those that wait.
async fn open(
    ex: &Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    peer: &Rc<Peer>,
) -> Result<Taken, Failure> {
    let _dialling = Dialling {
        peer,
        _counted: Counted::new(&peer.dialling),
    };
    let dialled = match dial(ex, upstream, endpoint, Offer::Any).await {
        Ok(dialled) => dialled,
        Err(failure) => {
            peer.failed(&failure);
            return Err(failure);
        }
    };
    peer.speaks_http1.set(matches!(dialled, Dialled::Http1(_)));
    let stream = match dialled {
        Dialled::Http1(stream) => return Ok(Taken::Http1(pooled(ex, upstream, endpoint, stream))),
        Dialled::Http2(stream) => stream,
    };
    let mut beginning = pin!(Connection::begin(ex, upstream, stream, peer));
    let begun = poll_fn(|cx| match beginning.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.map_err(|error| no_http2(endpoint, error))),
        Poll::Pending => ex
            .clock
            .wait(cx, Phase::Connect, upstream.timeouts.connect)
            .map(Err),
    })
    .await;
    ex.clock.leave();
    let connection = begun.inspect_err(|failure| peer.failed(failure))?;
    peer.connections.borrow_mut().push(connection.clone());
    Ok(Taken::Place(Place::take(
        &connection,
        peer,
        ex.worker.now(),
        upstream.timeouts.connect,
    )))
}

/// The endpoint took the connection, and does not speak HTTP/2 on it.
fn no_http2(endpoint: &Endpoint, error: Option<h2::Error>) -> Failure {
    let code = match &error {
        Some(error) if error.is_library() => Code::UpstreamProtocol,
        _ => Code::ConnectFailed,
    };
    let failure = Failure::new(code).detail(format!("{} does not speak HTTP/2", endpoint.label));
    match error {
        Some(error) => failure.source(error),
        None => failure,
    }
}
