//! `external_auth`: another service decides, over HTTP.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::gateway::Builder;
use gatehouse_testkit::{Client, HttpBackend, Raw, Reply, Request, client};

use crate::gateway;

/// A gateway whose one policy asks `auth`, before it forwards to `api`.
fn asking(auth: &str, api: &HttpBackend, settings: &str) -> Builder {
    let config = "
listeners: { main: { address: \"127.0.0.1:0\" } }
routes:
  all: { match: { path: /api/** }, policies: [ { external_auth: { url: \"${auth}/check\", ${settings} } } ], forward: { upstream: api } }
  open: { match: { path: /open }, forward: { upstream: api } }
upstreams: { api: { endpoints: [\"${api}\"] } }
";
    let config = config.replace("${settings}", settings);
    gateway(&config).bind("auth", auth).bind("api", api.url())
}

fn get(path: &str, token: &str) -> Request {
    Request::new("GET", path).header("Authorization", token)
}

/// Lets `good` in and tells who that is; sends others away.
fn service() -> HttpBackend {
    HttpBackend::scripted(|call| {
        let token = call
            .request()
            .header("authorization")
            .unwrap_or_default()
            .to_owned();
        let reply = match token.as_str() {
            "good" => Reply::ok("fine")
                .header("X-User-Id", "ada")
                .header("X-Other", "1"),
            "login" => Reply::new(302)
                .header("Location", "https://login.example/")
                .body("go there"),
            "odd" => Reply::new(418),
            "broken" => Reply::new(500).body("stack trace"),
            _ => Reply::new(401)
                .header("WWW-Authenticate", "Bearer realm=\"x\"")
                .header("X-Secret", "1"),
        };
        call.reply(&reply)
    })
}

#[test]
fn the_service_decides_and_names_the_caller() {
    let (auth, api) = (service(), HttpBackend::start());
    let settings = "accept: [X-User-Id], subject: X-User-Id";
    let gateway = asking(&auth.url(), &api, settings).start();
    let to = gateway.address();

    let request = get("/api/orders?a=1", "good")
        .header("X-User-Id", "root")
        .header("X-Hidden", "1")
        .header("Cookie", "c=1");
    assert_eq!(client::once(to, &request).status, 200);
    let asked = auth.last();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/check"));
    assert_eq!(asked.header("authorization"), Some("good"));
    assert_eq!(asked.header("cookie"), Some("c=1"));
    assert_eq!(asked.header("x-hidden"), None);
    assert_eq!(asked.header("x-user-id"), None);
    assert_eq!(asked.header("x-forwarded-method"), Some("GET"));
    assert_eq!(asked.header("x-forwarded-uri"), Some("/api/orders?a=1"));
    assert_eq!(asked.header("x-forwarded-for"), Some("127.0.0.1"));
    let seen = api.last();
    assert_eq!(seen.header("x-user-id"), Some("ada"));
    assert_eq!(seen.header("x-other"), None);
    assert_eq!(gateway.access_log(1)[0]["consumer"], "ada");

    // What the service says of callers cannot be said by callers, also where nobody asks.
    let request = Request::new("GET", "/open").header("X-User-Id", "root");
    assert_eq!(client::once(to, &request).status, 200);
    assert_eq!(api.last().header("x-user-id"), None);

    let refused = client::once(to, &get("/api/orders", "bad"));
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"x\""));
    assert_eq!(refused.header("x-secret"), None);
    assert_eq!(client::once(to, &get("/api/orders", "odd")).status, 403);
    assert_eq!(client::once(to, &get("/api/orders", "login")).status, 403);
    assert_eq!(api.count(), 2);
}

#[test]
fn its_own_answer_reaches_the_client_if_it_may() {
    let (auth, api) = (service(), HttpBackend::start());
    let gateway = asking(&auth.url(), &api, "relay: true").start();
    let answer = client::once(gateway.address(), &get("/api/", "login"));
    assert_eq!((answer.status, answer.text().as_str()), (302, "go there"));
    assert_eq!(answer.header("location"), Some("https://login.example/"));
    assert_eq!(
        client::once(gateway.address(), &get("/api/", "bad")).header("x-secret"),
        None
    );
    assert_eq!(api.count(), 0);
}

#[test]
fn a_service_that_fails_closes_the_door_unless_told_otherwise() {
    let api = HttpBackend::start();
    let (auth, silent) = (service(), TcpBackend::silent());
    let gone = {
        let gone = HttpBackend::start();
        gone.url()
    };
    for (url, token) in [(auth.url(), "broken"), (silent.url(), "good"), (gone, "good")] {
        let closed = asking(&url, &api, "timeout: 200ms").start();
        let answer = client::once(closed.address(), &get("/api/", token));
        assert_eq!(answer.status, 500, "{url}");
        assert!(answer.text().contains("policy_failed"), "{}", answer.text());
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
        let open = asking(&url, &api, "timeout: 200ms, on_failure: open").start();
        assert_eq!(
            client::once(open.address(), &get("/api/", token)).status,
            200,
            "{url}"
        );
        let labels = [("outcome", "failed_open")];
        assert_eq!(open.metrics().sum("gatehouse_external_auth_total", &labels), 1.0);
    }
    assert_eq!(api.count(), 3);
}

#[test]
fn answers_are_remembered_by_their_key() {
    let (auth, api) = (service(), HttpBackend::start());
    let cache = "accept: [X-User-Id], cache: { key: \"$${request.header.Authorization}\", ttl: 1h }";
    let gateway = asking(&auth.url(), &api, &cache.replace("$$", "$")).start();
    let mut client = Client::connect(gateway.address());
    for token in ["good", "bad", "good", "bad", "good"] {
        let status = if token == "good" { 200 } else { 401 };
        assert_eq!(client.send(&get("/api/", token)).status, status, "{token}");
    }
    assert_eq!(auth.count(), 2);
    assert_eq!(api.last().header("x-user-id"), Some("ada"));
    // Without a key the service is always asked; and failures are not remembered.
    for _ in 0..2 {
        assert_eq!(client.send(&Request::new("GET", "/api/")).status, 401);
        assert_eq!(client.send(&get("/api/", "broken")).status, 500);
    }
    assert_eq!(auth.count(), 6);
}

#[test]
fn the_body_goes_along_and_on() {
    let (auth, api) = (service(), HttpBackend::start());
    let gateway = asking(&auth.url(), &api, "body: 10").start();
    let mut client = Client::connect(gateway.address());
    let post = |body: &str| {
        Request::new("POST", "/api/")
            .header("Authorization", "good")
            .body(body)
    };
    assert_eq!(client.send(&post("0123456789")).status, 200);
    assert_eq!(
        (auth.last().method.as_str(), auth.last().text().as_str()),
        ("POST", "0123456789")
    );
    assert_eq!(api.last().text(), "0123456789");
    let chunked = Request::new("POST", "/api/")
        .header("Authorization", "good")
        .chunked(&[b"01234", b"56789"]);
    assert_eq!(client.send(&chunked).status, 200);
    assert_eq!(api.last().text(), "0123456789");
    let refused = client::once(gateway.address(), &post("0123456789a"));
    assert_eq!(refused.status, 413);
    assert!(
        refused.text().contains("external_auth.body"),
        "{}",
        refused.text()
    );
    // One that does not send its body is not waited for without end.
    let mut slow = Raw::connect(gateway.address());
    slow.send("POST /api/ HTTP/1.1\r\nHost: a\r\nAuthorization: good\r\nContent-Length: 10\r\n\r\n01234");
    drop(slow);
    gateway.wait_metric("gatehouse_requests_in_flight", &[], |n| n == 0.0);
    assert_eq!(api.count(), 2);
}

/// Looks at the last of several fields, as many servers do, and at the body.
fn tenants() -> HttpBackend {
    HttpBackend::scripted(|call| {
        let _ = call.read_body();
        let request = call.request();
        let tenant = request
            .headers
            .all("x-tenant")
            .last()
            .unwrap_or_default()
            .to_owned();
        let reply = match (tenant.as_str(), request.text().contains("evil")) {
            ("mine", false) => Reply::ok("fine")
                .header("X-User-Id", "ada")
                .header("X-Role", "a")
                .header("X-Role", "b"),
            _ => Reply::new(403).header("Set-Cookie", "login=1"),
        };
        call.reply(&reply)
    })
}

/// What the service looked at must be what the answer is remembered by.
#[test]
fn an_answer_is_not_remembered_for_another_request() {
    let (auth, api) = (tenants(), HttpBackend::start());
    let cache = "send: [X-Tenant, X-Forwarded-For], accept: [X-Role], body: 100, cache: { key: \"${request.header.X-Tenant}\", ttl: 1h }";
    let gateway = asking(&auth.url(), &api, cache).start();
    let to = gateway.address();
    let ask = |tenants: &[&str], body: &str| {
        let request = Request::new("POST", "/api/").body(body);
        let request = tenants
            .iter()
            .fold(request, |request, tenant| request.header("X-Tenant", tenant));
        client::once(to, &request).status
    };
    // The first of two is not the one that was judged.
    assert_eq!(ask(&["theirs", "mine"], ""), 200);
    assert_eq!(ask(&["theirs"], ""), 403);
    // Nor is one body another.
    assert_eq!((ask(&["mine"], "good"), ask(&["mine"], "evil")), (200, 403));
    assert_eq!(api.last().headers.all("x-role").collect::<Vec<_>>(), ["a", "b"]);
    let asked = auth.count();
    assert_eq!((ask(&["mine"], "good"), auth.count()), (200, asked));
    // Nor is one that sets a cookie for everybody.
    assert_eq!((ask(&["theirs"], ""), auth.count()), (403, asked + 1));
    // Who calls is what the gateway says, though the field is sent along.
    let request = Request::new("GET", "/api/")
        .header("X-Tenant", "mine")
        .header("X-Forwarded-For", "6.6.6.6");
    assert_eq!(client::once(to, &request).status, 200);
    assert_eq!(
        auth.last().headers.all("x-forwarded-for").collect::<Vec<_>>(),
        ["127.0.0.1"]
    );
}

/// Two values cannot look like two others.
#[test]
fn the_parts_of_a_key_do_not_run_together() {
    let (auth, api) = (tenants(), HttpBackend::start());
    let cache =
        "send: [X-Tenant], cache: { key: \"${request.header.X-A}${request.header.X-Tenant}\", ttl: 1h }";
    let gateway = asking(&auth.url(), &api, cache).start();
    let ask = |a: &str, tenant: &str| {
        let request = Request::new("GET", "/api/")
            .header("X-A", a)
            .header("X-Tenant", tenant);
        client::once(gateway.address(), &request).status
    };
    assert_eq!((ask("1", "mine"), ask("1m", "ine")), (200, 403));
}

#[test]
fn what_is_asked_or_read_differently_makes_old_answers_worthless() {
    let (auth, api) = (service(), HttpBackend::start());
    let config = |more: &str| {
        format!(
            r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes: {{ all: {{ match: {{ path: /** }}, policies: [ {{ external_auth: {{ url: "{}", accept: [X-User-Id], cache: {{ key: "${{request.header.Authorization}}", ttl: 1h }}, {more} }} }} ], forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
            auth.url(),
            api.url()
        )
    };
    let gateway = gateway(&config("")).start();
    assert_eq!(client::once(gateway.address(), &get("/", "good")).status, 200);
    gateway.reload(&config("subject: X-User-Id"));
    assert_eq!(client::once(gateway.address(), &get("/", "good")).status, 200);
    let lines = gateway.access_log(2);
    assert!(lines.iter().any(|line| line["consumer"] == "ada"), "{lines:?}");
}
