//! Fields that belong to one connection stay there (RFC 9110 7.6.1): in interim responses too, and however many names a
//! `Connection` field has.

use std::fmt::Write as _;

use gatehouse_testkit::{Client, HttpBackend, Raw, Reply, Request};

use crate::{gateway, in_front_of};

#[test]
fn interim_responses_lose_what_belongs_to_the_upstream_connection() {
    let backend = HttpBackend::scripted(|call| {
        let fields = [
            ("Link", "</style.css>; rel=preload"),
            ("Connection", "X-Mine, keep-alive"),
            ("X-Mine", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "other"),
        ];
        call.interim(103, &fields)?;
        call.reply(&Reply::ok("ok"))
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    let response = raw.response("GET");
    assert_eq!((response.status, response.interim.len()), (200, 1));
    let interim = &response.interim[0].headers;
    assert_eq!(interim.get("link"), Some("</style.css>; rel=preload"));
    for name in [
        "connection",
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert!(!interim.has(name), "{name} in {interim:?}");
    }
}

/// Each name is looked for in each field, were it done carelessly: thousands times hundreds.
#[test]
fn thousands_of_names_in_connection_are_all_heeded() {
    let names = (0..4000).fold(String::new(), |mut names, n| {
        let _ = write!(names, "h{n},");
        names
    });
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
client: { limits: { head: 64KiB, fields: 1000 } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"], limits: { head: 64KiB, fields: 1000 } } }
"#;
    let answer = (0..400).fold(Reply::ok("ok"), |reply, n| {
        reply
            .header(&format!("H{}", n * 10), "hop")
            .header(&format!("X{n}"), "kept")
    });
    let backend = HttpBackend::replying(answer.header("Connection", &names));
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    let request = (0..400).fold(Request::get("/").header("Connection", &names), |request, n| {
        request
            .header(&format!("h{}", n * 10), "hop")
            .header(&format!("x{n}"), "kept")
    });
    let response = Client::connect(gateway.address()).send(&request);
    assert_eq!(response.status, 200);
    for headers in [&backend.last().headers, &response.headers] {
        assert!((0..400).all(|n| headers.has(&format!("x{n}"))), "{headers:?}");
        assert!(
            !(0..400).any(|n| headers.has(&format!("h{}", n * 10))),
            "{headers:?}"
        );
        assert!(!headers.lists("connection", "h1"), "{headers:?}");
    }
}
