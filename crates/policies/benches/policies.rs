//! What each policy adds to an exchange: all of it, from a parsed head to the closed exchange, on a route that answers by
//! itself, with the policy and without. The cases are those of `benches/policies/cases.json`, which the measurement of the
//! whole process has too.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench whose set-up fails has failed"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use gatehouse_core::benching::Rig;
use gatehouse_policies::KINDS;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Cases {
    consumers: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Policies that run in front, with and without.
    #[serde(default)]
    beside: Vec<Value>,
    policies: Vec<Value>,
}

fn get() -> String {
    "GET".to_owned()
}

impl Case {
    fn head(&self) -> Vec<u8> {
        let mut head = format!(
            "{} /orders/8f14e45f?q=shoes&debug=1&page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n",
            self.method
        );
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head += "\r\n";
        head.into_bytes()
    }

    fn rig(&self, consumers: &Value, policies: &[Value]) -> Rig {
        let policies: Vec<&Value> = self.beside.iter().chain(policies).collect();
        let document = json!({
            "consumers": consumers,
            "listeners": { "main": { "address": "127.0.0.1:0" } },
            "access_log": { "enabled": false },
            "routes": { "all": { "match": {}, "policies": policies, "reply": { "body": "ok" } } },
        });
        Rig::new(&document.to_string(), KINDS)
    }
}

fn policies(c: &mut Criterion) {
    let home = std::env::current_dir().expect("a folder");
    // Files that cases name are there.
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/policies/cases.json");
    let cases = std::fs::read(cases).expect("the cases");
    let Cases { consumers, cases } = serde_json::from_slice(&cases).expect("cases");
    for case in &cases {
        let head = case.head();
        std::env::set_current_dir(files).expect("the folder of files");
        let with = case.rig(&consumers, &case.policies);
        let without = case.rig(&consumers, &[]);
        std::env::set_current_dir(&home).expect("the folder of before");
        for rig in [&with, &without] {
            let status = rig.answer(&head, 100);
            assert_eq!(status, 200, "{}", case.name);
        }
        // One figure: what is added. Both sides take turns, so that what the machine does besides hits both.
        c.bench_function(&case.name, |b| {
            b.iter_custom(|times| added(times, &head, &with, &without));
        });
    }
}

/// How much longer so many exchanges take with the policy.
fn added(times: u64, head: &[u8], with: &Rig, without: &Rig) -> Duration {
    const TURN: u64 = 1_000;
    let (mut longer, mut shorter) = (Duration::ZERO, Duration::ZERO);
    let mut left = times;
    while left > 0 {
        let turn = left.min(TURN);
        let began = Instant::now();
        without.answer(head, turn);
        let between = Instant::now();
        with.answer(head, turn);
        shorter += between - began;
        longer += between.elapsed();
        left -= turn;
    }
    // No less than nothing: criterion cannot tell of it.
    longer.saturating_sub(shorter).max(Duration::from_nanos(1))
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = policies
}
criterion_main!(benches);
