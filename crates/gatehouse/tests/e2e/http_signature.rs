//! Signed requests: by a shared secret and by a pair of keys, changed on the way, old, used again, with and without a body.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gatehouse_testkit::{Gateway, HttpBackend, Request, client};

use crate::gateway;

const SECRET: &[u8] = b"a secret that both sides have";

/// What signs, and under which name.
enum Signer<'a> {
    Secret(&'a str, &'a [u8]),
    Pair(&'a str, &'a Ed25519KeyPair),
}

impl Signer<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Secret(id, _) | Self::Pair(id, _) => id,
        }
    }

    fn sign(&self, base: &str) -> String {
        BASE64_STANDARD.encode(match self {
            Self::Secret(_, secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, base.as_bytes()).as_ref().to_vec()
            }
            Self::Pair(_, pair) => pair.sign(base.as_bytes()).as_ref().to_vec(),
        })
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The request of a method and a target, signed by what the components say (each `name: value`).
fn signed(signer: &Signer<'_>, request: Request, components: &[&str], params: &str) -> Request {
    let names: Vec<_> = components
        .iter()
        .map(|line| format!("\"{}\"", line.split_once(": ").unwrap().0))
        .collect();
    let input = format!("({});{params};keyid=\"{}\"", names.join(" "), signer.id());
    let lines: String = components
        .iter()
        .zip(&names)
        .map(|(line, name)| format!("{name}: {}\n", line.split_once(": ").unwrap().1))
        .collect();
    let signature = signer.sign(&format!("{lines}\"@signature-params\": {input}"));
    request
        .host("api.test")
        .header("Signature-Input", &format!("sig1={input}"))
        .header("Signature", &format!("sig1=:{signature}:"))
}

/// What the policy wants of `GET /a?b=1`.
const GET: [&str; 4] = [
    "@method: GET",
    "@authority: api.test",
    "@path: /a",
    "@query: ?b=1",
];

fn start(backend: &HttpBackend, settings: &str, public: &str) -> Gateway {
    gateway(&format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
consumers:
  acme:
    credentials:
      secrets: [ {{ id: shared, secret: "{}" }} ]
      public_keys: [ {{ id: pair, algorithm: ed25519, key: {{ file: public.pem }} }} ]
routes:
  all: {{ match: {{}}, policies: [ http_signature: {{ {settings} }} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        String::from_utf8_lossy(SECRET),
        backend.url()
    ))
    .file("public.pem", public)
    .start()
}

fn pair() -> (Ed25519KeyPair, String) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der = BASE64_STANDARD.encode(pair.public_key().as_der().unwrap().as_ref());
    (
        pair,
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"),
    )
}

#[test]
#[allow(clippy::too_many_lines, reason = "a list of cases")]
fn a_signature_says_who_calls_and_covers_what_it_says() {
    let (pair, public) = pair();
    let backend = HttpBackend::start();
    let gateway = start(&backend, "hide_credential: true", &public);
    let status = |request: &Request| client::once(gateway.address(), request).status;
    let get = || Request::get("/a?b=1");
    let created = format!("created={}", now());
    let secret = Signer::Secret("shared", SECRET);
    for signer in [&secret, &Signer::Pair("pair", &pair)] {
        assert_eq!(
            status(&signed(signer, get(), &GET, &created)),
            200,
            "{}",
            signer.id()
        );
        let seen = backend.last();
        assert_eq!(
            (seen.header("x-consumer"), seen.header("signature")),
            (Some("acme"), None)
        );
        assert_eq!(seen.header("signature-input"), None);
    }
    let alg = format!("{created};alg=\"hmac-sha256\";expires={}", now() + 60);
    assert_eq!(status(&signed(&secret, get(), &GET, &alg)), 200);

    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (line["api_key"].as_str(), line["consumer"].as_str()),
        (Some("shared"), Some("acme")),
        "{line}"
    );
    let good = backend.count();
    let refused = [
        (
            "another method",
            signed(&secret, Request::new("DELETE", "/a?b=1"), &GET, &created),
        ),
        (
            "another path",
            signed(&secret, Request::get("/b?b=1"), &GET, &created),
        ),
        (
            "another query",
            signed(&secret, Request::get("/a?b=2"), &GET, &created),
        ),
        (
            "another host",
            signed(
                &secret,
                get(),
                &["@method: GET", "@authority: b.test", "@path: /a", "@query: ?b=1"],
                &created,
            ),
        ),
        (
            "too little covered",
            signed(&secret, get(), &["@method: GET", "@path: /a"], &created),
        ),
        (
            "an unknown key",
            signed(&Signer::Secret("none", SECRET), get(), &GET, &created),
        ),
        (
            "another secret",
            signed(&Signer::Secret("shared", b"guess"), get(), &GET, &created),
        ),
        (
            "a secret for a pair",
            signed(&Signer::Secret("pair", public.as_bytes()), get(), &GET, &created),
        ),
        (
            "another algorithm",
            signed(&secret, get(), &GET, &format!("{created};alg=\"ed25519\"")),
        ),
        ("no time", signed(&secret, get(), &GET, "nonce=\"1\"")),
        (
            "too old",
            signed(&secret, get(), &GET, &format!("created={}", now() - 1000)),
        ),
        (
            "of the future",
            signed(&secret, get(), &GET, &format!("created={}", now() + 1000)),
        ),
        (
            "expired",
            signed(
                &secret,
                get(),
                &GET,
                &format!("{created};expires={}", now() - 100),
            ),
        ),
        (
            "no signature for the input",
            get().host("api.test").header("Signature-Input", "sig1=()"),
        ),
        (
            "garbage",
            get().header("Signature-Input", "((").header("Signature", "??"),
        ),
    ];
    for (what, request) in refused {
        let answer = client::once(gateway.address(), &request);
        assert_eq!(answer.status, 401, "{what}");
        assert!(answer.text().contains("Invalid signature"), "{what}: {answer:?}");
    }
    let none = client::once(gateway.address(), &get());
    assert!(
        none.status == 401 && none.text().contains("Authentication required"),
        "{none:?}"
    );
    assert_eq!(backend.count(), good);
}

