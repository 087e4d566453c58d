//! Keys that are fetched: from where, how often, and what happens while they are not there.

use std::sync::Arc;
use std::thread;

use gatehouse_testkit::{Gate, HttpBackend, Reply};
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::tokens::{Signer, claims, set};
use super::{document, get, guarded};
use crate::gateway;

fn jwks(keys: &HttpBackend, more: &str) -> String {
    format!("jwks: {{ url: \"{}/keys\", {more} }}", keys.url())
}

#[test]
fn keys_are_fetched_and_a_new_one_is_found_when_a_token_names_it() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let (first, second) = (
        Signer::new("first", Algorithm::ES256),
        Signer::new("second", Algorithm::ES256),
    );
    keys.on(
        "/keys",
        Reply::ok(set(&[&first])).header("Cache-Control", "max-age=3600"),
    );
    let gateway = guarded(&backend, &jwks(&keys, "refetch: 0s"), "", "");
    assert_eq!(get(&gateway, &first.sign(&claims(&json!({})))).status, 200);
    assert_eq!(keys.count(), 1);

    // The issuer changes its keys: many requests with the new one wait for one fetch.
    let gate = Gate::new();
    let (held, body) = (gate.clone(), set(&[&second]));
    keys.script("/keys", move |call| {
        held.wait();
        call.reply(&Reply::ok(&body))
    });
    let token = second.sign(&claims(&json!({})));
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| get(&gateway, &token).status))
            .collect();
        keys.wait_requests(2);
        gate.open();
        for request in waiting {
            assert_eq!(request.join().unwrap(), 200);
        }
    });
    assert!(keys.count() <= 3, "eight waited for {} fetches", keys.count() - 1);
    // What the old key signed is good no more, also if it was before.
    assert_eq!(get(&gateway, &first.sign(&claims(&json!({})))).status, 401);
    gateway.wait_metric("gatehouse_jwt_key_fetches_total", &[("result", "ok")], |n| {
        n >= 2.0
    });
    let fetched = gateway.metrics().sum("gatehouse_jwt_keys_fetched_seconds", &[]);
    assert!(fetched > 1.0e9, "{fetched}");
}

#[test]
fn a_token_that_was_good_is_not_after_its_key_has_gone() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let (first, second) = (
        Signer::new("first", Algorithm::ES256),
        Signer::new("second", Algorithm::ES256),
    );
    keys.on("/keys", Reply::ok(set(&[&first])));
    let gateway = guarded(&backend, &jwks(&keys, "refetch: 0s"), "", "");
    let token = first.sign(&claims(&json!({})));
    assert_eq!(get(&gateway, &token).status, 200);
    assert_eq!(get(&gateway, &token).status, 200);
    keys.on("/keys", Reply::ok(set(&[&second])));
    assert_eq!(get(&gateway, &second.sign(&claims(&json!({})))).status, 200);
    assert_eq!(get(&gateway, &token).status, 401);
}

#[test]
fn unknown_keys_do_not_make_the_gateway_ask_again_and_again() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let known = Signer::new("known", Algorithm::ES256);
    keys.on("/keys", Reply::ok(set(&[&known])));
    let gateway = guarded(&backend, &jwks(&keys, "refetch: 1h"), "", "");
    assert_eq!(get(&gateway, &known.sign(&claims(&json!({})))).status, 200);
    let stranger = Signer::new("stranger", Algorithm::ES256).sign(&claims(&json!({})));
    for _ in 0..5 {
        assert_eq!(get(&gateway, &stranger).status, 401);
    }
    assert_eq!(keys.count(), 1);
    assert_eq!(backend.count(), 1);
}

#[test]
fn keys_stay_when_they_cannot_be_fetched_again() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let signer = Signer::new("k", Algorithm::ES256);
    keys.on("/keys", Reply::ok(set(&[&signer])));
    let gateway = guarded(&backend, &jwks(&keys, "refresh: 50ms"), "cache: 0", "");
    assert_eq!(get(&gateway, &signer.sign(&claims(&json!({})))).status, 200);
    for bad in [
        Reply::new(500),
        Reply::ok("no keys"),
        Reply::ok("{\"keys\":[]}"),
        Reply::ok(" ".repeat(600_000)),
    ] {
        keys.on("/keys", bad);
        let failed = || {
            gateway
                .metrics()
                .sum("gatehouse_jwt_key_fetches_total", &[("result", "failed")])
        };
        let before = failed();
        gateway.wait_metric("gatehouse_jwt_key_fetches_total", &[("result", "failed")], |n| {
            n >= before + 2.0
        });
        assert_eq!(get(&gateway, &signer.sign(&claims(&json!({})))).status, 200);
    }
    gateway.wait_log("those from before stay");
}

