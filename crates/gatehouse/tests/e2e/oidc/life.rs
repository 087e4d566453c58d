//! The life of a session: as large as it is, renewed, refreshed, under another key, and over.

use std::thread;

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Browser, HttpBackend, LoginProvider, Request, Response};
use serde_json::json;

use super::{KEY, SHOP, SITE, browser, document, guarded, parameter, script};
use crate::gateway;

const SESSION: &str = "__Host-gatehouse_session";

#[test]
fn logging_out_ends_the_session_here_and_at_the_provider() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let mut browser = browser(&gateway);
    provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
    let mut copied = browser.clone();
    // Another page, another login: the provider knows who it is.
    let mut fresh = browser.clone();
    fresh.cookies.retain(|cookie| cookie.host != "gateway.test");
    let (at, response) = fresh.follow(&format!("{SITE}/y"));
    assert_eq!((at, response.status), (format!("{SITE}/y"), 200));

    let sent = browser.get(&format!("{SITE}/oauth2/logout"));
    assert_eq!(
        (sent.status, sent.header("cache-control")),
        (303, Some("no-store")),
        "{sent:?}"
    );
    assert!(browser.cookies_of("gateway.test", SESSION).is_empty());
    let to = sent.header("location").unwrap().to_owned();
    assert!(
        to.starts_with(&format!("{}/session/end?", provider.issuer())),
        "{to}"
    );
    assert_eq!(
        parameter(&to, "post_logout_redirect_uri"),
        "http%3A%2F%2Fgateway.test%2Fbye"
    );
    assert!(parameter(&to, "id_token_hint").starts_with("eyJ"), "{to}");
    let (at, response) = end_at_provider(&provider, &mut browser, &to);
    assert!(at.starts_with(&format!("{SITE}/bye")), "{at}");
    assert_eq!(response.text(), "bye");

    // A copy of the cookie is worth nothing, and the provider asks again who it is.
    let served = backend.count();
    assert_eq!(script(&mut copied, "/x").status, 401);
    assert_eq!(backend.count(), served);
    let (_, response) = provider.log_in(&mut browser, &format!("{SITE}/x"), "bob");
    assert_eq!(response.status, 200);
    assert_eq!(backend.last().header("x-user-id"), Some("bob"));
    // Nobody is there to log out.
    let mut nobody = self::browser(&gateway);
    let sent = nobody.get(&format!("{SITE}/oauth2/logout"));
    assert_eq!((sent.status, sent.header("location")), (303, Some("/bye")));
}

#[test]
fn the_provider_ends_a_session_without_the_browser() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let yaml = document(&provider, &backend, &[KEY], SHOP, "").replace(
        "logout: { after: /bye }",
        "logout: { provider: false, after: /bye, back_channel: /ended }",
    );
    let gateway = gateway(&yaml).start();
    provider.set(&json!({ "gateway": gateway.address().port() }));
    let (mut one, mut other) = (browser(&gateway), browser(&gateway));
    provider.log_in(&mut one, &format!("{SITE}/x"), "alice");
    provider.log_in(&mut other, &format!("{SITE}/x"), "alice");
    // Alice logs out at another site of the provider.
    end_at_provider(&provider, &mut one, &format!("{}/session/end", provider.issuer()));
    until("the session to end", || script(&mut one, "/x").status == 401);
    assert_eq!(script(&mut other, "/x").status, 200, "that is another session");

    // What is no logout token ends nothing, not even an ID token that was.
    let sent = |form: &str| {
        let request = Request::post("", form).header("Content-Type", "application/x-www-form-urlencoded");
        browser(&gateway).send(&format!("{SITE}/ended"), request).status
    };
    for form in ["", "logout_token=", "logout_token=a.b.c", "token=x"] {
        assert_eq!(sent(form), 400, "{form}");
    }
    assert_eq!(browser(&gateway).get(&format!("{SITE}/ended")).status, 405);
    assert_eq!(script(&mut other, "/x").status, 200);
}

