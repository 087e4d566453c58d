//! Requests that come too soon wait for their turn instead of being refused.
//!
//! Who waits has its use of the bucket already, a little ahead of time: so all get their turns in the order in which
//! they came, and each waits once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gatehouse_core::config::{Diagnostic, Span};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::policy::Compile;
use gatehouse_core::state::meter::{Decision, Rule};
use gatehouse_core::telemetry::metrics::{Count, Family};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limiter::Own;
use super::rate_limit::RateLimit;
use super::rules::Algorithm;
use super::shared::Mode;

/// The longest that anybody may be told to wait.
const LONGEST: Duration = Duration::from_mins(1);

/// Where requests wait that come too soon.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitQueue {
    /// The longest time that a request waits, at most `1m`; what would have to wait longer, or longer than the exchange may
    /// take, is refused at once.
    pub max_wait: Span,
    /// How many requests wait at once, of all callers together; the others are refused at once. One caller can take all
    /// places: a short `max_wait` keeps it to few. A client of HTTP/2 or HTTP/3 that takes its request back gives its
    /// place up, as does one whose connection breaks; what it was given of the limit is used.
    #[serde(default = "LimitQueue::max_waiting")]
    pub max_waiting: NonZeroU32,
}

impl LimitQueue {
    fn max_waiting() -> NonZeroU32 {
        NonZeroU32::new(1_000).unwrap_or(NonZeroU32::MIN)
    }

    /// What is wrong with it in this policy.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn check(&self, policy: &RateLimit, cx: &Compile<'_>) -> Result<(), Diagnostic> {
        let wrong = if policy.algorithm != Algorithm::TokenBucket {
            (
                "queue",
                "only a token bucket lets requests through one by one; write `algorithm: token_bucket`, or take `queue` out",
            )
        } else if policy.shadow {
            (
                "queue",
                "a limit in `shadow` lets everything through, so nothing waits; take one of the two out",
            )
        } else if policy.mode == Mode::Approximate {
            (
                "queue",
                "what gateways take ahead of time cannot be waited for; write `mode: exact`, or take `queue` out",
            )
        } else if self.max_wait.is_zero() || self.max_wait.get() > LONGEST {
            (
                "queue.max_wait",
                "expected more than no time at all, and at most `1m`",
            )
        } else {
            return Ok(());
        };
        Err(cx.error(wrong.0, wrong.1))
    }

    pub(super) fn compile(&self, label: &str, cx: &Compile<'_>) -> Queue {
        Queue {
            max_wait: self.max_wait.get(),
            max_waiting: self.max_waiting.get(),
            waiting: cx.state("waiting", || AtomicU32::new(0)),
            gauge: cx.gauge(&WAITING, &[label]),
        }
    }
}

/// How many wait.
pub(super) const WAITING: Family = Family::gauge(
    "gatehouse_rate_limit_waiting",
    &["policy"],
    "Requests that wait for their turn.",
);

/// A queue of requests.
pub struct Queue {
    max_wait: Duration,
    max_waiting: u32,
    /// Outlives the plan, as those do that wait.
    waiting: Arc<AtomicU32>,
    gauge: Arc<Count>,
}

/// A place in the queue, until it is dropped.
pub struct Waiting<'a>(&'a Queue);

impl Queue {
    /// A place, if there is one.
    pub fn enter(&self) -> Option<Waiting<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Waiting(self);
        (before < self.max_waiting).then_some(place)
    }
}

impl<'a> Waiting<'a> {
    /// The rules by which a request is admitted that can wait for its turn.
    pub fn ahead<'r>(&self, ex: &Exchange, rules: &[Rule], own: &'r mut Own) -> &'r [Rule] {
        let most = self.0.max_wait;
        let most = ex.time_left().map_or(most, |left| left.min(most));
        let ahead = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        for (own, rule) in own.iter_mut().zip(rules) {
            *own = Rule { ahead, ..*rule };
        }
        own.get(..rules.len()).unwrap_or_default()
    }

    /// When it is the turn of a request that was admitted, if that is not now: once the bucket is no more than empty.
    pub fn turn(self, rules: &[Rule], decision: &Decision) -> Option<Turn<'a>> {
        let over = rules.iter().zip(decision.reports()).map(|(rule, report)| {
            let whole = u128::from(rule.burst) * u128::from(rule.window);
            // Rounded up, as the report's time is.
            let whole = whole.div_ceil(u128::from(rule.limit.max(1)));
            let whole = Duration::from_nanos(u64::try_from(whole).unwrap_or(u64::MAX));
            report.resets_in.saturating_sub(whole)
        });
        let time = over.max().filter(|time| decision.admitted && !time.is_zero())?;
        self.0.gauge.add_shared(1);
        Some(Turn { place: self, time })
    }
}

/// A turn that has not come.
pub struct Turn<'a> {
    place: Waiting<'a>,
    time: Duration,
}

impl Turn<'_> {
    /// How long it takes.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Waits for it.
    pub async fn wait(self) {
        tokio::time::sleep(self.time).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.place.0.gauge.sub_shared(1);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
