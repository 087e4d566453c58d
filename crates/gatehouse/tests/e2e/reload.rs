//! New configurations while the gateway runs: taken whole or not at all, and nobody notices but by the result.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gate, HttpBackend, Raw, Reply, Request, client};

use crate::{PLAIN, gateway, in_front_of};

/// A configuration whose only route says which one it is.
fn numbered(n: usize) -> String {
    format!(
        "listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nroutes: {{ all: {{ match: {{}}, reply: {{ body: \"{n}\" }} }} }}\n"
    )
}

#[test]
fn a_good_one_is_taken_on_kept_connections_too() {
    let gateway = gateway(&numbered(1)).start();
    let mut kept = Client::connect(gateway.address());
    assert_eq!(kept.get("/").text(), "1");
    gateway.reload(&numbered(2));
    assert_eq!(kept.get("/").text(), "2");
    assert_eq!(client::get(gateway.address(), "/").text(), "2");
}

#[test]
fn a_bad_one_leaves_everything_as_it_was() {
    let gateway = gateway(&numbered(1)).start();
    let mut kept = Client::connect(gateway.address());
    for bad in [
        "listeners: [",
        "nonsense: true\n",
        "listeners: { main: { address: \"127.0.0.1:0\" } }\nroutes: { a: { match: {}, forward: { upstream: none } } }\n",
        "",
    ] {
        gateway.reload_refused(bad);
        assert_eq!(kept.get("/").text(), "1");
        assert_eq!(client::get(gateway.address(), "/").text(), "1");
    }
    // And the next good one is taken.
    gateway.reload(&numbered(2));
    assert_eq!(kept.get("/").text(), "2");
}

#[test]
fn it_shows_while_the_file_is_not_what_runs() {
    let json = "process: { log: { format: json } }\n";
    let good = format!("{}{json}", numbered(1));
    let gateway = gateway(&good).start();
    let behind =
        |wanted: f64| gateway.wait_metric("gatehouse_config_behind", &[], |n| (n - wanted).abs() < 0.5);
    behind(0.0);
    gateway.write_config(&format!("{good}nonsense: true\n"));
    behind(1.0);
    gateway.wait_log("unknown section `nonsense`");
    // What is wrong comes as lines of JSON as well, with its place.
    let line = gateway
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["message"] == "unknown section `nonsense`")
        .unwrap_or_else(|| panic!("no line of JSON in {}", gateway.log()));
    assert_eq!(
        (line["level"].as_str(), line["line"].is_u64()),
        (Some("ERROR"), true),
        "{line}"
    );
    // The file as it was mends it.
    gateway.write_config(&good);
    behind(0.0);
    gateway.wait_log("the configuration is again the one that runs");
}

#[test]
fn a_changed_file_is_noticed_without_a_signal() {
    let gateway = gateway(&numbered(1)).start();
    assert_eq!(client::get(gateway.address(), "/").text(), "1");
    gateway.write_config(&numbered(2));
    until("the file to be noticed", || {
        client::get(gateway.address(), "/").text() == "2"
    });
}

#[test]
fn a_changed_included_file_is_noticed() {
    let main = "listeners: { main: { address: \"127.0.0.1:0\" } }\ninclude: [\"teams/*.yaml\"]\n";
    let team = |n: usize| format!("routes: {{ all: {{ match: {{}}, reply: {{ body: \"{n}\" }} }} }}\n");
    let gateway = gateway(main).file("teams/a.yaml", &team(1)).start();
    assert_eq!(client::get(gateway.address(), "/").text(), "1");
    gatehouse_testkit::temp::replace(&gateway.directory().join("teams/a.yaml"), team(2));
    until("the file to be noticed", || {
        client::get(gateway.address(), "/").text() == "2"
    });
}

#[test]
fn requests_under_way_finish_on_the_configuration_they_began_with() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        call.wait(&wait)?;
        call.reply(&Reply::ok("old"))
    });
    let gateway = in_front_of(&backend);
    let mut under_way = Raw::connect(gateway.address());
    under_way.send(Request::get("/").encode());
    backend.wait_requests(1);
    // The route and the upstream it uses are gone afterwards.
    gateway.reload(&numbered(2));
    assert_eq!(client::get(gateway.address(), "/").text(), "2");
    gate.open();
    assert_eq!(under_way.response("GET").text(), "old");
    under_way.send(Request::get("/").encode());
    assert_eq!(under_way.response("GET").text(), "2");
}

