//! Who is let in, and what those are answered who are not.

use aws_lc_rs::digest;
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Browser, Gateway, HttpBackend, LoginProvider, Redis, Request, Response};
use serde_json::json;

use super::{KEY, SHOP, SITE, browser, document, guarded, script};
use crate::gateway;

fn send(gateway: &Gateway, method: &str, fields: &[(&str, &str)]) -> Response {
    let mut request = Request::new(method, "");
    for (name, value) in fields {
        request = request.header(name, value);
    }
    browser(gateway).send(&format!("{SITE}/x?a=b"), request)
}

const PAGE: &[(&str, &str)] = &[("Accept", "text/html")];
const DATA: &[(&str, &str)] = &[("Accept", "application/json")];
const FETCHED: &[(&str, &str)] = &[("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")];
const SOCKET: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[test]
fn all_who_only_read_may_be_sent_to_the_login() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "unauthenticated: redirect");
    for (method, fields, status) in [
        ("GET", PAGE, 302),
        ("GET", DATA, 302),
        ("HEAD", DATA, 302),
        ("GET", FETCHED, 302),
        ("GET", &[], 302),
        ("POST", PAGE, 401),
        ("DELETE", DATA, 401),
        // No browser follows a redirect with it.
        ("GET", SOCKET, 401),
    ] {
        let answer = send(&gateway, method, fields);
        assert_eq!(answer.status, status, "{method} {fields:?}: {answer:?}");
        let sent = answer
            .header("location")
            .is_some_and(|to| to.starts_with(&provider.issuer()));
        assert_eq!(sent, status == 302, "{answer:?}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn nobody_is_sent_to_the_login_where_that_is_denied() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let settings = "unauthenticated: deny\n          login: { path: /login }";
    let gateway = guarded(&provider, &backend, settings);
    for (method, fields) in [
        ("GET", PAGE),
        ("HEAD", PAGE),
        ("GET", DATA),
        ("POST", PAGE),
        ("GET", SOCKET),
    ] {
        let answer = send(&gateway, method, fields);
        assert_eq!(answer.status, 401, "{method} {fields:?}: {answer:?}");
        assert!(
            !answer.headers.has("location") && !answer.headers.has("set-cookie"),
            "{answer:?}"
        );
        if method != "HEAD" {
            assert_eq!(answer.code(), "unauthenticated");
        }
    }
    assert_eq!(backend.count(), 0);
    // The link is the way in.
    let mut browser = browser(&gateway);
    let link = format!("{SITE}/login?return_to=/x");
    let (at, answer) = provider.log_in(&mut browser, &link, "alice");
    assert_eq!((at, answer.status), (format!("{SITE}/x"), 200));
    assert_eq!(script(&mut browser, "/x").status, 200);
}

#[test]
fn a_session_may_be_for_all_hosts_of_a_domain() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "cookie: { name: sid, domain: test }");
    let mut browser = browser(&gateway).knows("shop.test", gateway.address());
    let (_, answer) = provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
    assert_eq!(answer.status, 200, "{answer:?}");
    // The prefix that binds a cookie to one host would be a lie (RFC 6265bis section 4.1.3.2).
    assert!(browser.cookies_of("gateway.test", "__Host-").is_empty());
    let session = browser.cookies_of("gateway.test", "__Secure-sid");
    let session: Vec<_> = session
        .into_iter()
        .filter(|one| !one.name.contains(".l."))
        .collect();
    assert_eq!(session.len(), 1, "{session:?}");
    for attribute in ["domain=test", "path=/", "secure", "httponly", "samesite=lax"] {
        assert!(
            session[0].attributes.iter().any(|one| one == attribute),
            "{attribute}: {session:?}"
        );
    }
    let cookie = format!("{}={}", session[0].name, session[0].value);
    let at_another_host = |browser: &mut Browser, path: &str| {
        let request = Request::new("GET", "").header("Cookie", &cookie);
        browser.send(&format!("http://shop.test{path}"), request)
    };
    assert_eq!(at_another_host(&mut browser, "/x").status, 200);
    assert_eq!(backend.last().header("x-user-id"), Some("alice"));
    // Only a cookie of the same domain takes the place of the other, and so ends it.
    let gone = at_another_host(&mut browser, "/oauth2/logout");
    let ended: Vec<_> = gone
        .headers
        .all("set-cookie")
        .filter(|line| line.starts_with("__Secure-sid="))
        .collect();
    assert_eq!(ended.len(), 1, "{gone:?}");
    assert!(
        ended[0].contains("Domain=test") && ended[0].contains("Max-Age=0"),
        "{ended:?}"
    );
    let sent = at_another_host(&mut browser, "/x");
    assert_eq!(
        sent.status, 401,
        "who logs out at one host has logged out at all: {sent:?}"
    );
}

