//! Metrics: what happened, in numbers.
//!
//! Each worker writes to its own [`Shard`] and to its own share of the statistics of routes, upstreams,
//! endpoints and listeners: a plain load and store, no lock, nothing shared with other cores. The scrape
//! sums them up on the admin's thread. What happens rarely and on any thread is in [`Events`]. The names
//! are declared in `names.rs`, and no label takes a value a client can choose.

mod count;
mod extra;
mod histogram;
mod labels;
mod names;
mod process;
mod render;
mod series;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

pub use count::{Count, Counts, PerWorker};
pub use extra::{Extra, Tally};
pub use histogram::{Histogram, Total};
pub use labels::{Closed, Http2Closed, Lookup, Phase, Refused, Shaken, TunnelEnd, Unshaken};
pub use names::{FAMILIES, Family, Type, metrics_markdown};
pub use series::{
    Done, EndpointSeries, EndpointShard, EndpointStats, ListenerStats, NONE, OVERFLOW, RouteStats, Series,
    UpstreamShard, UpstreamStats,
};

use crate::failure::Code;
use gatehouse_http1::Version;

/// Certificates with a series of their own.
const MOST_CERTIFICATES: usize = 1000;

/// How many of what there may be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads; their numbers are below this.
    pub workers: usize,
    /// Routes with series of their own.
    pub routes: usize,
    /// Upstreams with series of their own.
    pub upstreams: usize,
    /// Endpoints with series of their own.
    pub endpoints: usize,
    /// Listeners with series of their own.
    pub listeners: usize,
    /// The version of the program, for `gatehouse_build_info`.
    pub version: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Options {
            workers: 1,
            routes: 2_000,
            upstreams: 2_000,
            endpoints: 4_000,
            listeners: 100,
            version,
        }
    }
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// The listener that shows it.
    pub listener: Box<str>,
    /// Its file, as the document names it.
    pub file: Box<str>,
    /// Until when it is good, in seconds since 1970.
    pub not_after: i64,
}

/// All numbers of a gateway.
#[derive(Debug)]
pub struct Metrics {
    shards: Box<[Arc<Shard>]>,
    routes: series::Registry<RouteStats>,
    upstreams: series::Registry<UpstreamStats>,
    endpoints: EndpointSeries,
    listeners: series::Registry<ListenerStats>,
    unmatched: Arc<RouteStats>,
    events: Arc<Events>,
    config: Mutex<Applied>,
    certificates: Mutex<Vec<Expiry>>,
    extra: Extra,
    version: &'static str,
}

impl Metrics {
    /// Numbers for so many workers, all zero.
    pub fn new(options: &Options) -> Self {
        let workers = options.workers.max(1);
        let events: Arc<Events> = Arc::default();
        Metrics {
            shards: (0..workers).map(|_| Arc::default()).collect(),
            routes: series::routes(workers, options.routes),
            upstreams: series::upstreams(workers, options.upstreams),
            endpoints: EndpointSeries::new(workers, options.endpoints, Arc::clone(&events)),
            listeners: series::listeners(workers, options.listeners),
            unmatched: Arc::new(series::unmatched(workers)),
            events,
            config: Mutex::default(),
            certificates: Mutex::default(),
            extra: Extra::new(workers),
            version: options.version,
        }
    }

