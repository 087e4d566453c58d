//! Signed tokens: who gets in, what the upstream learns, and what those learn who do not get in.

mod attacks;
mod keys;
pub(crate) mod tokens;

use gatehouse_testkit::{Client, Gateway, HttpBackend, Request, Response, client};
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::gateway;
use tokens::{SECRET, Signer, claims, signed};

/// A gateway whose `/api/**` wants a token by this issuer, with these settings besides; `/open` wants none.
fn guarded(backend: &HttpBackend, issuer: &str, settings: &str, sections: &str) -> Gateway {
    gateway(&document(backend, issuer, settings, sections)).start()
}

fn document(backend: &HttpBackend, issuer: &str, settings: &str, sections: &str) -> String {
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes:
  api:
    match: {{ path: /api/** }}
    policies:
      - jwt:
          issuers:
            - issuer: https://issuer.test
              audiences: [orders]
              {issuer}
          {settings}
    forward: {{ upstream: api }}
  open: {{ match: {{ path: /open }}, forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
{sections}
"#,
        backend.url()
    )
}

fn by_secret() -> String {
    format!("keys: [ {{ secret: \"{SECRET}\" }} ]")
}

fn get(gateway: &Gateway, token: &str) -> Response {
    client::once(
        gateway.address(),
        &Request::get("/api/x").header("Authorization", &format!("Bearer {token}")),
    )
}

/// The request got this status, this detail and this challenge.
#[track_caller]
fn refused(response: &Response, status: u16, detail: &str, challenge: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.json()["detail"], detail, "{response:?}");
    assert_eq!(
        response.header("www-authenticate"),
        Some(challenge),
        "{response:?}"
    );
}

const INVALID: &str = "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"Invalid token\"";

#[test]
fn a_good_token_is_let_in_and_the_upstream_learns_whose_it_is() {
    let backend = HttpBackend::start();
    let forward = "forward: { X-User-Id: \"${identity.subject}\", X-Scopes: \"${identity.scopes}\", x-user-role: \"${claims.role}\", x-user-email: \"${claims.email}\" }";
    let gateway = guarded(&backend, &by_secret(), forward, "");
    let token = signed(&claims(&json!({})));
    for _ in 0..3 {
        assert_eq!(get(&gateway, &token).status, 200);
        let seen = backend.last();
        for (name, value) in [
            ("x-user-id", "alice"),
            ("x-scopes", "read:users,write:users"),
            ("x-user-role", "admin"),
            ("x-user-email", "alice@example.com"),
        ] {
            assert_eq!(seen.headers.all(name).collect::<Vec<_>>(), [value], "{name}");
        }
        assert_eq!(
            seen.header("authorization"),
            Some(format!("Bearer {token}").as_str())
        );
    }
    // The signature was verified once.
    let count = |result| {
        gateway
            .metrics()
            .sum("gatehouse_jwt_tokens_total", &[("result", result)])
    };
    assert_eq!(
        (count("verified"), count("known"), count("refused")),
        (1.0, 2.0, 0.0)
    );
    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (line["api_key"].as_str(), line["consumer"].as_str()),
        (Some("t-1"), Some("alice")),
        "{line}"
    );
}

#[test]
fn who_is_refused_learns_what_to_do_and_the_log_why() {
    let backend = HttpBackend::start();
    let gateway = guarded(&backend, &by_secret(), "", "process: { log: { level: debug } }");
    let mut kept = Client::connect(gateway.address());
    refused(
        &kept.get("/api/x"),
        401,
        "Authentication required",
        "Bearer realm=\"api\"",
    );
    let basic = Request::get("/api/x").header("Authorization", "Basic YTpi");
    refused(
        &kept.send(&basic),
        401,
        "Authentication required",
        "Bearer realm=\"api\"",
    );
    refused(
        &get(&gateway, &signed(&claims(&json!({ "exp": 1_000_000_000 })))),
        401,
        "Token expired",
        "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"Token expired\"",
    );
    let response = get(&gateway, &signed(&claims(&json!({ "aud": "invoices" }))));
    refused(&response, 401, "Invalid token", INVALID);
    assert!(!response.text().contains("aud"), "{}", response.text());
    gateway.wait_log("it is for somebody else (`aud`)");
    assert_eq!(backend.count(), 0);
}

#[test]
fn every_sort_of_key_verifies() {
    let backend = HttpBackend::start();
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let signer = Signer::new("k1", algorithm);
        let built = gateway(&document(
            &backend,
            "keys: [ { id: k1, pem: { file: key.pem } } ]",
            "",
            "",
        ));
        let gateway = built.file("key.pem", &signer.public_pem()).start();
        assert_eq!(
            get(&gateway, &signer.sign(&claims(&json!({})))).status,
            200,
            "{algorithm:?}"
        );
        let other = Signer::new("k1", algorithm);
        assert_eq!(
            get(&gateway, &other.sign(&claims(&json!({})))).status,
            401,
            "{algorithm:?}"
        );
    }
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let gateway = guarded(&backend, &by_secret(), "", "");
        let token = tokens::hmac(
            &jsonwebtoken::Header::new(algorithm),
            &claims(&json!({})),
            SECRET.as_bytes(),
        );
        assert_eq!(get(&gateway, &token).status, 200, "{algorithm:?}");
    }
}

#[test]
fn a_secret_may_be_in_base64_and_in_a_file() {
    use base64::Engine as _;
    let backend = HttpBackend::start();
    let written = base64::engine::general_purpose::STANDARD.encode(SECRET);
    let issuer = "keys: [ { secret: { file: secret.txt }, base64: true } ]";
    let gateway = gateway(&document(&backend, issuer, "", ""))
        .file("secret.txt", &format!("{written}\n"))
        .start();
    assert_eq!(get(&gateway, &signed(&claims(&json!({})))).status, 200);
}

#[test]
fn a_token_may_be_in_a_cookie_or_in_the_query_and_be_taken_off() {
    let backend = HttpBackend::start();
    let gateway = guarded(
        &backend,
        &by_secret(),
        "token: { cookie: session, query: access_token }\n          hide_credential: true",
        "",
    );
    let token = signed(&claims(&json!({})));
    let cookie = Request::get("/api/x?a=1").header("Cookie", &format!("a=b; session={token}; c=d"));
    assert_eq!(client::once(gateway.address(), &cookie).status, 200);
    let seen = backend.last();
    assert_eq!(
        (seen.target.as_str(), seen.header("cookie")),
        ("/api/x?a=1", Some("a=b; c=d"))
    );
    let query = Request::get(&format!("/api/x?a=1&access_token={token}&b=2"));
    assert_eq!(client::once(gateway.address(), &query).status, 200);
    assert_eq!(backend.last().target, "/api/x?a=1&b=2");
    let header = Request::get("/api/x").header("Authorization", &format!("Bearer {token}"));
    assert_eq!(client::once(gateway.address(), &header).status, 200);
    assert!(!backend.last().headers.has("authorization"));
}

#[test]
fn scopes_and_claims_can_be_demanded() {
    let backend = HttpBackend::start();
    let settings = "scopes: [\"read:users\"]\n          claims: { role: [admin, owner], \"org.id\": [] }\n          types: [at+jwt]";
    let gateway = guarded(&backend, &by_secret(), settings, "");
    let token = |changes| {
        let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
        header.typ = Some("application/at+JWT".to_owned());
        tokens::hmac(&header, &claims(&changes), SECRET.as_bytes())
    };
    assert_eq!(get(&gateway, &token(json!({ "org": { "id": 7 } }))).status, 200);
    let response = get(
        &gateway,
        &token(json!({ "org": { "id": 7 }, "scope": "write:users" })),
    );
    assert_eq!(response.status, 403);
    assert_eq!(response.code(), "forbidden");
    assert_eq!(
        response.header("www-authenticate"),
        Some("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"read:users\"")
    );
    for changes in [
        json!({}),
        json!({ "org": { "id": 7 }, "role": "user" }),
        json!({ "org": 7 }),
    ] {
        refused(
            &get(&gateway, &token(changes.clone())),
            401,
            "Invalid token",
            INVALID,
        );
    }
    refused(
        &get(&gateway, &signed(&claims(&json!({ "org": { "id": 7 } })))),
        401,
        "Invalid token",
        INVALID,
    );
}

#[test]
fn a_subject_is_a_consumer_by_its_issuer() {
    let backend = HttpBackend::start();
    let consumers = r#"
consumers:
  orders-app: { tier: gold, credentials: { subjects: [ { issuer: "https://issuer.test", subject: alice } ] } }
  other: { credentials: { subjects: [ { issuer: "https://other.test", subject: bob }, { subject: carol } ] } }
"#;
    let forward = "forward: { X-Consumer: \"${consumer.name}\", X-Tier: \"${consumer.tier}\" }\n          require_consumer: true";
    let gateway = guarded(&backend, &by_secret(), forward, consumers);
    for (subject, consumer) in [
        ("alice", "orders-app"),
        ("carol", "other"),
        ("alice", "orders-app"),
    ] {
        assert_eq!(
            get(&gateway, &signed(&claims(&json!({ "sub": subject })))).status,
            200
        );
        assert_eq!(backend.last().header("x-consumer"), Some(consumer));
    }
    assert_eq!(backend.last().header("x-tier"), Some("gold"));
    let stranger = signed(&claims(&json!({ "sub": "bob" })));
    assert_eq!(get(&gateway, &stranger).status, 403, "another issuer's bob");
    // A remembered token is the consumer's of the plan that is in force.
    gateway.reload(&document(
        &backend,
        &by_secret(),
        forward,
        &consumers.replace("gold", "lead"),
    ));
    assert_eq!(
        get(&gateway, &signed(&claims(&json!({ "sub": "alice" })))).status,
        200
    );
    assert_eq!(backend.last().header("x-tier"), Some("lead"));
}

#[test]
fn what_was_revoked_is_refused_as_soon_as_the_list_says_so() {
    let backend = HttpBackend::start();
    let built = gateway(&document(&backend, &by_secret(), "revoked: revoked.txt", ""))
        .file("revoked.txt", "# none\n");
    let gateway = built.start();
    let token = |id: &str, subject: &str| signed(&claims(&json!({ "jti": id, "sub": subject })));
    let tokens = [token("t-1", "alice"), token("t-2", "alice"), token("t-3", "bob")];
    for token in &tokens {
        assert_eq!(get(&gateway, token).status, 200);
    }
    gatehouse_testkit::temp::replace(&gateway.directory().join("revoked.txt"), "jti t-1\nsub bob\n");
    gatehouse_testkit::wait::until("the list to be noticed", || {
        get(&gateway, &tokens[0]).status == 401
    });
    refused(&get(&gateway, &tokens[0]), 401, "Invalid token", INVALID);
    assert_eq!(get(&gateway, &tokens[1]).status, 200);
    refused(&get(&gateway, &tokens[2]), 401, "Invalid token", INVALID);
}

#[test]
fn one_policy_may_trust_several_issuers() {
    let backend = HttpBackend::start();
    let (one, other) = (
        Signer::new("k", Algorithm::ES256),
        Signer::new("k", Algorithm::ES256),
    );
    let more = "keys: [ { id: k, pem: { file: one.pem } } ]\n            - { issuer: \"https://other.test\", audiences: [], keys: [ { id: k, pem: { file: other.pem } } ] }";
    let built = gateway(&document(&backend, more, "", ""));
    let gateway = built
        .file("one.pem", &one.public_pem())
        .file("other.pem", &other.public_pem())
        .start();
    let elsewhere = claims(&json!({ "iss": "https://other.test", "aud": null }));
    assert_eq!(get(&gateway, &one.sign(&claims(&json!({})))).status, 200);
    assert_eq!(get(&gateway, &other.sign(&elsewhere)).status, 200);
    // The key of one is not the other's.
    assert_eq!(get(&gateway, &other.sign(&claims(&json!({})))).status, 401);
    assert_eq!(get(&gateway, &one.sign(&elsewhere)).status, 401);
}