#[test]
fn without_keys_nobody_is_let_in() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let signer = Signer::new("k", Algorithm::ES256);
    keys.on("/keys", Reply::new(500));
    let gateway = guarded(&backend, &jwks(&keys, "refresh: 50ms"), "", "");
    gateway.wait_metric("gatehouse_jwt_key_fetches_total", &[("result", "failed")], |n| {
        n >= 1.0
    });
    let token = signer.sign(&claims(&json!({})));
    let response = get(&gateway, &token);
    assert_eq!(
        (response.status, response.code().as_str()),
        (503, "auth_unavailable"),
        "{response:?}"
    );
    assert!(response.header("retry-after").is_some());
    assert!(!response.text().contains("127.0.0.1"), "{}", response.text());
    gateway.wait_log("there are none; tokens are refused with 503");
    // A request without a token is told so, keys or not.
    assert_eq!(
        gatehouse_testkit::client::get(gateway.address(), "/api/x").status,
        401
    );
    assert_eq!(backend.count(), 0);
    // As soon as they are there, it goes on.
    keys.on("/keys", Reply::ok(set(&[&signer])));
    gatehouse_testkit::wait::until("the keys to be fetched", || get(&gateway, &token).status == 200);
}

#[test]
fn the_first_request_waits_for_the_first_fetch() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let signer = Signer::new("k", Algorithm::ES256);
    let gate = Gate::new();
    let (held, body) = (gate.clone(), set(&[&signer]));
    keys.script("/keys", move |call| {
        held.wait();
        call.reply(&Reply::ok(&body))
    });
    let gateway = Arc::new(guarded(&backend, &jwks(&keys, ""), "", ""));
    let token = signer.sign(&claims(&json!({})));
    let waiting = {
        let gateway = gateway.clone();
        thread::spawn(move || get(&gateway, &token).status)
    };
    keys.wait_requests(1);
    gate.open();
    assert_eq!(waiting.join().unwrap(), 200);
}

#[test]
fn keys_are_discovered_by_the_issuer_which_must_say_that_it_is_the_one() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let signer = Signer::new("k", Algorithm::ES256);
    let issuer = format!("{}/realms/a", keys.url());
    let yaml = document(&backend, "jwks: { refresh: 50ms }", "", "").replace("https://issuer.test", &issuer);
    let token = signer.sign(&claims(&json!({ "iss": issuer })));
    keys.on("/keys", Reply::ok(set(&[&signer])));
    let discovery = |issuer: &str| {
        Reply::ok(json!({ "issuer": issuer, "jwks_uri": format!("{}/keys", keys.url()) }).to_string())
    };
    keys.on(
        "/realms/a/.well-known/openid-configuration",
        discovery("https://somebody.test"),
    );
    let gateway = gateway(&yaml).start();
    gateway.wait_log("the discovery document is of another issuer");
    assert_eq!(get(&gateway, &token).status, 503);
    keys.on("/realms/a/.well-known/openid-configuration", discovery(&issuer));
    gatehouse_testkit::wait::until("the keys to be discovered", || {
        get(&gateway, &token).status == 200
    });
}

#[test]
fn a_secret_that_anyone_can_fetch_is_none() {
    let (backend, keys) = (HttpBackend::start(), HttpBackend::start());
    let signer = Signer::new("k", Algorithm::ES256);
    let secret = json!({ "kty": "oct", "kid": "s", "k": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE" });
    keys.on(
        "/keys",
        Reply::ok(json!({ "keys": [signer.jwk(), secret] }).to_string()),
    );
    let gateway = guarded(&backend, &jwks(&keys, ""), "", "");
    assert_eq!(get(&gateway, &signer.sign(&claims(&json!({})))).status, 200);
    let header = jsonwebtoken::Header {
        kid: Some("s".to_owned()),
        ..jsonwebtoken::Header::default()
    };
    let forged = super::tokens::hmac(&header, &claims(&json!({})), b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(get(&gateway, &forged).status, 401);
}
