//! Clients that come back are spared the long handshake.

use gatehouse_testkit::tls::{TLS12, TLS13};
use gatehouse_testkit::{Authority, Gateway, TlsClient};

use super::{document, secure};

/// Two keys as `openssl rand -base64 48` prints them.
const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm\n";
const TWO: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTBmZWRjYmE5ODc2NTQzMjEw\n";

/// Whether the client's next connection resumes a session. It reads an answer, and so a ticket, too.
#[track_caller]
fn resumes(client: &TlsClient, gateway: &Gateway) -> bool {
    let mut one = client.client(gateway.address());
    assert_eq!(one.get("/").text(), "secure");
    one.raw.is_resumed()
}

#[test]
fn both_versions_resume() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let client = TlsClient::trusting(&authority).versions(&[version]).build();
        let resumed: Vec<_> = (0..3).map(|_| resumes(&client, &gateway)).collect();
        assert_eq!(resumed, [false, true, true], "{name}");
        let labels = [("version", name), ("kind", "resumed")];
        gateway.wait_metric("gatehouse_tls_handshakes_total", &labels, |n| n == 2.0);
    }
}

#[test]
fn sessions_outlive_a_reload() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    let client = TlsClient::trusting(&authority).build();
    assert!(!resumes(&client, &gateway));
    gateway.reload(&document(1, "", "client: { timeouts: { head: 7s } }"));
    assert!(resumes(&client, &gateway));
}

#[test]
fn tickets_can_be_turned_off() {
    let authority = Authority::new();
    let gateway = secure(
        &[&authority.server(&["localhost"])],
        ", session_tickets: { enabled: false }",
        "",
    )
    .start();
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::trusting(&authority).versions(&[version]).build();
        assert!(!resumes(&client, &gateway) && !resumes(&client, &gateway));
    }
}

#[test]
fn nodes_that_share_keys_resume_each_others_sessions() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    let node = |keys: &str| {
        secure(&[&leaf], ", session_tickets: { key_file: tickets }", "")
            .file("tickets", keys)
            .start()
    };
    let (one, two) = (node(ONE), node(ONE));
    let stranger = node(TWO);
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::trusting(&authority).versions(&[version]).build();
        assert!(!resumes(&client, &one));
        assert!(resumes(&client, &two));
        assert!(resumes(&client, &one));
        assert!(!resumes(&client, &stranger));
    }
    // The next key comes in front; the old is still good.
    let client = TlsClient::trusting(&authority).build();
    assert!(!resumes(&client, &one));
    gatehouse_testkit::temp::replace(&two.directory().join("tickets"), format!("{TWO}{ONE}"));
    two.signal("HUP");
    two.wait_metric("gatehouse_config_reloads_total", &[("result", "ok")], |n| {
        n >= 1.0
    });
    assert!(resumes(&client, &two));
    // And what two seals now only those open that have the new key.
    assert!(resumes(&client, &stranger));
    assert!(!resumes(&client, &one));
}