#[test]
fn a_nonce_is_good_once() {
    let (_, public) = pair();
    let backend = HttpBackend::start();
    let gateway = start(&backend, "nonce: true", &public);
    let secret = Signer::Secret("shared", SECRET);
    let of = |params: &str| {
        signed(
            &secret,
            Request::get("/a?b=1"),
            &GET,
            &format!("created={}{params}", now()),
        )
    };
    let status = |request: &Request| client::once(gateway.address(), request).status;
    let first = of(";nonce=\"one\"");
    assert_eq!((status(&first), status(&first)), (200, 401));
    assert_eq!(
        (status(&of(";nonce=\"two\"")), status(&of(";nonce=\"two\""))),
        (200, 401)
    );
    assert_eq!(status(&of("")), 401);
}

#[test]
fn a_body_is_what_was_signed() {
    let (_, public) = pair();
    let backend = HttpBackend::start();
    let gateway = start(&backend, "content_digest: true, max_body: 1KiB", &public);
    let secret = Signer::Secret("shared", SECRET);
    let created = format!("created={}", now());
    let post = |body: &str, said: &str| {
        let digest = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, said.as_bytes()));
        let digest = format!("sha-256=:{digest}:");
        let covered = format!("content-digest: {digest}");
        let components = [
            "@method: POST",
            "@authority: api.test",
            "@path: /a",
            "@query: ?b=1",
            &covered,
        ];
        let request = Request::post("/a?b=1", body).header("Content-Digest", &digest);
        client::once(
            gateway.address(),
            &signed(&secret, request, &components, &created),
        )
        .status
    };
    assert_eq!(post("{\"a\":1}", "{\"a\":1}"), 200);
    assert_eq!(backend.last().text(), "{\"a\":1}");
    assert_eq!(post("{\"a\":2}", "{\"a\":1}"), 401);
    assert_eq!(post(&"x".repeat(2000), &"x".repeat(2000)), 413);
    assert_eq!(backend.count(), 1);
    let bare = signed(
        &secret,
        Request::post("/a?b=1", "body"),
        &[
            "@method: POST",
            "@authority: api.test",
            "@path: /a",
            "@query: ?b=1",
        ],
        &created,
    );
    assert_eq!(client::once(gateway.address(), &bare).status, 401);
    let get = signed(&secret, Request::get("/a?b=1"), &GET, &created);
    assert_eq!(client::once(gateway.address(), &get).status, 200);
}

/// The id of a request is the client's word where that is trusted: it says nothing about which request it is.
#[test]
fn a_nonce_is_good_once_whatever_the_request_calls_itself() {
    let (_, public) = pair();
    let backend = HttpBackend::start();
    let gateway = gateway(&format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
request_id: {{ trust: always }}
consumers: {{ acme: {{ credentials: {{ secrets: [ {{ id: shared, secret: "{}" }} ] }} }} }}
routes: {{ all: {{ match: {{}}, policies: [ http_signature: {{ nonce: true }} ], forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        String::from_utf8_lossy(SECRET),
        backend.url()
    ))
    .file("public.pem", &public)
    .start();
    let params = format!("created={};nonce=\"one\"", now());
    let request = signed(
        &Signer::Secret("shared", SECRET),
        Request::get("/a?b=1"),
        &GET,
        &params,
    );
    let request = request.header("X-Request-Id", "mine");
    let status = || client::once(gateway.address(), &request).status;
    assert_eq!((status(), status()), (200, 401));
}
