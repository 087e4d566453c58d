//! `idempotency` with a real Redis: of several gateways one does what is asked, and all answer alike.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Gate, Gateway, HttpBackend, Raw, Redis, Reply, Request, client};

use crate::gateway;

fn start(backend: &HttpBackend, redis: &Redis, store: &str, settings: &str) -> Gateway {
    gateway(&format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
stores: {{ shared: {{ redis: {{ addresses: ["{}"], retry: 50ms, {store} }} }} }}
routes:
  pay: {{ match: {{ path: /pay }}, policies: [ {{ idempotency: {{ store: shared, {settings} }} }} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        redis.address(),
        backend.url()
    ))
    .start()
}

const PATIENT: &str = "timeout: 5s";

fn pay(key: &str, body: &str) -> Request {
    Request::new("POST", "/pay")
        .header("Idempotency-Key", key)
        .body(body)
}

/// Numbers its answers, each of which waits for the gate.
fn counting(gate: Option<Arc<Gate>>) -> HttpBackend {
    let calls = AtomicUsize::new(0);
    HttpBackend::scripted(move |call| {
        call.read_body()?;
        let n = calls.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(gate) = &gate {
            call.wait(gate)?;
        }
        call.reply(
            &Reply::new(201)
                .header("X-Number", &n.to_string())
                .body(format!("done {n}")),
        )
    })
}

fn is_up(gateway: &Gateway, up: bool) {
    gateway.wait_metric("gatehouse_store_up", &[("store", "shared")], |value| {
        (value > 0.0) == up
    });
}

#[test]
fn what_one_gateway_answered_the_other_answers_too() {
    let (backend, redis) = (counting(None), Redis::start());
    let [one, other] = [(); 2].map(|()| start(&backend, &redis, PATIENT, ""));
    let first = client::once(one.address(), &pay("k", "10 EUR"));
    assert_eq!((first.status, first.text().as_str()), (201, "done 1"));
    for _ in 0..2 {
        let again = client::once(other.address(), &pay("k", "10 EUR"));
        assert_eq!((again.status, again.text().as_str()), (201, "done 1"));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.header("x-number"), Some("1"));
    }
    assert_eq!(client::once(other.address(), &pay("k", "99 EUR")).status, 422);
    // Whoever reads there learns neither the key nor who called.
    assert!(redis.ask(&["RANDOMKEY"]).contains("gatehouse:idempotency:"));
    // A gateway that starts anew knows it as well.
    drop(one);
    let late = start(&backend, &redis, PATIENT, "");
    assert_eq!(client::once(late.address(), &pay("k", "10 EUR")).text(), "done 1");
    assert_eq!(backend.count(), 1);
}

#[test]
fn while_one_is_at_it_the_other_waits_or_refuses() {
    let (gate, redis) = (Arc::new(Gate::new()), Redis::start());
    let backend = counting(Some(gate.clone()));
    let [one, waits, refuses] =
        ["", "", "wait: 0s"].map(|settings| start(&backend, &redis, PATIENT, settings));
    let at = one.address();
    let first = thread::spawn(move || client::once(at, &pay("k", "x")));
    backend.wait_requests(1);
    let answer = client::once(refuses.address(), &pay("k", "x"));
    assert_eq!(answer.status, 409);
    assert_eq!(answer.json()["code"], "idempotency_in_progress");
    // Another request with the key is not kept waiting.
    assert_eq!(client::once(waits.address(), &pay("k", "y")).status, 422);
    let at = waits.address();
    let others: Vec<_> = (0..3)
        .map(|_| thread::spawn(move || client::once(at, &pay("k", "x"))))
        .collect();
    waits.wait_metric("gatehouse_requests_in_flight", &[], |n| n == 3.0);
    gate.open();
    assert_eq!(first.join().unwrap().header("idempotency-replayed"), None);
    for other in others {
        let answer = other.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (201, "done 1"));
        assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(backend.count(), 1);
}

#[test]
fn what_failed_may_be_tried_at_another_gateway() {
    let redis = Redis::start();
    let calls = AtomicUsize::new(0);
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        let reply = match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::new(503),
            1 => Reply::ok("x".repeat(2000)).chunked(),
            _ => Reply::ok("paid"),
        };
        call.reply(&reply)
    });
    let [one, other] = [(); 2].map(|()| start(&backend, &redis, PATIENT, "max_response: 1KiB"));
    assert_eq!(client::once(one.address(), &pay("k", "x")).status, 503);
    // It waits for the claim to be given up, at most a moment.
    assert_eq!(
        client::once(other.address(), &pay("k", "x")).text(),
        "x".repeat(2000)
    );
    assert_eq!(client::once(one.address(), &pay("k", "x")).text(), "paid");
    assert_eq!(client::once(other.address(), &pay("k", "x")).text(), "paid");
    assert_eq!(backend.count(), 3);
}

#[test]
fn the_key_of_a_gateway_that_died_is_free_again() {
    let (gate, redis) = (Arc::new(Gate::new()), Redis::start());
    let backend = counting(Some(gate.clone()));
    let one = start(&backend, &redis, PATIENT, "lease: 1s");
    let other = start(&backend, &redis, PATIENT, "lease: 1s, wait: 60s");
    let mut first = Raw::connect(one.address());
    first.send(pay("k", "x").host("a").encode());
    backend.wait_requests(1);
    one.signal("KILL");
    let at = other.address();
    let second = thread::spawn(move || client::once(at, &pay("k", "x")));
    backend.wait_requests(2);
    gate.open();
    let answer = second.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "done 2"));
    assert_eq!(answer.header("idempotency-replayed"), None);
}

#[test]
fn without_redis_nothing_is_done_or_each_gateway_knows_its_own() {
    let backend = counting(None);
    let mut redis = Redis::start();
    let closed = start(&backend, &redis, PATIENT, "");
    let local = start(&backend, &redis, PATIENT, "on_failure: local");
    redis.kill();
    is_up(&closed, false);
    is_up(&local, false);
    assert_eq!(client::once(closed.address(), &pay("k", "x")).status, 503);
    assert_eq!(backend.count(), 0);
    for _ in 0..2 {
        assert_eq!(client::once(local.address(), &pay("k", "x")).text(), "done 1");
    }
    redis.restart();
    is_up(&closed, true);
    assert_eq!(client::once(closed.address(), &pay("k", "x")).text(), "done 2");
}

#[test]
fn an_answer_that_redis_did_not_take_is_stored_when_it_does() {
    let (gate, redis) = (Arc::new(Gate::new()), Redis::start());
    let backend = counting(Some(gate.clone()));
    let quick = "timeout: 200ms, failures: 1000";
    let one = start(&backend, &redis, quick, "");
    let other = start(&backend, &redis, PATIENT, "");
    is_up(&one, true);
    let at = one.address();
    let first = thread::spawn(move || client::once(at, &pay("k", "x")));
    backend.wait_requests(1);
    redis.freeze();
    gate.open();
    // The client has its answer all the same.
    assert_eq!(first.join().unwrap().text(), "done 1");
    redis.thaw();
    until("the answer to be there", || {
        let answer = client::once(other.address(), &pay("k", "x"));
        answer.status == 201 && answer.text() == "done 1"
    });
    assert_eq!(backend.count(), 1);
}
