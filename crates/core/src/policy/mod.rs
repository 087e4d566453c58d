//! The one trait that every policy implements, and what runs it.
//!
//! A policy sees a request once, however often it is forwarded: whatever sends zero or many requests
//! (retry, cache, aggregation) belongs to an action, not to a policy. Hooks answer now or later
//! ([`Step`]); those that never wait cost no allocation.

mod chain;
mod kind;

use std::future::Future;
use std::pin::Pin;

pub(crate) use chain::Preflight;
pub use chain::{Chain, Progress};
pub(crate) use kind::Shared;
pub use kind::{Answered, Compile, Kind, PolicyConfig, Stage};

use crate::exchange::{Exchange, Response};
use crate::failure::Failure;

/// What every policy implements. Values are built once per plan and shared by all requests, so hooks
/// take `&self`; whatever changes lives in state (see [`Compile::state`]).
pub trait Policy: Send + Sync {
    /// Before the request goes on. Runs exactly once per request, retries included.
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        let _ = ex;
        Step::CONTINUE
    }

    /// Before the response goes out, in reverse order, if this policy's `on_request` ran.
    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        let _ = (ex, response);
        Step::CONTINUE
    }

    /// After the last byte, or after the client left. Cannot wait and cannot fail.
    fn on_finish(&self, ex: &Exchange) {
        let _ = ex;
    }
}

/// What a hook decided.
pub enum Verdict {
    /// Go on.
    Continue,
    /// Answer with this; nothing further runs.
    Respond(Box<Response>),
}

/// A hook's decision, or what went wrong. Two words wide.
pub type Outcome = Result<Verdict, Failure>;

/// A hook's answer: now, or later.
pub enum Step<'a> {
    /// Decided at once.
    Ready(Outcome),
    /// To be awaited; bounded by the exchange's total time.
    Pending(Pin<Box<dyn Future<Output = Outcome> + 'a>>),
}

impl<'a> Step<'a> {
    /// Go on, decided at once.
    pub const CONTINUE: Step<'static> = Step::Ready(Ok(Verdict::Continue));

    /// Decided later. Allocates; only for policies that wait for something.
    pub fn wait(decision: impl Future<Output = Outcome> + 'a) -> Self {
        Self::Pending(Box::pin(decision))
    }
}

impl From<Outcome> for Step<'_> {
    fn from(outcome: Outcome) -> Self {
        Self::Ready(outcome)
    }
}
