//! A worker's idle connections, by endpoint.
//!
//! Pools belong to one worker: no lock, no hand-over between cores. The last connection given back is
//! the first taken, so that a quiet pool shrinks by itself. A connection is given up when it was idle
//! or alive too long, served too many requests, or when its endpoint said it would close it sooner.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::io::Stream;

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

/// A connection to an endpoint.
pub struct PooledStream {
    /// The stream.
    pub stream: Stream,
    /// Requests begun on it.
    pub requests: u64,
    /// When it was connected, in the worker's coarse time.
    pub connected: Instant,
    /// How long the endpoint keeps it open when idle, if it said so (`Keep-Alive: timeout=n`).
    pub endpoint_idle: Option<Duration>,
}

impl PooledStream {
    /// True if it has served a request before this one.
    pub fn is_reused(&self) -> bool {
        self.requests > 1
    }
}

struct Idle {
    stream: PooledStream,
    since: Instant,
    until: Instant,
}

/// Why an idle connection was not used any more; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// The endpoint closed it, or sent something unasked.
    Closed,
    /// It was idle or alive for too long.
    Expired,
    /// There were enough idle ones, or it had served enough requests.
    Surplus,
}

/// The idle connections of one worker.
#[derive(Default)]
pub struct Pools {
    idle: RefCell<HashMap<u32, Vec<Idle>>>,
}

impl Pools {
    /// Takes a usable idle connection to an endpoint. `retired` hears of those that were not.
    pub fn take(&self, endpoint: u32, now: Instant, mut retired: impl FnMut(Retired)) -> Option<PooledStream> {
        let mut pools = self.idle.borrow_mut();
        let pool = pools.get_mut(&endpoint)?;
        while let Some(mut idle) = pool.pop() {
            if now > idle.until {
                retired(Retired::Expired);
            } else if idle.stream.stream.is_idle_and_open() {
                return Some(idle.stream);
            } else {
                retired(Retired::Closed);
            }
        }
        None
    }

    /// Keeps a connection for a later request, if the limits allow.
    pub fn put(&self, endpoint: u32, stream: PooledStream, limits: &PoolLimits, now: Instant) -> Result<(), Retired> {
        if stream.requests >= limits.max_requests {
            return Err(Retired::Surplus);
        }
        // A second less than the endpoint keeps it: a request must not cross the close on the way.
        let told = stream.endpoint_idle.map(|d| d.saturating_sub(Duration::from_secs(1)));
        let idle = told.map_or(limits.idle_timeout, |d| d.min(limits.idle_timeout));
        let until = (now + idle).min(stream.connected + limits.max_age);
        if until <= now {
            return Err(Retired::Expired);
        }
        let mut pools = self.idle.borrow_mut();
        let pool = pools.entry(endpoint).or_default();
        if pool.len() >= limits.max_idle {
            return Err(Retired::Surplus);
        }
        pool.push(Idle { stream, since: now, until });
        Ok(())
    }

    /// Drops what expired or was closed, and all connections of endpoints that are gone.
    pub fn sweep(&self, now: Instant, mut lives: impl FnMut(u32) -> bool, mut retired: impl FnMut(Retired)) {
        self.idle.borrow_mut().retain(|&endpoint, pool| {
            let lives = lives(endpoint);
            pool.retain_mut(|idle| {
                let why = if !lives || now > idle.until {
                    Retired::Expired
                } else if idle.since < now && !idle.stream.stream.is_idle_and_open() {
                    Retired::Closed
                } else {
                    return true;
                };
                retired(why);
                false
            });
            if pool.capacity() > 4 * pool.len() {
                pool.shrink_to(2 * pool.len());
            }
            !pool.is_empty()
        });
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }

    /// True if none is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
