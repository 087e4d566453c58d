//! HTTP/2 towards endpoints: streams and connections that end, and nothing lost by it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gatehouse_testkit::backend::h2::Reason;
use gatehouse_testkit::{Client, Gate, H2Backend, Raw, Request};

use crate::upstream_h2::{begin, get, over_h2};

/// Refused unread: any request is sent again, its body too.
#[test]
fn a_refused_stream_is_sent_again() {
    let backend = H2Backend::scripted(|mut call| async move {
        if call.number() < 2 {
            call.reset(Reason::REFUSED_STREAM);
            return;
        }
        let body = call.read_body().await;
        call.reply(200, &body).await;
    });
    let gateway = over_h2(&backend, "");
    let response = Client::connect(gateway.address()).send(&Request::post("/", "pay once"));
    assert_eq!((response.status, response.text().as_str()), (200, "pay once"));
    gateway.wait_metric("gatehouse_upstream_retries_total", &[], |n| (n - 2.0).abs() < 0.1);
}

#[test]
fn refusals_without_end_are_told() {
    let backend = H2Backend::scripted(|mut call| async move {
        call.reset(Reason::REFUSED_STREAM);
    });
    let gateway = over_h2(&backend, "");
    let response = get(&gateway);
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_reset")
    );
    assert_eq!(backend.requests().len(), 5);
}

#[test]
fn any_other_reset_is_told_and_not_tried_again() {
    let backend = H2Backend::scripted(|mut call| async move {
        call.reset(Reason::INTERNAL_ERROR);
    });
    let gateway = over_h2(&backend, "");
    let response = get(&gateway);
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_reset")
    );
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn a_response_that_breaks_off_does_not_look_whole() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = H2Backend::scripted(move |mut call| {
        let wait = wait.clone();
        async move {
            call.head(200, &[], false);
            call.send(b"a part").await;
            call.wait(&wait).await;
            call.reset(Reason::INTERNAL_ERROR);
        }
    });
    let gateway = over_h2(&backend, "");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    raw.response_head("GET");
    assert_eq!(raw.chunk().as_deref(), Some(&b"a part"[..]));
    gate.open();
    raw.expect_closed();
}

#[test]
fn a_server_that_goes_away_finishes_what_it_began() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = H2Backend::scripted(move |mut call| {
        let wait = wait.clone();
        async move {
            if call.number() == 0 {
                call.go_away();
                call.wait(&wait).await;
            }
            call.reply(200, b"ok").await;
        }
    });
    let gateway = over_h2(&backend, "");
    let mut first = begin(&gateway, 1);
    backend.wait_requests(1);
    assert_eq!(get(&gateway).text(), "ok");
    gate.open();
    assert_eq!(first[0].response("GET").text(), "ok");
    backend.wait_ended(1);
}

/// The server ends a connection after every few requests; nobody notices.
#[test]
fn goaway_under_load_fails_no_request() {
    let backend = H2Backend::scripted(|mut call| async move {
        let body = call.read_body().await;
        if call.number() % 7 == 3 {
            call.go_away();
        }
        call.reply(200, &body).await;
    });
    let gateway = over_h2(&backend, "");
    let (address, bad) = (gateway.address(), Arc::new(Mutex::new(Vec::new())));
    let done = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (bad, done) = (bad.clone(), done.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..50 {
                    let body = format!("{thread} {n}");
                    let response = client.send(&Request::post("/", &body));
                    if response.status != 200 || response.text() != body {
                        bad.lock().unwrap().push(response.text());
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*bad.lock().unwrap(), Vec::<String>::new());
    assert_eq!(done.load(Ordering::Relaxed), 400);
    assert!(backend.connections() > 5, "{}", backend.connections());
}

#[test]
fn a_get_on_a_connection_that_dies_is_sent_once_more_and_a_post_is_not() {
    for (method, status) in [("GET", 200), ("POST", 502)] {
        let backend = H2Backend::scripted(|mut call| async move {
            if call.number() == 1 {
                call.drop_connection();
                call.wait_reset().await;
                return;
            }
            call.reply(200, b"ok").await;
        });
        let gateway = over_h2(&backend, "");
        let mut client = Client::connect(gateway.address());
        assert_eq!(client.get("/").status, 200);
        let response = client.send(&Request::new(method, "/"));
        assert_eq!(response.status, status, "{method} {}", response.text());
    }
}

#[test]
fn connections_that_ended_while_idle_are_not_used() {
    let backend = H2Backend::start();
    let gateway = over_h2(&backend, "");
    let mut client = Client::connect(gateway.address());
    for round in 0..4 {
        assert_eq!(
            client.send(&Request::post("/", "pay")).status,
            200,
            "round {round}"
        );
        backend.drop_connections();
        backend.wait_ended(round + 1);
        gateway.wait_metric("gatehouse_upstream_connections_idle", &[], |n| n == 0.0);
    }
    assert_eq!((backend.requests().len(), backend.connections()), (4, 4));
}

#[test]
fn a_connection_serves_its_share_and_no_more() {
    let backend = H2Backend::start();
    let gateway = over_h2(&backend, "pool: { max_requests: 3 }");
    let mut client = Client::connect(gateway.address());
    for _ in 0..9 {
        assert_eq!(client.get("/").status, 200);
    }
    let connections: Vec<usize> = backend.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
}

#[test]
fn idle_and_old_connections_end() {
    for settings in ["pool: { idle_timeout: 100ms }", "pool: { max_age: 100ms }"] {
        let backend = H2Backend::start();
        let gateway = over_h2(&backend, settings);
        assert_eq!(get(&gateway).status, 200);
        backend.wait_ended(1);
        gateway.wait_metric("gatehouse_upstream_connections_idle", &[], |n| n == 0.0);
        assert_eq!(get(&gateway).status, 200);
    }
}

#[test]
fn with_no_idle_ones_allowed_each_request_has_its_own() {
    let backend = H2Backend::start();
    let gateway = over_h2(&backend, "pool: { max_idle: 0 }");
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
    }
    backend.wait_ended(3);
    assert_eq!(backend.connections(), 3);
}
