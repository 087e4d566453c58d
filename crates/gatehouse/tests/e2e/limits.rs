//! Bounds on connections, and what a body larger than allowed costs.

use gatehouse_testkit::client::chunk;
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gateway, HttpBackend, Raw, Request};

use crate::{gateway, with};

/// A gateway with as many connections as it may have.
struct Full {
    gateway: Gateway,
    clients: Vec<Client>,
}

impl Full {
    /// `setting` allows `most` connections.
    fn of(setting: &str, most: usize) -> Self {
        let gateway = gateway(&format!(
            r#"
listeners: {{ main: {{ address: "127.0.0.1:0", {setting}: {most} }} }}
routes: {{ all: {{ match: {{ path: /** }}, reply: {{ body: ok }} }} }}
"#
        ))
        .start();
        let clients = (0..most).map(|_| Client::connect(gateway.address()));
        let mut full = Self {
            clients: clients.collect(),
            gateway,
        };
        full.all_are_served();
        full
    }

    fn all_are_served(&mut self) {
        for client in &mut self.clients {
            assert_eq!(client.get("/").status, 200);
        }
    }

    /// One too many is closed at once and counted; those that are there go on.
    fn refuses(&mut self, reason: &str, setting: &str) {
        let mut extra = Raw::connect(self.gateway.address());
        let _ = extra.try_send(Request::get("/").encode());
        extra.expect_closed();
        self.all_are_served();
        let (refused, hit) = (
            "gatehouse_connections_refused_total",
            "gatehouse_limits_hit_total",
        );
        self.gateway
            .wait_metric(refused, &[("reason", reason)], |n| n >= 1.0);
        self.gateway
            .wait_metric(hit, &[("setting", setting)], |n| n >= 1.0);
    }

    /// A place that gets free can be taken again.
    fn takes_again(mut self) {
        drop(self.clients.pop());
        until("a free place", || {
            let mut raw = Raw::connect(self.gateway.address());
            raw.try_send(Request::get("/").encode()).is_ok() && raw.reader.read_response("GET").is_ok()
        });
    }
}

#[test]
fn one_client_cannot_have_more_than_its_share_of_connections() {
    let mut full = Full::of("max_connections_per_client", 3);
    full.refuses("per_client", "listeners.*.max_connections_per_client");
    full.takes_again();
}

#[test]
fn connections_beyond_the_total_are_closed_until_one_ends() {
    let mut full = Full::of("max_connections", 2);
    full.refuses("total", "listeners.*.max_connections");
    full.takes_again();
}

/// Clients that take all file descriptors they get leave some for upstreams and for whoever looks after the gateway.
#[test]
fn clients_cannot_have_all_file_descriptors() {
    let backend = HttpBackend::start();
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
process: { workers: 1 }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"], pool: { max_idle: 0 } } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).open_files(160).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").status, 200);
    let _flood: Vec<Raw> = (0..200).map(|_| Raw::connect(gateway.address())).collect();
    gateway.wait_metric(
        "gatehouse_connections_refused_total",
        &[("reason", "resources")],
        |n| n >= 1.0,
    );
    // A new connection upstream each time.
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(!gateway.log().contains("cannot accept"), "{}", gateway.log());
}

#[test]
fn a_chunked_body_that_grows_too_large_is_413() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { limits: { body: 1000 } }\n");
    let mut raw = Raw::connect(gateway.address());
    raw.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    raw.send(chunk(&[b'x'; 600]));
    backend.wait_body(0, 600);
    raw.send(chunk(&[b'x'; 600]));
    let response = raw.response("POST");
    assert_eq!(
        (response.status, response.code().as_str()),
        (413, "body_too_large")
    );
    assert_eq!(response.json()["setting"], "client.limits.body");
    raw.expect_closed();
    // What had been sent of it never becomes a whole request upstream.
    backend.wait_ended(1);
    assert!(!backend.requests()[0].complete);
    gateway.wait_metric(
        "gatehouse_limits_hit_total",
        &[("setting", "client.limits.body")],
        |n| n >= 1.0,
    );
}

#[test]
fn a_chunked_body_up_to_the_limit_passes() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { limits: { body: 1000 } }\n");
    let mut client = Client::connect(gateway.address());
    assert_eq!(
        client
            .send(&Request::new("POST", "/").chunked(&[&[b'x'; 500], &[b'y'; 500]]))
            .status,
        200
    );
    assert_eq!(backend.last().digest.0, 1000);
}

#[test]
fn a_response_head_over_the_upstreams_limit_is_502() {
    let backend = HttpBackend::start();
    backend.script("/", |call| {
        call.read_body()?;
        call.head(200, &[("X-Long", &"x".repeat(5000)), ("Content-Length", "0")])
    });
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"], limits: { head: 4KiB } } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    let response = Client::connect(gateway.address()).get("/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_protocol")
    );
    gateway.wait_metric(
        "gatehouse_limits_hit_total",
        &[("setting", "upstreams.*.limits.head")],
        |n| n >= 1.0,
    );
}
