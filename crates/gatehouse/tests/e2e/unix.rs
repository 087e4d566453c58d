//! Unix sockets: listening on one, its permissions, and cleaning up.

use std::os::unix::fs::PermissionsExt;

use gatehouse_testkit::{Client, HttpBackend, Request};

use crate::gateway;

const YAML: &str = r#"
listeners: { main: { address: "unix:${dir}/gatehouse.sock", unix_mode: "0600" } }
routes:
  own: { match: { path: /own }, reply: { body: own } }
  all: { match: { path: /** }, forward: { upstream: api } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;

#[test]
fn requests_over_a_unix_socket_are_served() {
    let backend = HttpBackend::start();
    let gateway = gateway(YAML).bind("api", backend.url()).start();
    let path = gateway.unix_of("main");
    let mut client = Client::unix(&path);
    for _ in 0..3 {
        assert_eq!(client.get("/own").text(), "own");
        assert_eq!(client.send(&Request::post("/x", "body")).status, 200);
    }
    let seen = backend.last();
    assert_eq!(
        (seen.text().as_str(), seen.header("host")),
        ("body", Some("gateway.test"))
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["status"], 200);
}

#[test]
fn the_socket_goes_with_the_gateway_and_a_left_over_one_does_not_hinder() {
    let backend = HttpBackend::start();
    let first = gateway(YAML).bind("api", backend.url());
    // What a crashed gateway leaves behind.
    drop(std::os::unix::net::UnixListener::bind(first.directory().join("gatehouse.sock")).unwrap());
    let mut first = first.start();
    let path = first.unix_of("main");
    assert_eq!(Client::unix(&path).get("/own").text(), "own");
    assert!(first.stop().success());
    assert!(!path.exists(), "the socket is still there");
}
