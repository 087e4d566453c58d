//! Endpoints behind TLS: who is believed, who we say we are, and what becomes of connections.

use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::backend::tls::Settings;
use gatehouse_testkit::temp::{TempDir, replace};
use gatehouse_testkit::tls::{Authority, Issued, Leaf, TLS12};
use gatehouse_testkit::{Client, Gateway, H2Backend, HttpBackend, Reply, Response, TlsFront};
use std::io::Write;

use crate::{gateway, with_upstream};

/// An authority, a server's certificate of it for `localhost` and 127.0.0.1, and a folder with the authority's file.
struct Rig {
    folder: TempDir,
    authority: Authority,
    identity: Issued,
    backend: HttpBackend,
}

impl Rig {
    fn new() -> Self {
        let (folder, authority) = (TempDir::new(), Authority::named("test authority"));
        folder.write("ca.pem", &authority.pem());
        Self {
            identity: authority.server(&["localhost", "127.0.0.1"]),
            folder,
            authority,
            backend: HttpBackend::start(),
        }
    }

    fn ca(&self) -> String {
        format!("ca: {}", self.file("ca.pem"))
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn front(&self) -> TlsFront {
        TlsFront::start(&Settings::new(&self.identity), self.backend.address())
    }

    fn front_as(&self, identity: &Issued) -> TlsFront {
        TlsFront::start(&Settings::new(identity), self.backend.address())
    }
}

fn get(gateway: &Gateway) -> Response {
    Client::connect(gateway.address()).get("/")
}

/// The request fails with `tls_failed`, the log says why, and the client does not learn it.
fn fails(gateway: &Gateway, why: &str) {
    let response = get(gateway);
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "tls_failed"),
        "{response:?}"
    );
    assert!(!response.text().contains(why), "{}", response.text());
    gateway.wait_log(why);
    gateway.wait_metric(
        "gatehouse_upstream_failures_total",
        &[("upstream", "api"), ("code", "tls_failed")],
        |n| n >= 1.0,
    );
}

#[test]
fn an_endpoint_of_a_known_authority_is_spoken_to() {
    let rig = Rig::new();
    let front = rig.front();
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    assert_eq!(get(&gateway).text(), "ok");
    assert_eq!(rig.backend.last().header("via"), Some("1.1 gatehouse"));
}

#[test]
fn a_name_is_asked_for_and_expected() {
    let rig = Rig::new();
    let front = rig.front();
    let url = format!("https://localhost:{}", front.port());
    let gateway = with_upstream(&url, &format!("tls: {{ {} }}", rig.ca()));
    assert_eq!(get(&gateway).text(), "ok");
    assert_eq!(front.handshakes()[0].server_name.as_deref(), Some("localhost"));
}

#[test]
fn another_name_may_be_asked_for() {
    let rig = Rig::new();
    let front = rig.front_as(&rig.authority.server(&["orders.internal"]));
    let settings = format!("tls: {{ {}, server_name: orders.internal }}", rig.ca());
    let gateway = with_upstream(&front.url(), &settings);
    assert_eq!(get(&gateway).text(), "ok");
    assert_eq!(
        front.handshakes()[0].server_name.as_deref(),
        Some("orders.internal")
    );
}

#[test]
fn an_unknown_authority_is_not_believed() {
    let rig = Rig::new();
    let front = rig.front_as(&Authority::named("somebody").server(&["127.0.0.1"]));
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    fails(&gateway, "UnknownIssuer");
    assert_eq!(rig.backend.count(), 0);
}

#[test]
fn an_expired_certificate_is_not_believed() {
    let rig = Rig::new();
    let front = rig.front_as(
        &rig.authority
            .issue(&Leaf::server(&["127.0.0.1"]).years(2000, 2001)),
    );
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    fails(&gateway, "expired");
    assert_eq!(rig.backend.count(), 0);
}

#[test]
fn a_certificate_for_another_name_is_not_believed() {
    let rig = Rig::new();
    let front = rig.front_as(&rig.authority.server(&["somebody.internal"]));
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    fails(&gateway, "not valid for name");
    assert_eq!(rig.backend.count(), 0);
}

#[test]
fn without_verification_everybody_is_believed_and_a_warning_says_so() {
    let rig = Rig::new();
    let front =
        rig.front_as(&Authority::named("somebody").issue(&Leaf::server(&["other"]).years(2000, 2001)));
    let gateway = with_upstream(&front.url(), "tls: { verify: false }");
    assert_eq!(get(&gateway).text(), "ok");
    gateway.wait_log("does not check certificates");
}

