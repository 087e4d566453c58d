//! IPv6 on either side. Machines without it have nothing to test.

use std::net::TcpListener;

use gatehouse_testkit::{HttpBackend, client};

use crate::gateway;

#[test]
fn requests_over_ipv6_are_served_and_forwarded() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let backend = HttpBackend::start_on("[::1]:0");
    let yaml = r#"
listeners: { main: { address: "[::1]:0" } }
routes:
  here: { match: { path: /here, client: ["::1/128"] }, reply: { body: here } }
  all: { match: { path: /** }, forward: { upstream: api, host: upstream } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    assert!(gateway.address().is_ipv6());
    assert_eq!(client::get(gateway.address(), "/here").text(), "here");
    assert_eq!(client::get(gateway.address(), "/x").status, 200);
    let seen = backend.last();
    assert_eq!(seen.header("host"), Some(backend.address().to_string().as_str()));
    assert_eq!(seen.header("x-forwarded-for"), Some("::1"));
}

#[test]
fn forwarded_puts_ipv6_addresses_in_quotes_and_brackets() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let backend = HttpBackend::start();
    let yaml = r#"
listeners: { main: { address: "[::1]:0" } }
forwarded: { rfc7239: true }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    assert_eq!(client::get(gateway.address(), "/").status, 200);
    let seen = backend.last();
    let forwarded = seen.header("forwarded").unwrap_or_default();
    assert!(forwarded.contains("for=\"[::1]\""), "{forwarded}");
}
