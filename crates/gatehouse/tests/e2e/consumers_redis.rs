//! Consumers in a real Redis: asked for when they call, remembered, changed, removed, and used while it is gone.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are small whole numbers"
)]

use std::thread;

use aws_lc_rs::digest;
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gateway, Redis, Request, client};
use serde_json::json;

use crate::gateway;
use crate::jwt::tokens::{SECRET, claims, signed};

/// bcrypt of `U*U`, as cheap as can be.
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

fn sha256(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The consumer `name` with one key.
fn put(redis: &Redis, name: &str, tier: &str, key: &str) {
    let keys = json!([{ "id": format!("id-{name}"), "sha256": sha256(key), "scopes": ["read"] }]);
    let record = json!({ "name": name, "tier": tier, "credentials": { "keys": keys } });
    redis.ask(&["SET", &format!("gatehouse:consumer:{name}"), &record.to_string()]);
    let credential = format!("gatehouse:consumer-of:key:{}", sha256(key));
    redis.ask(&["SET", &credential, name]);
}

fn yaml(address: &str, settings: &str) -> String {
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
stores: {{ shared: {{ redis: {{ addresses: ["{address}"], timeout: 5s, retry: 50ms }} }} }}
consumers: {{ own: {{ tier: document, credentials: {{ keys: [ {{ id: own, sha256: "{}" }} ] }} }} }}
consumers_from: {{ redis: {{ store: shared, {settings} }} }}
named_policies: {{ name: {{ headers: {{ response: {{ set: {{ X-Name: "${{consumer.name}} ${{consumer.tier}} ${{identity.scopes}}" }} }} }} }} }}
routes:
  keys: {{ match: {{ path: /keys }}, policies: [ {{ key_auth: {{}} }}, {{ use: name }} ], reply: {{ body: hello }} }}
  passwords: {{ match: {{ path: /passwords }}, policies: [ {{ basic_auth: {{}} }}, {{ use: name }} ], reply: {{ body: hello }} }}
  tokens:
    match: {{ path: /tokens }}
    policies:
      - jwt: {{ issuers: [ {{ issuer: "https://issuer.test", audiences: [orders], keys: [ {{ secret: "{SECRET}" }} ] }} ], require_consumer: true }}
      - use: name
    reply: {{ body: hello }}
  either: {{ match: {{ path: /either }}, policies: [ {{ authenticate: {{ any: [ {{ key_auth: {{}} }}, {{ basic_auth: {{}} }} ] }} }}, {{ use: name }} ], reply: {{ body: hello }} }}
"#,
        sha256("own-key")
    )
}

const QUICK: &str = "refresh: 20ms, missing: 20ms";

fn is_up(gateway: &Gateway, up: bool) {
    gateway.wait_metric("gatehouse_store_up", &[("store", "shared")], |value| {
        (value > 0.0) == up
    });
}

/// Status and who it was.
fn by_key(client: &mut Client, key: &str) -> (u16, String) {
    let answer = client.send(&Request::get("/keys").header("X-API-Key", key));
    (
        answer.status,
        answer.header("x-name").unwrap_or_default().to_owned(),
    )
}

#[test]
fn consumers_are_found_changed_and_removed() {
    let redis = Redis::start();
    put(&redis, "acme", "gold", "acme-key");
    let gateway = gateway(&yaml(&redis.address(), QUICK)).start();
    let mut client = Client::connect(gateway.address());
    let mut ask = |key: &str| by_key(&mut client, key);
    assert_eq!(ask("acme-key"), (200, "acme gold read".to_owned()));
    assert_eq!(ask("own-key"), (200, "own document".to_owned()));
    assert_eq!(ask("nobody-has-it").0, 401);
    // One that was refused just now is let in once it is there.
    put(&redis, "late", "free", "nobody-has-it");
    until("the new consumer", || ask("nobody-has-it").0 == 200);
    put(&redis, "acme", "silver", "acme-key");
    until("the change", || ask("acme-key").1 == "acme silver read");
    // The key still points to the consumer, but the consumer has it no more.
    let bare = r#"{"name":"acme","tier":"bare"}"#;
    redis.ask(&["SET", "gatehouse:consumer:acme", bare]);
    until("the key to be gone", || ask("acme-key").0 == 401);
    redis.ask(&["DEL", "gatehouse:consumer:late"]);
    until("the consumer to be gone", || ask("nobody-has-it").0 == 401);
}

