//! What a forger, a thief or a malicious page tries.

use gatehouse_testkit::{Browser, Gateway, HttpBackend, LoginProvider, Request};
use serde_json::json;

use super::{KEY, SHOP, SITE, browser, document, guarded, parameter, script};
use crate::gateway;

const SESSION: &str = "__Host-gatehouse_session";

/// What the gateway says to a browser that has just this cookie.
fn with_cookie(gateway: &Gateway, cookie: &str) -> u16 {
    let request = Request::new("GET", "")
        .header("Accept", "application/json")
        .header("Cookie", cookie);
    browser(gateway).send(&format!("{SITE}/x"), request).status
}

fn session_of(browser: &Browser) -> String {
    let mut all = browser.cookies_of("gateway.test", SESSION).into_iter();
    all.find(|cookie| cookie.name == SESSION)
        .expect("a session")
        .value
        .clone()
}

#[test]
fn a_session_that_was_changed_or_is_of_others_is_none() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let mut alice = browser(&gateway);
    provider.log_in(&mut alice, &format!("{SITE}/x"), "alice");
    let good = session_of(&alice);
    assert_eq!(with_cookie(&gateway, &format!("{SESSION}={good}")), 200);
    let served = backend.count();

    let mut attempts = vec![
        String::new(),
        "1".to_owned(),
        good[1..].to_owned(),
        format!("{good}A"),
        format!("2{}", &good[1..]),
    ];
    for at in (0..good.len()).step_by(17).chain([good.len() - 1]) {
        let mut other = good.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        attempts.push(String::from_utf8(other).unwrap());
        attempts.push(good[..at].to_owned());
    }
    // A login under way is no session.
    let mut begun = browser(&gateway);
    begun.get(&format!("{SITE}/x"));
    attempts.push(format!("1{}", begun.cookies_of("gateway.test", SESSION)[0].value));
    for attempt in &attempts {
        assert_eq!(
            with_cookie(&gateway, &format!("{SESSION}={attempt}")),
            401,
            "{attempt}"
        );
    }
    assert_eq!(backend.count(), served, "one of them came through");

    // What is left of it goes from the browser, which then logs in.
    let mut tampered = browser(&gateway);
    let request = Request::new("GET", "")
        .header("Accept", "text/html")
        .header("Cookie", &format!("{SESSION}=1x"));
    let answer = tampered.send(&format!("{SITE}/x"), request);
    assert_eq!(answer.status, 302);
    let gone = format!("{SESSION}=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0");
    assert!(
        answer.headers.all("set-cookie").any(|cookie| cookie == gone),
        "{answer:?}"
    );

    // Another gateway with the same key and client takes it; another client, or another key, does not.
    let cookie = format!("{SESSION}={good}");
    let start = |keys: &[&str], client: &str| gateway_of(&document(&provider, &backend, keys, client, ""));
    assert_eq!(with_cookie(&start(&[KEY], SHOP), &cookie), 200);
    assert_eq!(with_cookie(&start(&[KEY], "client_id: public"), &cookie), 401);
    assert_eq!(
        with_cookie(&start(&["another key, which is 32 bytes as well"], SHOP), &cookie),
        401
    );
}

fn gateway_of(yaml: &str) -> Gateway {
    gateway(yaml).start()
}

#[test]
fn an_answer_of_the_provider_is_good_once_and_in_one_browser() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let mut alice = browser(&gateway);
    let back = provider.answer(&mut alice, &format!("{SITE}/x"), &[("account", "alice")]);
    assert!(!parameter(&back, "code").is_empty(), "{back}");
    let refused = |browser: &mut Browser, url: &str| {
        let response = browser.get(url);
        assert_eq!(
            (response.status, response.code().as_str()),
            (400, "login_invalid"),
            "{url}: {response:?}"
        );
        let no_session = |cookie: &str| !cookie.starts_with(&format!("{SESSION}=1"));
        assert!(response.headers.all("set-cookie").all(no_session));
    };
    // Mallory has somebody else follow the link that logs them in as Mallory.
    refused(&mut browser(&gateway), &back);
    let mut other = browser(&gateway);
    other.get(&format!("{SITE}/x"));
    refused(&mut other, &back);
    // Another state, or two of them, or none.
    let state = parameter(&back, "state");
    let changed: String = state.chars().rev().collect();
    refused(&mut alice.clone(), &back.replace(state, &changed));
    refused(&mut alice.clone(), &format!("{back}&state={state}"));
    refused(&mut alice.clone(), &back.replace("state=", "stat="));
    assert_eq!(provider.counts()["code"], 0);

    let before = alice.clone();
    let (at, response) = alice.follow(&back);
    assert_eq!((at, response.status), (format!("{SITE}/x"), 200));
    assert_eq!(
        alice.cookies_of("gateway.test", SESSION).len(),
        1,
        "the login's cookie has gone"
    );
    // Again, in a browser that kept the cookie of the login.
    refused(&mut before.clone(), &back);
    refused(&mut alice, &back);
    assert_eq!(provider.counts()["code"], 1);
    // RFC 9207: an answer that another provider mixed in.
    let mut bob = browser(&gateway);
    let back = provider.answer(&mut bob, &format!("{SITE}/x"), &[("account", "bob")]);
    assert!(back.contains("&iss="), "{back}");
    refused(&mut bob, &back.replace("&iss=http", "&iss=https"));
    let metrics = gateway.metrics();
    assert!(metrics.sum("gatehouse_oidc_logins_total", &[("result", "state")]) >= 8.0);
}

