//! A worker's idle connections, by endpoint.
//!
//! Pools belong to one worker: no lock, no hand-over between cores. The last connection given back is
//! the first taken, so that a quiet pool shrinks by itself. A connection is given up when it was idle
//! or alive too long, served too many requests, or when its endpoint said it would close it sooner.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use crate::io::Stream;
use crate::telemetry::metrics::{Closed, UpstreamStats};

/// How long and how often connections are reused.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// Idle connections kept for each endpoint; 0 turns reuse off.
    pub max_idle: usize,
    /// How long one may be idle.
    pub idle_timeout: Duration,
    /// How old one may become.
    pub max_age: Duration,
    /// How many requests one may serve.
    pub max_requests: u64,
}

/// A connection to an endpoint. Its end is counted, with the reason. Boxed: it moves with each request.
pub struct PooledStream {
    /// The stream.
    pub stream: Stream,
    /// Requests begun on it.
    pub requests: u64,
    /// When it was connected.
    pub connected: Instant,
    /// How long the endpoint keeps it open when idle, if it said so (`Keep-Alive: timeout=n`).
    pub endpoint_idle: Option<Duration>,
    /// Weak, so that an endpoint no upstream names any more goes away, and then its connections.
    endpoint: Weak<Endpoint>,
    stats: Arc<UpstreamStats>,
    worker: usize,
    ending: Closed,
    /// True if the last response announced a body that must not come (to HEAD, or a 304). An endpoint that
    /// sends it all the same must not have it taken for the next response.
    pub suspect: bool,
}

impl PooledStream {
    /// A new connection, about to carry its first request.
    pub fn new(
        stream: Stream,
        now: Instant,
        endpoint: &Arc<Endpoint>,
        stats: Arc<UpstreamStats>,
        worker: usize,
    ) -> Box<Self> {
        stats.shard(worker).opened.inc();
        let endpoint = Arc::downgrade(endpoint);
        Box::new(Self {
            stream,
            requests: 1,
            connected: now,
            endpoint_idle: None,
            endpoint,
            stats,
            worker,
            ending: Closed::Failed,
            suspect: false,
        })
    }

    /// True if it has served a request before this one.
    pub fn is_reused(&self) -> bool {
        self.requests > 1
    }

    /// Counts the end of an attempt that was counted as under way.
    pub(super) fn ended(&self) {
        self.stats.shard(self.worker).in_flight.dec();
    }

    /// Closes it for a reason.
    pub fn close(mut self: Box<Self>, reason: Closed) {
        self.ending = reason;
    }
}

impl Drop for PooledStream {
    fn drop(&mut self) {
        self.stats.shard(self.worker).closed(self.ending);
    }
}

struct Idle {
    stream: Box<PooledStream>,
    since: Instant,
    until: Instant,
}

impl Idle {
    /// Why it must not be used any more, if so.
    fn fault(&mut self, now: Instant) -> Option<Closed> {
        if now > self.until {
            return Some(Closed::Idle);
        }
        let unasked = std::mem::take(&mut self.stream.suspect) && self.stream.stream.has_unread();
        (unasked || !self.stream.stream.is_idle_and_open()).then_some(Closed::Peer)
    }

    fn into_stream(self) -> Box<PooledStream> {
        self.stream.stats.shard(self.stream.worker).idle.dec();
        self.stream
    }
}

/// The idle connections of one worker, by the number of their endpoint.
#[derive(Default)]
pub struct Pools {
    idle: RefCell<HashMap<u32, Vec<Idle>, BuildHasherDefault<NumberHasher>>>,
}

impl Pools {
    /// Takes a usable idle connection to an endpoint, for one more request.
    pub fn take(&self, endpoint: u32, now: Instant) -> Option<Box<PooledStream>> {
        let mut pools = self.idle.borrow_mut();
        let pool = pools.get_mut(&endpoint)?;
        while let Some(mut idle) = pool.pop() {
            let fault = idle.fault(now);
            let mut stream = idle.into_stream();
            let Some(reason) = fault else {
                stream.requests += 1;
                return Some(stream);
            };
            stream.close(reason);
        }
        None
    }

    /// Keeps a connection for a later request, if the limits allow; else closes it.
    pub fn put(&self, endpoint: u32, stream: Box<PooledStream>, limits: &PoolLimits, now: Instant) {
        if stream.requests >= limits.max_requests {
            return stream.close(Closed::Requests);
        }
        // A second less than the endpoint keeps it: a request must not cross the close on the way.
        let told = stream
            .endpoint_idle
            .map(|d| d.saturating_sub(Duration::from_secs(1)));
        let idle = told.map_or(limits.idle_timeout, |d| d.min(limits.idle_timeout));
        let oldest = stream.connected + limits.max_age;
        if oldest <= now {
            return stream.close(Closed::Age);
        }
        let mut pools = self.idle.borrow_mut();
        let pool = pools.entry(endpoint).or_default();
        if pool.len() >= limits.max_idle || idle.is_zero() {
            return stream.close(Closed::PoolFull);
        }
        stream.stats.shard(stream.worker).idle.inc();
        pool.push(Idle {
            stream,
            since: now,
            until: (now + idle).min(oldest),
        });
    }

    /// Closes what idled too long, what its endpoint has closed, and what goes to endpoints that are
    /// gone.
    pub fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, pool| {
            for mut idle in std::mem::take(pool) {
                let fault = match () {
                    () if idle.stream.endpoint.strong_count() == 0 => Some(Closed::Removed),
                    () if idle.since >= now => None,
                    () => idle.fault(now),
                };
                match fault {
                    Some(reason) => idle.into_stream().close(reason),
                    None => pool.push(idle),
                }
            }
            !pool.is_empty()
        });
    }
}

/// Endpoint numbers are small and our own: they need no keyed hash.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
