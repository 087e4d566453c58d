//! Upstreams: sets of endpoints that serve the same thing, and how requests get to them.

pub(crate) mod attempt;
pub mod balance;
mod body;
pub mod dial;
pub mod endpoint;
pub(crate) mod h2;
mod lease;
pub mod pool;
pub mod resolve;
mod switch;
mod talk;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use gatehouse_http1::HeadLimits;

use crate::config::Balance;
use crate::failure::{Code, Failure};
use crate::policy::Chain;
use crate::telemetry::metrics::UpstreamStats;
use balance::EndpointSet;
use dial::Transport;
use endpoint::Endpoint;
pub(crate) use lease::Lease;
use pool::PoolLimits;
use resolve::Discovery;

/// A compiled upstream.
pub struct Upstream {
    /// Its name in the document.
    pub name: Box<str>,
    /// How endpoints are spoken to.
    pub transport: Transport,
    /// How endpoints are chosen.
    pub balance: Balance,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// How long connections are kept.
    pub pool: PoolLimits,
    /// How large a response's head may be.
    pub head: HeadLimits,
    /// Policies of what is sent here.
    pub policies: Chain,
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) stats: Arc<UpstreamStats>,
}

/// See `upstreams.*.timeouts` in the reference.
#[allow(
    missing_docs,
    reason = "the same names, documented in the document's own type"
)]
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub total: Duration,
    pub expect_continue: Duration,
}

/// What one worker remembers of an upstream: the endpoints as last seen, and whose turn it is.
pub(crate) struct Local {
    set: RefCell<Arc<EndpointSet>>,
    turn: Cell<u32>,
}

impl Local {
    pub fn new(upstream: &Upstream, worker: usize) -> Self {
        // Workers begin at different endpoints, so that few requests over many workers spread too.
        let turn = u32::try_from(worker).unwrap_or(0);
        Self {
            set: RefCell::new(upstream.discovery.set()),
            turn: Cell::new(turn),
        }
    }
}

impl Upstream {
    /// The endpoint for the next attempt, none of `tried`.
    pub(crate) fn pick(&self, local: &Local, tried: &[u32]) -> Result<Arc<Endpoint>, Failure> {
        if local.set.borrow().generation != self.discovery.generation() {
            *local.set.borrow_mut() = self.discovery.set();
        }
        let set = local.set.borrow();
        match set.pick(self.balance, &local.turn, tried) {
            Some(endpoint) => Ok(endpoint.clone()),
            None if set.is_unresolved() => {
                let names = set.unresolved.join("`, `");
                Err(Failure::new(Code::UpstreamUnresolved).detail(format!("`{names}` has no address")))
            }
            None => Err(Failure::new(Code::NoEndpoint).detail(format!("upstream `{}`", self.name))),
        }
    }
}
