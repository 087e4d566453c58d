//! Binaries replaced one after another under load: no request fails, on no connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gatehouse_testkit::wait::{join, until};
use gatehouse_testkit::{Client, HttpBackend};

use crate::gateway;

const UPGRADES: usize = 5;

#[test]
fn five_upgrades_under_load_fail_no_request() {
    let backend = HttpBackend::start();
    // A client thread may be slow on a loaded machine; that must not look like a client that idles.
    let mut gateway = gateway(
        r#"
listeners: { main: { address: "127.0.0.1:0" }, inner: { address: "unix:${dir}/s" } }
access_log: { enabled: false }
process: { workers: 2, pid_file: "${dir}/pid", drain: { idle: 30s, timeout: 60s } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
"#,
    )
    .bind("api", backend.url())
    .start();
    let (done, served, told) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (address, path) = (gateway.address_of("main"), gateway.unix_of("inner"));
    let clients: Vec<_> = (0..6)
        .map(|n: usize| {
            let (done, served, told, path) = (done.clone(), served.clone(), told.clone(), path.clone());
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut client = if n.is_multiple_of(2) {
                        Client::connect(address)
                    } else {
                        Client::unix(&path)
                    };
                    // Some make a connection for each request, the others keep theirs until they are told to leave.
                    for _ in 0..(if n < 2 { 1 } else { usize::MAX }) {
                        let response = client.get("/get");
                        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
                        served.fetch_add(1, Ordering::Relaxed);
                        if !response.keeps_alive() {
                            told.fetch_add(1, Ordering::Relaxed);
                            client.raw.expect_closed();
                            break;
                        }
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    let more = |than: usize| {
        until("requests to be served", || {
            served.load(Ordering::Relaxed) > than + 20
        });
    };
    for _ in 0..UPGRADES {
        more(served.load(Ordering::Relaxed));
        gateway.signal("USR2");
        gateway.wait_upgraded();
        assert_eq!(gateway.wait_replaced_exit().code(), Some(0));
    }
    more(served.load(Ordering::Relaxed));
    done.store(true, Ordering::Relaxed);
    for client in clients {
        join("a client", client);
    }
    // Four kept connections met each of the five ends.
    assert!(told.load(Ordering::Relaxed) >= UPGRADES * 4);
    assert_eq!(gateway.logged("some connections were cut off"), 0);
    assert!(gateway.stop().success());
    assert!(!path.exists());
}
