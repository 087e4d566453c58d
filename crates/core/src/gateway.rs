//! The gateway: the plan that runs now, the state that outlives it, and what all workers share.

use std::cell::{Cell, OnceCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::listen::descriptors;
use crate::plan::{Plan, Route};
use crate::state::States;
use crate::telemetry::Telemetry;
use crate::upstream::{Local, Upstream};

/// What all workers share. The plan is replaced whole; everything else lives as long as the process.
pub struct Gateway {
    plan: ArcSwap<Plan>,
    /// Counts installed plans, so that workers see a new one by looking at a number.
    generation: AtomicU64,
    states: States,
    telemetry: Telemetry,
    background: Handle,
    /// Connections open on each worker.
    loads: Box<[AtomicUsize]>,
    /// The first file descriptor that is not for a client connection.
    ceiling: u32,
    serving: AtomicBool,
    leaving: AtomicBool,
    draining: AtomicBool,
    /// Connections that a drain has cut before its very end.
    cut: AtomicUsize,
}

impl Gateway {
    /// A gateway that runs `plan` on so many workers; `background` takes slow and rare work.
    pub fn new(
        plan: Arc<Plan>,
        states: States,
        telemetry: Telemetry,
        background: Handle,
        workers: usize,
    ) -> Arc<Self> {
        telemetry.metrics.applied(&plan.hash, SystemTime::now());
        telemetry.metrics.certificates(plan.certificates());
        Arc::new(Self {
            plan: ArcSwap::new(plan),
            generation: AtomicU64::new(1),
            states,
            telemetry,
            background,
            loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            ceiling: descriptors::ceiling(),
            serving: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            cut: AtomicUsize::new(0),
        })
    }

    /// The plan that runs now.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Counts up with each installed plan.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Replaces the plan. Exchanges under way finish under the old one.
    pub fn install(&self, plan: Arc<Plan>) {
        self.telemetry.metrics.applied(&plan.hash, SystemTime::now());
        self.telemetry.metrics.certificates(plan.certificates());
        self.plan.store(plan);
        self.generation.fetch_add(1, Ordering::Release);
        self.states.sweep();
    }

    /// Live state, found by identity.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// Counts and the access log.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The runtime for slow and rare work.
    pub fn background(&self) -> &Handle {
        &self.background
    }

    /// The first file descriptor that is not for a client connection; see [`descriptors`].
    pub(crate) fn ceiling(&self) -> u32 {
        self.ceiling
    }

    /// Connections open on each worker.
    pub(crate) fn loads(&self) -> &[AtomicUsize] {
        &self.loads
    }

    /// Connections open on all workers.
    pub fn connections(&self) -> usize {
        self.loads.iter().map(|load| load.load(Ordering::Relaxed)).sum()
    }

    /// Notes connections that a drain has cut before its very end.
    #[cfg(feature = "http3")]
    pub(crate) fn note_cut(&self, connections: usize) {
        self.cut.fetch_add(connections, Ordering::Relaxed);
    }

    /// Connections that a drain has cut before its very end.
    pub(crate) fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }

    /// Waits until no connection is open.
    pub(crate) async fn idle(&self) {
        // Connections end on other threads, any time; a drain is rare enough to look now and then.
        while self.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Says that listeners accept.
    pub fn set_serving(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// Says that soon no new work is taken: readiness fails from here on, and nothing else changes.
    pub fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Says that no new work is taken.
    pub fn set_draining(&self) {
        self.set_leaving();
        self.draining.store(true, Ordering::Release);
    }

    /// True from the start of a drain.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether traffic may be sent here, else why not.
    pub fn readiness(&self) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        if !self.serving.load(Ordering::Acquire) {
            reasons.push("listeners do not accept yet".to_owned());
        }
        if self.leaving.load(Ordering::Acquire) {
            reasons.push("draining: no new connections are wanted".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// The metrics as Prometheus text.
    pub fn metrics_text(&self) -> String {
        self.telemetry.metrics.render()
    }
}

/// A plan as one worker holds it, with what the worker remembers of its upstreams. Cloning counts
/// without an atomic.
#[derive(Clone)]
pub struct PlanRef(Rc<Held>);

struct Held {
    plan: Arc<Plan>,
    upstreams: Box<[Local]>,
    /// Requests each route has spread over its upstreams.
    dealt: Box<[Cell<u64>]>,
    /// The routes in the order of their names, once somebody asks for one.
    by_name: OnceCell<Box<[u32]>>,
}

impl PlanRef {
    /// Takes hold of a plan for a worker.
    pub(crate) fn new(plan: Arc<Plan>, worker: usize) -> Self {
        let upstreams = plan
            .upstreams
            .iter()
            .map(|upstream| Local::new(upstream, worker))
            .collect();
        let dealt = plan.routes.iter().map(|_| Cell::new(0)).collect();
        Self(Rc::new(Held {
            plan,
            upstreams,
            dealt,
            by_name: OnceCell::new(),
        }))
    }

    /// Counts the requests a route spreads, for each its own count.
    pub(crate) fn deal(&self, route: usize) -> u64 {
        let Some(dealt) = self.0.dealt.get(route) else {
            return 0;
        };
        dealt.set(dealt.get().wrapping_add(1));
        dealt.get()
    }

    /// True if both are the same plan.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The route of a name.
    pub(crate) fn route_named(&self, name: &str) -> Option<&Route> {
        let routes = &self.0.plan.routes;
        let name_of = |index: &u32| routes.get(*index as usize).map(|route| &*route.name);
        let by_name = self.0.by_name.get_or_init(|| {
            let mut indices: Box<[u32]> = (0..).zip(routes).map(|(index, _)| index).collect();
            indices.sort_unstable_by_key(name_of);
            indices
        });
        let place = by_name.binary_search_by_key(&Some(name), name_of).ok()?;
        routes.get(*by_name.get(place)? as usize)
    }

    /// An upstream and what this worker remembers of it.
    pub(crate) fn upstream(&self, index: usize) -> Option<(&Upstream, &Local)> {
        Some((self.0.plan.upstreams.get(index)?, self.0.upstreams.get(index)?))
    }
}

impl Deref for PlanRef {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0.plan
    }
}
