//! Names of endpoints: resolved, watched, and served stale when the name servers fail.

use gatehouse_testkit::backend::dns::{Answer, DnsServer};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gateway, HttpBackend, Reply, client};

use crate::gateway;

const NAME: &str = "users.gatehouse-test.internal";

fn resolving(dns: &DnsServer, port: u16, settings: &str) -> Gateway {
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
dns: {{ servers: ["{}"], {settings} }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: users }} }} }}
upstreams: {{ users: {{ endpoints: ["http://{NAME}:{port}"] }} }}
"#,
        dns.address()
    );
    gateway(&yaml).start()
}

#[test]
fn a_name_is_resolved_and_kept_for_its_time() {
    let dns = DnsServer::start();
    dns.address_of(NAME, "127.0.0.1", 3600);
    let backend = HttpBackend::start();
    let gateway = resolving(&dns, backend.address().port(), "timeout: 5s");
    until("the name to resolve", || {
        client::get(gateway.address(), "/").status == 200
    });
    let asked = dns.queries(NAME);
    let mut client = Client::connect(gateway.address());
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(dns.queries(NAME), asked, "asked again within an hour");
    assert_eq!(backend.last().header("host"), Some("gateway.test"));
}

#[test]
fn a_gateway_starts_without_and_recovers_by_itself() {
    let dns = DnsServer::start();
    dns.set(NAME, Answer::NoSuchName);
    let backend = HttpBackend::start();
    let gateway = resolving(&dns, backend.address().port(), "min_ttl: 100ms, timeout: 1s");
    let response = client::get(gateway.address(), "/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (503, "upstream_unresolved")
    );
    dns.address_of(NAME, "127.0.0.1", 1);
    until("the name to resolve", || {
        client::get(gateway.address(), "/").status == 200
    });
}

#[test]
fn silence_of_the_name_servers_is_not_for_ever() {
    let dns = DnsServer::start();
    dns.set(NAME, Answer::Silence);
    let backend = HttpBackend::start();
    let gateway = resolving(&dns, backend.address().port(), "timeout: 300ms");
    let response = client::get(gateway.address(), "/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (503, "upstream_unresolved")
    );
}

#[test]
fn a_new_address_is_found_when_the_time_is_up() {
    let dns = DnsServer::start();
    dns.address_of(NAME, "127.0.0.1", 0);
    let old = HttpBackend::replying(Reply::ok("old"));
    let port = old.address().port();
    // The same port on another address of the loopback; Linux has them all.
    let Ok(listener) = std::net::TcpListener::bind(("127.0.0.2", port)) else {
        return;
    };
    drop(listener);
    let new = HttpBackend::start_on(&format!("127.0.0.2:{port}"));
    new.otherwise(Reply::ok("new"));
    let gateway = resolving(&dns, port, "min_ttl: 100ms");
    until("the old address", || {
        client::get(gateway.address(), "/").text() == "old"
    });
    dns.address_of(NAME, "127.0.0.2", 0);
    until("the new address", || {
        client::get(gateway.address(), "/").text() == "new"
    });
}

#[test]
fn failing_name_servers_leave_the_last_known_address_in_use() {
    let dns = DnsServer::start();
    dns.address_of(NAME, "127.0.0.1", 0);
    let backend = HttpBackend::start();
    let gateway = resolving(&dns, backend.address().port(), "min_ttl: 100ms, timeout: 200ms");
    until("the name to resolve", || {
        client::get(gateway.address(), "/").status == 200
    });
    dns.set(NAME, Answer::Failure);
    let asked = dns.queries(NAME);
    until("the name servers to be asked again", || {
        assert_eq!(client::get(gateway.address(), "/").status, 200);
        dns.queries(NAME) > asked + 1
    });
    assert_eq!(client::get(gateway.address(), "/").status, 200);
    gateway.wait_metric("gatehouse_dns_lookups_total", &[("result", "stale")], |n| {
        n >= 1.0
    });
}

#[test]
fn several_addresses_share_the_requests() {
    let dns = DnsServer::start();
    let one = HttpBackend::start();
    let port = one.address().port();
    let Ok(listener) = std::net::TcpListener::bind(("127.0.0.2", port)) else {
        return;
    };
    drop(listener);
    let two = HttpBackend::start_on(&format!("127.0.0.2:{port}"));
    dns.set(
        NAME,
        Answer::Addresses(
            vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()],
            60,
        ),
    );
    let gateway = resolving(&dns, port, "timeout: 5s");
    until("both to be used", || {
        client::get(gateway.address(), "/");
        one.count() > 0 && two.count() > 0
    });
}
