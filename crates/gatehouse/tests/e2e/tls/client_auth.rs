//! Certificates of clients: asked for, verified, revoked, and told to upstreams.

use gatehouse_testkit::tls::rustls::{AlertDescription, Error};
use gatehouse_testkit::tls::{Issued, Leaf, TLS12, TLS13, tls_error};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Authority, Gateway, HttpBackend, Request, TlsClient};

use crate::gateway;

/// A gateway that forwards to a backend; clients are those of `authority`. `auth` are more settings of `client_auth`.
fn mutual(authority: &Authority, leaf: &Issued, backend: &HttpBackend, auth: &str, crl: &str) -> Gateway {
    gateway(&format!(
        r#"
listeners:
  main:
    address: "127.0.0.1:0"
    tls:
      certificates: [ {{ cert: leaf.pem, key: leaf.key }} ]
      client_auth: {{ ca: ca.pem, {auth} }}
  plain: {{ address: "127.0.0.1:0" }}
routes:
  who:
    match: {{ path: /who }}
    policies:
      - headers: {{ response: {{ set: {{ X-Who: "${{client_certificate.subject}} ${{client_certificate.serial}}", X-Names: "${{client_certificate.names}}", X-Tls: "${{tls.version}} ${{tls.cipher}} ${{tls.sni}} ${{tls.alpn}}" }} }} }}
    reply: {{ body: "" }}
  all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        backend.url()
    ))
    .file("leaf.pem", &leaf.cert)
    .file("leaf.key", &leaf.key)
    .file("ca.pem", &authority.pem())
    .file("crl.pem", crl)
    .start()
}

