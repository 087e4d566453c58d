//! One address behind an upstream, and what is known about it while it lives.
//!
//! An [`Endpoint`] is state: it is found by upstream, URL and address (see [`Endpoints`]), so connections and counts
//! survive a change of configuration and a new DNS answer that still names the address. The weight is *not* here but
//! in the set that is picked from, since a plan that was refused must not change what runs.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::config::Address;
use crate::config::types::EndpointUrl;
use crate::failure::{Failure, Fault};
use crate::telemetry::metrics::{EndpointSeries, EndpointStats};

/// How long an endpoint that fails now and then goes without being told again.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// What makes an endpoint the same as before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    upstream: Arc<str>,
    url: EndpointUrl,
    address: Address,
    /// What else a connection depends on: the protocol, and the settings and files of its TLS.
    transport: Arc<str>,
}

/// One place that serves an upstream's requests.
pub struct Endpoint {
    identity: Identity,
    /// Unique in this process and never used again: connections kept under it can belong to no other endpoint.
    pub id: u32,
    /// A second address of the same host, to try when the first refuses. Only `localhost` has one.
    pub alternate: Option<SocketAddr>,
    /// Host and port for the `Host` field; without the port if it is the scheme's own.
    pub authority: Box<str>,
    /// The address as text, for logs and metrics.
    pub label: Box<str>,
    in_flight: Apart<AtomicU32>,
    connects: AtomicU64,
    connect_failures: AtomicU64,
    /// Its counts; endpoints of the same address share them.
    stats: Arc<EndpointStats>,
    /// True from a failure that was told until the next answer.
    is_ill: AtomicBool,
    since: Instant,
    /// When a failure was told last, in seconds after `since`, plus one; 0 for never.
    told: AtomicU64,
    registry: Weak<Endpoints>,
}

/// On a cache line of its own: written for each request, while its neighbours are only read.
#[repr(align(64))]
struct Apart<T>(T);

impl Endpoint {
    /// The upstream's name.
    pub fn upstream(&self) -> &Arc<str> {
        &self.identity.upstream
    }

    /// The URL as configured.
    pub fn url(&self) -> &EndpointUrl {
        &self.identity.url
    }

    /// Where to connect to.
    pub fn address(&self) -> &Address {
        &self.identity.address
    }

    /// Requests under way, of all workers that count them with [`Endpoint::begin`].
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Ordering::Relaxed)
    }

    /// Counts a request until the guard is dropped. Workers share the count, so take it only where something reads
    /// it: least request does, round robin does not.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.0.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Counts a connection that came about.
    pub fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that failed or took too long.
    pub fn connect_failed(&self) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt that begins.
    pub fn attempted(&self, worker: usize) {
        self.stats.shard(worker).attempts.inc();
    }

    /// Notes an answer: an endpoint that was ill is well again.
    pub fn answered(&self) {
        if self.is_ill.load(Ordering::Relaxed) && self.is_ill.swap(false, Ordering::Relaxed) {
            tracing::info!(
                upstream = &*self.identity.upstream,
                endpoint = &*self.label,
                "the endpoint answers again"
            );
        }
    }

    /// Counts a failed attempt. The first failure after an answer is told, with its reason, though not more often than
    /// every ten seconds for an endpoint that is now well and now ill.
    pub fn failed(&self, worker: usize, failure: &Failure, now: Instant) {
        self.stats.shard(worker).failures.inc();
        if failure.fault() != Fault::Upstream || self.is_ill.load(Ordering::Relaxed) {
            return;
        }
        let now = now.saturating_duration_since(self.since).as_secs() + 1;
        let told = self.told.load(Ordering::Relaxed);
        if told != 0 && now < told + TOLD_AGAIN.as_secs() {
            return;
        }
        self.told.store(now, Ordering::Relaxed);
        if !self.is_ill.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                upstream = &*self.identity.upstream,
                endpoint = &*self.label,
                code = failure.code().name(),
                detail = %failure.log_detail(),
                "the endpoint fails"
            );
        }
    }

    /// Connections that came about, since the endpoint was first known.
    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Connections that failed, since the endpoint was first known.
    pub fn connect_failures(&self) -> u64 {
        self.connect_failures.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({} {} at {})", self.id, self.identity.url, self.label)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.forget(&self.identity);
        }
    }
}

/// A request under way at an endpoint.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every endpoint somebody uses, one list for the process. Holds them weakly: an endpoint lives as long as a set, a
/// pool or a request refers to it.
#[derive(Debug)]
pub struct Endpoints {
    known: Mutex<HashMap<Identity, Weak<Endpoint>>>,
    last_id: AtomicU32,
    series: EndpointSeries,
}