#[test]
fn id_tokens_that_are_not_for_this_login_are_refused() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let bad = [
        json!({ "claims": { "nonce": "another" } }),
        json!({ "claims": { "nonce": null } }),
        json!({ "claims": { "aud": "public" } }),
        json!({ "claims": { "aud": ["shop", "public"] } }),
        json!({ "claims": { "azp": "public" } }),
        json!({ "claims": { "iss": "http://127.0.0.1:1" } }),
        json!({ "claims": { "exp": 1_000_000_000 } }),
        json!({ "claims": { "sub": "" } }),
        json!({ "claims": { "at_hash": "77QmUPtjPfzWtF2AnpK9RQ" } }),
        json!({ "claims": null, "foreign": true }),
    ];
    for flags in &bad {
        provider.set(flags);
        let mut browser = browser(&gateway);
        let (_, response) = provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
        assert_eq!(
            (response.status, response.code().as_str()),
            (502, "login_failed"),
            "{flags}: {response:?}"
        );
        assert!(
            browser.cookies_of("gateway.test", SESSION).is_empty(),
            "{flags}: {:?}",
            browser.cookies
        );
        assert!(!response.text().contains("nonce") && !response.text().contains("127.0.0.1"));
    }
    assert_eq!(backend.count(), 0);
    gateway.wait_log("it is of another login (`nonce`)");
    gateway.wait_metric("gatehouse_oidc_logins_total", &[("result", "id_token")], |n| {
        n >= 10.0
    });
    provider.set(&json!({ "claims": null, "foreign": false }));
    let (_, response) = provider.log_in(&mut browser(&gateway), &format!("{SITE}/x"), "alice");
    assert_eq!(response.status, 200);
}

#[test]
fn nobody_is_sent_to_another_site() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "login: { path: /login }");
    for target in [
        "https://evil.test/",
        "//evil.test/",
        "%2F%2Fevil.test",
        "/%5Cevil.test",
        "/%09/evil.test",
        "%5C%5Cevil.test",
        "javascript:alert(1)",
        "/%0d%0aLocation:%20https://evil.test",
        "evil.test",
    ] {
        let (at, response) = provider.log_in(
            &mut browser(&gateway),
            &format!("{SITE}/login?return_to={target}"),
            "alice",
        );
        assert_eq!(
            (at.as_str(), response.status),
            ("http://gateway.test/", 200),
            "{target}"
        );
    }
    // The path that was asked for is no way out either.
    for path in ["//evil.test/x", "/%2fevil.test/x", "/.//evil.test"] {
        let mut browser = browser(&gateway);
        let response = browser.get(&format!("{SITE}{path}"));
        if response.status == 302 {
            let back = provider.answer(&mut browser, &format!("{SITE}{path}"), &[("account", "alice")]);
            let response = browser.get(&back);
            let to = response.header("location").unwrap();
            assert!(
                to.starts_with('/') && !to.starts_with("//") && !to.contains('\\'),
                "{path}: {to}"
            );
        } else {
            assert_eq!(response.status, 400, "{path}: {response:?}");
        }
    }
}

#[test]
fn identity_fields_of_clients_are_taken_off_everywhere() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "forward_access_token: X-Access-Token");
    let mut browser = browser(&gateway);
    provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
    let forged = |browser: &mut Browser, path: &str| {
        let request = Request::new("GET", "")
            .header("X-User-Id", "root")
            .header("X_User_Id", "root")
            .header("X-Scopes", "everything")
            .header("X-Access-Token", "forged");
        assert_eq!(browser.send(&format!("{SITE}{path}"), request).status, 200);
        backend.last()
    };
    let seen = forged(&mut browser, "/x");
    assert_eq!(seen.headers.all("x-user-id").collect::<Vec<_>>(), ["alice"]);
    assert_eq!(
        seen.headers.all("x-scopes").collect::<Vec<_>>(),
        ["openid,email,profile"]
    );
    let token = provider.counts()["lastToken"].as_str().unwrap().to_owned();
    assert_eq!(seen.headers.all("x-access-token").collect::<Vec<_>>(), [token]);
    let seen = forged(&mut browser, "/open/x");
    for name in ["x-user-id", "x-scopes", "x-access-token"] {
        assert!(!seen.headers.has(name), "{seen:?}");
    }
}

#[test]
fn a_login_replaces_the_session_that_was_there() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "login: { path: /login }");
    let (mut mallory, mut alice) = (browser(&gateway), browser(&gateway));
    provider.log_in(&mut mallory, &format!("{SITE}/x"), "mallory");
    // Mallory's session was planted in Alice's browser.
    let planted = mallory.cookies_of("gateway.test", SESSION)[0].clone();
    alice.cookies.push(planted.clone());
    assert_eq!(script(&mut alice, "/x").status, 200);
    assert_eq!(backend.last().header("x-user-id"), Some("mallory"));
    provider.log_in(&mut alice, &format!("{SITE}/login"), "alice");
    assert_eq!(script(&mut alice, "/x").status, 200);
    assert_eq!(backend.last().header("x-user-id"), Some("alice"));
    assert_eq!(script(&mut mallory, "/x").status, 200);
    assert_eq!(backend.last().header("x-user-id"), Some("mallory"));
    assert_ne!(session_of(&alice), planted.value);
}
