//! Tokens that only their issuer understands: it is asked, seldom, and nobody is let in without an answer.

use std::thread;

use gatehouse_testkit::{Gate, Gateway, HttpBackend, Reply, Request, Response, client};
use serde_json::{Value, json};

use crate::gateway;

fn guarded(backend: &HttpBackend, server: &HttpBackend, settings: &str) -> Gateway {
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
consumers: {{ shop: {{ credentials: {{ subjects: [ {{ subject: alice }} ] }} }} }}
routes:
  api:
    match: {{ path: /** }}
    policies:
      - introspection:
          url: "{}/introspect"
          client_id: "gate house"
          client_secret: "s:cret"
          {settings}
    forward: {{ upstream: api }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        server.url(),
        backend.url()
    );
    gateway(&yaml).start()
}

fn get(gateway: &Gateway, token: &str) -> Response {
    let request = Request::get("/x").header("Authorization", &format!("Bearer {token}"));
    client::once(gateway.address(), &request)
}

fn says(answer: &Value) -> Reply {
    Reply::ok(answer.to_string()).header("Content-Type", "application/json")
}

fn active() -> Value {
    json!({ "active": true, "sub": "alice", "scope": "a b", "client_id": "app", "exp": 4_102_444_800_u64 })
}

#[test]
fn the_server_is_asked_once_for_a_token_and_the_upstream_learns_whose_it_is() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    server.on("/introspect", says(&active()));
    let gateway = guarded(&backend, &server, "positive: 1h");
    for _ in 0..3 {
        assert_eq!(get(&gateway, "opaque+/=~").status, 200);
        let seen = backend.last();
        assert_eq!(seen.header("x-user-id"), Some("alice"));
        assert_eq!(seen.header("x-scopes"), Some("a,b"));
        assert_eq!(seen.header("x-consumer"), Some("shop"));
    }
    assert_eq!(server.count(), 1);
    let question = server.last();
    assert_eq!(question.method, "POST");
    assert_eq!(
        question.text(),
        "token=opaque%2B%2F%3D%7E&token_type_hint=access_token"
    );
    // `gate+house:s%3Acret`, as RFC 6749 2.3.1 wants them encoded.
    assert_eq!(
        question.header("authorization"),
        Some("Basic Z2F0ZStob3VzZTpzJTNBY3JldA==")
    );
    assert_eq!(get(&gateway, "another").status, 200);
    assert_eq!(server.count(), 2);
}

#[test]
fn the_client_may_say_who_it_is_in_the_body() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    server.on("/introspect", says(&active()));
    let gateway = guarded(&backend, &server, "client_auth: post");
    assert_eq!(get(&gateway, "t").status, 200);
    let question = server.last();
    assert_eq!(
        question.text(),
        "token=t&token_type_hint=access_token&client_id=gate+house&client_secret=s%3Acret"
    );
    assert!(!question.headers.has("authorization"));
}

#[test]
fn what_is_not_active_is_refused_and_that_is_remembered() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    server.on("/introspect", says(&json!({ "active": false })));
    let gateway = guarded(&backend, &server, "negative: 1h");
    for _ in 0..3 {
        let response = get(&gateway, "t");
        assert_eq!(
            (response.status, &response.json()["detail"]),
            (401, &json!("Invalid token"))
        );
        assert_eq!(
            response.header("www-authenticate"),
            Some("Bearer realm=\"api\", error=\"invalid_token\", error_description=\"Invalid token\"")
        );
    }
    assert_eq!(server.count(), 1);
    assert_eq!(
        client::get(gateway.address(), "/x").json()["detail"],
        "Authentication required"
    );
    assert_eq!((server.count(), backend.count()), (1, 0));
}

#[test]
fn what_is_demanded_is_held_against_the_answer() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    let gateway = guarded(
        &backend,
        &server,
        "scopes: [a]\n          audiences: [orders]\n          negative: 0s",
    );
    for (changes, status, detail) in [
        (json!({}), 200, ""),
        (json!({ "aud": ["x"] }), 401, "Invalid token"),
        (json!({ "exp": 1_000_000_000 }), 401, "Token expired"),
        (json!({ "nbf": 4_102_444_000_u64 }), 401, "Invalid token"),
        (
            json!({ "scope": "b" }),
            403,
            "the token does not have the scopes that are needed",
        ),
    ] {
        let mut answer = active();
        answer["aud"] = json!("orders");
        answer
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        server.on("/introspect", says(&answer));
        let response = get(&gateway, &format!("t{changes}").replace(['"', ' '], "_"));
        assert_eq!(response.status, status, "{changes}: {response:?}");
        if status != 200 {
            assert_eq!(response.json()["detail"], detail, "{changes}");
        }
    }
}

#[test]
fn an_answer_does_not_outlive_its_token() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    let mut answer = active();
    // Good for as long as the leeway, but no longer.
    answer["exp"] = json!(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            + 1
    );
    server.on("/introspect", says(&answer));
    let gateway = guarded(&backend, &server, "positive: 1h\n          leeway: 0s");
    assert!([200, 401].contains(&get(&gateway, "t").status));
    gatehouse_testkit::wait::until("the token to expire", || get(&gateway, "t").status == 401);
    assert_eq!(get(&gateway, "t").json()["detail"], "Token expired");
}

#[test]
fn many_requests_with_one_token_wait_for_one_question() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    let gate = Gate::new();
    let held = gate.clone();
    // Nothing is remembered: only what is under way is shared, and only by the same token.
    let gateway = guarded(&backend, &server, "cache: 0");
    server.script("/introspect", move |call| {
        call.read_body()?;
        let is_mine = call.request().text().contains("token=mine&");
        held.wait();
        call.reply(&says(&if is_mine {
            active()
        } else {
            json!({ "active": false })
        }))
    });
    thread::scope(|scope| {
        let ask = |token: &'static str| {
            scope.spawn({
                let gateway = &gateway;
                move || get(gateway, token).status
            })
        };
        let mine: Vec<_> = (0..6).map(|_| ask("mine")).collect();
        let other = ask("other");
        server.wait_complete(2);
        gate.open();
        for request in mine {
            assert_eq!(request.join().unwrap(), 200);
        }
        assert_eq!(other.join().unwrap(), 401);
    });
    assert!(server.count() <= 7, "{}", server.count());
}

#[test]
fn without_an_answer_nobody_is_let_in() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    let gateway = guarded(&backend, &server, "timeout: 200ms");
    for (name, bad) in [
        ("a", Reply::new(500)),
        ("b", Reply::new(401)),
        ("c", Reply::ok("yes")),
        ("d", says(&json!({ "active": "true" }))),
        ("e", says(&json!({}))),
        ("f", Reply::ok(" ".repeat(600_000))),
        ("g", Reply::new(302).header("Location", "/other")),
        ("h", Reply::ok("").then_hang().claim_length(10)),
    ] {
        server.on("/introspect", bad);
        let response = get(&gateway, name);
        assert_eq!(
            (response.status, response.code().as_str()),
            (503, "auth_unavailable"),
            "{name}: {response:?}"
        );
        assert!(!response.text().contains("127.0.0.1"), "{}", response.text());
    }
    gateway.wait_log("a token could not be asked about");
    assert_eq!(backend.count(), 0);
    // It is asked again as soon as it can answer.
    server.on("/introspect", says(&active()));
    assert_eq!(get(&gateway, "a").status, 200);
    gateway.wait_metric(
        "gatehouse_introspection_tokens_total",
        &[("result", "unavailable")],
        |n| n >= 8.0,
    );
}

#[test]
fn only_so_many_questions_are_under_way() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    let gate = Gate::new();
    let held = gate.clone();
    server.script("/introspect", move |call| {
        held.wait();
        call.reply(&says(&active()))
    });
    let gateway = guarded(&backend, &server, "concurrency: 1");
    thread::scope(|scope| {
        let first = scope.spawn(|| get(&gateway, "first").status);
        server.wait_requests(1);
        assert_eq!(get(&gateway, "second").status, 503);
        gate.open();
        assert_eq!(first.join().unwrap(), 200);
    });
}

/// What was not looked at must not be taken for what was.
#[test]
fn a_token_beside_the_one_that_is_good_does_not_reach_the_upstream() {
    let (backend, server) = (HttpBackend::start(), HttpBackend::start());
    server.on("/introspect", says(&active()));
    let settings = "token: { header: Authorization, cookie: token, query: token }";
    let gateway = guarded(&backend, &server, settings);
    let request = Request::get("/x?token=forged&a=1")
        .header("Authorization", "Bearer good")
        .header("Cookie", "a=1; token=forged");
    assert_eq!(client::once(gateway.address(), &request).status, 200);
    let seen = backend.last();
    assert_eq!(
        (seen.target.as_str(), seen.header("cookie")),
        ("/x?a=1", Some("a=1"))
    );
    assert_eq!(seen.header("authorization"), Some("Bearer good"));
    let request = Request::get("/x?token=forged").header("Cookie", "token=good");
    assert_eq!(client::once(gateway.address(), &request).status, 200);
    let seen = backend.last();
    assert_eq!(
        (seen.target.as_str(), seen.header("cookie")),
        ("/x", Some("token=good"))
    );
}