    /// The numbers only the worker of that number writes to. Numbers past the end share the last shard.
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        // There is always at least one shard.
        Arc::clone(&self.shards[worker.min(self.shards.len() - 1)])
    }

    /// How many workers write to these.
    pub fn workers(&self) -> usize {
        self.shards.len()
    }

    /// Begins to hand out statistics to a new plan; one for each compilation.
    pub fn series(&self) -> Series<'_> {
        Series::new(self)
    }

    /// Hands out the statistics of endpoints.
    pub fn endpoints(&self) -> &EndpointSeries {
        &self.endpoints
    }

    /// The statistics of requests that match no route.
    pub fn unmatched(&self) -> Arc<RouteStats> {
        Arc::clone(&self.unmatched)
    }

    /// The metrics of policies.
    pub fn extra(&self) -> &Extra {
        &self.extra
    }

    /// What is counted from any thread.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Says which configuration is in use from now on. `hash` identifies its text.
    pub fn applied(&self, hash: &str, now: SystemTime) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Applied {
            hash: hash.into(),
            at: Some(now),
        };
    }

    /// Says which certificates are in use from now on. Beyond a thousand they are left out.
    pub fn certificates(&self, in_use: Vec<Expiry>) {
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        *certificates = in_use;
        certificates.sort_unstable();
        certificates.dedup_by(|a, b| a.listener == b.listener && a.file == b.file);
        certificates.truncate(MOST_CERTIFICATES);
    }

    /// Requests begun and not finished, over all workers.
    pub fn in_flight(&self) -> u64 {
        self.sum(|shard| shard.in_flight.get())
    }

    /// Connections open, over all listeners.
    pub fn connections(&self) -> u64 {
        self.listeners
            .all()
            .iter()
            .map(|listener| listener.active())
            .fold(0, u64::wrapping_add)
    }

    fn sum(&self, of: impl Fn(&Shard) -> u64) -> u64 {
        self.shards
            .iter()
            .map(|shard| of(shard))
            .fold(0, u64::wrapping_add)
    }

    fn config(&self) -> Applied {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The numbers of one worker; only that worker writes. Alone on its cache lines.
#[repr(align(128))]
#[derive(Default, Debug)]
pub struct Shard {
    /// Requests begun and not finished.
    pub in_flight: Count,
    /// Bytes read from client connections.
    pub bytes_in: Count,
    /// Bytes written to client connections.
    pub bytes_out: Count,
    /// Bytes of bodies that went from socket to socket through a pipe.
    pub spliced: Count,
    /// What the gateway itself spent on each request.
    pub overhead: Histogram,
    /// By version, in the order of `Version`.
    protocols: Counts<4>,
    http2_closed: Counts<{ Http2Closed::NAMES.len() }>,
    /// HTTP/3 clients that were asked to show that they get what is sent to their address.
    pub address_checks: Count,
    failures: Counts<{ Code::COUNT }>,
    timeouts: Counts<{ Phase::NAMES.len() }>,
    limits: Counts<{ labels::LIMITS.len() }>,
}

impl Shard {
    /// Counts an exchange by the version of its request.
    pub fn spoke(&self, version: Version) {
        self.protocols.at(version as usize).inc();
    }

    /// Counts a connection of HTTP/2 closed for what the client did.
    pub fn http2_closed(&self, why: Http2Closed) {
        self.http2_closed.at(why as usize).inc();
    }

    /// Counts an exchange that failed.
    pub fn failed(&self, code: Code) {
        self.failures.at(code.index()).inc();
    }

    /// Counts a timeout that ran out.
    pub fn timed_out(&self, phase: Phase) {
        self.timeouts.at(phase as usize).inc();
    }

    /// Counts a bound that was hit, by the setting that sets it, as in [`crate::failure::Limit::setting`].
    pub fn limit_hit(&self, setting: &str) {
        self.limits.at(labels::limit_index(setting)).inc();
    }
}

/// What happens rarely, counted from any thread with [`Count::add_shared`].
#[derive(Default, Debug)]
pub struct Events {
    /// Access log lines written.
    pub access_lines: Arc<Count>,
    /// Access log lines lost.
    pub access_dropped: Arc<Count>,
    /// Failed attempts to open or write the access log.
    pub access_errors: Arc<Count>,
    /// Keys dropped from full rate-limit windows.
    pub evictions: Arc<Count>,
    reloads: Counts<2>,
    /// 1 while the configuration is not the one in use, because it is no good.
    behind: Count,
    upgrades: Counts<2>,
    lookups: Counts<{ Lookup::NAMES.len() }>,
    overflow: Counts<4>,
}

impl Events {
    /// Counts a configuration loaded after the first; a failed one leaves the old in use.
    pub fn reloaded(&self, ok: bool) {
        // Before the count: whoever sees that it went up sees what came of it.
        self.behind.set(u64::from(!ok));
        self.reloads.at(usize::from(!ok)).add_shared(1);
    }

    /// Notes that the configuration is again the one in use.
    pub fn mended(&self) {
        self.behind.set(0);
    }

    /// Counts a binary that took over from another, in the new process, or did not, in the old.
    pub fn upgraded(&self, ok: bool) {
        self.upgrades.at(usize::from(!ok)).add_shared(1);
    }

    /// Counts a name lookup.
    pub fn looked_up(&self, result: Lookup) {
        self.lookups.at(result as usize).add_shared(1);
    }
}

#[derive(Clone, Default, Debug)]
struct Applied {
    hash: Box<str>,
    at: Option<SystemTime>,
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
