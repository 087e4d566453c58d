//! Names and passwords: of consumers and of an htpasswd file, remembered, changed, and never too many at once.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Gateway, HttpBackend, Request, Response, client};

use crate::gateway;

/// bcrypt of `U*U`, and argon2id of `password`, both as cheap as can be.
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

/// `acme` and `jo` have `U*U`, as consumers; `ann` and `beta` have `password`, in the file.
fn start(backend: &HttpBackend, settings: &str, htpasswd: &str) -> Gateway {
    gateway(&format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
consumers:
  acme: {{ tier: gold, credentials: {{ passwords: [ {{ hash: "{BCRYPT}" }}, {{ username: jo, hash: "{BCRYPT}" }} ] }} }}
  beta: {{ tier: free }}
routes:
  all: {{ match: {{}}, policies: [ basic_auth: {{ htpasswd: users, {settings} }} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        backend.url()
    ))
    .file("users", htpasswd)
    .start()
}

fn ask(gateway: &Gateway, authorization: &str) -> Response {
    client::once(
        gateway.address(),
        &Request::get("/").header("Authorization", authorization),
    )
}

#[test]
fn passwords_say_who_calls_and_are_checked_slowly_only_once() {
    let backend = HttpBackend::start();
    let gateway = start(
        &backend,
        "",
        &format!("# people\nann:{ARGON2}\n\nbeta:{ARGON2}\n"),
    );
    for (authorization, user, consumer) in [
        ("Basic YWNtZTpVKlU=", "acme", Some("acme")),
        ("basic am86VSpV", "jo", Some("acme")),
        ("Basic YW5uOnBhc3N3b3Jk", "ann", None),
        ("Basic YmV0YTpwYXNzd29yZA", "beta", Some("beta")),
    ] {
        for _ in 0..2 {
            assert_eq!(ask(&gateway, authorization).status, 200, "{user}");
            let seen = backend.last();
            assert_eq!(
                (seen.header("x-user-id"), seen.header("x-consumer")),
                (Some(user), consumer)
            );
            assert_eq!(seen.header("authorization"), None);
        }
    }
    let wrong = [
        "Basic YWNtZTpVKlY=",     // acme:U*V
        "Basic bm9ib2R5OlUqVQ==", // nobody:U*U
        "Basic YWNtZQ==",         // acme
        "Basic ???",
        "Basic",
        "Basic YWNtZQpVKlU6VSpV", // a line end in it
    ];
    for authorization in wrong {
        let answer = ask(&gateway, authorization);
        assert_eq!(answer.status, 401, "{authorization}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Basic realm=\"api\", charset=\"UTF-8\""));
    }
    assert_eq!(backend.count(), 8);
    // Two have the same hash, which nobody else would have: what fits is known by it.
    for (result, wanted) in [("fits", 2.0), ("known", 6.0), ("wrong", 5.0), ("full", 0.0)] {
        gateway.wait_metric("gatehouse_basic_auth_checks_total", &[("result", result)], |n| {
            n == wanted
        });
    }
}

#[test]
fn a_password_that_was_changed_is_good_no_more_though_it_was_remembered() {
    let backend = HttpBackend::start();
    let gateway = start(&backend, "", &format!("ann:{ARGON2}\n"));
    assert_eq!(ask(&gateway, "Basic YW5uOnBhc3N3b3Jk").status, 200);
    let users = gateway.directory().join("users");
    gatehouse_testkit::temp::replace(&users, format!("ann:{BCRYPT}\n"));
    until("the new password to be in force", || {
        ask(&gateway, "Basic YW5uOlUqVQ==").status == 200
    });
    assert_eq!(ask(&gateway, "Basic YW5uOnBhc3N3b3Jk").status, 401);
}

#[test]
fn more_passwords_than_can_be_checked_are_refused_and_those_known_are_not() {
    let backend = HttpBackend::start();
    let gateway = start(&backend, "concurrency: 1, queue: 0", "");
    let known = || ask(&gateway, "Basic YWNtZTpVKlU=");
    until("a place", || known().status == 200);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                until("a refusal", || {
                    let answer = ask(&gateway, "Basic bm9ib2R5OlUqVQ==");
                    assert!([401, 503].contains(&answer.status), "{answer:?}");
                    let retry = answer.header("retry-after").is_some();
                    assert_eq!(retry, answer.status == 503, "{answer:?}");
                    assert_eq!(known().status, 200);
                    gateway
                        .metrics()
                        .sum("gatehouse_basic_auth_checks_total", &[("result", "full")])
                        > 0.0
                });
            });
        }
    });
}
