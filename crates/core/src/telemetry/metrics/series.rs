//! Statistics by name: routes, upstreams, endpoints and listeners, bounded in number.
//!
//! A plan asks for the statistics of what it names and keeps them; a later plan that names the same finds
//! the same numbers, and what no plan names any more disappears. Beyond the bound names share `_overflow`,
//! in the order of the document, so that the same document always gets the same series.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{
    Events, Metrics,
    count::{Count, Counts, PerWorker},
    histogram::{Histogram, Total},
    labels::{self, Closed, Refused, STATUSES, Shaken, TunnelEnd, Unshaken},
};
use crate::failure::Code;

/// The name all those share that are too many.
pub const OVERFLOW: &str = "_overflow";

/// The route name of requests that no route matches.
pub const NONE: &str = "_none";

/// What one route did.
#[derive(Debug)]
pub struct RouteStats {
    pub(super) route: Box<str>,
    pub(super) version: Box<str>,
    pub(super) shards: PerWorker<RouteShard>,
}

#[derive(Default, Debug)]
pub(super) struct RouteShard {
    pub(super) statuses: Counts<STATUSES>,
    pub(super) duration: Histogram,
    pub(super) bytes_in: Count,
    pub(super) bytes_out: Count,
}

/// One finished exchange, as a route counts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// The status sent, or 499 if the client left before there was one.
    pub status: u16,
    /// Nanoseconds from the first byte of the request to the last of the answer.
    pub duration: u64,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

impl RouteStats {
    fn new(workers: usize, route: &str, version: &str) -> Self {
        RouteStats {
            route: route.into(),
            version: version.into(),
            shards: PerWorker::new(workers),
        }
    }

    /// Counts a finished exchange. To be called by the worker of that number.
    #[inline]
    pub fn record(&self, worker: usize, done: &Done) {
        let shard = self.shards.get(worker);
        shard.statuses.at(labels::status_index(done.status)).inc();
        shard.duration.observe(done.duration);
        shard.bytes_in.add(done.bytes_in);
        shard.bytes_out.add(done.bytes_out);
    }

    /// Exchanges finished, over all workers.
    pub fn requests(&self) -> u64 {
        let mut total = Total::default();
        self.shards
            .iter()
            .for_each(|shard| shard.duration.add_to(&mut total));
        total.count()
    }
}

/// What one upstream did.
#[derive(Debug)]
pub struct UpstreamStats {
    pub(super) upstream: Box<str>,
    pub(super) shards: PerWorker<UpstreamShard>,
}

/// One worker's share of [`UpstreamStats`]; written by that worker only.
#[derive(Default, Debug)]
pub struct UpstreamShard {
    /// From the start of an attempt to the last byte of the answer.
    pub duration: Histogram,
    /// Attempts begun.
    pub attempts: Count,
    /// Attempts after the first of an exchange.
    pub retries: Count,
    /// Attempts begun and not finished.
    pub in_flight: Count,
    /// Connections established.
    pub opened: Count,
    /// Attempts sent on a kept connection.
    pub reused: Count,
    /// Connections kept.
    pub idle: Count,
    pub(super) closed: Counts<{ Closed::NAMES.len() }>,
    pub(super) tunnels: Count,
    pub(super) tunnels_opened: Count,
    pub(super) tunnels_closed: Counts<{ TunnelEnd::NAMES.len() }>,
    pub(super) classes: Counts<6>,
    pub(super) failures: Counts<{ Code::COUNT }>,
}

impl UpstreamShard {
    /// Counts the upstream's final answer.
    #[inline]
    pub fn answered(&self, status: u16) {
        self.classes.at(labels::class_index(status)).inc();
    }

    /// Counts a failed attempt.
    pub fn failed(&self, code: Code) {
        self.failures.at(code.index()).inc();
    }

    /// Counts a tunnel that begins.
    pub fn tunnel_opened(&self) {
        self.tunnels.inc();
        self.tunnels_opened.inc();
    }

