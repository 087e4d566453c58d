//! HTTP/1.1 over TLS: everything that works in the clear.

use gatehouse_testkit::{Authority, HttpBackend, Reply, Request, TlsClient};

use crate::gateway;

/// A gateway that forwards what comes over TLS to a backend.
fn forwarding(authority: &Authority, backend: &HttpBackend) -> gatehouse_testkit::Gateway {
    let leaf = authority.server(&["localhost"]);
    gateway(
        r#"
listeners: { main: { address: "127.0.0.1:0", tls: { certificates: [ { cert: leaf.pem, key: leaf.key } ] } } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
"#,
    )
    .file("leaf.pem", &leaf.cert)
    .file("leaf.key", &leaf.key)
    .bind("api", backend.url())
    .start()
}

#[test]
fn a_connection_is_kept_and_upstreams_learn_of_https() {
    let authority = Authority::new();
    let backend = HttpBackend::start();
    let gateway = forwarding(&authority, &backend);
    let mut client = TlsClient::trusting(&authority).build().client(gateway.address());
    for n in 0..5 {
        assert_eq!(client.get(&format!("/{n}")).status, 200);
    }
    backend.wait_requests(5);
    let seen = backend.requests();
    assert!(
        seen.iter()
            .all(|request| request.header("x-forwarded-proto") == Some("https"))
    );
    let handshakes = [("version", "TLSv1.3")];
    gateway.wait_metric("gatehouse_tls_handshakes_total", &handshakes, |n| n == 1.0);
    // The access log tells of it.
    let lines = gateway.access_log(5);
    let line = &lines[0];
    assert_eq!(line["tls_version"], "TLSv1.3", "{line}");
    assert_eq!(line["tls_sni"], "localhost");
}

#[test]
fn large_bodies_pass_both_ways() {
    let authority = Authority::new();
    let backend = HttpBackend::scripted(|call| {
        let mut body = Vec::new();
        while let Some(piece) = call.read_piece()? {
            body.extend_from_slice(&piece);
        }
        call.reply(&Reply::ok(body))
    });
    let gateway = forwarding(&authority, &backend);
    let body: Vec<u8> = (0..3_000_017_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    let mut client = TlsClient::trusting(&authority).build().client(gateway.address());
    // Twice, the second time in chunks: the connection is as good as before.
    assert!(client.send(&Request::post("/", &body)).body == body);
    let pieces: Vec<&[u8]> = body.chunks(70_001).collect();
    assert!(client.send(&Request::new("POST", "/").chunked(&pieces)).body == body);
}

#[test]
fn pipelined_requests_in_one_record_are_all_answered() {
    let authority = Authority::new();
    let backend = HttpBackend::start();
    let gateway = forwarding(&authority, &backend);
    let mut raw = TlsClient::trusting(&authority).build().connect(gateway.address());
    raw.send(
        [
            Request::get("/1").encode(),
            Request::get("/2").encode(),
            Request::get("/3").encode(),
        ]
        .concat(),
    );
    for _ in 0..3 {
        assert_eq!(raw.response("GET").status, 200);
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let authority = Authority::new();
    let backend = HttpBackend::start();
    let gateway = forwarding(&authority, &backend);
    let mut raw = TlsClient::trusting(&authority).build().connect(gateway.address());
    raw.send(Request::get("/").encode());
    raw.half_close();
    assert_eq!(raw.response("GET").status, 200);
    // And the end is a proper one: close_notify, not just the end of the connection.
    assert!(raw.read_to_end().is_empty());
}

#[test]
fn a_response_that_closes_ends_properly() {
    let authority = Authority::new();
    let backend = HttpBackend::start();
    let gateway = forwarding(&authority, &backend);
    let mut raw = TlsClient::trusting(&authority).build().connect(gateway.address());
    raw.send(Request::get("/").header("Connection", "close").encode());
    assert_eq!(raw.response("GET").status, 200);
    // rustls makes an error of an end without close_notify.
    assert!(raw.read_to_end().is_empty());
}
