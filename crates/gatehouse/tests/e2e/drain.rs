//! Stopping: what is under way is finished, what is idle is closed, and then the process ends.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Feed, Gate, Gateway, HttpBackend, Raw, Reply, Request, client};

use crate::{gateway, in_front_of, with};

#[test]
fn an_idle_gateway_stops_with_success() {
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
    until("no new connections", || Raw::try_connect(address).is_err());
    // Whoever balances load must see that it is going, while it still works.
    assert_eq!(client::ask_admin(admin, "/readyz").status, 503);
    assert_eq!(client::ask_admin(admin, "/livez").status, 200);

    idle.raw.expect_closed();
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
    let mut gateway = with(&backend, "process: { workers: 2, drain: { timeout: 300ms } }\n");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    backend.wait_requests(1);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(3));
    gateway.wait_log("some connections were cut off connections=1");
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["code"], "draining", "not the client's doing: {line}");
    // Cut off or told so; not left hanging.
    let rest = raw.read_to_end();
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 50"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
}

#[test]
fn not_ready_comes_first_and_nothing_else_changes_meanwhile() {
    let backend = HttpBackend::start();
    let mut gateway = with(&backend, "process: { workers: 2, drain: { delay: 1h } }\n");
    let mut kept = Client::connect(gateway.address());
    assert_eq!(kept.get("/").status, 200);
    gateway.signal("TERM");
    until("not ready", || {
        client::ask_admin(gateway.admin(), "/readyz").status == 503
    });
    for response in [kept.get("/"), client::get(gateway.address(), "/")] {
        assert_eq!(response.status, 200);
        assert!(response.keeps_alive(), "{response:?}");
    }
    // Told again it ends at once, and says that somebody was still there.
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(3));
    kept.raw.expect_closed();
}

/// Stops the process, so that what the test does happens all at once for it.
fn while_stopped(gateway: &Gateway, does: impl FnOnce()) {
    gateway.signal("STOP");
    does();
    gateway.signal("CONT");
}

#[test]
fn who_waits_to_be_accepted_is_served() {
    let backend = HttpBackend::start();
    let mut gateway = gateway(
        r#"
listeners: { main: { address: "127.0.0.1:0" }, inner: { address: "unix:${dir}/s" } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
process: { workers: 2, drain: { idle: 10s } }
"#,
    )
    .bind("api", backend.url())
    .start();
    let (address, path) = (gateway.address_of("main"), gateway.unix_of("inner"));
    let mut waiting = Vec::new();
    while_stopped(&gateway, || {
        gateway.signal("TERM");
        for _ in 0..20 {
            waiting.extend([Raw::connect(address), Raw::unix(&path)]);
        }
        for client in &mut waiting {
            client.send(Request::get("/").encode());
        }
    });
    for mut client in waiting {
        let response = client.response("GET");
        // The first of them may be answered before the signal is looked at.
        assert_eq!(response.status, 200);
        client.expect_closed();
    }
    assert!(gateway.wait_exit().success());
    assert!(!path.exists());
}

#[test]
fn a_request_on_its_way_on_a_kept_connection_is_answered() {
    let backend = HttpBackend::start();
    let mut gateway = with(&backend, "process: { workers: 2, drain: { idle: 10s } }\n");
    let mut kept = Client::connect(gateway.address());
    assert!(kept.get("/").keeps_alive());
    gateway.signal("TERM");
    until("to be told to leave", || {
        let response = kept.get("/");
        assert_eq!(response.status, 200);
        !response.keeps_alive()
    });
    kept.raw.expect_closed();
    assert!(gateway.wait_exit().success());
}

#[test]
fn the_pid_file_names_it_while_it_serves() {
    let backend = HttpBackend::start();
    let mut gateway = with(&backend, "process: { workers: 1, pid_file: '${dir}/pid' }\n");
    let path = gateway.directory().join("pid");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        format!("{}\n", gateway.pid())
    );
    assert!(gateway.stop().success());
    assert!(!path.exists());
}
