//! The probes on the admin listener, and that it can be switched off.

use gatehouse_testkit::{Client, HttpBackend, client};

use crate::{gateway, in_front_of};

#[test]
fn probes_answer_when_the_gateway_serves() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    for path in ["/livez", "/readyz", "/startupz"] {
        let response = client::ask_admin(gateway.admin(), path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
    }
    assert_eq!(client::ask_admin(gateway.admin(), "/nowhere").status, 404);
}

#[test]
fn a_bad_configuration_does_not_make_it_unready() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    gateway.reload_refused("listeners: [");
    assert_eq!(client::ask_admin(gateway.admin(), "/readyz").status, 200);
    assert_eq!(client::get(gateway.address(), "/").status, 200);
}

#[test]
fn without_an_admin_listener_traffic_flows_all_the_same() {
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
admin: { address: "off" }
routes: { all: { match: {}, reply: { body: ok } } }
"#;
    let gateway = gateway(yaml).start();
    assert!(!gateway.stdout().iter().any(|line| line.starts_with("admin ")));
    assert_eq!(Client::connect(gateway.address()).get("/").text(), "ok");
}

#[test]
fn the_admin_paths_are_nothing_special_on_other_listeners() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    assert_eq!(client::get(gateway.address(), "/metrics").text(), "ok");
    assert_eq!(backend.last().target, "/metrics");
}
