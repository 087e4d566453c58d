//! From the endpoints as written to the addresses behind them, kept up to date.
//!
//! One [`Resolver`] for the process asks the DNS on the background runtime. Each host name is one `Name`, shared by
//! all upstreams and plans that use it: its task asks again when the answer runs out and ends with its last user. Each
//! upstream has a [`Discovery`], which makes an [`EndpointSet`] of literal addresses and the names' answers and
//! publishes a new one whenever an answer changes. Nothing here waits for an answer, and a name that does not resolve
//! stops nobody from starting: its endpoints are missing until it does. A new plan finds the old plan's names, so a
//! reload never forgets addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::balance::{EndpointSet, Member};
use super::dial::Transport;
use super::endpoint::{Endpoint, Endpoints};
use crate::config::types::{EndpointHost, EndpointUrl};
use crate::config::{Address, Dns, EndpointSpec};
use crate::telemetry::metrics::{Events, Lookup};
use answer::Answer;
use lookup::Backend;

mod answer;
mod lookup;
#[cfg(test)]
mod tests;

/// Asks the DNS for the whole process.
pub struct Resolver {
    /// Where questions are asked; without one (checking a file) no name ever resolves.
    runtime: Option<Handle>,
    backend: ArcSwap<Backend>,
    /// Where lookups are counted.
    events: Arc<Events>,
    names: Mutex<HashMap<Box<str>, Weak<Name>>>,
}

impl Resolver {
    /// A resolver that works on `runtime`, which must not be a worker's.
    pub fn new(settings: &Dns, runtime: Handle, events: Arc<Events>) -> Arc<Self> {
        Self::make(Backend::new(settings), Some(runtime), events)
    }

    /// A resolver that never asks: for compiling a plan that will not run.
    pub fn offline() -> Arc<Self> {
        Self::make(Backend::new(&Dns::default()), None, Arc::default())
    }

    fn make(backend: Backend, runtime: Option<Handle>, events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            backend: ArcSwap::from_pointee(backend),
            events,
            names: Mutex::default(),
        })
    }

    /// Takes over changed settings, and reads the system's configuration anew. Answers are kept; the next question
    /// of each name follows the new settings.
    pub fn configure(&self, settings: &Dns) {
        self.backend.store(Arc::new(Backend::new(settings)));
    }

    /// The state of a host name, found or begun.
    fn name(self: &Arc<Self>, host: &str) -> Arc<Name> {
        let mut names = lock(&self.names);
        if let Some(name) = names.get(host).and_then(Weak::upgrade) {
            return name;
        }
        let name = Arc::new(Name {
            host: host.into(),
            addresses: ArcSwap::default(),
            answers: watch::Sender::new(0),
            users: Mutex::default(),
            task: Mutex::default(),
            resolver: Arc::downgrade(self),
        });
        names.insert(host.into(), Arc::downgrade(&name));
        if let Some(addresses) = lookup::loopback(host) {
            name.addresses.store(Arc::new(addresses));
            name.answers.send_replace(1);
        } else if let Some(runtime) = &self.runtime {
            let task = runtime.spawn(keep_asking(
                Arc::downgrade(self),
                Arc::downgrade(&name),
                host.into(),
            ));
            *lock(&name.task) = Some(task.abort_handle());
        }
        name
    }
}

/// A host name and its addresses. Lives as long as an upstream of some plan uses it.
struct Name {
    host: Box<str>,
    /// Sorted; empty as long as there is no answer.
    addresses: ArcSwap<Vec<IpAddr>>,
    /// Answers so far, good or bad.
    answers: watch::Sender<u64>,
    users: Mutex<Vec<Weak<Discovery>>>,
    task: Mutex<Option<AbortHandle>>,
    resolver: Weak<Resolver>,
}

impl Name {
    fn publish(&self, addresses: Vec<IpAddr>) {
        if **self.addresses.load() != addresses {
            tracing::info!(name = &*self.host, ?addresses, "addresses changed");
            self.addresses.store(Arc::new(addresses));
            let mut users = Vec::new();
            lock(&self.users).retain(|user| user.upgrade().map(|user| users.push(user)).is_some());
            for user in users {
                user.rebuild();
            }
        }
        self.answers.send_modify(|answers| *answers += 1);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        if let Some(resolver) = self.resolver.upgrade() {
            let mut names = lock(&resolver.names);
            // Another one may have taken its place.
            if names.get(&self.host).is_some_and(|name| name.strong_count() == 0) {
                names.remove(&self.host);
            }
        }
    }
}

/// The task of a name: asks, publishes, sleeps until the answer runs out. Holds nothing while it sleeps.
async fn keep_asking(resolver: Weak<Resolver>, name: Weak<Name>, host: Box<str>) {
    let mut answer = Answer::default();
    loop {
        let Some((backend, events)) = resolver
            .upgrade()
            .map(|resolver| (resolver.backend.load_full(), resolver.events.clone()))
        else {
            return;
        };
        let outcome = backend.ask(&host).await;
        if let Some(error) = outcome.error() {
            // Once, not for each attempt: the log is for what changed.
            if answer.is_good() {
                tracing::warn!(name = &*host, error, "name does not resolve");
            }
        }
        let failed = outcome.error().is_some();
        let wait = answer.apply(outcome, Instant::now(), &backend.times);
        let addresses = lookup::reachable(answer.addresses());
        events.looked_up(match (failed, addresses.is_empty()) {
            (false, _) => Lookup::Ok,
            (true, false) => Lookup::Stale,
            (true, true) => Lookup::Failed,
        });
        let Some(name) = name.upgrade() else { return };
        name.publish(addresses);
        drop(name);
        tokio::time::sleep(lookup::jittered(wait)).await;
    }
}

