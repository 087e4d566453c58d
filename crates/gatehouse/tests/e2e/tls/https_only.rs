//! From HTTP to HTTPS: the redirect, and what browsers are told.

use gatehouse_testkit::{Authority, Request, TlsClient, client};

use super::secure;
use crate::gateway;

#[test]
fn a_listener_in_the_clear_redirects() {
    let yaml = |to: &str| {
        format!(
            r#"
listeners: {{ main: {{ address: "127.0.0.1:0", redirect_to_https: {to} }} }}
forwarded: {{ trusted: [127.0.0.1] }}
routes: {{ all: {{ match: {{ path: /only }}, reply: {{ body: served }} }} }}
"#
        )
    };
    let gateway = gateway(&yaml("true")).start();
    let ask = |request: Request| client::once(gateway.address(), &request);
    let location = |host: &str, target: &str| {
        let answer = ask(Request::get(target).host(host));
        assert_eq!(answer.status, 308, "{answer:?}");
        answer.header("location").unwrap().to_owned()
    };
    // What no route has is redirected too: which there are is told over HTTPS only.
    assert_eq!(
        location("api.example.com", "/a/../b?x=1&y"),
        "https://api.example.com/b?x=1&y"
    );
    assert_eq!(location("api.example.com:8080", "/"), "https://api.example.com/");
    assert_eq!(location("[::1]:8080", "//x"), "https://[::1]//x");
    let answer = ask(Request::post("/only", "body").host("a"));
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, Some("https://a/only"))
    );
    // Behind a load balancer that ends TLS.
    let answer = ask(Request::get("/only")
        .host("a")
        .header("X-Forwarded-Proto", "https"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    assert_eq!(ask(Request::get("/").version("HTTP/1.0")).status, 400);
    assert_eq!(answer.header("strict-transport-security"), None);

    gateway.reload(&yaml("8443"));
    let answer = client::once(gateway.address(), &Request::get("/x").host("a:80"));
    assert_eq!(answer.header("location"), Some("https://a:8443/x"));
    gateway.reload(&yaml("false"));
    assert_eq!(
        client::once(gateway.address(), &Request::get("/only")).status,
        200
    );
}

#[test]
fn browsers_are_told_to_stay_with_https() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    let gateway = secure(&[&leaf], ", hsts: { max_age: 30d, include_subdomains: true }", "").start();
    let mut client = TlsClient::trusting(&authority).build().client(gateway.address());
    let hsts = Some("max-age=2592000; includeSubDomains");
    assert_eq!(client.get("/").header("strict-transport-security"), hsts);
    // Also with failures of our own.
    let refused = client.send(&Request::get("/").header("Content-Length", "x"));
    assert_eq!(
        (refused.status, refused.header("strict-transport-security")),
        (400, hsts)
    );
}
