//! How long a WebSocket lives, and how it ends: idle, too old, drained, on a route that goes.

use gatehouse_testkit::websocket::{BINARY, EchoBackend, Frame, TEXT, WebSocket, handshake};
use gatehouse_testkit::{Client, Gateway, HttpBackend, Raw, client};

use crate::gateway;

/// Everything goes to `${api}`; `forward` and `process` are settings of these.
fn yaml(forward: &str, process: &str) -> String {
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
process: {{ workers: 1, {process} }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api, {forward} }} }} }}
upstreams: {{ api: {{ endpoints: ["${{api}}"] }} }}
"#
    )
}

fn start(backend: &EchoBackend, forward: &str, process: &str) -> Gateway {
    gateway(&yaml(forward, process))
        .bind("api", backend.url())
        .start()
}

fn ended(gateway: &Gateway, reason: &str, n: f64) {
    let labels = [("upstream", "api"), ("reason", reason)];
    gateway.wait_metric("gatehouse_tunnels_closed_total", &labels, |m| m >= n);
    assert!(gateway.metrics().sum("gatehouse_tunnels", &[]) < 1.0);
}

#[test]
fn one_that_idles_is_told_to_go_away() {
    let backend = EchoBackend::start();
    let gateway = start(&backend, "tunnel: { idle: 300ms }", "");
    let mut socket = WebSocket::open(gateway.address(), "/");
    socket.echo("hello");
    socket.expect_goodbye(1001);
    ended(&gateway, "idle", 1.0);
    backend.wait_ended(1);
    assert_eq!(backend.seen().closed, [Some(1001)], "the endpoint is told too");
}

#[test]
fn one_that_is_too_old_is_told_to_go_away_even_if_busy() {
    let backend = EchoBackend::start();
    let gateway = start(&backend, "tunnel: { max_age: 500ms }", "");
    let mut socket = WebSocket::open(gateway.address(), "/");
    loop {
        // It may be over between any two of these.
        if socket
            .raw
            .try_send(Frame::new(TEXT, "busy").masked().encode())
            .is_err()
        {
            break;
        }
        let frame = socket.read();
        if let Some(code) = frame.code() {
            assert_eq!(code, 1001);
            break;
        }
        assert_eq!(frame, Frame::new(TEXT, "busy"));
    }
    ended(&gateway, "max_age", 1.0);
}

#[test]
fn times_for_whole_exchanges_are_not_for_tunnels() {
    let backend = EchoBackend::start();
    let settings =
        "client: { timeouts: { total: 300ms, keep_alive: 300ms, head: 300ms, write_idle: 300ms } }\n";
    let short = yaml("", "").replace(
        "api: { endpoints",
        "api: { timeout: 300ms, timeouts: { idle: 300ms }, endpoints",
    );
    let gateway = gateway(&format!("{short}{settings}"))
        .bind("api", backend.url())
        .start();
    let mut socket = WebSocket::open(gateway.address(), "/");
    // A request on another connection takes as long as all of these, and is cut off.
    let silent = Raw::connect(gateway.address());
    gateway.wait_metric("gatehouse_timeouts_total", &[("phase", "client_head")], |n| {
        n >= 1.0
    });
    drop(silent);
    let mut slow = Client::connect(gateway.address());
    slow.raw.send("GET /");
    assert_eq!(slow.raw.response("GET").status, 408);
    socket.echo("still here");
}

#[test]
fn a_drain_says_goodbye_to_everybody_spread_over_its_time() {
    let backend = EchoBackend::start();
    let mut gateway = start(&backend, "", "drain: 4s");
    let mut sockets: Vec<_> = (0..8).map(|_| WebSocket::open(gateway.address(), "/")).collect();
    for socket in &mut sockets {
        socket.echo("hello");
    }
    gateway.signal("TERM");
    let waiting: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            std::thread::spawn(move || {
                socket.expect_goodbye(1001);
                std::time::Instant::now()
            })
        })
        .collect();
    let mut times: Vec<_> = waiting
        .into_iter()
        .map(|thread| gatehouse_testkit::wait::join("a goodbye", thread))
        .collect();
    times.sort();
    // Eight random moments of three seconds are not all within a tenth of one.
    assert!(times[7] - times[0] > std::time::Duration::from_millis(100));
    assert!(gateway.wait_exit().success());
    assert_eq!(backend.seen().closed, vec![Some(1001); 8]);
}

