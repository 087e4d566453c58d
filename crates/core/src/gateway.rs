//! The gateway: the plan that runs now, the state that outlives it, and what all workers share.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::plan::Plan;
use crate::state::States;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;

/// What all workers share. The plan is replaced whole; everything else lives as long as the process.
pub struct Gateway {
    plan: ArcSwap<Plan>,
    /// Counts installed plans, so that workers see a new one by looking at a number.
    generation: AtomicU64,
    states: States,
    metrics: Arc<Metrics>,
    access: Arc<AccessLog>,
    background: Handle,
    /// Connections open on each worker.
    loads: Box<[AtomicUsize]>,
    serving: AtomicBool,
    draining: AtomicBool,
}

impl Gateway {
    /// A gateway that runs `plan` on so many workers; `background` takes slow and rare work.
    pub fn new(
        plan: Arc<Plan>,
        states: States,
        metrics: Arc<Metrics>,
        access: Arc<AccessLog>,
        background: Handle,
        workers: usize,
    ) -> Arc<Self> {
        metrics.applied(&plan.hash, SystemTime::now());
        Arc::new(Self {
            plan: ArcSwap::new(plan),
            generation: AtomicU64::new(1),
            states,
            metrics,
            access,
            background,
            loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            serving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
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
        self.metrics.applied(&plan.hash, SystemTime::now());
        self.plan.store(plan);
        self.generation.fetch_add(1, Ordering::Release);
        self.states.sweep();
    }

    /// Live state, found by identity.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// All counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The access log.
    pub fn access(&self) -> &Arc<AccessLog> {
        &self.access
    }

    /// The runtime for slow and rare work.
    pub fn background(&self) -> &Handle {
        &self.background
    }

    /// Connections open on each worker.
    pub(crate) fn loads(&self) -> &[AtomicUsize] {
        &self.loads
    }

    /// Connections open on all workers.
    pub fn connections(&self) -> usize {
        self.loads.iter().map(|load| load.load(Ordering::Relaxed)).sum()
    }

    /// Says that listeners accept.
    pub fn set_serving(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// Says that no new work is taken.
    pub fn set_draining(&self) {
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
        if self.is_draining() {
            reasons.push("draining: no new connections are wanted".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// The metrics as Prometheus text.
    pub fn metrics_text(&self) -> String {
        self.metrics.render()
    }
}

/// A plan as one worker holds it: cloning counts without an atomic.
#[derive(Clone)]
pub struct PlanRef(Rc<Arc<Plan>>);

impl PlanRef {
    /// Takes hold of a plan.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self(Rc::new(plan))
    }
}

impl Deref for PlanRef {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}
