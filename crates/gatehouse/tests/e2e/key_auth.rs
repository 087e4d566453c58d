//! API keys: made by the command, used, counted, logged by their id; and what nobody may pretend by trailers.

use gatehouse_testkit::gateway::command::run;
use gatehouse_testkit::h2::{Http2, request};
use gatehouse_testkit::temp::TempDir;
use gatehouse_testkit::{Client, Gateway, HttpBackend, Request, client};

use crate::{BINARY, gateway};

/// What `gatehouse key new` printed: the key, and the entry for the document.
fn new_key(arguments: &[&str]) -> (String, String) {
    let all: Vec<&str> = ["key", "new"].iter().chain(arguments).copied().collect();
    let output = run(BINARY, &all, TempDir::new().path());
    assert_eq!(output.code, Some(0), "{output:?}");
    let key = output.stdout.lines().nth(1).unwrap().to_owned();
    let entry = output.stdout.split_once("# For the configuration:\n").unwrap().1;
    (key, entry.to_owned())
}

fn behind_keys(consumers: &str, backend: &HttpBackend) -> Gateway {
    gateway(&format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
{consumers}
routes:
  all: {{ match: {{ path: /** }}, policies: [ key_auth: {{ prefix: acme }} ], forward: {{ upstream: api }} }}
  open: {{ match: {{ path: /open }}, forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        backend.url()
    ))
    .start()
}

#[test]
fn a_new_key_works_as_printed_and_shows_up_by_its_id_only() {
    let (key, entry) = new_key(&["--prefix", "acme", "--consumer", "partner"]);
    let (other, _) = new_key(&["--prefix", "acme"]);
    let id = entry
        .lines()
        .find_map(|line| line.trim().strip_prefix("- id: "))
        .unwrap();
    let backend = HttpBackend::start();
    let gateway = behind_keys(&entry, &backend);
    // On one connection: lines of several come in any order.
    let mut client = Client::connect(gateway.address());
    let mut send = |key: &str| client.send(&Request::get("/").header("X-API-Key", key)).status;
    assert_eq!(
        (send(&key), send(&key), send(&other), send("acme_x")),
        (200, 200, 401, 401)
    );
    assert_eq!(backend.last().header("x-consumer"), Some("partner"));

    let lines = gateway.access_log(4);
    assert_eq!(lines[0]["api_key"], id, "{lines:?}");
    assert_eq!(lines[0]["consumer"], "partner", "{lines:?}");
    assert!(
        lines[2]["api_key"].is_null() && lines[2]["code"] == "unauthenticated",
        "{lines:?}"
    );
    let (metrics, labels) = (gateway.metrics(), [("consumer", "partner"), ("key", id)]);
    let used = metrics.sum("gatehouse_key_auth_requests_total", &labels);
    assert!((used - 2.0).abs() < 0.1, "{used}");
    assert!(metrics.sum("gatehouse_key_auth_last_used_seconds", &labels) > 1e9);
    for reason in ["unknown", "malformed"] {
        let refused = metrics.sum("gatehouse_key_auth_refused_total", &[("reason", reason)]);
        assert!((refused - 1.0).abs() < 0.1, "{reason}: {refused}");
    }
    for text in lines.iter().map(ToString::to_string).chain([gateway.log()]) {
        assert!(!text.contains(&key) && !text.contains(&other), "{text}");
    }
}

#[test]
fn a_key_is_not_made_with_an_odd_prefix() {
    let output = run(
        BINARY,
        &["key", "new", "--prefix", "sk-live"],
        TempDir::new().path(),
    );
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("`sk-live`"), "{output:?}");
}

/// Fields that say who calls are not taken from the end of a request either, in any spelling.
#[test]
fn nobody_pretends_by_a_trailer() {
    let backend = HttpBackend::start();
    let gateway = behind_keys("consumers: {}", &backend);
    let post = Request::post("/open", "")
        .chunked(&[b"abc"])
        .trailer("X-Consumer", "root")
        .trailer("x_user_id", "root")
        .trailer("X-Check", "1");
    assert_eq!(client::once(gateway.address(), &post).status, 200);
    let seen = backend.last();
    assert_eq!(seen.trailers.get("x-check"), Some("1"), "{seen:?}");
    assert_eq!(
        (seen.trailers.get("x-consumer"), seen.trailers.get("x_user_id")),
        (None, None)
    );

    let http2 = Http2::connect(gateway.address());
    let head = request("POST", "/open")
        .header("x-consumer", "root")
        .header("x-user_id", "root");
    let mut stream = http2.send(head.body(()).unwrap(), false);
    stream.write(b"abc", false);
    stream.write_trailers(&[("x-consumer", "root"), ("x_user_id", "root"), ("x-check", "2")]);
    assert_eq!(stream.answer().status, 200);
    let seen = backend.last();
    assert_eq!(seen.trailers.get("x-check"), Some("2"), "{seen:?}");
    for name in ["x-consumer", "x_user_id", "x-user_id"] {
        assert_eq!(
            (seen.trailers.get(name), seen.header(name)),
            (None, None),
            "{name}"
        );
    }
}