/// Logs in; the status of the page and the consumer that the upstream is told of.
fn logged_in(
    gateway: &Gateway,
    provider: &LoginProvider,
    backend: &HttpBackend,
    who: &str,
) -> (u16, Option<String>) {
    let before = backend.count();
    let mut browser = browser(gateway);
    let (at, answer) = provider.log_in(&mut browser, &format!("{SITE}/x"), who);
    assert_eq!(at, format!("{SITE}/x"), "{answer:?}");
    assert_eq!(
        script(&mut browser, "/x").status,
        answer.status,
        "scripts are told the same"
    );
    if answer.status != 200 {
        assert_eq!(
            (answer.code().as_str(), backend.count()),
            ("forbidden", before),
            "{answer:?}"
        );
        assert!(
            !answer.headers.has("location"),
            "another login would end like this one"
        );
        return (answer.status, None);
    }
    (
        answer.status,
        backend.last().header("x-consumer").map(str::to_owned),
    )
}

#[test]
fn only_consumers_may_be_let_in() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let consumers = format!(
        r#"
consumers:
  staff: {{ credentials: {{ subjects: [ {{ issuer: "{}", subject: alice }} ] }} }}
  others: {{ credentials: {{ subjects: [ {{ issuer: "https://other.example", subject: bob }} ] }} }}
"#,
        provider.issuer()
    );
    for (require, of_bob) in [("true", (403, None)), ("false", (200, None))] {
        let settings = format!("require_consumer: {require}");
        let yaml = document(&provider, &backend, &[KEY], SHOP, &settings) + &consumers;
        let gateway = gateway(&yaml).start();
        let of_alice = logged_in(&gateway, &provider, &backend, "alice");
        assert_eq!(of_alice, (200, Some("staff".to_owned())), "{require}");
        let of_another_issuer = logged_in(&gateway, &provider, &backend, "bob");
        assert_eq!(of_another_issuer, of_bob, "{require}");
    }
}

#[test]
fn consumers_of_sessions_are_found_in_a_store() {
    let (provider, backend, redis) = (LoginProvider::start(), HttpBackend::start(), Redis::start());
    let record = json!({ "name": "acme", "credentials": {
        "subjects": [ { "issuer": provider.issuer(), "subject": "alice" } ],
    } });
    redis.ask(&["SET", "gatehouse:consumer:acme", &record.to_string()]);
    let subject = format!("{}\nalice", provider.issuer());
    let digest = digest::digest(&digest::SHA256, subject.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    redis.ask(&["SET", &format!("gatehouse:consumer-of:subject:{digest}"), "acme"]);
    let stores = format!(
        r#"
stores: {{ shared: {{ redis: {{ addresses: ["{}"], timeout: 5s, retry: 50ms }} }} }}
consumers_from: {{ redis: {{ store: shared, refresh: 20ms, missing: 20ms, credentials: [subjects] }} }}
"#,
        redis.address()
    );
    let yaml = document(&provider, &backend, &[KEY], SHOP, "require_consumer: true") + &stores;
    let gateway = gateway(&yaml).start();
    let of = |who: &str| logged_in(&gateway, &provider, &backend, who);
    assert_eq!(of("alice"), (200, Some("acme".to_owned())));
    assert_eq!(of("bob"), (403, None));
    // Who is taken out of the store is out, whatever session there is.
    let mut browser = browser(&gateway);
    provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
    assert_eq!(script(&mut browser, "/x").status, 200);
    redis.ask(&["DEL", "gatehouse:consumer:acme"]);
    until("the consumer to be gone", || {
        script(&mut browser, "/x").status == 403
    });
}