#[test]
fn the_names_wanted_take_the_place_of_the_servers() {
    let rig = Rig::new();
    let identity = rig
        .authority
        .server(&["spiffe://example.org/orders", "orders.internal"]);
    for (names, good) in [
        ("\"spiffe://example.org/orders\"", true),
        ("\"spiffe://example.org/users\"", false),
        ("users.internal, orders.internal", true),
        ("127.0.0.1", false),
    ] {
        let front = rig.front_as(&identity);
        let settings = format!("tls: {{ {}, subject_alt_names: [{names}] }}", rig.ca());
        let gateway = with_upstream(&front.url(), &settings);
        if good {
            assert_eq!(get(&gateway).text(), "ok", "{names}");
        } else {
            fails(&gateway, "NotValidForName");
        }
    }
}

#[test]
fn names_of_an_unknown_authority_mean_nothing() {
    let rig = Rig::new();
    let front = rig.front_as(&Authority::named("somebody").server(&["spiffe://example.org/orders"]));
    let settings = format!(
        "tls: {{ {}, subject_alt_names: [\"spiffe://example.org/orders\"] }}",
        rig.ca()
    );
    fails(&with_upstream(&front.url(), &settings), "UnknownIssuer");
}

#[test]
fn a_certificate_is_shown_to_those_who_ask() {
    let rig = Rig::new();
    let clients = Authority::named("clients");
    let settings = Settings::new(&rig.identity).clients_of(&clients);
    let front = TlsFront::start(&settings, rig.backend.address());
    let us = clients.issue(&Leaf::client("gateway.internal"));
    rig.folder.write("us.pem", &us.cert);
    rig.folder.write("us.key", &us.key);

    let without = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    let response = get(&without);
    assert_eq!(response.status, 502, "{response:?}");
    assert_eq!(rig.backend.count(), 0);

    let tls = format!(
        "tls: {{ {}, certificate: {}, key: {} }}",
        rig.ca(),
        rig.file("us.pem"),
        rig.file("us.key")
    );
    let with = with_upstream(&front.url(), &tls);
    assert_eq!(get(&with).text(), "ok");
    assert_eq!(front.handshakes()[0].client.as_deref(), Some(us.der.as_slice()));
}

#[test]
fn an_old_version_is_refused_where_only_the_new_one_is_wanted() {
    let rig = Rig::new();
    let settings = Settings::new(&rig.identity).only(&TLS12);
    let front = TlsFront::start(&settings, rig.backend.address());
    let old = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    assert_eq!(get(&old).text(), "ok");
    let new = with_upstream(&front.url(), &format!("tls: {{ {}, profile: modern }}", rig.ca()));
    assert_eq!(get(&new).code(), "tls_failed");
}

#[test]
fn a_handshake_that_never_ends_is_bounded_by_the_connect_timeout() {
    let rig = Rig::new();
    let front = TlsFront::start(&Settings::new(&rig.identity).silent(), rig.backend.address());
    let settings = format!("timeouts: {{ connect: 200ms }}, tls: {{ {} }}", rig.ca());
    fails(&with_upstream(&front.url(), &settings), "not done in time");
}

#[test]
fn an_endpoint_in_the_clear_fails_as_tls() {
    let rig = Rig::new();
    let clear = TcpBackend::start(|mut stream, _| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    });
    let url = clear.url().replace("http://", "https://");
    let response = get(&with_upstream(&url, &format!("tls: {{ {} }}", rig.ca())));
    assert_eq!((response.status, response.code().as_str()), (502, "tls_failed"));
}

/// Nothing was sent, so another endpoint may be asked, whatever the method.
#[test]
fn another_endpoint_is_asked_when_the_handshake_fails() {
    let rig = Rig::new();
    let (bad, good) = (
        rig.front_as(&Authority::named("somebody").server(&["127.0.0.1"])),
        rig.front(),
    );
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
process: {{ workers: 1 }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["{}", "{}"], tls: {{ {} }} }} }}
"#,
        bad.url(),
        good.url(),
        rig.ca()
    );
    let gateway = gateway(&yaml).start();
    let mut client = Client::connect(gateway.address());
    for _ in 0..4 {
        let request = gatehouse_testkit::Request::post("/", "pay");
        assert_eq!(client.send(&request).status, 200);
    }
    assert_eq!(rig.backend.count(), 4);
}

#[test]
fn connections_are_kept_and_sessions_resumed() {
    let rig = Rig::new();
    let front = rig.front();
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(front.handshakes().len(), 1);
    rig.backend.drop_connections();
    rig.backend.wait_ended(1);
    assert_eq!(client.get("/").text(), "ok");
    let handshakes = front.handshakes();
    assert_eq!(handshakes.len(), 2);
    assert!(!handshakes[0].resumed && handshakes[1].resumed);
}

