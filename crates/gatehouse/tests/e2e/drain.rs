//! Stopping: what is under way is finished, what is idle is closed, and then the process ends.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Feed, Gate, HttpBackend, Raw, Reply, Request, client};

use crate::{in_front_of, with};

#[test]
fn an_idle_gateway_stops_at_once_with_success() {
    let backend = HttpBackend::start();
    let mut gateway = in_front_of(&backend);
    let mut idle = Client::connect(gateway.address());
    assert_eq!(idle.get("/").status, 200);
    assert!(gateway.stop().success());
    idle.raw.expect_closed();
}

#[test]
fn ctrl_c_stops_it_too() {
    let mut gateway = in_front_of(&HttpBackend::start());
    gateway.signal("INT");
    assert!(gateway.wait_exit().success());
}

#[test]
fn requests_under_way_are_finished() {
    let (gate, feed) = (Gate::new(), Feed::new());
    let (wait, pieces) = (gate.clone(), feed.clone());
    let backend = HttpBackend::start();
    backend.script("/slow", move |call| {
        call.wait(&wait)?;
        call.reply(&Reply::ok("finished"))
    });
    backend.script("/stream", move |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunks_from(&pieces)
    });
    let mut gateway = in_front_of(&backend);
    let (address, admin) = (gateway.address(), gateway.admin());
    let (mut slow, mut stream, mut idle) = (
        Raw::connect(address),
        Raw::connect(address),
        Client::connect(address),
    );
    assert_eq!(idle.get("/").status, 200);
    slow.send(Request::get("/slow").encode());
    stream.send(Request::get("/stream").encode());
    stream.response_head("GET");
    backend.wait_requests(3);

    gateway.signal("TERM");
    idle.raw.expect_closed();
    until("no new connections", || Raw::try_connect(address).is_err());
    // Whoever balances load must see that it is going, while it still works.
    assert_eq!(client::get(admin, "/readyz").status, 503);
    assert_eq!(client::get(admin, "/livez").status, 200);

    feed.push("still here");
    assert_eq!(stream.chunk().unwrap(), b"still here");
    gate.open();
    let response = slow.response("GET");
    assert_eq!(response.text(), "finished");
    assert!(!response.keeps_alive(), "{response:?}");
    slow.expect_closed();
    feed.end();
    assert_eq!(stream.chunk(), None);
    assert!(gateway.wait_exit().success());
}

#[test]
fn a_request_that_never_ends_does_not_hold_it_for_ever() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let mut gateway = with(&backend, "process: { workers: 2, drain: 300ms }\n");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    backend.wait_requests(1);
    gateway.signal("TERM");
    gateway.wait_exit();
    // Cut off or told so; not left hanging.
    let rest = raw.read_to_end();
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 50"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
}
