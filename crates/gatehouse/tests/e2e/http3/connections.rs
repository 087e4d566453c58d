//! The life of connections: reloads, certificates, drains, addresses, timeouts.

use gatehouse_testkit::h3::{Http3Request, code};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Gate, HttpBackend, Reply, TlsClient};

use super::{Setup, yaml};

#[test]
fn a_reload_keeps_connections() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    assert_eq!(client.get("/").status, 200);
    setup
        .gateway
        .reload(&Setup::yaml_with("reply: { body: new }", "/**"));
    assert_eq!(client.get("/").text(), "new");
    assert_eq!(setup.connect().get("/").text(), "new");
    assert!(client.is_open());
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let mut old = setup.connect();
    assert_eq!(old.get("/").status, 200);
    let issued = setup.authority.server(&["localhost"]);
    gatehouse_testkit::temp::replace(&setup.gateway.directory().join("key.pem"), &issued.key);
    gatehouse_testkit::temp::replace(&setup.gateway.directory().join("cert.pem"), &issued.cert);
    setup.gateway.signal("HUP");
    until("the new certificate", || {
        setup.connect().certificate() == issued.der
    });
    assert_ne!(old.certificate(), issued.der);
    assert_eq!(old.get("/").status, 200);
}

#[test]
fn it_can_be_turned_on_and_off() {
    let backend = HttpBackend::start();
    let setup = Setup::with_protocols(&backend, "[http1]");
    let on = yaml("", "", "[http1, http3]");
    setup.gateway.reload(&on);
    let mut client = setup.connect();
    assert_eq!(client.get("/").status, 200);
    let off = yaml("", "", "[http1]");
    setup.gateway.reload(&off);
    assert_eq!(client.closed(), Some(code::NO_ERROR));
    let tcp = TlsClient::trusting(&setup.authority).build();
    assert_eq!(tcp.client(setup.address()).get("/").status, 200);
    assert!(setup.client().try_connect_briefly(setup.address()).is_err());
}

#[test]
fn a_port_that_comes_free_is_taken_without_a_signal() {
    let backend = HttpBackend::start();
    let setup = Setup::with_protocols(&backend, "[http1]");
    let taken = std::net::UdpSocket::bind(setup.address()).unwrap();
    setup.gateway.reload_refused(&yaml("", "", "[http1, http3]"));
    drop(taken);
    setup
        .gateway
        .wait_metric("gatehouse_config_behind", &[], |n| n < 0.5);
    assert_eq!(setup.connect().get("/").status, 200);
}

#[test]
fn a_drain_finishes_what_is_under_way() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::start();
    backend.script("/slow", move |call| {
        call.wait(&wait)?;
        call.reply(&Reply::ok("finished"))
    });
    let mut setup = Setup::new(&backend, "");
    let (mut busy, mut idle) = (setup.connect(), setup.connect());
    assert_eq!(idle.get("/").status, 200);
    let mut exchange = busy.begin(&Http3Request::new("GET", "/slow"));
    exchange.finish();
    backend.wait_requests(2);
    setup.gateway.signal("TERM");
    assert_eq!(idle.closed(), Some(code::NO_ERROR));
    // It was told that no more are wanted.
    until("GOAWAY", || {
        busy.try_begin(&Http3Request::new("GET", "/late")).is_err()
    });
    assert!(busy.is_open());
    gate.open();
    assert_eq!(exchange.answer().text(), "finished");
    assert_eq!(busy.closed(), Some(code::NO_ERROR));
    assert!(setup.gateway.wait_exit().success());
}

#[test]
fn whoever_is_left_at_the_end_of_a_drain_is_told() {
    let backend = HttpBackend::start();
    backend.script("/hang", |call| {
        call.hang();
        Ok(())
    });
    let mut setup = Setup::new(&backend, "process: { drain: { timeout: 1s } }\n");
    let mut client = setup.connect();
    let mut exchange = client.begin(&Http3Request::new("GET", "/hang"));
    exchange.finish();
    backend.wait_requests(1);
    setup.gateway.signal("TERM");
    assert_eq!(client.closed(), Some(code::NO_ERROR));
    assert_eq!(setup.gateway.wait_exit().code(), Some(3), "something was cut");
}

#[test]
fn silent_connections_are_closed() {
    let backend = HttpBackend::start();
    let setup = Setup::new(
        &backend,
        "client: { timeouts: { keep_alive: 300ms, head: 300ms } }\n",
    );
    // One that never asked, and one that asks no more.
    let silent = setup.connect();
    assert_eq!(silent.closed(), Some(code::NO_ERROR));
    let mut asked = setup.connect();
    assert_eq!(asked.get("/").status, 200);
    assert_eq!(asked.closed(), Some(code::NO_ERROR));
}

#[test]
fn timeouts_hold_for_each_request() {
    let backend = HttpBackend::start();
    backend.script("/hang", |call| {
        call.hang();
        Ok(())
    });
    let timeouts = "client: { timeouts: { body_idle: 300ms, head: 1s } }\n";
    let setup = Setup::new(&backend, timeouts);
    let mut client = setup.connect();
    let mut stalled = client.begin(&Http3Request::new("POST", "/").header("content-length", "10"));
    stalled.write(b"1234");
    assert_eq!(stalled.answer().status, 408);
    assert_eq!(client.get("/").status, 200);
    // A head that does not come.
    let frames = setup.client().frames(setup.address());
    let outcome = frames.request(&[1, 100, 0, 0], false);
    assert!(
        matches!(
            outcome,
            gatehouse_testkit::h3::Outcome::Reset(_) | gatehouse_testkit::h3::Outcome::Closed(_)
        ),
        "{outcome:?}"
    );
}

#[test]
fn connections_are_capped() {
    let backend = HttpBackend::start();
    let setup = Setup::listening(&backend, "max_connections_per_client: 2", "");
    let (mut one, two) = (setup.connect(), setup.connect());
    assert!(setup.client().try_connect(setup.address()).is_err());
    assert_eq!(one.get("/").status, 200);
    let labels = [("listener", "main"), ("reason", "per_client")];
    setup
        .gateway
        .wait_metric("gatehouse_connections_refused_total", &labels, |n| n >= 1.0);
    two.quic.close(0_u32.into(), b"");
    until("room for another", || {
        setup.client().try_connect(setup.address()).is_ok()
    });
}

#[test]
fn a_client_may_move() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let client = setup.client();
    let mut connection = client.connect(setup.address());
    assert_eq!(connection.get("/").status, 200);
    client.move_away();
    assert_eq!(connection.get("/").status, 200);
}

#[test]
fn requests_only_to_take_them_back_end_the_connection() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let setup = Setup::new(&backend, "client: { http3: { max_resets: 20 } }\n");
    let mut client = setup.connect();
    for _ in 0..200 {
        match client.try_begin(&Http3Request::new("GET", "/")) {
            Ok(mut exchange) => {
                let _ = exchange.try_finish();
                exchange.cancel();
            }
            Err(_) => break,
        }
    }
    assert_eq!(client.closed(), Some(code::EXCESSIVE_LOAD));
    let labels = [("setting", "client.http3.max_resets")];
    setup
        .gateway
        .wait_metric("gatehouse_limits_hit_total", &labels, |n| n >= 1.0);
}
