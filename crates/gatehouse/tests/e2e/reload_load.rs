//! A hundred new configurations under load: no request fails, none sees half of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gatehouse_testkit::wait::join;
use gatehouse_testkit::{Client, HttpBackend, Request};

use crate::gateway;

const RELOADS: usize = 100;

/// Every third configuration lacks an unrelated route, so that plans really differ.
fn yaml(n: usize) -> String {
    let other = if n.is_multiple_of(3) {
        ""
    } else {
        "  other: { match: { path: /other }, reply: { body: other } }\n"
    };
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
access_log: {{ enabled: false }}
routes:
  all: {{ match: {{ path: /** }}, version: "{n}", forward: {{ upstream: api }} }}
{other}upstreams: {{ api: {{ endpoints: ["${{api}}"] }} }}
"#
    )
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let backend = HttpBackend::start();
    let gateway = gateway(&yaml(0)).bind("api", backend.url()).start();
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|n: usize| {
            let (done, served, address) = (done.clone(), served.clone(), gateway.address());
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // Kept connections and new ones, with and without body.
                    let mut client = Client::connect(address);
                    for _ in 0..20 {
                        let response = if n.is_multiple_of(2) {
                            client.get("/get")
                        } else {
                            client.send(&Request::post("/post", "body"))
                        };
                        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for n in 1..=RELOADS {
        let before = gateway.metrics().sum("gatehouse_config_reloads_total", &[]);
        let requests = served.load(Ordering::Relaxed);
        gateway.write_config(&yaml(n));
        gateway.signal("HUP");
        gateway.wait_metric("gatehouse_config_reloads_total", &[], |now| now > before);
        // Some requests between any two of them.
        gatehouse_testkit::wait::until("requests to go on", || served.load(Ordering::Relaxed) > requests);
        assert!(
            !clients.iter().any(std::thread::JoinHandle::is_finished),
            "a request failed at reload {n}"
        );
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        join("a client", client);
    }
    let metrics = gateway.metrics();
    assert!(metrics.sum("gatehouse_config_reloads_total", &[("result", "ok")]) >= 100.0);
    assert_eq!(
        metrics
            .sum("gatehouse_config_reloads_total", &[("result", "failed")])
            .to_bits(),
        0f64.to_bits()
    );
    assert_eq!(
        metrics.sum("gatehouse_failures_total", &[]).to_bits(),
        0f64.to_bits()
    );
}
