//! Makes requests slow or fail on purpose, to see how callers take it.

use std::sync::Arc;
use std::time::Duration;

use gatehouse_core::config::{Diagnostic, Percent, Span, ValueMatch};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::route::HeaderConditions;
use gatehouse_core::telemetry::metrics::{Family, Tally};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes requests slow or fail on purpose, to see how callers take it.
///
/// A share of the requests is delayed, a share is answered with a status in place of the service; each is chosen by
/// itself, so that a request may meet both, first the delay. Answers made up here say so: `X-Gatehouse-Fault: abort`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Requests that wait.
    pub delay: Option<Delay>,
    /// Requests that fail.
    pub abort: Option<Abort>,
    /// Header fields that a request must have to be chosen at all, such as `X-Test: present`.
    pub headers: IndexMap<String, ValueMatch>,
}

/// Requests that wait.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// How long; at most `1m`.
    pub time: Span,
    /// The share of them.
    #[serde(default = "everything")]
    pub percentage: Percent,
}

/// Requests that fail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// The status of the answer, 400 to 599.
    pub status: u16,
    /// The share of them.
    #[serde(default = "everything")]
    pub percentage: Percent,
}

fn everything() -> Percent {
    Percent::ALL
}

/// The longest delay: what waits holds a place.
const LONGEST: Duration = Duration::from_mins(1);

const INJECTED: Family = Family::counter(
    "gatehouse_faults_injected_total",
    &["policy", "fault"],
    "Requests that a `fault` policy delayed or answered.",
);

impl PolicyConfig for Fault {
    const NAME: &'static str = "fault";
    const STAGE: Stage = Stage::Transform;
    const EXAMPLE: &'static str = "delay: { time: 2s, percentage: 10% }\nabort: { status: 503, percentage: 0.5% }\nheaders: { X-Test: { present: true } }\n";
    const METRICS: &'static [Family] = &[INJECTED];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        if self.delay.is_none() && self.abort.is_none() {
            return Err(cx.error("delay", "nothing is to go wrong; give `delay` or `abort`"));
        }
        if let Some(delay) = self.delay.as_ref().filter(|delay| delay.time.get() > LONGEST) {
            let message = format!("`{}` is too long; at most `1m`", delay.time);
            return Err(cx.error("delay.time", message));
        }
        if let Some(abort) = self
            .abort
            .as_ref()
            .filter(|abort| !(400..600).contains(&abort.status))
        {
            let message = format!(
                "`{}` is no status of a failure; expected 400 to 599",
                abort.status
            );
            return Err(cx.error("abort.status", message));
        }
        let headers = HeaderConditions::new(&self.headers)
            .map_err(|(name, why)| cx.error(&format!("headers.{name}"), why))?;
        Ok(Arc::new(Faulty {
            delay: self.delay.map(|delay| (delay.time.get(), delay.percentage)),
            abort: self.abort.map(|abort| (abort.status, abort.percentage)),
            headers,
            delayed: cx.tally(&INJECTED, &[&cx.identity, "delay"]),
            aborted: cx.tally(&INJECTED, &[&cx.identity, "abort"]),
        }))
    }
}

struct Faulty {
    delay: Option<(Duration, Percent)>,
    abort: Option<(u16, Percent)>,
    headers: HeaderConditions,
    delayed: Arc<Tally>,
    aborted: Arc<Tally>,
}

impl Faulty {
    fn delay(&self, ex: &Exchange) -> Option<Duration> {
        let (time, share) = self.delay?;
        if !self.headers.hold(&ex.request.head.headers) || !chosen(ex.random(), share) {
            return None;
        }
        self.delayed.count(ex);
        Some(time)
    }

    fn abort(&self, ex: &Exchange) -> Verdict {
        let Some((status, share)) = self.abort else {
            return Verdict::Continue;
        };
        if !self.headers.hold(&ex.request.head.headers) || !chosen(ex.random(), share) {
            return Verdict::Continue;
        }
        self.aborted.count(ex);
        let mut response = Response::new(status);
        let headers = response.headers_mut();
        headers.set_name(b"x-gatehouse-fault", b"abort");
        headers.set_name(b"cache-control", b"no-store");
        Verdict::Respond(Box::new(response))
    }
}

/// Whether random bits fall into a share.
fn chosen(random: u64, share: Percent) -> bool {
    random % u64::from(Percent::WHOLE) < u64::from(share.millionths())
}

impl Policy for Faulty {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        match self.delay(ex) {
            None => Ok(self.abort(ex)).into(),
            Some(time) => Step::wait(async move {
                tokio::time::sleep(time).await;
                Ok(self.abort(ex))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_share() {
        let half: Percent = "50%".parse().unwrap();
        assert!(chosen(499_999, half) && !chosen(500_000, half));
        assert!(chosen(u64::MAX, Percent::ALL) && !chosen(0, "0%".parse().unwrap()));
    }
}