#[test]
fn the_systems_authorities_are_trusted_unless_others_are_named() {
    let rig = Rig::new();
    let front = rig.front();
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        front.url()
    );
    let known = gateway(&yaml)
        .environment("SSL_CERT_DIR", "")
        .environment("SSL_CERT_FILE", &rig.file("ca.pem"))
        .start();
    assert_eq!(get(&known).text(), "ok");
    rig.folder.write("none.pem", "");
    let none = gateway(&yaml)
        .environment("SSL_CERT_DIR", "")
        .environment("SSL_CERT_FILE", &rig.file("none.pem"))
        .try_start();
    let Err(said) = none else {
        panic!("it has authorities")
    };
    assert!(
        said.contains("the system has no root certificates") && said.contains("tls.ca"),
        "{said}"
    );
}

/// The document is the same, the file is not: new connections only under what it says now.
#[test]
fn a_changed_authority_counts_from_the_next_request_on() {
    let rig = Rig::new();
    let front = rig.front();
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").text(), "ok");
    let other = Authority::named("other");
    replace(&rig.folder.join("ca.pem"), other.pem());
    gateway.signal("HUP");
    gateway.wait_log("configuration changed");
    // A kept connection would still work; it was made under other settings.
    assert_eq!(client.get("/").code(), "tls_failed");
    replace(&rig.folder.join("ca.pem"), rig.authority.pem());
    gateway.signal("HUP");
    gatehouse_testkit::wait::until("the first authority again", || client.get("/").status == 200);
}

#[test]
fn a_bad_file_keeps_what_runs() {
    let rig = Rig::new();
    let front = rig.front();
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    assert_eq!(get(&gateway).text(), "ok");
    replace(&rig.folder.join("ca.pem"), "nonsense");
    gateway.signal("HUP");
    gateway.wait_log("configuration not changed");
    assert_eq!(get(&gateway).text(), "ok");
    assert_eq!(front.handshakes().len(), 1, "the connection is kept");
}

/// A body without a length ends with the connection: over TLS the end must be said.
#[test]
fn a_body_to_the_close_needs_a_close_that_was_said() {
    let rig = Rig::new();
    rig.backend.otherwise(Reply::ok("all of it").until_close());
    for (cut, whole) in [(false, true), (true, false)] {
        let settings = Settings::new(&rig.identity);
        let settings = if cut { settings.cutting() } else { settings };
        let front = TlsFront::start(&settings, rig.backend.address());
        let tls = format!("protocol: http1, tls: {{ {} }}", rig.ca());
        let gateway = with_upstream(&front.url(), &tls);
        let mut raw = gatehouse_testkit::Raw::connect(gateway.address());
        raw.send(
            gatehouse_testkit::Request::get("/")
                .header("Connection", "close")
                .encode(),
        );
        let received = String::from_utf8(raw.read_to_end()).unwrap();
        assert_eq!(received.ends_with("0\r\n\r\n"), whole, "{received}");
    }
}

#[test]
fn http2_is_spoken_where_the_endpoint_chooses_it() {
    let rig = Rig::new();
    let h2 = H2Backend::start();
    let settings = Settings::new(&rig.identity).alpn(&["h2", "http/1.1"]);
    let front = TlsFront::start(&settings, h2.address());
    let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
    assert_eq!(get(&gateway).text(), "ok");
    assert_eq!(front.handshakes()[0].alpn.as_deref(), Some("h2"));
    assert_eq!(h2.last().scheme, "https");
}

#[test]
fn http1_is_spoken_where_it_does_not() {
    let rig = Rig::new();
    for alpn in [&["http/1.1"][..], &[]] {
        let settings = Settings::new(&rig.identity).alpn(alpn);
        let front = TlsFront::start(&settings, rig.backend.address());
        let gateway = with_upstream(&front.url(), &format!("tls: {{ {} }}", rig.ca()));
        let mut client = Client::connect(gateway.address());
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "ok");
        }
        assert_eq!(front.handshakes().len(), 1);
    }
}

#[test]
fn what_is_wanted_decides_what_is_offered() {
    let rig = Rig::new();
    let settings = Settings::new(&rig.identity).alpn(&["h2", "http/1.1"]);
    let front = TlsFront::start(&settings, rig.backend.address());
    let gateway = with_upstream(&front.url(), &format!("protocol: http1, tls: {{ {} }}", rig.ca()));
    assert_eq!(get(&gateway).text(), "ok");
    assert_eq!(front.handshakes()[0].alpn.as_deref(), Some("http/1.1"));

    let settings = Settings::new(&rig.identity);
    let front = TlsFront::start(&settings, rig.backend.address());
    let settings = format!("protocol: http2, tls: {{ {} }}", rig.ca());
    fails(&with_upstream(&front.url(), &settings), "did not agree to HTTP/2");
}
