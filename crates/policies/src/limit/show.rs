//! What answers say of limits: `X-RateLimit-*`, and the fields of draft-ietf-httpapi-ratelimit-headers-11.

use std::time::Duration;

use gatehouse_core::exchange::Response;
use gatehouse_core::failure::Failure;
use gatehouse_core::state::meter::{Report, Rule};
use gatehouse_http1::{FieldName, Headers, ValueWriter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of the problem when a limit refuses (section 6 of the draft).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Which fields tell clients of the limit. `Retry-After` is there whenever one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitHeaders {
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (seconds since 1970): of several limits,
    /// those of the one with the least left.
    pub legacy: bool,
    /// `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11, with all limits, and its problem
    /// type `quota-exceeded` with `violated-policies`.
    pub standard: bool,
}

impl Default for LimitHeaders {
    fn default() -> Self {
        Self {
            legacy: true,
            standard: true,
        }
    }
}

impl LimitHeaders {
    /// Whether there is anything to tell.
    pub fn any(self) -> bool {
        self.legacy || self.standard
    }
}

/// Whether clients can be told that name as it is.
pub fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(legal)
}

/// `RateLimit-Policy`: `"burst";q=100;w=60`. A window of less than a second has no `w`, which counts whole seconds.
pub fn policies(rules: &[Rule], names: &[Box<str>]) -> Headers {
    let mut made = Headers::new();
    tell_policies(&mut made, rules, names);
    made
}

fn tell_policies(headers: &mut Headers, rules: &[Rule], names: &[Box<str>]) {
    headers.append_written(&POLICY, |out| {
        for (i, (rule, name)) in rules.iter().zip(names).enumerate() {
            item(out, i, name);
            out.text(b";q=");
            out.number(rule.limit);
            let window = rule.window / 1_000_000_000;
            if window > 0 {
                out.text(b";w=");
                out.number(window);
            }
        }
    });
}

static LIMIT: FieldName = FieldName::of_start("x-ratelimit-limit: ");
static REMAINING: FieldName = FieldName::of_start("x-ratelimit-remaining: ");
static RESET: FieldName = FieldName::of_start("x-ratelimit-reset: ");
static POLICY: FieldName = FieldName::of_start("ratelimit-policy: ");
static STATE: FieldName = FieldName::of_start("ratelimit: ");

/// Adds what is to be told of a decision. `told` is [`policies`] of the rules, if they are always the same.
pub fn show(
    which: LimitHeaders,
    response: &mut Response,
    now: u64,
    rules: &[Rule],
    names: &[Box<str>],
    told: Option<&Headers>,
    reports: &[Report],
) {
    let headers = response.headers_mut();
    if which.legacy
        && let Some((rule, report)) = rules.iter().zip(reports).min_by_key(|(_, report)| least(report))
    {
        let reset = now + whole_seconds(report.resets_in);
        headers.set_written(&LIMIT, |out| out.number(rule.limit));
        headers.set_written(&REMAINING, |out| out.number(report.remaining));
        headers.set_written(&RESET, |out| out.number(reset));
    }
    if which.standard {
        match told {
            Some(told) => headers.append_all(told),
            None => tell_policies(headers, rules, names),
        }
        headers.append_written(&STATE, |out| {
            for (i, (report, name)) in reports.iter().zip(names).enumerate() {
                item(out, i, name);
                out.text(b";r=");
                out.number(report.remaining);
                out.text(b";t=");
                out.number(whole_seconds(report.resets_in));
            }
        });
    }
}

/// The refusal, of limits of these names.
pub fn refusal(failure: Failure, which: LimitHeaders, reports: &[Report], names: &[Box<str>]) -> Failure {
    let refused = reports.iter().zip(names).filter(|(report, _)| !report.fits);
    let wait = refused
        .clone()
        .map(|(report, _)| whole_seconds(report.retry_after.unwrap_or(report.resets_in)))
        .max()
        .unwrap_or_default();
    let failure = failure.header("retry-after", wait.max(1).to_string());
    if !which.standard {
        return failure;
    }
    let violated: Vec<&str> = refused.map(|(_, name)| &**name).collect();
    failure
        .problem_type(QUOTA_EXCEEDED)
        .member("violated-policies", violated)
}

/// Of several limits the one that a client meets first: one that refuses, else the one with the least left.
fn least(report: &Report) -> (bool, u64, std::cmp::Reverse<Duration>) {
    (report.fits, report.remaining, std::cmp::Reverse(report.resets_in))
}

fn item(out: &mut ValueWriter<'_>, place: usize, name: &str) {
    out.text(if place > 0 { b", \"" } else { b"\"" });
    out.text(name.as_bytes());
    out.text(b"\"");
}

/// Rounded up, so that whoever waits that long is let in.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
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