#[test]
fn a_goodbye_stands_between_two_frames() {
    let backend = EchoBackend::start();
    let mut gateway = start(&backend, "", "drain: 1s");
    let mut socket = WebSocket::open(gateway.address(), "/");
    let frame = Frame::new(BINARY, vec![9; 3000]).masked().encode();
    let (begun, rest) = frame.split_at(1000);
    // The endpoint has half of a frame: it must get the other half before it is told to go.
    socket.raw.send(begun);
    gateway.signal("TERM");
    assert_eq!(
        socket.read().code(),
        Some(1001),
        "the other direction was between two frames"
    );
    socket.raw.send(rest).send(Frame::close(1001).masked().encode());
    socket.raw.expect_closed();
    assert!(gateway.wait_exit().success());
    assert_eq!(backend.seen().bytes, 3000);
    assert_eq!(backend.seen().closed, [Some(1001)]);
}

#[test]
fn a_client_that_does_not_answer_is_not_waited_for() {
    let backend = EchoBackend::start();
    let mut gateway = start(&backend, "", "drain: 1s");
    let mut socket = WebSocket::open(gateway.address(), "/");
    gateway.signal("TERM");
    assert_eq!(socket.read().code(), Some(1001));
    gateway.wait_exit();
    socket.raw.expect_closed();
}

#[test]
fn a_reload_touches_no_tunnel_whose_route_stands() {
    let backend = EchoBackend::start();
    let other = HttpBackend::start();
    let gateway = gateway(&yaml("", "drain: 300ms"))
        .bind("api", backend.url())
        .bind("other", other.url())
        .start();
    let mut socket = WebSocket::open(gateway.address(), "/");
    socket.echo("before");
    let more = "  more: { match: { path: /more }, reply: { body: more } }";
    for round in 0..5 {
        // Other routes, another timeout, another order: the route is still there.
        let text = yaml(&format!("tunnel: {{ idle: {}s }}", 60 + round), "drain: 300ms")
            .replace("routes: { all:", "routes:\n  all:")
            .replace("host } }", "host }")
            .replace("} } }\nupstreams", &format!("}} }}\n{more}\nupstreams"));
        gateway.reload(&text);
        assert_eq!(client::get(gateway.address(), "/more").text(), "more");
        socket.echo("after");
    }
    assert!(gateway.metrics().sum("gatehouse_tunnels", &[]) > 0.0);
}

#[test]
fn a_route_that_goes_takes_its_tunnels_along() {
    let backend = EchoBackend::start();
    let gateway = start(&backend, "", "drain: 300ms");
    let changes = [
        // Renamed: another route.
        yaml("", "drain: 300ms").replace("all:", "every:"),
        // The same, with another upstream.
        yaml("", "drain: 300ms")
            .replace("upstream: api", "upstream: apis")
            .replace("{ api: { endpoints", "{ apis: { endpoints"),
        // The same, but nothing may be switched to.
        yaml("upgrades: []", "drain: 300ms"),
    ];
    for (index, change) in changes.iter().enumerate() {
        gateway.reload(&yaml("", "drain: 300ms"));
        let mut socket = WebSocket::open(gateway.address(), "/");
        socket.echo("hello");
        gateway.reload(change);
        socket.expect_goodbye(1001);
        backend.wait_ended(index + 1);
    }
    // Counts of an upstream go with it; this is the last one's.
    ended(&gateway, "removed", 1.0);
}

#[test]
fn other_requests_are_none_of_a_tunnels_business() {
    let backend = EchoBackend::start();
    let gateway = start(&backend, "", "");
    let mut sockets: Vec<_> = (0..20).map(|_| WebSocket::open(gateway.address(), "/")).collect();
    for round in 0..3 {
        for socket in &mut sockets {
            socket.text(&format!("round {round}"));
        }
        for socket in &mut sockets {
            assert_eq!(socket.read(), Frame::new(TEXT, format!("round {round}")));
        }
    }
    // The handshakes are what is measured of requests, not the lives of the tunnels.
    let refused = client::once(gateway.address(), &handshake("/").body("x"));
    assert_eq!(refused.status, 400);
}