    /// Counts the end of a tunnel that was counted by [`UpstreamShard::tunnel_opened`].
    pub fn tunnel_ended(&self, why: TunnelEnd) {
        self.tunnels.dec();
        self.tunnels_closed.at(why as usize).inc();
    }

    /// Counts a closed connection.
    #[inline]
    pub fn closed(&self, reason: Closed) {
        self.closed.at(reason as usize).inc();
    }
}

impl UpstreamStats {
    fn new(workers: usize, upstream: &str) -> Self {
        UpstreamStats {
            upstream: upstream.into(),
            shards: PerWorker::new(workers),
        }
    }

    /// The share of the worker of that number.
    #[inline]
    pub fn shard(&self, worker: usize) -> &UpstreamShard {
        self.shards.get(worker)
    }
}

/// What one endpoint of an upstream did.
#[derive(Debug)]
pub struct EndpointStats {
    pub(super) upstream: Box<str>,
    pub(super) endpoint: Box<str>,
    pub(super) shards: PerWorker<EndpointShard>,
}

/// One worker's share of [`EndpointStats`]; written by that worker only.
#[derive(Default, Debug)]
pub struct EndpointShard {
    /// Attempts begun.
    pub attempts: Count,
    /// Attempts that failed.
    pub failures: Count,
}

/// Hands out the statistics of endpoints, which come and go with names rather than with plans.
#[derive(Clone, Debug)]
pub struct EndpointSeries {
    registry: Arc<Registry<EndpointStats>>,
    workers: usize,
    events: Arc<Events>,
}

impl EndpointSeries {
    pub(super) fn new(workers: usize, cap: usize, events: Arc<Events>) -> Self {
        let overflow = EndpointStats::new(workers, OVERFLOW, OVERFLOW);
        Self {
            registry: Arc::new(Registry::new(cap, overflow)),
            workers,
            events,
        }
    }

    /// The statistics of an endpoint of an upstream, by its address.
    pub fn of(&self, upstream: &str, endpoint: &str) -> Arc<EndpointStats> {
        let make = || EndpointStats::new(self.workers, upstream, endpoint);
        let found = self.registry.adopt(key(upstream, endpoint), make);
        found.unwrap_or_else(|| {
            self.events.overflow.at(2).add_shared(1);
            Arc::clone(&self.registry.overflow)
        })
    }

    pub(super) fn all(&self) -> Vec<Arc<EndpointStats>> {
        self.registry.all()
    }
}

impl EndpointStats {
    fn new(workers: usize, upstream: &str, endpoint: &str) -> Self {
        let shards = PerWorker::new(workers);
        EndpointStats {
            upstream: upstream.into(),
            endpoint: endpoint.into(),
            shards,
        }
    }

    /// The share of the worker of that number.
    #[inline]
    pub fn shard(&self, worker: usize) -> &EndpointShard {
        self.shards.get(worker)
    }
}

/// What one listener did.
#[derive(Debug)]
pub struct ListenerStats {
    pub(super) listener: Box<str>,
    pub(super) shards: PerWorker<ListenerShard>,
}

#[derive(Default, Debug)]
pub(super) struct ListenerShard {
    pub(super) accepted: Count,
    pub(super) active: Count,
    pub(super) refused: Counts<{ Refused::NAMES.len() }>,
    pub(super) shaken: Counts<{ Shaken::LABELS.len() }>,
    pub(super) unshaken: Counts<{ Unshaken::NAMES.len() }>,
}

impl ListenerStats {
    fn new(workers: usize, listener: &str) -> Self {
        ListenerStats {
            listener: listener.into(),
            shards: PerWorker::new(workers),
        }
    }

    /// Counts a connection the worker begins to serve.
    pub fn opened(&self, worker: usize) {
        let shard = self.shards.get(worker);
        shard.accepted.inc();
        shard.active.inc();
    }

