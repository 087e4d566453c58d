//! Logins in the browser, at a real provider.

mod attacks;
mod callers;
mod life;
mod provider;

use gatehouse_testkit::{Browser, Gateway, HttpBackend, LoginProvider, Request, Response};
use serde_json::json;

use crate::gateway;

const SITE: &str = "http://gateway.test";
const KEY: &str = "a key of the tests, 32 bytes long";

/// A document whose routes but `/bye` and `/open/**` need a login.
fn document(
    provider: &LoginProvider,
    backend: &HttpBackend,
    keys: &[&str],
    client: &str,
    settings: &str,
) -> String {
    let keys = json!(keys);
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes:
  bye: {{ match: {{ path: /bye }}, reply: {{ body: bye }} }}
  open: {{ match: {{ path: /open/** }}, forward: {{ upstream: api }} }}
  app:
    match: {{ path: /** }}
    policies:
      - oidc:
          issuer: "{}"
          session: {{ keys: {keys} }}
          logout: {{ after: /bye }}
          {client}
          {settings}
    forward: {{ upstream: api }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        provider.issuer(),
        backend.url()
    )
}

const SHOP: &str = "client_id: shop\n          client_secret: \"s:cret\"";

fn guarded(provider: &LoginProvider, backend: &HttpBackend, settings: &str) -> Gateway {
    gateway(&document(provider, backend, &[KEY], SHOP, settings)).start()
}

fn browser(gateway: &Gateway) -> Browser {
    Browser::new().knows("gateway.test", gateway.address())
}

/// What a script would send.
fn script(browser: &mut Browser, path: &str) -> Response {
    let request = Request::new("GET", "").header("Accept", "application/json");
    browser.send(&format!("{SITE}{path}"), request)
}

/// The value of a parameter of a URL, as written.
fn parameter<'u>(url: &'u str, name: &str) -> &'u str {
    let query = url.split('?').nth(1).unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(found, _)| *found == name)
        .map_or("", |(_, value)| value)
}

#[test]
fn a_browser_logs_in_and_comes_back_to_the_page_it_asked_for() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(
        &provider,
        &backend,
        "forward: { X-User-Id: \"${identity.subject}\", X-User-Email: \"${claims.email}\" }",
    );
    let mut browser = browser(&gateway);
    let page = format!("{SITE}/orders/7?a=b&c=%2F");

    let sent = browser.get(&page);
    assert_eq!(sent.status, 302, "{sent:?}");
    assert_eq!(sent.header("cache-control"), Some("no-store"));
    let to = sent.header("location").unwrap();
    assert!(to.starts_with(&format!("{}/auth?", provider.issuer())), "{to}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "shop"),
        ("redirect_uri", "http%3A%2F%2Fgateway.test%2Foauth2%2Fcallback"),
        ("scope", "openid+profile+email"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(to, name), value, "{to}");
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert!(parameter(to, name).len() >= 32, "{to}");
    }
    assert_eq!(backend.count(), 0);

    let (at, response) = provider.log_in(&mut browser, &page, "alice");
    assert_eq!(
        (at.as_str(), response.status),
        (page.as_str(), 200),
        "{response:?}"
    );
    let seen = backend.last();
    assert_eq!(seen.path(), "/orders/7");
    assert_eq!(seen.header("x-user-id"), Some("alice"));
    assert_eq!(seen.header("x-user-email"), Some("alice@example.com"));
    assert!(
        !seen.headers.has("cookie"),
        "the upstream has no use for it: {seen:?}"
    );
    let session = browser.cookies_of("gateway.test", "__Host-gatehouse_session");
    let session: Vec<_> = session
        .into_iter()
        .filter(|one| !one.name.contains(".l."))
        .collect();
    assert_eq!(session.len(), 1, "{session:?}");
    for attribute in ["path=/", "httponly", "secure", "samesite=lax"] {
        assert!(
            session[0].attributes.iter().any(|one| one == attribute),
            "{session:?}"
        );
    }
    for secret in ["alice", "eyJ"] {
        assert!(!session[0].value.contains(secret), "it is encrypted");
    }

    // From then on nobody is asked, whoever sends the cookie along, and cookies of others go through.
    let request = Request::new("GET", "")
        .header("Accept", "*/*")
        .header("Cookie", "theme=dark");
    assert_eq!(browser.send(&format!("{SITE}/x"), request).status, 200);
    assert_eq!(
        backend.last().headers.all("cookie").collect::<Vec<_>>(),
        ["theme=dark"]
    );
    assert_eq!(script(&mut browser, "/x").status, 200);
    assert_eq!(provider.counts()["code"], 1);
    let metrics = gateway.metrics();
    let count = |name: &str, result: &str| metrics.sum(name, &[("result", result)]);
    assert!(count("gatehouse_oidc_logins_total", "begun") >= 2.0);
    assert!(count("gatehouse_oidc_logins_total", "done") >= 1.0);
    assert!(count("gatehouse_oidc_sessions_total", "known") >= 1.0);
}

#[test]
fn only_browsers_that_ask_for_a_page_are_sent_to_the_login() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let gateway = guarded(&provider, &backend, "");
    let page = || Request::new("GET", "").header("Accept", "text/html,application/xml;q=0.9");
    let with = |name: &str, value: &str| page().header(name, value);
    let method = |name: &str| {
        let mut request = page();
        name.clone_into(&mut request.method);
        request
    };
    for (request, status) in [
        (page(), 302),
        (method("HEAD"), 302),
        (with("Sec-Fetch-Mode", "navigate"), 302),
        (with("Sec-Fetch-Mode", "cors"), 401),
        (with("X-Requested-With", "XMLHttpRequest"), 401),
        (with("Sec-Purpose", "prefetch"), 401),
        (method("POST"), 401),
        (method("DELETE"), 401),
        (Request::new("GET", ""), 401),
        (Request::new("GET", "").header("Accept", "*/*"), 401),
        (Request::new("GET", "").header("Accept", "application/json"), 401),
    ] {
        let response = browser(&gateway).send(&format!("{SITE}/x"), request.clone());
        assert_eq!(response.status, status, "{request:?}: {response:?}");
        if status == 401 && request.method != "HEAD" {
            assert_eq!(response.code(), "unauthenticated");
            assert!(!response.headers.has("set-cookie") && !response.headers.has("location"));
        }
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn programs_use_keys_where_browsers_log_in() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
consumers: {{ robot: {{ credentials: {{ keys: [ {{ id: one, sha256: f6bf68c2c3dc6363fa532b42d824c34b880ca1447c42ea0ebdcd07a683db1186 }} ] }} }} }}
routes:
  app:
    match: {{ path: /** }}
    policies:
      - authenticate:
          any:
            - key_auth: {{}}
            - oidc:
                issuer: "{}"
                client_id: public
                session: {{ keys: ["{KEY}"] }}
    forward: {{ upstream: api }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        provider.issuer(),
        backend.url()
    );
    let gateway = gateway(&yaml).start();
    let mut browser = browser(&gateway);
    let request = Request::new("GET", "").header("X-API-Key", "plain-old-key");
    assert_eq!(browser.send(&format!("{SITE}/x"), request).status, 200);
    assert_eq!(backend.last().header("x-consumer"), Some("robot"));
    let (_, response) = provider.log_in(&mut browser, &format!("{SITE}/x"), "alice");
    assert_eq!(response.status, 200);
    assert_eq!(backend.last().header("x-user-id"), Some("alice"));
    assert!(!backend.last().headers.has("cookie"));
    let refused = script(&mut self::browser(&gateway), "/x");
    assert_eq!(refused.status, 401);
    let wrong = Request::new("GET", "")
        .header("X-API-Key", "wrong")
        .header("Accept", "text/html");
    let wrong = self::browser(&gateway).send(&format!("{SITE}/x"), wrong);
    assert_eq!(wrong.status, 401, "a wrong key is no reason to log in");
}

#[test]
fn an_anonymous_consumer_stands_in_until_somebody_follows_the_link() {
    let (provider, backend) = (LoginProvider::start(), HttpBackend::start());
    let settings =
        "anonymous: guest\n          login: { path: /login }\n          forward_access_token: Authorization";
    let yaml = document(&provider, &backend, &[KEY], SHOP, settings) + "consumers: { guest: {} }\n";
    let gateway = gateway(&yaml).start();
    let mut browser = browser(&gateway);
    let request = Request::new("GET", "")
        .header("Accept", "text/html")
        .header("Authorization", "Bearer forged");
    assert_eq!(browser.send(&format!("{SITE}/x"), request.clone()).status, 200);
    assert_eq!(backend.last().header("x-consumer"), Some("guest"));
    assert!(!backend.last().headers.has("authorization"));
    let (at, response) = provider.log_in(
        &mut browser,
        &format!("{SITE}/login?return_to=/cart%3Fa%3Db"),
        "alice",
    );
    assert_eq!((at, response.status), (format!("{SITE}/cart?a=b"), 200));
    assert_eq!(backend.last().header("x-user-id"), Some("alice"));
    assert_eq!(browser.send(&format!("{SITE}/x"), request).status, 200);
    let token = provider.counts()["lastToken"].as_str().unwrap().to_owned();
    assert_eq!(
        backend.last().headers.all("authorization").collect::<Vec<_>>(),
        [format!("Bearer {token}")]
    );
}