/// What a client is told that has no certificate, or a bad one.
fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match tls_error(error) {
        Some(Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

#[test]
fn required_means_required() {
    let (authority, strangers) = (Authority::new(), Authority::named("Strangers"));
    let leaf = authority.server(&["localhost"]);
    let backend = HttpBackend::start();
    let gateway = mutual(&authority, &leaf, &backend, "mode: required", "");
    for version in [&TLS12, &TLS13] {
        let client = || TlsClient::trusting(&authority).versions(&[version]);
        let mut good = client()
            .identity(&authority.issue(&Leaf::client("alice")))
            .build()
            .client(gateway.address_of("main"));
        assert_eq!(good.get("/").status, 200);
        client().build().refused(gateway.address_of("main"));
        for bad in [
            strangers.issue(&Leaf::client("alice")),
            authority.issue(&Leaf::client("old").years(2001, 2002)),
            // Good for servers only.
            authority.server(&["localhost"]),
        ] {
            client()
                .identity(&bad)
                .build()
                .refused(gateway.address_of("main"));
        }
        // The others were never noticed.
        assert_eq!(good.get("/").status, 200);
    }
    let failed = |reason: &str, wanted: f64| {
        let labels = [("reason", reason)];
        gateway.wait_metric("gatehouse_tls_handshake_failures_total", &labels, |n| n == wanted);
    };
    failed("no_client_certificate", 2.0);
    failed("bad_client_certificate", 6.0);
    // With TLS 1.2 the alert always arrives: the client waits for us in the handshake.
    let none = TlsClient::trusting(&authority).versions(&[&TLS12]).build();
    let error = none.refused(gateway.address_of("main"));
    assert_eq!(
        alert(&error),
        Some(AlertDescription::CertificateRequired),
        "{error}"
    );
}

#[test]
fn optional_means_none_or_a_good_one() {
    let (authority, strangers) = (Authority::new(), Authority::named("Strangers"));
    let leaf = authority.server(&["localhost"]);
    let backend = HttpBackend::start();
    let gateway = mutual(
        &authority,
        &leaf,
        &backend,
        "mode: optional, forward: [client_cert, client_cert_chain, xfcc]",
        "",
    );
    let to = gateway.address_of("main");
    let plain = TlsClient::trusting(&authority).build();
    assert_eq!(plain.client(to).get("/none").status, 200);
    let seen = backend.last();
    for name in ["client-cert", "client-cert-chain", "x-forwarded-client-cert"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let stranger = TlsClient::trusting(&authority).identity(&strangers.issue(&Leaf::client("eve")));
    stranger.build().refused(to);
    let alice = TlsClient::trusting(&authority).identity(&authority.issue(&Leaf::client("alice")));
    assert_eq!(alice.build().client(to).get("/alice").status, 200);
    assert!(backend.last().header("client-cert").is_some());
}

#[test]
fn upstreams_learn_whose_certificate_it_was_and_nobody_can_pretend() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    let backend = HttpBackend::start();
    let gateway = mutual(
        &authority,
        &leaf,
        &backend,
        "mode: required, forward: [client_cert, client_cert_chain, xfcc]",
        "",
    );
    let spoofed = |path: &str| {
        let names = [
            "Client-Cert",
            "Client-Cert-Chain",
            "X-Forwarded-Client-Cert",
            "client_cert",
            "CLIENT_CERT_CHAIN",
            "X_Forwarded_Client-Cert",
        ];
        names.into_iter().fold(Request::get(path), |request, name| {
            request.header(name, "spoofed")
        })
    };
    let mut issued = authority.issue(
        &Leaf::client("alice \"the\" admin")
            .organization("Example, Inc.")
            .uri("spiffe://example/alice")
            .dns("alice.example.com")
            .serial(0x1234),
    );
    issued.cert += &authority.pem();
    let client = TlsClient::trusting(&authority).identity(&issued).build();
    let mut client = client.client(gateway.address_of("main"));
    for n in 0..2 {
        assert_eq!(client.send(&spoofed(&format!("/{n}"))).status, 200);
        let seen = backend.last();
        let all: Vec<_> = seen
            .headers
            .0
            .iter()
            .filter(|(_, value)| value.contains("spoofed"))
            .collect();
        assert!(all.is_empty(), "{all:?}");
        let certificate = seen.header("client-cert").unwrap();
        let der = certificate
            .strip_prefix(':')
            .and_then(|rest| rest.strip_suffix(':'))
            .unwrap();
        assert_eq!(pem(der), issued.cert.replace(&authority.pem(), ""));
        let chain = seen.header("client-cert-chain").unwrap();
        let der = chain
            .strip_prefix(':')
            .and_then(|rest| rest.strip_suffix(':'))
            .unwrap();
        assert_eq!(pem(der), authority.pem());
        let xfcc = seen.header("x-forwarded-client-cert").unwrap();
        let (hash, rest) = xfcc.split_once(';').unwrap();
        assert_eq!(hash.len(), "Hash=".len() + 64, "{hash}");
        assert_eq!(
            rest,
            r#"Subject="O=Example\\, Inc.,CN=alice \\\"the\\\" admin";URI="spiffe://example/alice";DNS="alice.example.com""#
        );
    }
    let answer = client.get("/who");
    assert_eq!(
        answer.header("x-who"),
        Some(r#"O=Example\, Inc.,CN=alice \"the\" admin 1234"#)
    );
    assert_eq!(
        answer.header("x-names"),
        Some("spiffe://example/alice,alice.example.com")
    );
    let tls = answer.header("x-tls").unwrap();
    assert!(
        tls.starts_with("TLSv1.3 TLS_AES_") && tls.ends_with(" localhost"),
        "{tls}"
    );
    let line = &gateway.access_log(1)[0];
    assert_eq!(
        line["tls_client"], r#"O=Example\, Inc.,CN=alice \"the\" admin"#,
        "{line}"
    );

    // On a listener in the clear too.
    let answer = gatehouse_testkit::client::once(gateway.address_of("plain"), &spoofed("/plain"));
    assert_eq!(answer.status, 200);
    let seen = backend.last();
    assert!(
        seen.headers.0.iter().all(|(_, value)| value != "spoofed"),
        "{seen:?}"
    );
}

/// Base64 in lines, as PEM has it.
fn pem(base64: &str) -> String {
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

#[test]
fn a_revoked_certificate_is_refused_also_with_a_ticket() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    let backend = HttpBackend::start();
    let nobody = authority.revoke(&[]);
    let gateway = mutual(
        &authority,
        &leaf,
        &backend,
        "mode: required, crl: crl.pem",
        &nobody,
    );
    let to = gateway.address_of("main");
    let client = |serial: u64| {
        let issued = authority.issue(&Leaf::client("client").serial(serial));
        TlsClient::trusting(&authority).identity(&issued).build()
    };
    let (good, bad) = (client(1), client(2));
    for client in [&good, &bad] {
        let mut one = client.client(to);
        assert_eq!(one.get("/").status, 200);
        assert!(!one.raw.is_resumed());
        // Both have tickets now.
        let mut two = client.client(to);
        assert_eq!(two.get("/").status, 200);
        assert!(two.raw.is_resumed());
    }
    let mut kept = bad.client(to);
    assert_eq!(kept.get("/").status, 200);
    gatehouse_testkit::temp::replace(&gateway.directory().join("crl.pem"), authority.revoke(&[2]));
    until("the list to be noticed", || {
        bad.try_connect(to)
            .and_then(|mut raw| {
                raw.try_send(Request::get("/").encode())?;
                raw.reader.read_response("GET")
            })
            .is_err()
    });
    bad.refused(to);
    let mut again = good.client(to);
    assert!(!again.raw.is_resumed(), "a session under the old list");
    assert_eq!(again.get("/").status, 200);
    // A connection is not cut off in the middle.
    assert_eq!(kept.get("/").status, 200);
}
