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

use criterion::{Criterion, criterion_group};
use gatehouse_core::benching::Rig;
use gatehouse_policies::KINDS;
use serde::Deserialize;
use serde_json::{Value, json};

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

/// A case that is set up and has run a little.
struct Ready {
    name: String,
    head: Vec<u8>,
    with: Rig,
    without: Rig,
}

/// Sets up one case after the other.
fn cases(wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Ready> {
    let home = std::env::current_dir().expect("a folder");
    // Files that cases name are there.
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/policies/cases.json");
    let cases = std::fs::read(cases).expect("the cases");
    let Cases { consumers, cases } = serde_json::from_slice(&cases).expect("cases");
    let wanted = cases.into_iter().filter(move |case| wanted(&case.name));
    wanted.map(move |case| {
        let head = case.head();
        std::env::set_current_dir(files).expect("the folder of files");
        let with = case.rig(&consumers, &case.policies);
        let without = case.rig(&consumers, &[]);
        std::env::set_current_dir(&home).expect("the folder of before");
        for rig in [&with, &without] {
            let status = rig.answer(&head, 100);
            assert_eq!(status, 200, "{}", case.name);
        }
        Ready {
            name: case.name,
            head,
            with,
            without,
        }
    })
}

fn policies(c: &mut Criterion) {
    for case in cases(|_| true) {
        // One figure: what is added. Both sides take turns, so that what the machine does besides hits both.
        c.bench_function(&case.name, |b| {
            b.iter_custom(|times| added(times, &case.head, &case.with, &case.without));
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

/// Exchanges for `benches/policies/instructions.py`, which has valgrind count what this function does, call by call.
#[inline(never)]
fn exchanges_counted(rig: &Rig, head: &[u8], times: u64) {
    std::hint::black_box(rig.answer(head, times));
}

/// Runs the cases that the arguments name, or all: each first without the policies and then with them. Says what was run.
fn count(times: u64) {
    let only: Vec<String> = std::env::args().skip(1).collect();
    for case in cases(|name| only.is_empty() || only.iter().any(|one| one == name)) {
        println!("{}", case.name);
        exchanges_counted(&case.without, &case.head, times);
        exchanges_counted(&case.with, &case.head, times);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = policies
}

fn main() {
    let times = std::env::var("COUNT_EXCHANGES").ok();
    if let Some(times) = times {
        return count(times.parse().expect("COUNT_EXCHANGES is a number"));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