#[test]
fn a_body_that_streams_outlives_its_configuration() {
    let feed = gatehouse_testkit::Feed::new();
    let pieces = feed.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunks_from(&pieces)
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    raw.response_head("GET");
    feed.push("before");
    assert_eq!(raw.chunk().unwrap(), b"before");
    gateway.reload(&numbered(2));
    feed.push("after");
    assert_eq!(raw.chunk().unwrap(), b"after");
    feed.end();
    assert_eq!(raw.chunk(), None);
}

#[test]
fn kept_upstream_connections_survive() {
    let backend = HttpBackend::start();
    let yaml = format!("{PLAIN}process: {{ workers: 1 }}\n");
    let gateway = gateway(&yaml).bind("api", backend.url()).start();
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
        gateway.reload(&yaml);
    }
    assert_eq!(client.get("/").status, 200);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn listeners_come_and_go() {
    let two = r#"
listeners: { main: { address: "127.0.0.1:0" }, extra: { address: "127.0.0.1:0" } }
routes: { all: { match: {}, reply: { body: two } } }
"#;
    let gateway = gateway(two).start();
    let (main, extra) = (gateway.address_of("main"), gateway.address_of("extra"));
    let mut kept = Client::connect(extra);
    assert_eq!(kept.get("/").text(), "two");
    gateway.reload(&numbered(1));
    assert_eq!(client::get(main, "/").text(), "1");
    // A listener that went takes no new connections; those it had are told to go with their next answer.
    until("the listener to close", || Raw::try_connect(extra).is_err());
    if kept.raw.try_send(Request::get("/").encode()).is_ok()
        && let Ok(response) = kept.raw.reader.read_response("GET")
    {
        assert!(!response.keeps_alive(), "{response:?}");
    }
}

#[test]
fn an_address_that_is_taken_refuses_the_configuration() {
    let gateway = gateway(&numbered(1)).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "listeners: {{ main: {{ address: \"127.0.0.1:0\" }}, extra: {{ address: \"{}\" }} }}\nroutes: {{ all: {{ match: {{}}, reply: {{ body: \"2\" }} }} }}\n",
        taken.local_addr().unwrap()
    );
    gateway.reload_refused(&more);
    assert_eq!(client::get(gateway.address(), "/").text(), "1");
}

#[test]
fn an_address_that_comes_free_is_taken_without_a_signal() {
    let gateway = gateway(&numbered(1)).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = format!(
        "listeners: {{ main: {{ address: \"127.0.0.1:0\" }}, extra: {{ address: \"{address}\" }} }}\nroutes: {{ all: {{ match: {{}}, reply: {{ body: \"2\" }} }} }}\n"
    );
    gateway.reload_refused(&more);
    let failed = || {
        let labels = [("result", "failed")];
        gateway.metrics().sum("gatehouse_config_reloads_total", &labels)
    };
    let before = failed();
    drop(taken);
    gateway.wait_metric("gatehouse_config_behind", &[], |n| n < 0.5);
    assert_eq!(client::get(address, "/").text(), "2");
    assert!(failed() - before < 0.5, "one more try is not one more failure");
}

#[test]
fn what_needs_a_restart_is_told_when_it_changes() {
    let gateway = gateway(&numbered(1)).start();
    let workers = |n: usize| format!("{}process: {{ workers: {n} }}\n", numbered(1));
    let (waits, undone) = ("takes force after a restart", "is again the one that runs");
    // The builder gives two.
    gateway.reload(&workers(3));
    gateway.wait_log(waits);
    gateway.reload(&workers(3));
    gateway.reload(&workers(2));
    gateway.wait_log(undone);
    gateway.reload(&workers(2));
    assert_eq!(
        (gateway.logged(waits), gateway.logged(undone)),
        (1, 1),
        "{}",
        gateway.log()
    );
}

#[test]
fn rate_limit_counts_survive() {
    let yaml = |body: &str| {
        format!(
            r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes:
  all:
    match: {{ path: /** }}
    policies: [ {{ rate_limit: {{ limit: 5, window: 1h, key: client_ip }} }} ]
    reply: {{ body: {body} }}
"#
        )
    };
    let gateway = gateway(&yaml("a")).start();
    let mut client = Client::connect(gateway.address());
    for n in 0..5 {
        assert_eq!(client.get("/").status, 200);
        gateway.reload(&yaml(&format!("b{n}")));
    }
    assert_eq!(client.get("/").status, 429);
}
