//! Consumers by the certificate of the client: by fingerprint, subject and alternative name.

use aws_lc_rs::digest;
use gatehouse_testkit::tls::Leaf;
use gatehouse_testkit::{Authority, HttpBackend, Request, TlsClient};

use crate::gateway;

#[test]
fn a_certificate_says_who_calls() {
    let authority = Authority::new();
    let server = authority.server(&["localhost"]);
    let alice = authority.issue(&Leaf::client("alice").organization("Example"));
    let bob = authority.issue(&Leaf::client("bob").dns("bob.example.com"));
    let carol = authority.issue(&Leaf::client("carol").uri("spiffe://example.org/carol"));
    let dave = authority.issue(&Leaf::client("dave"));
    // Who may have certificates for one path of a trust domain is not whoever has another.
    let mallory = authority.issue(&Leaf::client("mallory").uri("spiffe://example.org/Carol"));
    let eve = authority.issue(&Leaf::client("eve").dns("carol.example.com"));
    let print = digest::digest(&digest::SHA256, &dave.der);
    let print: Vec<String> = print.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let backend = HttpBackend::start();
    let gateway = gateway(&format!(
        r#"
listeners:
  main:
    address: "127.0.0.1:0"
    tls:
      certificates: [ {{ cert: server.pem, key: server.key }} ]
      client_auth: {{ ca: ca.pem, mode: optional }}
  plain: {{ address: "127.0.0.1:0" }}
consumers:
  by_subject: {{ credentials: {{ certificates: [ {{ subject: "O=Example,CN=alice" }} ] }} }}
  by_name: {{ credentials: {{ certificates: [ {{ name: BOB.example.com }}, {{ name: "spiffe://example.org/carol" }} ] }} }}
  by_print: {{ credentials: {{ certificates: [ {{ fingerprint: "{}" }} ] }} }}
  narrow: {{ credentials: {{ certificates: [ {{ subject: CN=eve, name: eve.example.com }} ] }} }}
  guest: {{}}
routes:
  all: {{ match: {{ path: /all }}, policies: [ certificate_auth: {{}} ], forward: {{ upstream: api }} }}
  guests: {{ match: {{ path: /guests }}, policies: [ certificate_auth: {{ anonymous: guest }} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        print.join(":"),
        backend.url()
    ))
    .file("server.pem", &server.cert)
    .file("server.key", &server.key)
    .file("ca.pem", &authority.pem())
    .start();
    let ask = |identity, target: &str| {
        let client = TlsClient::trusting(&authority);
        let client = match identity {
            Some(identity) => client.identity(identity),
            None => client,
        };
        let request = Request::get(target)
            .header("Client-Cert", "x")
            .header("X-Consumer", "root");
        client.build().client(gateway.address_of("main")).send(&request)
    };
    for (identity, consumer) in [
        (&alice, "by_subject"),
        (&bob, "by_name"),
        (&carol, "by_name"),
        (&dave, "by_print"),
    ] {
        assert_eq!(ask(Some(identity), "/all").status, 200, "{consumer}");
        assert_eq!(backend.last().header("x-consumer"), Some(consumer));
    }
    // Verified, but nobody's: also where strangers without one are let in.
    for (who, target) in [(&eve, "/all"), (&eve, "/guests"), (&mallory, "/all")] {
        let answer = ask(Some(who), target);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "forbidden"),
            "{answer:?}"
        );
    }
    assert_eq!(ask(None, "/all").status, 401);
    assert_eq!(ask(None, "/guests").status, 200);
    assert_eq!(backend.last().header("x-consumer"), Some("guest"));
    let plain = gatehouse_testkit::client::get(gateway.address_of("plain"), "/all");
    assert_eq!(plain.status, 401);
}
