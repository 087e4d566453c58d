//! Bad documents: the message, the line and the column of each mistake.

mod routes;
mod sections;

use crate::config::load::load_str_with;
use crate::config::{Config, Loaded, load_str};

/// What a document without mistakes begins with; the first line of a case is line 3.
const BASE: &str = "listeners: { main: { address: 127.0.0.1:0 } }\nupstreams: { users: { endpoints: [ http://10.0.0.1:8080 ] }, orders: { endpoints: [ http://10.0.0.2 ] } }\n";

fn load(text: &str) -> Loaded {
    load_str_with(text, "f", &|name| (name == "PORT").then(|| "8080".to_owned()))
}

/// Each diagnostic as `line:column message | hint | help`.
fn told(loaded: &Loaded) -> Vec<String> {
    let show = |text: &Option<String>| {
        text.as_deref()
            .map(|text| format!(" | {text}"))
            .unwrap_or_default()
    };
    let all = loaded.diagnostics.iter().map(|diagnostic| {
        let place = diagnostic.place.as_ref().unwrap();
        format!(
            "{}:{} {}{}{}",
            place.line,
            place.column,
            diagnostic.message,
            show(&diagnostic.hint),
            show(&diagnostic.help)
        )
    });
    all.collect()
}

/// A route at line 3 and below, with this action and these conditions.
fn route(inside: &str) -> String {
    format!("routes:\n  orders: {{ {inside} }}\n")
}

/// Adds a text to a document without mistakes: this must be the one thing that is told.
fn check(text: &str, expected: &str) {
    let told = told(&load(&format!("{BASE}{text}")));
    assert_eq!(told.len(), 1, "{text}\n{told:#?}");
    assert!(
        told[0].starts_with(expected),
        "{text}\n     told {}\n expected {expected}",
        told[0]
    );
}

#[test]
fn a_good_document_is_clean() {
    let design = "
listeners:
  public: { address: 0.0.0.0:8080 }
policies:
  - cors: { origins: [https://app.example.com] }
routes:
  users:
    match: { hosts: [api.example.com], path: /v1/users/**, methods: [GET, POST] }
    policies:
      - jwt: { issuer: https://id.example.com, jwks: { url: https://id.example.com/jwks.json }, headers: { X-User-Id: sub, X-Scopes: scope } }
      - rate_limit: { limit: 100, window: 1m, key: consumer }
    forward: { upstream: users, strip_prefix: /v1 }
  orders_v2:
    match: { path: /api/orders/**, headers: { X-API-Version: v2 } }
    forward: { upstream: orders_v2 }
  orders:
    match: { path: /api/orders/** }
    forward: { split: [ { upstream: orders_v1, weight: 90 }, { upstream: orders_v2, weight: 10 } ] }
  status:
    match: { path: /status }
    reply: { status: 200, body: ok }
upstreams:
  users: { endpoints: [http://user-service:8080] }
  orders_v1: { endpoints: [http://10.0.0.1:9090, http://10.0.0.2:9090] }
  orders_v2: { endpoints: [http://10.0.1.1:9090], timeout: 2s }
";
    let loaded = load(design);
    assert_eq!(told(&loaded), Vec::<String>::new());
    assert_eq!(
        (loaded.config.routes.len(), loaded.config.upstreams.len()),
        (4, 3)
    );
    // What is written back reads as the same.
    let json = serde_json::to_string(&loaded.config).unwrap();
    let again = load(&json);
    assert_eq!(told(&again), Vec::<String>::new());
    assert_eq!(again.config, loaded.config);
}

#[test]
fn texts_that_are_no_document() {
    let cases = [
        ("a: [1, 2\n", "2:1 not YAML"),
        (
            "[1]\n",
            "1:1 the document is not a map of sections | expected such as `listeners: …`",
        ),
        ("hello\n", "1:1 the document is not a map of sections"),
        ("", "1:1 there are no listeners | expected such as"),
        (
            "a: 1\n---\nb: 1\n",
            "2:1 a second document begins here | keep one document in a file",
        ),
    ];
    for (text, expected) in cases {
        let told = told(&load(text));
        assert_eq!(told.len(), 1, "{text} {told:?}");
        assert!(told[0].starts_with(expected), "{text}: {}", told[0]);
    }
}

#[test]
fn everything_is_told_at_once_in_the_order_of_the_text() {
    let text = "\
listeners:
  main: { address: nowhere, backlog: many }
client: { limits: { hed: 1 } }
routes:
  a: { match: { path: x, methods: GET }, forward: { upstream: nobody }, timout: 1s }
  b: { match: {}, forward: { upstream: u } }
upstreams:
  u: { endpoints: [ bad ] }
";
    let told = told(&load(text));
    let starts = [
        "2:20 bad",
        "2:38 `backlog`",
        "3:21 unknown",
        "5:23 bad",
        "5:35 `methods`",
        "5:63 route `a`",
        "5:73 unknown",
        "8:21 bad",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told} {start}");
    }
}

#[test]
fn no_message_shows_our_types() {
    let text = "listeners: { a: 1 }\nclient: [1]\nroutes: { r: 5, s: { match: 7, reply: [1], redirect: x, policies: 1 } }\nupstreams: { u: { endpoints: 1, pool: 2, balance: 3 } }\nversions: 3\nprocess: { log: { level: 1 } }\n";
    let loaded = load(text);
    let rendered = loaded.diagnostics.render(&loaded.sources);
    for word in [
        "struct",
        "enum",
        "variant",
        "sequence",
        "u32",
        "Route",
        "Config",
        "string or map",
    ] {
        assert!(!rendered.contains(word), "{word} in\n{rendered}");
    }
    assert_eq!(loaded.diagnostics.len(), 12, "{rendered}");
}

#[test]
fn one_line_is_a_whole_gateway() {
    let config = Config::one_liner(
        "http://localhost:3000".parse().unwrap(),
        "127.0.0.1:8080".parse().unwrap(),
    );
    let loaded = load_str(&serde_json::to_string(&config).unwrap(), "one");
    assert_eq!(told(&loaded), Vec::<String>::new());
    assert_eq!(loaded.config, config);
}

/// A document of so many routes, like those of a large company.
fn large(routes: usize) -> String {
    use std::fmt::Write;
    let mut text = String::from("listeners: { main: { address: 127.0.0.1:0 } }\nroutes:\n");
    for i in 0..routes {
        let (host, upstream) = (i % 100, i % 50);
        let _ = write!(
            text,
            "  route_{i}:\n    match: {{ hosts: [h{host}.example.com], path: '/api/v1/things_{i}/{{id}}/**', methods: [GET, POST] }}\n    policies:\n      - rate_limit: {{ limit: 100, window: 1m }}\n    forward: {{ upstream: u{upstream}, strip_prefix: /api }}\n",
        );
    }
    text.push_str("upstreams:\n");
    for i in 0..50 {
        let _ = writeln!(text, "  u{i}: {{ endpoints: [ http://10.0.0.{i}:8080 ] }}");
    }
    text
}

#[test]
fn a_large_document_is_read_and_so_are_all_its_mistakes() {
    let text = large(500);
    let loaded = load(&text);
    assert!(loaded.diagnostics.is_empty());
    assert_eq!(loaded.config.routes.len(), 500);
    let loaded = load(&text.replace("strip_prefix", "strip_prefx"));
    assert_eq!(loaded.diagnostics.len(), 500);
}