impl Endpoints {
    /// An empty list.
    pub fn new(series: EndpointSeries) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            last_id: AtomicU32::new(0),
            series,
        })
    }

    /// The endpoint of this identity, made if there is none. `alternate` counts only when it is made.
    pub fn find_or_make(
        self: &Arc<Self>,
        upstream: &Arc<str>,
        url: &EndpointUrl,
        address: Address,
        alternate: Option<SocketAddr>,
        transport: Arc<str>,
    ) -> Arc<Endpoint> {
        let identity = Identity {
            upstream: Arc::clone(upstream),
            url: url.clone(),
            address,
            transport,
        };
        let mut known = self.lock();
        if let Some(endpoint) = known.get(&identity).and_then(Weak::upgrade) {
            return endpoint;
        }
        let endpoint = Arc::new(Endpoint {
            id: self.last_id.fetch_add(1, Ordering::Relaxed),
            alternate,
            authority: url.authority().into(),
            label: identity.address.to_string().into(),
            in_flight: Apart(AtomicU32::new(0)),
            connects: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            stats: self.series.of(&identity.upstream, &identity.address.to_string()),
            is_ill: AtomicBool::new(false),
            since: Instant::now(),
            told: AtomicU64::new(0),
            registry: Arc::downgrade(self),
            identity: identity.clone(),
        });
        known.insert(identity, Arc::downgrade(&endpoint));
        endpoint
    }

    /// All endpoints in use, by id. For metrics and the admin API.
    pub fn list(&self) -> Vec<Arc<Endpoint>> {
        let mut list: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        list.sort_unstable_by_key(|endpoint| endpoint.id);
        list
    }

    /// Removes the entry of an endpoint that is gone, unless a new one took its place meanwhile.
    fn forget(&self, identity: &Identity) {
        let mut known = self.lock();
        if known
            .get(identity)
            .is_some_and(|endpoint| endpoint.strong_count() == 0)
        {
            known.remove(identity);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Weak<Endpoint>>> {
        // The map is whole even if a thread panicked while it held the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Metrics, Options};

    fn make(endpoints: &Arc<Endpoints>, upstream: &str, url: &str, address: &str) -> Arc<Endpoint> {
        let address = address.parse().expect("an address");
        let url = url.parse().expect("a URL");
        endpoints.find_or_make(&upstream.into(), &url, address, None, "".into())
    }

    #[test]
    fn the_same_identity_is_the_same_endpoint() {
        let endpoints = Endpoints::new(Metrics::new(&Options::default()).endpoints().clone());
        let first = make(&endpoints, "users", "http://users:8080", "10.0.0.1:8080");
        let again = make(&endpoints, "users", "http://users:8080", "10.0.0.1:8080");
        assert!(Arc::ptr_eq(&first, &again));
        for other in [
            make(&endpoints, "orders", "http://users:8080", "10.0.0.1:8080"),
            make(&endpoints, "users", "http://people:8080", "10.0.0.1:8080"),
            make(&endpoints, "users", "http://users:8080", "10.0.0.2:8080"),
        ] {
            assert_ne!(first.id, other.id);
        }
    }

    #[test]
    fn a_forgotten_endpoint_comes_back_with_a_new_id() {
        let endpoints = Endpoints::new(Metrics::new(&Options::default()).endpoints().clone());
        let first = make(&endpoints, "users", "http://users", "10.0.0.1:80").id;
        assert!(endpoints.lock().is_empty(), "nobody held it");
        let second = make(&endpoints, "users", "http://users", "10.0.0.1:80");
        assert_ne!(first, second.id);
        assert_eq!(endpoints.list().len(), 1);
    }

    #[test]
    fn texts_are_ready_made() {
        let endpoints = Endpoints::new(Metrics::new(&Options::default()).endpoints().clone());
        let plain = make(&endpoints, "users", "http://users", "[2001:db8::1]:80");
        assert_eq!((&*plain.authority, &*plain.label), ("users", "[2001:db8::1]:80"));
        let other = make(&endpoints, "users", "http://users:8080", "10.0.0.1:8080");
        assert_eq!(
            (&*other.authority, &*other.label),
            ("users:8080", "10.0.0.1:8080")
        );
        let unix = make(&endpoints, "users", "http://users", "unix:/run/users.sock");
        assert_eq!(&*unix.label, "unix:/run/users.sock");
    }

    #[test]
    fn requests_and_connections_are_counted() {
        let endpoints = Endpoints::new(Metrics::new(&Options::default()).endpoints().clone());
        let endpoint = make(&endpoints, "users", "http://users", "10.0.0.1:80");
        let (first, second) = (endpoint.begin(), endpoint.begin());
        assert_eq!(endpoint.in_flight(), 2);
        drop(first);
        assert_eq!(second.endpoint().in_flight(), 1);
        endpoint.connected();
        endpoint.connect_failed();
        endpoint.connect_failed();
        assert_eq!((endpoint.connects(), endpoint.connect_failures()), (1, 2));
    }
}
