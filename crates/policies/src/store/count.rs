//! Limits that several gateways count together: one script for each decision, on the server's time.

use std::time::Duration;

use gatehouse_core::state::meter::{Algorithm, Decision, Report, Rule};
use redis::Value;

use super::{Call, Redis, Unavailable};

/// The script. The same arithmetic as `gatehouse_core::state::meter`, in microseconds.
pub(super) const SOURCE: &str = include_str!("count.lua");

/// What is asked of a limit.
pub struct Asked<'a> {
    /// What is counted together, as nobody else calls it.
    pub key: &'a str,
    /// What it is held to.
    pub rules: &'a [Rule],
    /// What is used.
    pub cost: u64,
    /// What is taken if there is room for more than the cost.
    pub most: u64,
}

impl Redis {
    /// Uses `cost` of every rule's limit if each has that much left: what was taken, and what each rule says.
    pub async fn count(&self, asked: &Asked<'_>) -> Result<(u64, Decision), Unavailable> {
        let answer = self.ask(self.call(asked, None)).await?;
        decision(&answer, asked.rules.len()).ok_or(Unavailable::Refused)
    }

    /// Puts `cost` in the place of what was used that long ago.
    pub async fn recount(&self, asked: &Asked<'_>, used: u64, ago: Duration) -> Result<(), Unavailable> {
        self.ask(self.call(asked, Some((used, ago)))).await.map(drop)
    }

    fn call(&self, asked: &Asked<'_>, settled: Option<(u64, Duration)>) -> Call {
        let key = format!("{}{}", self.prefix, asked.key).into_bytes();
        let mut arguments = Vec::with_capacity(3 + 7 * asked.rules.len());
        let mut add = |number: u64| arguments.push(number.to_string().into_bytes());
        add(asked.cost);
        add(asked.most);
        add(asked.rules.len() as u64);
        for rule in asked.rules {
            let micros = |nanos: u64| (nanos / 1_000).max(1);
            let (kind, numbers) = match rule.algorithm {
                Algorithm::SlidingWindow => (b's', [micros(rule.window), 0, 0, 0, 0]),
                Algorithm::FixedWindow => (b'f', [micros(rule.window), 0, 0, 0, 0]),
                Algorithm::TokenBucket => (b'b', [micros(rule.window), rule.burst, rule.ahead / 1_000, 0, 0]),
                Algorithm::Period {
                    previous,
                    start,
                    end,
                    next,
                    rollover,
                } => {
                    let [previous, start, end, next] = [previous, start, end, next].map(micros);
                    (b'p', [previous, start, end, next, rollover])
                }
            };
            arguments.push(vec![kind]);
            let numbers = std::iter::once(rule.limit).chain(numbers);
            arguments.extend(numbers.map(|number| number.to_string().into_bytes()));
        }
        if let Some((used, ago)) = settled {
            let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
            arguments.extend([used, ago].map(|number| number.to_string().into_bytes()));
        }
        Call::Script {
            script: self.counter.clone(),
            key,
            arguments,
        }
    }
}

/// Reads what the script returned.
fn decision(answer: &Value, rules: usize) -> Option<(u64, Decision)> {
    let Value::Array(values) = answer else { return None };
    let mut numbers = values.iter().map(|value| match value {
        Value::Int(number) => Some(*number),
        _ => None,
    });
    let taken = u64::try_from(numbers.next()??).ok()?;
    let admitted = numbers.next()?? == 1;
    let mut reports = Vec::with_capacity(rules);
    for _ in 0..rules {
        let (left, reset, wait) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let carried = u64::try_from(numbers.next()??).unwrap_or_default();
        let micros = |number: i64| Duration::from_micros(u64::try_from(number).unwrap_or_default());
        reports.push(Report {
            fits: wait == 0,
            remaining: u64::try_from(left).unwrap_or_default(),
            carried,
            resets_in: micros(reset),
            retry_after: (wait > 0).then(|| micros(wait)),
        });
    }
    Some((taken, Decision::new(admitted, reports.into_iter())))
}
