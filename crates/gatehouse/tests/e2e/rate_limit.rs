//! Rate limits in memory: many clients at once, bounded memory, metrics.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use gatehouse_testkit::h2::frames::{CANCEL, Frames, RST_STREAM, get};
use gatehouse_testkit::{Client, Request};

use crate::gateway;

const CONFIG: &str = r#"
listeners: { main: { address: "127.0.0.1:0" } }
admin: { address: "127.0.0.1:0" }
forwarded: { trusted: [127.0.0.1] }
process: { workers: 2 }
"#;

fn limited(policy: &str) -> gatehouse_testkit::Gateway {
    let routes = "routes: { all: { match: { path: /** }, policies: [ { rate_limit: ";
    gateway(&format!(
        "{CONFIG}{routes}{policy} }} ], reply: {{ body: ok }} }} }}\n"
    ))
    .start()
}

#[test]
fn many_clients_at_once_get_exactly_the_limit() {
    let gateway = limited("{ limit: 200, window: 1h, key: global, name: shared }");
    let address = gateway.address();
    let admitted: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    (0..50).filter(|_| client.get("/").status == 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(admitted, 200);
    let metrics = gateway.metrics();
    let outcome = |outcome: &str| {
        metrics.sum(
            "gatehouse_rate_limit_total",
            &[("policy", "shared"), ("outcome", outcome)],
        )
    };
    let counted = [outcome("allowed"), outcome("refused")].map(|count| count.to_string());
    assert_eq!(counted, ["200", "600"]);
}

#[test]
fn keys_are_bounded_and_the_busy_one_stays() {
    let gateway = limited("{ limit: 1, window: 1h, max_keys: 50 }");
    let mut client = Client::connect(gateway.address());
    let mut from = |ip: String| {
        client
            .send(&Request::get("/").header("X-Forwarded-For", &ip))
            .status
    };
    assert_eq!(from("192.0.2.1".to_owned()), 200);
    for i in 0..200 {
        assert_eq!(from(format!("198.51.100.{i}")), 200);
        assert_eq!(
            from("192.0.2.1".to_owned()),
            429,
            "not forgotten after {i} others"
        );
    }
    let evicted = gateway.metrics().sum("gatehouse_window_evictions_total", &[]);
    assert!((150.0..=200.0).contains(&evicted), "{evicted}");
}

#[test]
fn shadow_counts_and_lets_through() {
    let gateway = limited("{ limit: 1, window: 1h, shadow: true }");
    let mut client = Client::connect(gateway.address());
    for _ in 0..5 {
        assert_eq!(client.get("/").status, 200);
    }
    let labels = [("policy", "routes.all.policies[0]"), ("outcome", "shadow")];
    let counted = gateway.metrics().sum("gatehouse_rate_limit_total", &labels);
    assert_eq!(counted.to_string(), "4");
}

#[test]
fn who_comes_too_soon_waits_for_its_turn() {
    let gateway = limited(
        "{ limit: 4, window: 1s, algorithm: token_bucket, burst: 1, key: global, name: even, queue: { max_wait: 1m } }",
    );
    let begun = Instant::now();
    let address = gateway.address();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(move || {
                let reply = Client::connect(address).get("/");
                assert_eq!(reply.status, 200);
                assert_eq!(reply.header("x-ratelimit-remaining"), Some("0"));
            });
        }
    });
    assert!(
        begun.elapsed() >= Duration::from_millis(1250),
        "five waited for 250 ms each"
    );
    let metrics = gateway.metrics();
    let of_policy = |outcome| [("policy", "even"), ("outcome", outcome)];
    let [allowed, delayed] =
        ["allowed", "delayed"].map(|outcome| metrics.sum("gatehouse_rate_limit_total", &of_policy(outcome)));
    assert!(
        (allowed + delayed - 6.0).abs() < 0.1 && delayed > 0.5,
        "{allowed} {delayed}"
    );
    gateway.wait_metric("gatehouse_rate_limit_waiting", &[("policy", "even")], |n| n < 0.5);
}

#[test]
fn queues_have_an_end() {
    let gateway = limited(
        "{ limit: 1, window: 50s, algorithm: token_bucket, key: global, name: short, queue: { max_wait: 1m, max_waiting: 1 } }",
    );
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").status, 200);
    let mut waiting = TcpStream::connect(gateway.address()).unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    gateway.wait_metric("gatehouse_rate_limit_waiting", &[("policy", "short")], |n| {
        n > 0.5
    });
    let full = client.get("/");
    assert_eq!(full.status, 429);
    assert!(full.header("retry-after").is_some());
    drop(gateway);

    // A turn that would come later than anybody waits, or later than the route's time is over.
    for more in ["queue: { max_wait: 5s }", "queue: { max_wait: 1m }"] {
        let routes = format!(
            "routes: {{ all: {{ match: {{}}, timeout: 10s, policies: [ {{ rate_limit: {{ limit: 1, window: 30s, algorithm: token_bucket, {more} }} }} ], reply: {{ body: ok }} }} }}\n"
        );
        let gateway = crate::gateway(&format!("{CONFIG}{routes}")).start();
        let mut client = Client::connect(gateway.address());
        let statuses = [client.get("/").status, client.get("/").status];
        assert_eq!(statuses, [200, 429], "{more}");
    }
}

#[test]
fn who_leaves_gives_up_its_place() {
    let gateway = limited(
        "{ limit: 1, window: 50s, algorithm: token_bucket, key: global, name: short, queue: { max_wait: 1m } }",
    );
    assert_eq!(Client::connect(gateway.address()).get("/").status, 200);
    let mut client = Frames::connect(gateway.address());
    client.head(1, &get("/"), true);
    gateway.wait_metric("gatehouse_rate_limit_waiting", &[], |n| n > 0.5);
    client.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    gateway.wait_metric("gatehouse_rate_limit_waiting", &[], |n| n < 0.5);
}
