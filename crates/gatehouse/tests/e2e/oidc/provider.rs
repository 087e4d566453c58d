//! What the provider does: other ways to be a client, refusals, errors, silence.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{HttpBackend, LoginProvider};
use serde_json::json;

use super::{KEY, SHOP, SITE, browser, document, guarded, script};
use crate::gateway;

#[test]
fn public_clients_and_secrets_in_the_body_do_as_well() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    for client in [
        "client_id: public",
        "client_id: post\n          client_secret: \"s:cret\"\n          client_auth: post",
    ] {
        let gateway = gateway(&document(&provider, &backend, &[KEY], client, "")).start();
        let (_, response) = provider.log_in(&mut browser(&gateway), &format!("{SITE}/x"), "alice");
        assert_eq!(response.status, 200, "{client}: {response:?}");
    }
}

#[test]
fn the_userinfo_endpoint_adds_to_what_is_known() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let settings = "userinfo: true\n          subject: email\n          scopes: [openid, email]\n          forward: { X-User-Id: \"${identity.subject}\" }";
    let gateway = guarded(&provider, &backend, settings);
    let (_, response) = provider.log_in(&mut browser(&gateway), &format!("{SITE}/x"), "alice");
    assert_eq!(response.status, 200);
    assert_eq!(backend.last().header("x-user-id"), Some("alice@example.com"));
    assert_eq!(provider.counts()["userinfo"], 1);
}

#[test]
fn a_refusal_is_told_and_the_login_is_over() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    for (error, status, code, detail) in [
        (
            "access_denied",
            403,
            "login_refused",
            Some("the login provider answered `access_denied`"),
        ),
        (
            "login_required",
            403,
            "login_refused",
            Some("the login provider answered `login_required`"),
        ),
        ("invalid_scope", 502, "login_failed", None),
        ("<script>", 502, "login_failed", None),
        ("temporarily_unavailable", 503, "auth_unavailable", None),
    ] {
        let mut browser = browser(&gateway);
        let back = provider.answer(&mut browser, &format!("{SITE}/x"), &[("error", error)]);
        let response = browser.get(&back);
        assert_eq!(
            (response.status, response.code().as_str()),
            (status, code),
            "{error}: {response:?}"
        );
        assert_eq!(response.json()["detail"].as_str(), detail, "{error}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert!(
            browser.cookies_of("gateway.test", "").is_empty(),
            "{:?}",
            browser.cookies
        );
        assert!(!response.text().contains("said by the tests") && !response.text().contains("script"));
    }
    assert_eq!(backend.count(), 0);
    gateway.wait_metric("gatehouse_oidc_logins_total", &[("result", "denied")], |n| {
        n >= 2.0
    });
}

#[test]
fn a_provider_that_is_down_at_the_start_is_found_when_it_is_up() {
    let (mut provider, backend) = (LoginProvider::start(), HttpBackend::start());
    provider.kill();
    let gateway = guarded(&provider, &backend, "");
    let response = browser(&gateway).get(&format!("{SITE}/x"));
    assert_eq!(
        (response.status, response.code().as_str()),
        (503, "auth_unavailable"),
        "{response:?}"
    );
    assert!(response.headers.has("retry-after") && !response.text().contains("127.0.0.1"));
    assert_eq!(script(&mut browser(&gateway), "/x").status, 401);
    provider.restart();
    until("the provider to be found", || {
        browser(&gateway).get(&format!("{SITE}/x")).status == 302
    });
    let (_, response) = provider.log_in(&mut browser(&gateway), &format!("{SITE}/x"), "alice");
    assert_eq!(response.status, 200);
}

#[test]
fn a_provider_that_goes_down_takes_no_session_along() {
    let (mut provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let (mut inside, mut outside, mut stale) = (browser(&gateway), browser(&gateway), browser(&gateway));
    provider.log_in(&mut inside, &format!("{SITE}/x"), "alice");
    let back = provider.answer(&mut outside, &format!("{SITE}/x"), &[("account", "bob")]);
    provider.set(&json!({ "tokens": 1 }));
    let stale_back = provider.answer(&mut stale, &format!("{SITE}/x"), &[("account", "carol")]);
    assert_eq!(stale.get(&stale_back).status, 302);
    // It answers, but not as it should.
    provider.set(&json!({ "broken": true }));
    let broken = outside.clone().get(&back);
    assert_eq!(
        (broken.status, broken.code().as_str()),
        (503, "auth_unavailable"),
        "{broken:?}"
    );
    provider.kill();
    assert_eq!(
        script(&mut inside, "/x").status,
        200,
        "its tokens are good for a while"
    );
    let mut later = browser(&gateway);
    assert_eq!(
        later.get(&format!("{SITE}/x")).status,
        302,
        "what is known of the provider is still known"
    );
    // Its tokens have expired, and nobody says whether it goes on.
    until("its tokens to expire", || script(&mut stale, "/x").status == 503);
    let unknown = script(&mut stale, "/x");
    assert_eq!(unknown.code(), "auth_unavailable", "{unknown:?}");
    assert!(!unknown.headers.has("set-cookie"), "it may go on later");
    gateway.wait_log("the login provider did not give tokens");
    let metrics = gateway.metrics();
    assert!(metrics.sum("gatehouse_oidc_refreshes_total", &[("result", "unavailable")]) >= 1.0);
}

#[test]
fn a_strict_cookie_is_not_lost_on_the_way_back() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(
        &provider,
        &backend,
        "cookie: { same_site: strict, name: s, path: / }",
    );
    let mut browser = browser(&gateway);
    let back = provider.answer(
        &mut browser,
        &format!("{SITE}/x?a=1&b=%22"),
        &[("account", "alice")],
    );
    let page = browser.get(&back);
    assert_eq!(
        (page.status, page.header("cache-control")),
        (200, Some("no-store"))
    );
    assert!(
        page.text().contains("content=\"0;url=/x?a=1&amp;b=%22\""),
        "{}",
        page.text()
    );
    let session = browser.cookies_of("gateway.test", "__Host-s");
    assert!(
        session[0].attributes.contains(&"samesite=strict".to_owned()),
        "{session:?}"
    );
    assert_eq!(script(&mut browser, "/x").status, 200);
    // The site may be known by another name than that of the request.
    let gateway = self::gateway(&document(
        &provider,
        &backend,
        &[KEY],
        SHOP,
        "base_url: \"https://shop.example.com/\"",
    ))
    .start();
    let sent = self::browser(&gateway).get(&format!("{SITE}/x"));
    let to = sent.header("location").unwrap();
    assert!(
        to.contains("redirect_uri=https%3A%2F%2Fshop.example.com%2Foauth2%2Fcallback"),
        "{to}"
    );
}