/// Confirms at the provider that its session is to end.
fn end_at_provider(provider: &LoginProvider, browser: &mut Browser, url: &str) -> (String, Response) {
    let (_, asked) = browser.follow(url);
    let text = asked.text();
    let xsrf = text
        .split("name=\"xsrf\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let form = [("xsrf", xsrf.expect("a form")), ("logout", "yes")];
    browser.submit(&format!("{}/session/end/confirm", provider.issuer()), &form)
}

#[test]
fn tokens_are_refreshed_once_for_all_requests_that_need_it() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "forward_access_token: Authorization");
    let mut browser = browser(&gateway);
    // What the login gives is as good as expired.
    provider.set(&json!({ "tokens": 1 }));
    let back = provider.answer(&mut browser, &format!("{SITE}/x"), &[("account", "alice")]);
    assert_eq!(browser.get(&back).status, 302);
    let first = provider.counts()["lastToken"].clone();
    let stale = browser.clone();
    thread::scope(|scope| {
        let all: Vec<_> = (0..6)
            .map(|_| {
                let mut tab = stale.clone();
                scope.spawn(move || script(&mut tab, "/x").status)
            })
            .collect();
        for one in all {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
    let counts = provider.counts();
    assert_eq!(
        (&counts["refresh"], &counts["refused"]),
        (&json!(1), &json!(0)),
        "{counts}"
    );
    let fresh = format!("Bearer {}", counts["lastToken"].as_str().unwrap());
    assert_ne!(counts["lastToken"], first);
    for seen in backend.requests() {
        assert_eq!(seen.header("authorization"), Some(fresh.as_str()));
    }
    // The browser keeps the new session, and does not refresh it.
    let renewed = script(&mut browser, "/x");
    assert_eq!(
        (renewed.status, renewed.header("cache-control")),
        (200, Some("no-store"))
    );
    assert_eq!(renewed.headers.count("set-cookie"), 1);
    let again = script(&mut browser, "/x");
    assert_eq!((again.status, again.headers.count("set-cookie")), (200, 0));
    // One that has the session of before goes on as well: its refresh token was used, but not by somebody else.
    assert_eq!(script(&mut stale.clone(), "/x").status, 200);
    let counts = provider.counts();
    assert_eq!(
        (&counts["refresh"], &counts["refused"]),
        (&json!(1), &json!(0)),
        "{counts}"
    );
    assert!(
        gateway
            .metrics()
            .sum("gatehouse_oidc_refreshes_total", &[("result", "ok")])
            >= 8.0
    );
}

#[test]
fn a_session_ends_when_the_provider_ends_it() {
    let (mut provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let mut browser = browser(&gateway);
    provider.set(&json!({ "tokens": 1 }));
    let back = provider.answer(&mut browser, &format!("{SITE}/x"), &[("account", "alice")]);
    assert_eq!(browser.get(&back).status, 302);
    // It forgets everything.
    provider.restart();
    let refused = script(&mut browser.clone(), "/x");
    assert_eq!(refused.status, 401, "{refused:?}");
    let gone = format!("{SESSION}=; ");
    assert!(
        refused
            .headers
            .all("set-cookie")
            .any(|cookie| cookie.starts_with(&gone)),
        "{refused:?}"
    );
    assert_eq!(browser.get(&format!("{SITE}/x")).status, 302);
    assert_eq!(backend.count(), 0);
    // The provider has other keys now, which are found when a token names one.
    until("a login under the new keys", || {
        let (_, response) = provider.log_in(&mut self::browser(&gateway), &format!("{SITE}/x"), "alice");
        response.status == 200
    });
}

#[test]
fn keys_change_without_a_login() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let with = |keys: &[&str]| document(&provider, &backend, keys, SHOP, "");
    let (old, new) = (
        "the old key of the tests, 32 bytes",
        "the new key of the tests, 32 bytes",
    );
    let gateway = gateway(&with(&[old])).start();
    let (mut early, mut late) = (browser(&gateway), browser(&gateway));
    provider.log_in(&mut early, &format!("{SITE}/x"), "early");
    // A login that is under way while the key changes ends well.
    let back = provider.answer(&mut late, &format!("{SITE}/x"), &[("account", "late")]);
    gateway.reload(&with(&[new, old]));
    assert_eq!(late.follow(&back).1.status, 200);
    assert_eq!(script(&mut early, "/x").status, 200);
    gateway.reload(&with(&[new]));
    assert_eq!(script(&mut early, "/x").status, 401, "its key has gone");
    assert_eq!(script(&mut late, "/x").status, 200, "the first key encrypts");
    assert_eq!(backend.last().header("x-user-id"), Some("late"));
}

#[test]
fn a_large_session_is_in_several_cookies_and_a_huge_one_is_refused() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "login: { path: /login }");
    let mut browser = browser(&gateway);
    provider.set(&json!({ "blob": 2500 }));
    let (_, response) = provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
    assert_eq!(response.status, 200, "{response:?}");
    let pieces = |browser: &Browser| browser.cookies_of("gateway.test", SESSION).len();
    assert_eq!(pieces(&browser), 3);
    assert!(
        browser
            .cookies
            .iter()
            .all(|cookie| cookie.name.len() + cookie.value.len() < 4096)
    );
    assert_eq!(script(&mut browser, "/x").status, 200);
    assert!(!backend.last().headers.has("cookie"));
    // One is missing.
    let mut torn = browser.clone();
    torn.cookies
        .retain(|cookie| cookie.name != format!("{SESSION}.1"));
    assert_eq!(script(&mut torn, "/x").status, 401);
    // A small one takes the place of all.
    provider.set(&json!({ "blob": 0 }));
    let (_, response) = browser.follow(&format!("{SITE}/login"));
    assert_eq!((response.status, pieces(&browser)), (200, 1));
    assert_eq!(script(&mut browser, "/x").status, 200);

    provider.set(&json!({ "blob": 9000 }));
    let (_, response) = provider.log_in(&mut self::browser(&gateway), &format!("{SITE}/x"), "bob");
    assert_eq!((response.status, response.code().as_str()), (502, "login_failed"));
    gateway.wait_log("the session is too large for cookies");
}

