//! Replacing the running binary while connections of HTTP/3 are open: one UDP socket, several processes.

use gatehouse_testkit::HttpBackend;
use gatehouse_testkit::gateway::command::run;
use gatehouse_testkit::h3::{Http3Request, code};

use super::Setup;
use crate::BINARY;

const SECTIONS: &str = "process: { workers: 2, pid_file: '${dir}/pid', drain: { timeout: 30s }, \
                        upgrade: { socket: '${dir}/up', timeout: 20s } }\n";

fn upgrade(setup: &mut Setup) {
    let config = setup.gateway.config_path().to_str().unwrap().to_owned();
    let output = run(BINARY, &["upgrade", &config], setup.gateway.directory());
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    setup.gateway.wait_upgraded();
}

/// The packets of a connection go where it is. That some arrive would be enough for it to live; that hardly any is
/// lost shows that it is no luck.
#[test]
fn an_upload_goes_on_through_several_upgrades() {
    const PIECE: usize = 500_000;
    let piece = vec![7; PIECE];
    let backend = HttpBackend::start();
    let mut setup = Setup::new(&backend, SECTIONS);
    let mut client = setup.connect();
    let mut exchange = client.begin(&Http3Request::new("POST", "/"));
    exchange.write(&piece);
    backend.wait_body(0, PIECE as u64);
    let mut others = Vec::new();
    for round in 2..=4 {
        upgrade(&mut setup);
        // New connections are the new process's, and all of it flows at the same time.
        let mut other = setup.connect();
        assert_eq!(other.get("/other").status, 200);
        others.push(other);
        exchange.write(&piece);
        backend.wait_body(0, round * PIECE as u64);
    }
    exchange.finish();
    assert_eq!(exchange.answer().status, 200);
    let (sent, lost) = client.packets();
    assert!(lost * 4 < sent, "{lost} of {sent} packets lost");
    // Each old process has let its connections go, in good order.
    assert_eq!(client.closed(), Some(code::NO_ERROR));
    let last = others.pop().unwrap();
    for old in others {
        assert_eq!(old.closed(), Some(code::NO_ERROR));
    }
    assert!(last.is_open());
    assert!(setup.gateway.wait_replaced_exit().success());
}
