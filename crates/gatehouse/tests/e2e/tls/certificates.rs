//! Which certificate a client gets, and which versions it may speak.

use gatehouse_testkit::tls::{Leaf, TLS12, TLS13, is_wrong_name, rustls, tls_error};
use gatehouse_testkit::{Authority, Request, TlsClient};

use super::secure;

#[test]
fn the_name_a_client_asks_for_chooses() {
    let authority = Authority::new();
    let [default, exact, wildcard] = [
        authority.server(&["localhost"]),
        authority.server(&["api.example.com", "WWW.example.com"]),
        authority.server(&["*.example.com"]),
    ];
    let gateway = secure(&[&default, &exact, &wildcard], "", "").start();
    let client = TlsClient::trusting(&authority).build();
    for (name, expected) in [
        ("localhost", &default),
        ("api.example.com", &exact),
        ("API.Example.Com", &exact),
        ("www.example.com", &exact),
        ("other.example.com", &wildcard),
    ] {
        let shown = client.named(name).connect(gateway.address()).certificate();
        assert!(shown == expected.der, "{name}");
    }
    // A star stands for one label, and nobody has the others: they get the first, which is not for them.
    for name in ["a.b.example.com", "example.com", "example.org"] {
        let error = client.named(name).try_connect(gateway.address()).unwrap_err();
        assert!(is_wrong_name(&error), "{name}: {error}");
    }
    let silent = TlsClient::trusting(&authority).without_sni().build();
    assert!(silent.connect(gateway.address()).certificate() == default.der);
}

#[test]
fn of_a_pair_a_client_gets_what_it_can_verify() {
    use rustls::SignatureScheme as S;
    let authority = Authority::new();
    // RSA comes first in the document, and still is for those only that cannot do better.
    let rsa = authority.issue(&Leaf::server(&["localhost"]).rsa());
    let ecdsa = authority.server(&["localhost"]);
    let gateway = secure(&[&rsa, &ecdsa], "", "").start();
    let modern = TlsClient::trusting(&authority).build();
    assert!(modern.connect(gateway.address()).certificate() == ecdsa.der);
    for versions in [[&TLS13], [&TLS12]] {
        let old = TlsClient::trusting(&authority)
            .versions(&versions)
            .schemes(&[S::RSA_PSS_SHA256, S::RSA_PKCS1_SHA256])
            .build();
        assert!(old.connect(gateway.address()).certificate() == rsa.der);
    }
    let neither = TlsClient::trusting(&authority).schemes(&[S::ED25519]).build();
    let error = neither.try_connect(gateway.address()).unwrap_err();
    assert!(
        matches!(tls_error(&error), Some(rustls::Error::AlertReceived(_))),
        "{error}"
    );
    let labels = [("reason", "nothing_in_common")];
    gateway.wait_metric("gatehouse_tls_handshake_failures_total", &labels, |n| n == 1.0);
}

#[test]
fn a_strict_listener_takes_only_names_it_has() {
    let authority = Authority::new();
    let [one, two] = [
        authority.server(&["one.example.com", "also.example.com"]),
        authority.server(&["two.example.com"]),
    ];
    let gateway = secure(&[&one, &two], ", strict_sni: true", "").start();
    let client = TlsClient::trusting(&authority).build();
    for refused in [
        client.named("localhost"),
        TlsClient::trusting(&authority)
            .named("one.example.com")
            .without_sni()
            .build(),
    ] {
        let error = refused.try_connect(gateway.address()).unwrap_err();
        assert!(
            matches!(tls_error(&error), Some(rustls::Error::AlertReceived(_))),
            "{error}"
        );
    }
    gateway.wait_metric(
        "gatehouse_tls_handshake_failures_total",
        &[("reason", "name")],
        |n| n == 2.0,
    );

    let mut client = client.named("one.example.com").client(gateway.address());
    let mut status = |host: &str| client.send(&Request::get("/").host(host)).status;
    assert_eq!(status("one.example.com"), 200);
    assert_eq!(status("ONE.example.com:8443"), 200);
    // The certificate is for this one too, so the connection may be shared.
    assert_eq!(status("also.example.com"), 200);
    // Another certificate's, and nobody's.
    assert_eq!(status("two.example.com"), 421);
    assert_eq!(status("example.com"), 421);
    assert_eq!(status("one.example.com"), 200);
}

#[test]
fn any_host_is_served_unless_the_listener_is_strict() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    let mut client = TlsClient::trusting(&authority).build().client(gateway.address());
    assert_eq!(
        client.send(&Request::get("/").host("other.example.com")).status,
        200
    );
}

#[test]
fn the_intermediate_profile_speaks_two_versions_and_the_modern_one() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    let of = |version| TlsClient::trusting(&authority).versions(&[version]).build();

    let gateway = secure(&[&leaf], "", "").start();
    assert_eq!(of(&TLS12).client(gateway.address()).get("/").text(), "secure");
    assert_eq!(of(&TLS13).client(gateway.address()).get("/").text(), "secure");
    for version in ["TLSv1.2", "TLSv1.3"] {
        let labels = [("version", version), ("kind", "full")];
        gateway.wait_metric("gatehouse_tls_handshakes_total", &labels, |n| n == 1.0);
    }

    let gateway = secure(&[&leaf], ", profile: modern", "").start();
    assert_eq!(of(&TLS13).client(gateway.address()).get("/").text(), "secure");
    let error = of(&TLS12).try_connect(gateway.address()).unwrap_err();
    assert_eq!(
        tls_error(&error),
        Some(&rustls::Error::AlertReceived(
            rustls::AlertDescription::ProtocolVersion
        ))
    );
    let labels = [("reason", "nothing_in_common")];
    gateway.wait_metric("gatehouse_tls_handshake_failures_total", &labels, |n| n == 1.0);
}

#[test]
fn keys_are_exchanged_safe_from_quantum_computers() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    let raw = TlsClient::trusting(&authority).build().connect(gateway.address());
    let group = raw.session().negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn alpn_chooses_what_the_listener_speaks() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    let offering = |protocols: &[&str]| TlsClient::trusting(&authority).alpn(protocols).build();
    let raw = offering(&["spdy/3", "http/1.1"]).connect(gateway.address());
    assert_eq!(raw.session().alpn_protocol(), Some(&b"http/1.1"[..]));
    let error = offering(&["spdy/3"]).try_connect(gateway.address()).unwrap_err();
    assert_eq!(
        tls_error(&error),
        Some(&rustls::Error::AlertReceived(
            rustls::AlertDescription::NoApplicationProtocol
        ))
    );
}