#[test]
fn a_session_is_renewed_while_it_is_used_and_ends_for_all_that() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let with = |session: &str| {
        let keys = format!("session: {{ keys: [\"{KEY}\"], {session} }}");
        document(&provider, &backend, &[KEY], SHOP, "")
            .replace(&format!("session: {{ keys: [\"{KEY}\"] }}"), &keys)
    };
    let gateway = gateway(&with("idle: 10s")).start();
    let mut browser = browser(&gateway);
    provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
    let before = browser.cookies_of("gateway.test", SESSION)[0].value.clone();
    until("the cookie to be made anew", || {
        assert_eq!(script(&mut browser, "/x").status, 200);
        browser.cookies_of("gateway.test", SESSION)[0].value != before
    });
    gateway.reload(&with("lifetime: 1s, idle: 10s"));
    until("the session to end", || {
        script(&mut browser.clone(), "/x").status == 401
    });
    assert_eq!(browser.get(&format!("{SITE}/x")).status, 302);
    assert!(
        gateway
            .metrics()
            .sum("gatehouse_oidc_sessions_total", &[("result", "expired")])
            >= 1.0
    );
}

#[test]
fn several_tabs_log_in_at_once_but_not_any_number() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let mut browser = browser(&gateway);
    let mut tabs = Vec::new();
    for tab in 0..9 {
        let page = format!("{SITE}/tab/{tab}");
        tabs.push((
            provider.answer(&mut browser, &page, &[("account", "alice")]),
            page,
        ));
        // Its provider's session is of no matter here.
        browser.cookies.retain(|cookie| cookie.host == "gateway.test");
        assert!(browser.cookies.len() <= 5, "{:?}", browser.cookies);
    }
    for (back, page) in tabs.iter().skip(4) {
        let (at, response) = browser.follow(back);
        assert_eq!((&at, response.status), (page, 200));
    }
    let (back, _) = &tabs[0];
    assert_eq!(browser.get(back).status, 400);
}
