//! New certificates while the gateway runs.

use gatehouse_testkit::temp::replace;
use gatehouse_testkit::tls::{Issued, Leaf};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Authority, Gateway, TlsClient};

use super::{document, secure};

fn write(gateway: &Gateway, issued: &Issued) {
    let folder = gateway.directory().join("tls");
    replace(&folder.join("0.pem"), &issued.cert);
    replace(&folder.join("0.key"), &issued.key);
}

fn reloads(gateway: &Gateway, result: &str) -> f64 {
    gateway
        .metrics()
        .sum("gatehouse_config_reloads_total", &[("result", result)])
}

#[test]
fn a_new_certificate_is_noticed_and_connections_stay() {
    let authority = Authority::new();
    let old = authority.issue(&Leaf::server(&["localhost"]).years(2020, 2080));
    let new = authority.issue(&Leaf::server(&["localhost"]).years(2020, 2085));
    let gateway = secure(&[&old], "", "").start();
    let expiry = |wanted: f64| {
        let labels = [("listener", "main"), ("certificate", "tls/0.pem")];
        gateway.wait_metric("gatehouse_certificate_expiry_timestamp_seconds", &labels, |n| {
            n == wanted
        });
    };
    expiry(3_471_292_800.0);
    let client = TlsClient::trusting(&authority).build();
    let mut kept = client.client(gateway.address());
    assert_eq!(kept.get("/").text(), "secure");
    write(&gateway, &new);
    let shown = || {
        TlsClient::trusting(&authority)
            .build()
            .connect(gateway.address())
            .certificate()
    };
    until("the new certificate", || shown() == new.der);
    // The log says which. The two files may have been noticed one after the other.
    until("the line of the log", || {
        let log = gateway.log();
        let lines = || log.lines().filter(|line| line.contains("configuration changed"));
        lines().all(|line| line.contains("changes=files ~tls/0"))
            && lines().any(|line| line.contains("0.pem"))
    });
    assert!(kept.raw.certificate() == old.der);
    assert_eq!(kept.get("/").text(), "secure");
    expiry(3_629_145_600.0);
}

#[test]
fn a_bad_one_keeps_the_old_until_it_is_mended() {
    let authority = Authority::new();
    let (old, new) = (authority.server(&["localhost"]), authority.server(&["localhost"]));
    let gateway = secure(&[&old], "", "").start();
    let client = TlsClient::trusting(&authority).build();
    let mut kept = client.client(gateway.address());
    let key = gateway.directory().join("tls/0.key");

    // Half of it is there: the certificate has another key.
    replace(&key, &new.key);
    gateway.wait_log("`tls/0.key` is not the key of the certificate `tls/0.pem`");
    std::fs::remove_file(&key).unwrap();
    gateway.wait_log("`tls/0.key` cannot be read: no such file");
    replace(&key, "rubbish");
    gateway.wait_log("`tls/0.key` has no private key");
    assert!(reloads(&gateway, "failed") >= 3.0);
    assert_eq!(reloads(&gateway, "ok"), 0.0);
    let fresh = || {
        TlsClient::trusting(&authority)
            .build()
            .connect(gateway.address())
            .certificate()
    };
    assert!(fresh() == old.der);
    assert_eq!(kept.get("/").text(), "secure");

    write(&gateway, &new);
    until("the new certificate", || fresh() == new.der);
    assert_eq!(kept.get("/").text(), "secure");
}

#[test]
fn certificates_come_and_go_with_the_document() {
    let authority = Authority::new();
    let (one, two) = (
        authority.server(&["one.example.com"]),
        authority.server(&["two.example.com"]),
    );
    let gateway = secure(&[&one, &two], "", "").start();
    let client = TlsClient::trusting(&authority).build();
    let mut kept = client.named("two.example.com").client(gateway.address());
    gateway.reload(&document(1, "", ""));
    assert!(
        client
            .named("two.example.com")
            .try_connect(gateway.address())
            .is_err()
    );
    assert_eq!(kept.get("/").text(), "secure");
    // TLS itself may go: what was connected stays as it is.
    gateway.reload(
        "listeners: { main: { address: \"127.0.0.1:0\" } }\nroutes: { all: { match: {}, reply: { body: plain } } }\n",
    );
    assert_eq!(
        gatehouse_testkit::client::get(gateway.address(), "/").text(),
        "plain"
    );
    assert_eq!(kept.get("/").text(), "plain");
}

#[test]
fn a_stapled_response_is_passed_on() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    // No more than the shape is looked at: a sequence that says `successful`.
    let response = |n: u8| [0x30, 5, 0x0a, 1, 0, 0xa0, n];
    let yaml = document(1, "", "").replace("tls/0.key }", "tls/0.key, ocsp: staple.der }");
    let builder = crate::gateway(&yaml)
        .file("tls/0.pem", &leaf.cert)
        .file("tls/0.key", &leaf.key);
    std::fs::write(builder.directory().join("staple.der"), response(0)).unwrap();
    let gateway = builder.start();
    let client = TlsClient::trusting(&authority).build();
    client.connect(gateway.address());
    assert_eq!(client.staple(), response(0));
    replace(&gateway.directory().join("staple.der"), response(1));
    until("the new response", || {
        client.fresh().connect(gateway.address());
        client.staple() == response(1)
    });
}