    /// Counts the end of a connection that was counted by [`ListenerStats::opened`], on any worker.
    pub fn closed(&self, worker: usize) {
        self.shards.get(worker).active.dec();
    }

    /// Counts a connection closed as soon as it was accepted.
    pub fn refused(&self, worker: usize, reason: Refused) {
        self.shards.get(worker).refused.at(reason as usize).inc();
    }

    /// Counts a TLS handshake that succeeded.
    pub fn shaken(&self, worker: usize, how: Shaken) {
        self.shards.get(worker).shaken.at(how.index()).inc();
    }

    /// Counts a TLS handshake that came to nothing.
    pub fn unshaken(&self, worker: usize, reason: Unshaken) {
        self.shards.get(worker).unshaken.at(reason as usize).inc();
    }

    /// Whether a TLS handshake was ever begun.
    pub(super) fn has_tls(&self) -> bool {
        let any = |shard: &ListenerShard| {
            let shaken = (0..Shaken::LABELS.len()).map(|at| shard.shaken.at(at).get());
            let unshaken = (0..Unshaken::NAMES.len()).map(|at| shard.unshaken.at(at).get());
            shaken.chain(unshaken).any(|count| count > 0)
        };
        self.shards.iter().any(any)
    }

    /// Connections open, over all workers.
    pub fn active(&self) -> u64 {
        self.shards.sum(|shard| shard.active.get())
    }
}

/// Hands one plan the statistics it writes to, at most so many of each sort.
#[derive(Debug)]
pub struct Series<'m> {
    metrics: &'m Metrics,
    taken: [usize; 4],
}

impl<'m> Series<'m> {
    pub(super) fn new(metrics: &'m Metrics) -> Self {
        Series {
            metrics,
            taken: [0; 4],
        }
    }

    /// The statistics of a route; `version` is its label and may be empty.
    pub fn route(&mut self, route: &str, version: &str) -> Arc<RouteStats> {
        let workers = self.metrics.workers();
        let registry = &self.metrics.routes;
        self.adopt(0, registry, key(route, version), || {
            RouteStats::new(workers, route, version)
        })
    }

    /// The statistics of an upstream.
    pub fn upstream(&mut self, upstream: &str) -> Arc<UpstreamStats> {
        let workers = self.metrics.workers();
        self.adopt(1, &self.metrics.upstreams, upstream.to_owned(), || {
            UpstreamStats::new(workers, upstream)
        })
    }

    /// The statistics of a listener.
    pub fn listener(&mut self, listener: &str) -> Arc<ListenerStats> {
        let workers = self.metrics.workers();
        self.adopt(3, &self.metrics.listeners, listener.to_owned(), || {
            ListenerStats::new(workers, listener)
        })
    }

    fn adopt<T>(&mut self, sort: usize, from: &Registry<T>, key: String, make: impl FnOnce() -> T) -> Arc<T> {
        let fits = self.taken[sort] < from.cap;
        self.taken[sort] += 1;
        let found = if fits { from.adopt(key, make) } else { None };
        found.unwrap_or_else(|| {
            self.metrics.events.overflow.at(sort).add_shared(1);
            Arc::clone(&from.overflow)
        })
    }
}

/// The values of the label of `gatehouse_metric_series_overflow_total`, in the order of `Series::taken`.
pub(super) const SORTS: [&str; 4] = ["route", "upstream", "endpoint", "listener"];

// Names have no NUL, so two pairs never share a key.
fn key(one: &str, two: &str) -> String {
    format!("{one}\0{two}")
}

/// Statistics of one sort by key; those nobody holds are forgotten.
#[derive(Debug)]
pub(super) struct Registry<T> {
    cap: usize,
    live: Mutex<BTreeMap<String, Weak<T>>>,
    overflow: Arc<T>,
}

