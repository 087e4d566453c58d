//! Many consumers in a file of their own: loaded, changed under way, and refused if a line is wrong.

use std::fmt::Write as _;

use gatehouse_testkit::temp;
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gateway, Request, client};

use crate::gateway;

/// The SHA-256 of `plain-old-key`.
const KNOWN: &str = "f6bf68c2c3dc6363fa532b42d824c34b880ca1447c42ea0ebdcd07a683db1186";

/// So many consumers, the last of which has the known key.
fn consumers(many: usize) -> String {
    let mut text = String::new();
    for i in 1..=many {
        let digest = if i == many {
            KNOWN.to_owned()
        } else {
            format!("{i:064x}")
        };
        let keys = format!(r#"[{{"id": "k{i}", "sha256": "{digest}"}}]"#);
        let _ = writeln!(
            text,
            r#"{{"name": "c{i}", "tier": "t{}", "credentials": {{"keys": {keys}}}}}"#,
            i % 3
        );
    }
    text
}

fn start(file: &str) -> Gateway {
    gateway(
        r#"
listeners: { main: { address: "127.0.0.1:0" } }
consumers_from: { file: consumers.jsonl }
routes:
  all:
    match: {}
    policies:
      - key_auth: {}
      - headers: { response: { set: { X-Name: "${consumer.name} ${consumer.tier}" } } }
    reply: { body: hello }
"#,
    )
    .file("consumers.jsonl", file)
    .start()
}

/// Puts another file in the place of the one there.
fn replace(gateway: &Gateway, text: &str) {
    temp::replace(&gateway.directory().join("consumers.jsonl"), text);
}

#[test]
fn consumers_of_a_file_change_without_touching_connections() {
    let gateway = start(&consumers(20_000));
    let mut client = Client::connect(gateway.address());
    let mut ask = || {
        let answer = client.send(&Request::get("/").header("X-API-Key", "plain-old-key"));
        (answer.status, answer.header("x-name").map(str::to_owned))
    };
    assert_eq!(ask(), (200, Some("c20000 t2".to_owned())));
    // Always on the same connection, and never refused.
    replace(&gateway, &consumers(4));
    until("the new file to be in force", || {
        let (status, name) = ask();
        assert_eq!(status, 200);
        name.as_deref() == Some("c4 t1")
    });
    replace(&gateway, "{\"name\": \"c4\"}\n");
    until("nobody to have the key", || ask().0 == 401);
}

#[test]
fn a_file_with_a_bad_line_changes_nothing() {
    let gateway = start(&consumers(3));
    replace(&gateway, &consumers(3).replace("\"c2\"", "\"c1\""));
    let labels = [("result", "failed")];
    gateway.wait_metric("gatehouse_config_reloads_total", &labels, |n| n >= 1.0);
    gateway.wait_log("there is another consumer `c1`");
    let request = Request::get("/").header("X-API-Key", "plain-old-key");
    let answer = client::once(gateway.address(), &request);
    assert_eq!(answer.header("x-name"), Some("c3 t0"));
}
