//! Limits how many requests a client may make in a window of time.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use gatehouse_core::config::{Diagnostic, Selector, Span};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::state::window::{Used, Windows};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits how many requests a client may make in a window of time.
///
/// Requests over the limit get `429` with `Retry-After`; every answer says what is left in
/// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (seconds since 1970). A
/// client's window begins with its first request; what was used in the window before counts by the part of it
/// that is still in sight, so nobody waits longer than a window. Counts are
/// kept in this process's memory. They survive a change of the configuration as long as the policy keeps
/// its place or name and its window.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed in each window.
    pub limit: NonZeroU32,
    /// Length of the window.
    #[serde(default = "RateLimit::one_second")]
    pub window: Span,
    /// What is counted together: `client_ip` (an IPv6 client by its /64), `consumer`, `route`, `global`, or
    /// `header:NAME`.
    #[serde(default)]
    pub key: Selector,
}

impl RateLimit {
    fn one_second() -> Span {
        Span::from_secs(1)
    }
}

impl PolicyConfig for RateLimit {
    const NAME: &'static str = "rate_limit";
    const STAGE: Stage = Stage::Limit;
    const EXAMPLE: &'static str = "limit: 100\nwindow: 1m\nkey: client_ip\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let window = self.window.get();
        if window.is_zero() {
            return Err(cx.error(
                "window",
                "a window of no length counts nothing; expected such as `1s` or `1m`",
            ));
        }
        // The key is part of the shape: counts of addresses mean nothing to counts of headers.
        let windows = cx.windows(&format!("key={}", self.key), window);
        Ok(Arc::new(Limiter {
            limit: self.limit.get().into(),
            key: self.key,
            windows,
        }))
    }
}

struct Limiter {
    limit: u64,
    key: Selector,
    windows: Arc<Windows>,
}

/// What the answer says of the limit.
struct Shown {
    remaining: u64,
    resets_in: Duration,
}

impl Limiter {
    fn decide(&self, ex: &mut Exchange) -> Outcome {
        let mut key = Vec::with_capacity(16);
        ex.select(&self.key, &mut key);
        let Used {
            admitted,
            remaining,
            resets_in,
            retry_after,
            ..
        } = self.windows.count(&key, self.limit, 1, ex.now());
        ex.keep(Shown { remaining, resets_in });
        if admitted {
            return Ok(Verdict::Continue);
        }
        let wait = whole_seconds(retry_after.unwrap_or(resets_in));
        Err(Failure::new(Code::RateLimited).header("retry-after", wait.to_string()))
    }

    fn show(&self, ex: &mut Exchange, response: &mut Response) {
        let Some(Shown { remaining, resets_in }) = ex.kept() else {
            return;
        };
        let reset = ex.unix_seconds() + whole_seconds(resets_in);
        let headers = response.headers_mut();
        headers.set_name(b"x-ratelimit-limit", self.limit.to_string().as_bytes());
        headers.set_name(b"x-ratelimit-remaining", remaining.to_string().as_bytes());
        headers.set_name(b"x-ratelimit-reset", reset.to_string().as_bytes());
    }
}

/// Rounded up, so that whoever waits that long is let in.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl Policy for Limiter {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        self.show(ex, response);
        Step::CONTINUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up() {
        for (time, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(time)), seconds);
        }
    }
}