/// One endpoint as written.
struct Place {
    url: EndpointUrl,
    /// See [`Transport::identity`].
    transport: Arc<str>,
    weight: u32,
    found: Found,
}

enum Found {
    /// A literal address.
    Fixed(Arc<Endpoint>),
    Named(Arc<Name>),
}

/// Where an upstream's endpoints are: written addresses and names.
pub struct Discovery {
    upstream: Arc<str>,
    places: Vec<Place>,
    endpoints: Arc<Endpoints>,
    set: ArcSwap<EndpointSet>,
    generation: AtomicU64,
    rebuilding: Mutex<()>,
}

impl Discovery {
    /// Finds the endpoints of an upstream. What is known already (literal addresses, names other plans or upstreams
    /// use) is in the set when this returns. An address of a name has the weight that is written for the name.
    pub fn new(
        resolver: &Arc<Resolver>,
        endpoints: &Arc<Endpoints>,
        upstream: &str,
        specs: &[EndpointSpec],
        transport: &Transport,
    ) -> Arc<Self> {
        let upstream: Arc<str> = upstream.into();
        let place = |spec: &EndpointSpec| {
            let url = spec.url.clone();
            let transport = transport.identity(&url);
            let found = match &url.host {
                EndpointHost::Ip(ip) => {
                    let address = Address::Tcp(SocketAddr::new(*ip, url.port));
                    Found::Fixed(endpoints.find_or_make(&upstream, &url, address, None, transport.clone()))
                }
                EndpointHost::Name(host) => Found::Named(resolver.name(host)),
            };
            Place {
                url,
                transport,
                weight: spec.weight,
                found,
            }
        };
        let discovery = Arc::new(Self {
            places: specs.iter().map(place).collect(),
            upstream,
            endpoints: Arc::clone(endpoints),
            set: ArcSwap::default(),
            generation: AtomicU64::new(0),
            rebuilding: Mutex::default(),
        });
        // First subscribe, then build: an answer in between is built twice, never lost.
        for name in discovery.names() {
            lock(&name.users).push(Arc::downgrade(&discovery));
        }
        discovery.rebuild();
        discovery
    }

    /// The upstream's name.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// The present set. A few nanoseconds more than [`Discovery::generation`], which tells whether to ask.
    pub fn set(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// The generation of the present set: one plain read. A worker keeps the set it has while this stays the same.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until every name has had its first answer, good or bad. At start, for the first requests' sake, and with
    /// a limit of time of the caller's.
    pub async fn settled(&self) {
        for name in self.names() {
            // Fails only if the name were gone, and it is held here.
            let _ = name.answers.subscribe().wait_for(|answers| *answers > 0).await;
        }
    }

    fn names(&self) -> impl Iterator<Item = &Arc<Name>> {
        self.places.iter().filter_map(|place| match &place.found {
            Found::Named(name) => Some(name),
            Found::Fixed(_) => None,
        })
    }

    fn rebuild(&self) {
        let _alone = lock(&self.rebuilding);
        let (mut members, mut unresolved) = (Vec::new(), Vec::new());
        for place in &self.places {
            let Place { weight, found, .. } = place;
            match found {
                Found::Fixed(endpoint) => members.push(Member {
                    endpoint: Arc::clone(endpoint),
                    weight: *weight,
                }),
                Found::Named(name) => {
                    let addresses = name.addresses.load();
                    if addresses.is_empty() {
                        unresolved.push(name.host.clone());
                    }
                    members.extend(self.resolved(place, &addresses).map(|endpoint| Member {
                        endpoint,
                        weight: *weight,
                    }));
                }
            }
        }
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        self.set
            .store(Arc::new(EndpointSet::new(generation, members, unresolved)));
        self.generation.store(generation, Ordering::Release);
    }

    /// The endpoints of a name. `localhost` is one host with two addresses: one endpoint, so that a service that
    /// listens on only one of them gets every request.
    fn resolved(&self, place: &Place, addresses: &[IpAddr]) -> impl Iterator<Item = Arc<Endpoint>> {
        let Place { url, transport, .. } = place;
        let localhost = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let (endpoints, alternate) = match addresses {
            [first, second] if *addresses == localhost => (
                std::slice::from_ref(first),
                Some(SocketAddr::new(*second, url.port)),
            ),
            all => (all, None),
        };
        endpoints.iter().map(move |ip| {
            let address = Address::Tcp(SocketAddr::new(*ip, url.port));
            self.endpoints
                .find_or_make(&self.upstream, url, address, alternate, transport.clone())
        })
    }
}

/// The locks here guard plain lists that are whole between statements, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
