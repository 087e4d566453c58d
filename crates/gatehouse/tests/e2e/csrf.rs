//! `csrf` with tokens: what pages show twice, in any gateway with the same secret, and what forged requests cannot.

use gatehouse_testkit::{Client, HttpBackend, Request, Response, client};

use crate::gateway;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn config(backend: &HttpBackend, token: &str) -> String {
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes:
  all:
    match: {{}}
    policies: [ {{ csrf: {{ origins: ["https://app.example.com"], token: {{ secret: {SECRET}, {token} }} }} }} ]
    forward: {{ upstream: api }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        backend.url()
    )
}

/// The token of an answer.
fn token(answer: &Response) -> String {
    let cookie = answer.header("set-cookie").expect("a cookie");
    let (token, attributes) = cookie
        .strip_prefix("csrf_token=")
        .unwrap()
        .split_once("; ")
        .unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=43200; SameSite=Lax");
    token.to_owned()
}

fn post(cookie: &str) -> Request {
    Request::post("/", "a=1").header("Cookie", cookie)
}

#[test]
fn a_request_shows_its_token_twice() {
    let backend = HttpBackend::start();
    let gateways = [(); 2].map(|()| gateway(&config(&backend, "")).start());
    let mut client = Client::connect(gateways[0].address());
    let page = client.get("/");
    let good = token(&page);
    let cookie = format!("x=y; csrf_token={good}");
    // It is set once, and is good at every gateway.
    let again = client.send(&Request::get("/").header("Cookie", &cookie));
    assert_eq!((again.status, again.header("set-cookie")), (200, None));
    for gateway in &gateways {
        let request = post(&cookie).header("X-CSRF-Token", &good);
        assert_eq!(client::once(gateway.address(), &request).status, 200);
    }
    let other = token(&client::get(gateways[1].address(), "/"));
    let seen = backend.count();
    let forged = [
        Request::post("/", "a=1"),
        post(&cookie),
        Request::post("/", "a=1").header("X-CSRF-Token", &good),
        post(&cookie).header("X-CSRF-Token", &other),
        post("csrf_token=").header("X-CSRF-Token", ""),
        post("csrf_token=planted").header("X-CSRF-Token", "planted"),
        // Which of two cookies somebody planted nobody knows.
        post(&format!("csrf_token={other}; {cookie}")).header("X-CSRF-Token", &good),
        post(&cookie)
            .header("X-CSRF-Token", &good)
            .header("X-CSRF-Token", &good),
        // A good token does not excuse another origin.
        post(&cookie)
            .header("X-CSRF-Token", &good)
            .header("Sec-Fetch-Site", "cross-site"),
        Request::post("/", format!("csrf={good}")).header("Cookie", &cookie),
    ];
    for request in &forged {
        let answer = client.send(request);
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    }
    assert_eq!(backend.count(), seen);
    // A page that was said to be trusted cannot read the cookie.
    let listed = Request::post("/", "a=1").header("Origin", "https://app.example.com");
    assert_eq!(client.send(&listed).status, 200);
}

#[test]
fn a_form_may_have_the_token() {
    let backend = HttpBackend::start();
    let gateway = gateway(&config(&backend, "field: csrf, max_form: 200")).start();
    let good = token(&client::get(gateway.address(), "/"));
    let cookie = format!("csrf_token={good}");
    let send = |kind: &str, body: String| {
        let request = Request::post("/", body).header("Cookie", &cookie);
        client::once(gateway.address(), &request.header("Content-Type", kind)).status
    };
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    assert_eq!(send(form, format!("a=1&csrf={good}&b=2")), 200);
    assert_eq!(backend.last().text(), format!("a=1&csrf={good}&b=2"));
    assert_eq!(send(form, "a=1".to_owned()), 403);
    assert_eq!(send(form, format!("csrf={good}&csrf={good}")), 403);
    assert_eq!(send(form, format!("csrf={good}&a={}", "x".repeat(200))), 413);
    assert_eq!(send("text/plain", format!("csrf={good}")), 403);
}

#[test]
fn a_token_is_good_for_its_session_only() {
    let backend = HttpBackend::start();
    let gateway = gateway(&config(&backend, "bind: \"${request.cookie.session}\"")).start();
    let mut client = Client::connect(gateway.address());
    let page = client.send(&Request::get("/").header("Cookie", "session=alice"));
    let alices = token(&page);
    let mut send = |session: &str| {
        let request = post(&format!("session={session}; csrf_token={alices}"));
        client.send(&request.header("X-CSRF-Token", &alices)).status
    };
    assert_eq!(send("alice"), 200);
    assert_eq!(send("mallory"), 403);
    // Whoever logs in gets another.
    let cookie = format!("session=bob; csrf_token={alices}");
    let page = client.send(&Request::get("/").header("Cookie", &cookie));
    assert_ne!(token(&page), alices);
}

#[test]
fn a_token_may_be_bound_to_a_cookie_that_is_not_passed_on() {
    let backend = HttpBackend::start();
    let config = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
consumers: {{ alice: {{ credentials: {{ keys: [ {{ id: one, sha256: 7a391d304792b2aa2a93eea82dae24dc163626ee2482d22d203b107cc6c88af4 }} ] }} }} }}
routes:
  all:
    match: {{}}
    policies:
      - key_auth: {{ headers: [], cookies: [session] }}
      - csrf: {{ token: {{ secret: {SECRET}, bind: "${{request.cookie.session}}" }} }}
    forward: {{ upstream: api }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        backend.url()
    );
    let gateway = gateway(&config).start();
    let mut client = Client::connect(gateway.address());
    let session = "session=alices-session-0123456789";
    let page = client.send(&Request::get("/").header("Cookie", session));
    assert_eq!(
        (page.status, page.header("cache-control")),
        (200, Some("no-store"))
    );
    let good = token(&page);
    let request = post(&format!("{session}; csrf_token={good}")).header("X-CSRF-Token", &good);
    assert_eq!(client.send(&request).status, 200);
    assert_eq!(
        backend.last().header("cookie"),
        Some(format!("csrf_token={good}").as_str())
    );
}
