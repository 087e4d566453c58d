//! The upstream's responses are parsed as strictly as requests: 502, and nothing of them reaches the client.

use gatehouse_testkit::{Client, HttpBackend, Reply, client};

use crate::in_front_of;

/// Responses that no client may see. The body of each, where there is one, is `secret`.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let head = |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\nsecret").into_bytes();
    vec![
        ("no HTTP", b"secret\r\n\r\n".to_vec()),
        ("no status", b"HTTP/1.1\r\n\r\n".to_vec()),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n".to_vec()),
        ("a status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n".to_vec()),
        ("a status that is no number", b"HTTP/1.1 abc OK\r\n\r\n".to_vec()),
        ("a status below 100", b"HTTP/1.1 099 OK\r\n\r\n".to_vec()),
        ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"<html>secret</html>".to_vec()),
        (
            "a length and a coding",
            head("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"),
        ),
        ("two lengths", head("Content-Length: 6\r\nContent-Length: 7\r\n")),
        (
            "two equal lengths",
            head("Content-Length: 6\r\nContent-Length: 6\r\n"),
        ),
        ("a list of lengths", head("Content-Length: 6, 6\r\n")),
        ("a length that is none", head("Content-Length: six\r\n")),
        ("a negative length", head("Content-Length: -6\r\n")),
        (
            "a length too large",
            head("Content-Length: 99999999999999999999\r\n"),
        ),
        (
            "two codings",
            head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ),
        ("an unknown coding", head("Transfer-Encoding: gzip, chunked\r\n")),
        ("LF", b"HTTP/1.1 200 OK\nContent-Length: 6\n\nsecret".to_vec()),
        (
            "LF after a field",
            b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 6\r\n\r\nsecret".to_vec(),
        ),
        ("CR in a value", head("X: a\rb\r\nContent-Length: 6\r\n")),
        ("NUL in a value", head("X: a\0b\r\nContent-Length: 6\r\n")),
        (
            "NUL in the reason",
            b"HTTP/1.1 200 O\0K\r\nContent-Length: 6\r\n\r\nsecret".to_vec(),
        ),
        ("a folded line", head("X: a\r\n b\r\nContent-Length: 6\r\n")),
        ("a space before the colon", head("Content-Length : 6\r\n")),
        ("no colon", head("nonsense\r\nContent-Length: 6\r\n")),
        (
            "a name that is no token",
            head("X(y): z\r\nContent-Length: 6\r\n"),
        ),
        (
            "a head too large",
            head(&format!("X: {}\r\nContent-Length: 6\r\n", "x".repeat(70_000))),
        ),
        (
            "too many fields",
            head(&format!("{}Content-Length: 6\r\n", "X: y\r\n".repeat(250))),
        ),
        (
            "a switch nobody asked for",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nsecret".to_vec(),
        ),
    ]
}

#[test]
fn malformed_responses_are_502_and_stay_upstream() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut wrong = Vec::new();
    for (index, (name, bytes)) in malformed().into_iter().enumerate() {
        let path = format!("/{index}");
        backend.on(&path, Reply::raw(bytes));
        let response = client::get(gateway.address(), &path);
        if response.status != 502 || response.text().contains("secret") {
            wrong.push(format!(
                "{name}: status {}, body {:?}",
                response.status,
                response.text()
            ));
        } else if response.code() != "upstream_protocol" {
            wrong.push(format!("{name}: code {}", response.code()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(client::get(gateway.address(), "/fine").status, 200);
}

/// When the head has gone out, all that is left is to end the connection so that the client notices.
#[test]
fn bodies_that_break_off_are_seen_to_break_off() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let chunked = |body: &str| {
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ))
    };
    let table = [
        ("/length", Reply::ok("short").claim_length(100)),
        ("/reset", Reply::ok("short").claim_length(100).then_reset()),
        ("/no-last-chunk", chunked("5\r\nshort\r\n")),
        ("/half-a-chunk", chunked("5\r\nshort\r\n9\r\nabc")),
        ("/bad-size", chunked("5\r\nshort\r\nzz\r\n\r\n0\r\n\r\n")),
        ("/empty-size", chunked("5\r\nshort\r\n\r\n\r\n0\r\n\r\n")),
        ("/lf", chunked("5\r\nshort\n0\r\n\r\n")),
        ("/too-long", chunked("5\r\nshorter\r\n0\r\n\r\n")),
        (
            "/length-in-trailer",
            chunked("5\r\nshort\r\n0\r\nbad trailer\r\n\r\n"),
        ),
    ];
    for (path, reply) in table {
        backend.on(path, reply);
        let mut raw = Client::connect(gateway.address()).raw;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        match raw.reader.read_response("GET") {
            // What broke before anything was sent may still become a proper failure.
            Ok(response) => assert_eq!(response.status, 502, "{path}: {response:?}"),
            Err(e) => assert!(
                !matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
                "{path}: {e}"
            ),
        }
    }
    assert_eq!(client::get(gateway.address(), "/fine").status, 200);
}

/// What comes after a response nobody asked for is never taken for the answer to somebody else's request.
#[test]
fn bytes_after_a_response_are_not_the_next_response() {
    let backend = HttpBackend::start();
    let twice =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    backend.script("/twice", move |call| {
        call.read_body()?;
        call.send(twice)
    });
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for _ in 0..10 {
        assert_eq!(client.get("/twice").text(), "ok");
        assert_eq!(client.get("/fine").text(), "ok");
    }
}

#[test]
fn a_body_where_none_belongs_is_not_passed_on() {
    let backend = HttpBackend::start();
    let none = |status: u16| Reply::raw(format!("HTTP/1.1 {status} X\r\nContent-Length: 6\r\n\r\nforged"));
    backend
        .on("/304", none(304))
        .on("/204", Reply::raw("HTTP/1.1 204 X\r\n\r\nforged"));
    let gateway = in_front_of(&backend);
    for path in ["/304", "/204"] {
        let mut client = Client::connect(gateway.address());
        let response = client.get(path);
        assert!(
            response.status == path[1..].parse::<u16>().unwrap() || response.status == 502,
            "{response:?}"
        );
        if response.status != 502 {
            assert!(response.body.is_empty());
        }
        assert_eq!(client.get("/fine").text(), "ok");
    }
}