impl<T> Registry<T> {
    fn new(cap: usize, overflow: T) -> Self {
        Registry {
            cap,
            live: Mutex::default(),
            overflow: Arc::new(overflow),
        }
    }

    /// Those in use and the shared one, by key.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        let mut live = self.lock();
        live.retain(|_, stats| stats.strong_count() > 0);
        let mut all: Vec<_> = live.values().filter_map(Weak::upgrade).collect();
        all.push(Arc::clone(&self.overflow));
        all
    }

    /// The live one, or a new one; none if there are too many. One plan takes `cap` at most; while it
    /// replaces another there may be twice as many for a moment.
    fn adopt(&self, key: String, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        let mut live = self.lock();
        if let Some(stats) = live.get(&key).and_then(Weak::upgrade) {
            return Some(stats);
        }
        if live.len() >= self.cap.saturating_mul(2) {
            live.retain(|_, stats| stats.strong_count() > 0);
            if live.len() >= self.cap.saturating_mul(2) {
                return None;
            }
        }
        let fresh = Arc::new(make());
        live.insert(key, Arc::downgrade(&fresh));
        Some(fresh)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Weak<T>>> {
        // The map is whole after any panic: each change is one call.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn routes(workers: usize, cap: usize) -> Registry<RouteStats> {
    Registry::new(cap, RouteStats::new(workers, OVERFLOW, ""))
}

pub(super) fn upstreams(workers: usize, cap: usize) -> Registry<UpstreamStats> {
    Registry::new(cap, UpstreamStats::new(workers, OVERFLOW))
}

pub(super) fn listeners(workers: usize, cap: usize) -> Registry<ListenerStats> {
    Registry::new(cap, ListenerStats::new(workers, OVERFLOW))
}

pub(super) fn unmatched(workers: usize) -> RouteStats {
    RouteStats::new(workers, NONE, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Options;

    fn metrics(routes: usize) -> Metrics {
        Metrics::new(&Options {
            workers: 2,
            routes,
            ..Options::default()
        })
    }

    #[test]
    fn the_next_plan_finds_the_same_numbers() {
        let metrics = metrics(10);
        let old = metrics.series().route("orders", "v1");
        old.record(
            0,
            &Done {
                status: 200,
                ..Done::default()
            },
        );
        let new = metrics.series().route("orders", "v1");
        drop(old);
        assert_eq!(new.requests(), 1);
        assert_eq!(metrics.series().route("orders", "v2").requests(), 0);
        drop(new);
        assert_eq!(
            metrics.series().route("orders", "v1").requests(),
            0,
            "nobody held it any more"
        );
    }

    #[test]
    fn routes_beyond_the_cap_share_one_series_in_document_order() {
        let metrics = metrics(2);
        let mut series = metrics.series();
        let held: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .map(|name| series.route(name, ""))
            .collect();
        assert_eq!(
            held.iter().map(|stats| &*stats.route).collect::<Vec<_>>(),
            ["a", "b", OVERFLOW, OVERFLOW]
        );
        // A plan that replaces all of them has its own full share while the old one still serves.
        let mut series = metrics.series();
        let next: Vec<_> = ["e", "f", "g"]
            .iter()
            .map(|name| series.route(name, ""))
            .collect();
        assert_eq!(
            next.iter().map(|stats| &*stats.route).collect::<Vec<_>>(),
            ["e", "f", OVERFLOW]
        );
        assert_eq!(
            &*metrics.series().route("h", "").route,
            OVERFLOW,
            "but memory stays bounded"
        );
        drop(held);
        assert_eq!(&*metrics.series().route("h", "").route, "h");
        assert_eq!(metrics.events.overflow.at(0).get(), 4);
    }

    #[test]
    fn an_idle_route_is_small() {
        assert!(size_of::<RouteStats>() <= 48);
        let metrics = metrics(10);
        let route = metrics.series().route("idle", "");
        assert_eq!(route.shards.iter().count(), 0);
    }
}