#[test]
fn a_consumer_that_is_known_is_not_asked_for() {
    let redis = Redis::start();
    put(&redis, "acme", "gold", "acme-key");
    let gateway = gateway(&yaml(&redis.address(), "refresh: 1h, missing: 1h")).start();
    let address = gateway.address();
    // All at once, of the same two keys.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                for _ in 0..20 {
                    assert_eq!(by_key(&mut client, "acme-key").0, 200);
                    assert_eq!(by_key(&mut client, "stranger").0, 401);
                }
            });
        }
    });
    let lookups = |result| {
        let labels = [("result", result)];
        gateway.metrics().sum("gatehouse_consumer_lookups_total", &labels)
    };
    assert_eq!((lookups("found") as u32, lookups("missing") as u32), (1, 1));
    // Ten thousand strangers drive nobody out.
    let mut client = Client::connect(address);
    for i in 0..500 {
        assert_eq!(by_key(&mut client, &format!("stranger {i}")).0, 401);
    }
    assert_eq!(by_key(&mut client, "acme-key").0, 200);
    assert_eq!(lookups("found") as u32, 1);
}

#[test]
fn records_that_cannot_be_used_are_nobody() {
    let redis = Redis::start();
    for (key, name, record) in [
        ("no-json", "a", "{".to_owned()),
        ("another", "b", r#"{"name":"c"}"#.to_owned()),
        ("typo", "d", r#"{"name":"d","tire":"gold"}"#.to_owned()),
        (
            "huge",
            "e",
            format!(r#"{{"name":"e","tier":"{}"}}"#, "x".repeat(70_000)),
        ),
        ("nobody", "f\u{1}", "{}".to_owned()),
    ] {
        redis.ask(&["SET", &format!("gatehouse:consumer-of:key:{}", sha256(key)), name]);
        redis.ask(&["SET", &format!("gatehouse:consumer:{name}"), &record]);
    }
    let gateway = gateway(&yaml(&redis.address(), "refresh: 1h, missing: 1h")).start();
    let mut client = Client::connect(gateway.address());
    for key in ["no-json", "another", "typo", "huge", "nobody"] {
        assert_eq!(by_key(&mut client, key).0, 401, "{key}");
    }
    let labels = [("result", "broken")];
    let broken = gateway.metrics().sum("gatehouse_consumer_lookups_total", &labels);
    assert_eq!(broken as u32, 5);
}

#[test]
fn while_redis_is_gone_those_known_before_get_in() {
    let mut redis = Redis::start();
    put(&redis, "acme", "gold", "acme-key");
    let gateway = gateway(&yaml(&redis.address(), QUICK)).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(by_key(&mut client, "acme-key").0, 200);
    redis.kill();
    is_up(&gateway, false);
    for _ in 0..3 {
        assert_eq!(
            by_key(&mut client, "acme-key"),
            (200, "acme gold read".to_owned())
        );
        assert_eq!(by_key(&mut client, "own-key").0, 200);
        let answer = client.send(&Request::get("/keys").header("X-API-Key", "stranger"));
        assert_eq!(answer.status, 503, "nobody knows");
        assert_eq!(answer.json()["code"], "auth_unavailable");
    }
    gateway.wait_log("the store with consumers does not answer");
    // It comes back and knows nothing.
    redis.restart();
    is_up(&gateway, true);
    until("nobody to be known", || {
        by_key(&mut client, "acme-key").0 == 401 && by_key(&mut client, "stranger").0 == 401
    });
    put(&redis, "acme", "new", "acme-key");
    until("acme again", || {
        by_key(&mut client, "acme-key").1 == "acme new read"
    });
}

#[test]
fn who_was_removed_stays_out_while_redis_is_gone() {
    let mut redis = Redis::start();
    put(&redis, "acme", "gold", "acme-key");
    put(&redis, "beta", "gold", "beta-key");
    let gateway = gateway(&yaml(&redis.address(), QUICK)).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(by_key(&mut client, "acme-key").0, 200);
    redis.ask(&["DEL", "gatehouse:consumer:acme"]);
    until("acme to be gone", || by_key(&mut client, "acme-key").0 == 401);
    redis.kill();
    is_up(&gateway, false);
    until("nobody to know", || by_key(&mut client, "acme-key").0 == 503);
}

#[test]
fn a_gateway_starts_without_its_redis_and_finds_it() {
    let mut redis = Redis::start();
    redis.kill();
    let gateway = gateway(&yaml(&redis.address(), "stale: 0s")).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(by_key(&mut client, "own-key").0, 200);
    assert_eq!(by_key(&mut client, "acme-key").0, 503);
    redis.restart();
    put(&redis, "acme", "gold", "acme-key");
    until("acme", || by_key(&mut client, "acme-key").0 == 200);
}

#[test]
fn passwords_and_subjects_are_found_there() {
    let redis = Redis::start();
    let record = json!({ "name": "acme", "tier": "gold", "credentials": {
        "passwords": [ { "username": "jo", "hash": BCRYPT } ],
        "subjects": [ { "issuer": "https://issuer.test", "subject": "alice" }, { "subject": "bob" } ],
    } });
    redis.ask(&["SET", "gatehouse:consumer:acme", &record.to_string()]);
    for (sort, text) in [
        ("user", "jo"),
        ("user", "acme"),
        ("subject", "https://issuer.test\nalice"),
        ("subject", "\nbob"),
        // Whose it is not, whatever the pointer says.
        ("subject", "\nmallory"),
    ] {
        let key = format!("gatehouse:consumer-of:{sort}:{}", sha256(text));
        redis.ask(&["SET", &key, "acme"]);
    }
    let settings = "refresh: 1h, missing: 1h, credentials: [keys, passwords, subjects]";
    let gateway = gateway(&yaml(&redis.address(), settings)).start();
    let ask = |path: &str, authorization: &str| {
        let request = Request::get(path).header("Authorization", authorization);
        let answer = client::once(gateway.address(), &request);
        (
            answer.status,
            answer.header("x-name").unwrap_or_default().to_owned(),
        )
    };
    let acme = (200, "acme gold".to_owned());
    // jo:U*U, twice: then it is remembered.
    assert_eq!(ask("/passwords", "Basic am86VSpV"), acme);
    assert_eq!(ask("/passwords", "Basic am86VSpV"), acme);
    assert_eq!(ask("/either", "Basic am86VSpV"), acme);
    for wrong in ["Basic am86eA==", "Basic YWNtZTpVKlU=", "Basic enp6OlUqVQ=="] {
        assert_eq!(ask("/passwords", wrong).0, 401, "{wrong}");
    }
    let token = |subject: &str| format!("Bearer {}", signed(&claims(&json!({ "sub": subject }))));
    for subject in ["alice", "bob", "alice"] {
        let (status, name) = ask("/tokens", &token(subject));
        assert!(
            status == 200 && name.starts_with("acme gold"),
            "{subject}: {status} {name}"
        );
    }
    for subject in ["mallory", "zoe"] {
        assert_eq!(ask("/tokens", &token(subject)).0, 403, "{subject}");
    }
}

#[test]
fn what_was_revoked_is_told_to_all_gateways() {
    let mut redis = Redis::start();
    redis.kill();
    let document = |unread: &str| {
        let issuer = format!(
            "issuers: [ {{ issuer: \"https://issuer.test\", audiences: [orders], keys: [ {{ secret: \"{SECRET}\" }} ] }} ]"
        );
        format!(
            r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
stores: {{ shared: {{ redis: {{ addresses: ["{}"], timeout: 5s, retry: 50ms }} }} }}
routes:
  all: {{ match: {{}}, policies: [ {{ jwt: {{ {issuer}, revoked_in: {{ store: shared, every: 50ms, unread: {unread} }} }} }} ], reply: {{ body: hello }} }}
"#,
            redis.address()
        )
    };
    let token = |id: &str, subject: &str| signed(&claims(&json!({ "jti": id, "sub": subject })));
    let (lost, kept, bobs) = (token("t-1", "alice"), token("t-2", "alice"), token("t-3", "bob"));
    let ask = |gateway: &Gateway, token: &str| {
        let request = Request::get("/").header("Authorization", &format!("Bearer {token}"));
        client::once(gateway.address(), &request).status
    };
    let careful = gateway(&document("refuse")).start();
    let careless = gateway(&document("accept")).start();
    assert_eq!(
        (ask(&careful, &lost), ask(&careless, &lost)),
        (503, 200),
        "not read yet"
    );
    redis.restart();
    let gateways = [careful, careless];
    for gateway in &gateways {
        until("the stream to be read", || ask(gateway, &lost) == 200);
    }
    let add = |redis: &Redis, kind: &str, value: &str, until: &str| {
        redis.ask(&["XADD", "gatehouse:revoked", "*", kind, value, "exp", until]);
    };
    add(&redis, "jti", "t-1", "4000000000");
    add(&redis, "sub", "bob", "4000000000");
    add(&redis, "jti", "t-2", "1000");
    redis.ask(&["XADD", "gatehouse:revoked", "*", "what", "ever"]);
    for gateway in &gateways {
        until("both to be refused", || {
            ask(gateway, &lost) == 401 && ask(gateway, &bobs) == 401
        });
        assert_eq!(ask(gateway, &kept), 200);
    }
    // What was revoked stays so without the store, and when that has lost it.
    redis.kill();
    for gateway in &gateways {
        is_up(gateway, false);
        assert_eq!((ask(gateway, &lost), ask(gateway, &kept)), (401, 200));
    }
    redis.restart();
    add(&redis, "sub", "bob", "0");
    for gateway in &gateways {
        until("bob to be let in again", || ask(gateway, &bobs) == 200);
        assert_eq!(ask(gateway, &lost), 401);
    }
}
