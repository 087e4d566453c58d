//! What `/metrics` says, and that strangers cannot make it grow.

use gatehouse_testkit::{Client, HttpBackend, Raw, Reply, Request, client};

use crate::{gateway, in_front_of};

/// Counters are whole numbers; this compares them without comparing floats.
fn is(value: f64, wanted: u32) -> bool {
    (value - f64::from(wanted)).abs() < 0.1
}

#[test]
fn a_failing_endpoint_is_counted_and_told_with_its_reason() {
    let backend = HttpBackend::scripted(|call| match call.request().target.as_str() {
        "/garbage" => call.send("HTTP/9.9 nonsense\r\n\r\n"),
        "/short" => {
            call.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")?;
            call.close();
            Ok(())
        }
        _ => call.reply(&Reply::new(200)),
    });
    let gateway = in_front_of(&backend);
    let get = |target| client::get(gateway.address(), target).status;
    assert_eq!(
        [get("/"), get("/garbage"), get("/garbage"), get("/")],
        [200, 502, 502, 200]
    );
    let endpoint = backend.address().to_string();
    let labels = [("upstream", "api"), ("endpoint", endpoint.as_str())];
    gateway.wait_metric("gatehouse_endpoint_attempts_total", &labels, |n| is(n, 4));
    gateway.wait_metric("gatehouse_endpoint_failures_total", &labels, |n| is(n, 2));
    let log = gateway.log();
    assert_eq!(log.matches("the endpoint fails").count(), 1, "{log}");
    assert!(
        log.contains("upstream_protocol") && log.contains(&endpoint),
        "{log}"
    );
    assert_eq!(log.matches("the endpoint answers again").count(), 1, "{log}");

    let mut raw = Raw::connect(gateway.address());
    raw.send("GET /short HTTP/1.1\r\nHost: a\r\n\r\n");
    raw.read_to_end();
    let broken = [("upstream", "api"), ("code", "upstream_reset")];
    gateway.wait_metric("gatehouse_upstream_failures_total", &broken, |n| is(n, 1));
}

#[test]
fn requests_are_counted_by_route_version_and_status() {
    let backend = HttpBackend::start();
    backend.on("/orders/bad", Reply::new(500));
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes:
  orders: { match: { path: /orders/** }, version: v1, forward: { upstream: api } }
  own: { match: { path: /own }, reply: { body: own } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    let mut client = Client::connect(gateway.address());
    for target in ["/orders/1", "/orders/2", "/orders/bad", "/own", "/none"] {
        client.send(&Request::post(target, "12345"));
    }
    let total = "gatehouse_requests_total";
    gateway.wait_metric(total, &[], |n| is(n, 5));
    let metrics = gateway.metrics();
    assert!(
        is(
            metrics.sum(
                total,
                &[("route", "orders"), ("version", "v1"), ("status", "200")]
            ),
            2
        ),
        "{}",
        metrics.text
    );
    assert!(
        is(metrics.sum(total, &[("route", "orders"), ("status", "500")]), 1),
        "{}",
        metrics.text
    );
    assert!(
        is(metrics.sum(total, &[("route", "own"), ("status", "200")]), 1),
        "{}",
        metrics.text
    );
    assert!(
        is(metrics.sum(total, &[("status", "404")]), 1),
        "{}",
        metrics.text
    );
    assert!(
        is(
            metrics.sum("gatehouse_failures_total", &[("code", "route_not_found")]),
            1
        ),
        "{}",
        metrics.text
    );
    assert!(
        is(
            metrics.sum("gatehouse_request_duration_seconds_count", &[("route", "orders")]),
            3
        ),
        "{}",
        metrics.text
    );
    assert!(
        is(
            metrics.sum("gatehouse_request_bytes_total", &[("route", "orders")]),
            15
        ),
        "{}",
        metrics.text
    );
    assert!(
        is(
            metrics.sum("gatehouse_upstream_attempts_total", &[("upstream", "api")]),
            3
        ),
        "{}",
        metrics.text
    );
    assert!(
        is(metrics.sum("gatehouse_overhead_seconds_count", &[]), 5),
        "{}",
        metrics.text
    );
}

#[test]
fn gauges_go_up_and_come_back() {
    let gate = gatehouse_testkit::Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.wait(&wait)?;
        call.reply(&Reply::ok("ok"))
    });
    let gateway = in_front_of(&backend);
    let mut clients: Vec<Raw> = (0..3).map(|_| Raw::connect(gateway.address())).collect();
    for client in &mut clients {
        client.send(Request::get("/").encode());
    }
    backend.wait_requests(3);
    gateway.wait_metric("gatehouse_requests_in_flight", &[], |n| is(n, 3));
    gateway.wait_metric("gatehouse_connections_active", &[("listener", "main")], |n| {
        is(n, 3)
    });
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").status, 200);
    }
    gateway.wait_metric("gatehouse_requests_in_flight", &[], |n| is(n, 0));
    drop(clients);
    gateway.wait_metric("gatehouse_connections_active", &[("listener", "main")], |n| {
        is(n, 0)
    });
    gateway.wait_metric(
        "gatehouse_connections_accepted_total",
        &[("listener", "main")],
        |n| is(n, 3),
    );
}

#[test]
fn strangers_cannot_make_series() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    client::get(gateway.address(), "/");
    gateway.wait_metric("gatehouse_requests_total", &[], |n| n >= 1.0);
    let mut client = Client::connect(gateway.address());
    let some = |client: &mut Client, n: usize| {
        client.send(&Request::new(&format!("M{n}"), &format!("/{n}")).host(&format!("h{n}.test")));
    };
    for n in 0..10 {
        some(&mut client, n);
    }
    let before = gateway.metrics().samples.len();
    for n in 10..300 {
        some(&mut client, n);
    }
    let after = gateway.metrics().samples.len();
    assert_eq!(before, after, "every request made series");
}

#[test]
fn the_process_tells_about_itself() {
    let gateway = in_front_of(&HttpBackend::start());
    let metrics = gateway.metrics();
    for name in [
        "gatehouse_build_info",
        "gatehouse_workers",
        "gatehouse_config_info",
        "process_start_time_seconds",
    ] {
        assert!(metrics.sum(name, &[]) > 0.0, "{name}:\n{}", metrics.text);
    }
    assert!(is(metrics.sum("gatehouse_workers", &[]), 2));
    let response = client::ask_admin(gateway.admin(), "/metrics");
    assert!(
        response.header("content-type").unwrap().starts_with("text/plain"),
        "{response:?}"
    );
}
