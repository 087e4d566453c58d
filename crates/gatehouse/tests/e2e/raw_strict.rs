//! Every line of "Strict on the wire": what is refused, byte for byte, and that none of it reaches an upstream.

use gatehouse_testkit::headers::latin1;
use gatehouse_testkit::{Gateway, HttpBackend, Raw, client};

use crate::in_front_of;

/// What is sent on a connection of its own, and the statuses that are right for it.
type Refused = (&'static str, Vec<u8>, &'static [u16]);

fn refused(name: &'static str, bytes: impl AsRef<[u8]>, statuses: &'static [u16]) -> Refused {
    (name, bytes.as_ref().to_vec(), statuses)
}

/// A POST with these header lines, each with its CRLF, and `Host`.
fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{body}")
}

fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")
}

/// Sends each on its own connection: the status is right, the connection ends, and no byte goes upstream.
fn check(gateway: &Gateway, backend: &HttpBackend, table: Vec<Refused>) {
    let mut wrong = Vec::new();
    for (name, bytes, statuses) in table {
        let before = backend.bytes();
        let mut raw = Raw::connect(gateway.address());
        // The gateway may have refused, and closed, before everything is sent.
        let _ = raw.try_send(&bytes);
        let outcome = match raw.reader.read_response("POST") {
            Err(e) => Some(format!("no response: {e}")),
            Ok(r) if !statuses.contains(&r.status) => Some(format!("status {}, not {statuses:?}", r.status)),
            Ok(r) if !r.headers.lists("connection", "close") => Some("no `connection: close`".to_owned()),
            Ok(r) if r.header("content-type") != Some("application/problem+json") => {
                Some("no problem document".to_owned())
            }
            Ok(_) => {
                let rest = raw.read_to_end();
                (!rest.is_empty()).then(|| format!("more bytes: {:?}", latin1(&rest)))
            }
        };
        // A good request first, so that a forwarded bad one had its time to arrive.
        let good = client::get(gateway.address(), "/fence");
        assert_eq!(good.status, 200, "the gateway still serves after: {name}");
        let fence = backend
            .wait_requests(backend.count())
            .pop()
            .map_or(0, |r| r.raw_head.len() as u64);
        let leaked = backend.bytes() - before - fence;
        if let Some(outcome) = outcome {
            wrong.push(format!("{name}: {outcome}"));
        }
        if leaked > 0 {
            wrong.push(format!("{name}: {leaked} bytes reached the upstream"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}\n{:?}",
        wrong.len(),
        wrong.join("\n"),
        backend.malformed()
    );
}

fn run(table: Vec<Refused>) {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    check(&gateway, &backend, table);
}

#[test]
fn contradicting_or_repeated_lengths() {
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
    let turned = "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n";
    run(vec![
        refused("length and coding", post(both, "0\r\n\r\n"), &[400]),
        refused("coding and length", post(turned, "0\r\n\r\n"), &[400]),
        refused(
            "zero length and coding",
            post(&both.replace('3', "0"), "0\r\n\r\n"),
            &[400],
        ),
        refused(
            "two equal lengths",
            post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
            &[400],
        ),
        refused(
            "two lengths",
            post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
            &[400],
        ),
        refused(
            "two lengths, other case",
            post("Content-Length: 3\r\ncontent-LENGTH: 3\r\n", "abc"),
            &[400],
        ),
        refused(
            "a list of lengths",
            post("Content-Length: 3, 3\r\n", "abc"),
            &[400],
        ),
        refused(
            "two codings",
            post(&"Transfer-Encoding: chunked\r\n".repeat(2), "0\r\n\r\n"),
            &[400],
        ),
    ]);
}

#[test]
fn lengths_that_are_no_numbers() {
    let length = |value: &str| post(&format!("Content-Length:{value}\r\n"), "abc");
    run(vec![
        refused("plus", length(" +3"), &[400]),
        refused("minus", length(" -3"), &[400]),
        refused("hexadecimal", length(" 0x3"), &[400]),
        refused("a word", length(" three"), &[400]),
        refused("a fraction", length(" 3.0"), &[400]),
        refused("two words", length(" 3 3"), &[400]),
        refused("empty", length(""), &[400]),
        refused("only spaces", length("  "), &[400]),
        refused(
            "too large for 64 bits",
            length(" 18446744073709551616"),
            &[400, 413],
        ),
        refused(
            "far too large",
            length(" 99999999999999999999999999999999"),
            &[400, 413],
        ),
    ]);
}

#[test]
fn codings_other_than_exactly_chunked() {
    let coding = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
    let old = "POST /x HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    run(vec![
        refused("gzip", coding("gzip"), &[501]),
        refused("gzip and chunked", coding("gzip, chunked"), &[501]),
        refused("identity", coding("identity"), &[400, 501]),
        refused("chunked not last", coding("chunked, gzip"), &[400, 501]),
        refused("chunked twice", coding("chunked, chunked"), &[400, 501]),
        refused(
            "something that begins with chunked",
            coding("chunkedx"),
            &[400, 501],
        ),
        refused(
            "something that ends with chunked",
            coding("xchunked"),
            &[400, 501],
        ),
        refused("chunked with a parameter", coding("chunked;q=1"), &[400, 501]),
        refused("chunked in quotes", coding("\"chunked\""), &[400, 501]),
        refused("empty", coding(""), &[400, 501]),
        refused("a comma before", coding(", chunked"), &[400, 501]),
        refused("a vertical tab before", coding("\u{b}chunked"), &[400]),
        refused("a coding in HTTP/1.0", old, &[400]),
    ]);
}

#[test]
fn line_ends_that_are_not_crlf() {
    run(vec![
        refused(
            "LF after the request line",
            "GET /x HTTP/1.1\nHost: a.test\r\n\r\n",
            &[400],
        ),
        refused(
            "LF after a field",
            "GET /x HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n",
            &[400],
        ),
        refused("LF at the end", "GET /x HTTP/1.1\r\nHost: a.test\r\n\n", &[400]),
        refused("only LF", "GET /x HTTP/1.1\nHost: a.test\n\n", &[400]),
        refused(
            "CR in the request line",
            "GET /x\r HTTP/1.1\r\nHost: a.test\r\n\r\n",
            &[400],
        ),
        refused("CR in a value", get("X: a\rb\r\n"), &[400]),
        refused("CR in a name", get("X\rY: a\r\n"), &[400]),
        refused("CR instead of CRLF", "GET /x HTTP/1.1\rHost: a.test\r\r", &[400]),
        refused("CR CR LF", "GET /x HTTP/1.1\r\r\nHost: a.test\r\n\r\n", &[400]),
        refused("LF CR", get("X: a\n\rY: b\r\n"), &[400]),
        refused(
            "LF hides a second request",
            get("X: a\n\nGET /y HTTP/1.1\r\n"),
            &[400],
        ),
        refused(
            "three empty lines before",
            format!("\r\n\r\n\r\n{}", get("")),
            &[400],
        ),
        refused("LF before", format!("\n{}", get("")), &[400]),
    ]);
}

#[test]
fn fields_that_are_not_well_formed() {
    run(vec![
        refused("a folded line", get("X: a\r\n b\r\n"), &[400]),
        refused("a line folded by a tab", get("X: a\r\n\tb\r\n"), &[400]),
        refused(
            "a first line that is folded",
            "GET /x HTTP/1.1\r\n Host: a.test\r\n\r\n",
            &[400],
        ),
        refused("a space before the colon", get("X : a\r\n"), &[400]),
        refused("a tab before the colon", get("X\t: a\r\n"), &[400]),
        refused(
            "a space before the colon of a length",
            post("Content-Length : 3\r\n", "abc"),
            &[400],
        ),
        refused("no colon", get("X\r\n"), &[400]),
        refused("no name", get(": a\r\n"), &[400]),
        refused("a space in a name", get("X Y: a\r\n"), &[400]),
        refused("a bracket in a name", get("X(Y): a\r\n"), &[400]),
        refused("a quote in a name", get("X\"Y: a\r\n"), &[400]),
        refused(
            "a byte above 127 in a name",
            b"GET /x HTTP/1.1\r\nHost: a.test\r\nX\xe9: a\r\n\r\n",
            &[400],
        ),
        refused("NUL in a name", get("X\0: a\r\n"), &[400]),
        refused("NUL in a value", get("X: a\0b\r\n"), &[400]),
        refused("bell in a value", get("X: a\u{7}b\r\n"), &[400]),
        refused("escape in a value", get("X: a\u{1b}b\r\n"), &[400]),
        refused("delete in a value", get("X: a\u{7f}b\r\n"), &[400]),
        refused("form feed in a value", get("X: \u{c}b\r\n"), &[400]),
        refused(
            "an underscore that hides a length",
            post("Content_Length: 3\r\n", "abc"),
            &[400],
        ),
        refused(
            "an underscore that hides a coding",
            get("Transfer_Encoding: chunked\r\n"),
            &[400],
        ),
    ]);
}

#[test]
fn request_lines_that_are_not_well_formed() {
    let line = |line: &str| format!("{line}\r\nHost: a.test\r\n\r\n");
    run(vec![
        refused("no version", line("GET /x"), &[400]),
        refused("HTTP/0.9", line("GET /x HTTP/0.9"), &[400, 505]),
        refused("HTTP/2.0", line("GET /x HTTP/2.0"), &[505]),
        refused("HTTP/3.0", line("GET /x HTTP/3.0"), &[505]),
        refused(
            "the preface of HTTP/2, but for its end",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\n\n",
            &[400, 505],
        ),
        refused("lower-case version", line("GET /x http/1.1"), &[400]),
        refused("two digits", line("GET /x HTTP/1.10"), &[400, 505]),
        refused("another protocol", line("GET /x HTTPS/1.1"), &[400]),
        refused("two spaces after the method", line("GET  /x HTTP/1.1"), &[400]),
        refused("two spaces before the version", line("GET /x  HTTP/1.1"), &[400]),
        refused("a tab", line("GET\t/x HTTP/1.1"), &[400]),
        refused("a space in the target", line("GET /x y HTTP/1.1"), &[400]),
        refused("a space at the end", line("GET /x HTTP/1.1 "), &[400]),
        refused("a space at the start", line(" GET /x HTTP/1.1"), &[400]),
        refused("no method", line("/x HTTP/1.1"), &[400]),
        refused("a method that is no token", line("GE(T /x HTTP/1.1"), &[400]),
        refused("a method with a colon", line("GET: /x HTTP/1.1"), &[400]),
        refused("a target without slash", line("GET x HTTP/1.1"), &[400]),
        refused("NUL in the target", line("GET /\0 HTTP/1.1"), &[400]),
        refused(
            "a control byte in the target",
            line("GET /\u{1} HTTP/1.1"),
            &[400],
        ),
        refused("delete in the target", line("GET /\u{7f} HTTP/1.1"), &[400]),
        refused("a fragment", line("GET /x#y HTTP/1.1"), &[400]),
        refused(
            "the start of a TLS handshake",
            b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\r\n\r\n",
            &[400],
        ),
    ]);
}

#[test]
fn hosts_that_are_missing_repeated_or_wrong() {
    let host = |host: &str| format!("GET /x HTTP/1.1\r\n{host}\r\n");
    let absolute = |host: &str| format!("GET http://a.test/x HTTP/1.1\r\n{host}\r\n");
    run(vec![
        refused("none", host(""), &[400]),
        refused("two", host("Host: a.test\r\nHost: b.test\r\n"), &[400]),
        refused("two equal ones", host("Host: a.test\r\nhost: a.test\r\n"), &[400]),
        refused("a list", host("Host: a.test, b.test\r\n"), &[400]),
        refused("a space", host("Host: a.test b.test\r\n"), &[400]),
        refused("a path", host("Host: a.test/x\r\n"), &[400]),
        refused("a user", host("Host: me@a.test\r\n"), &[400]),
        refused("a port that is none", host("Host: a.test:http\r\n"), &[400]),
        refused("a port too large", host("Host: a.test:65536\r\n"), &[400]),
        refused("an open bracket", host("Host: [::1\r\n"), &[400]),
        refused("a backslash", host("Host: a.test\\b\r\n"), &[400]),
        refused(
            "another one than the target's",
            absolute("Host: b.test\r\n"),
            &[400],
        ),
        refused(
            "another port than the target's",
            absolute("Host: a.test:81\r\n"),
            &[400],
        ),
        refused("none beside an absolute target", absolute(""), &[400]),
        refused(
            "a user in the target",
            "GET http://me@a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            &[400],
        ),
        refused(
            "no host in the target",
            "GET http:///x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            &[400],
        ),
    ]);
}

#[test]
fn heads_that_are_too_large() {
    let long = "x".repeat(20_000);
    let many = (0..150).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    run(vec![
        refused("a long value", get(&format!("X: {long}\r\n")), &[431]),
        refused("a long name", get(&format!("{long}: x\r\n")), &[431]),
        refused("many fields", get(&many), &[431]),
        refused(
            "a long target",
            format!("GET /{long} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            &[414, 431],
        ),
        refused("a long target without end", format!("GET /{long}"), &[414, 431]),
        refused("a long method without end", long.clone(), &[400, 431]),
        refused(
            "a head without end",
            format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {long}"),
            &[431],
        ),
    ]);
}

/// The head may already be upstream when a chunk turns out bad; but no upstream ever sees such a request whole.
#[test]
fn chunks_that_are_not_well_formed() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let trailer = |line: &str| format!("3\r\nabc\r\n0\r\n{line}\r\n\r\n");
    let table = [
        ("no size", "\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("only an extension", ";x=y\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("no hexadecimal size", "g\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("a sign", "+3\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("a prefix", "0x3\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("a space before", " 3\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("an underscore", "0_3\r\nabc\r\n0\r\n\r\n".to_owned()),
        (
            "a size beyond 64 bits",
            "10000000000000003\r\nabc\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a size of many digits",
            format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(100)),
        ),
        ("an endless size", "3".repeat(100_000)),
        ("an endless extension", format!("3;{}", "x".repeat(100_000))),
        ("LF after the size", "3\nabc\r\n0\r\n\r\n".to_owned()),
        ("CR in the size line", "3\r;x\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("NUL in an extension", "3;a\0b\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("LF after the data", "3\r\nabc\n0\r\n\r\n".to_owned()),
        ("data longer than its size", "3\r\nabcd\r\n0\r\n\r\n".to_owned()),
        ("no CRLF after the data", "3\r\nabc0\r\n\r\n".to_owned()),
        ("LF after the last chunk", "3\r\nabc\r\n0\n\r\n".to_owned()),
        ("LF at the very end", "3\r\nabc\r\n0\r\n\n".to_owned()),
        ("a length in the trailers", trailer("Content-Length: 3")),
        ("a coding in the trailers", trailer("Transfer-Encoding: chunked")),
        ("a host in the trailers", trailer("Host: b.test")),
        ("credentials in the trailers", trailer("Authorization: Basic abc")),
        (
            "a client address in the trailers",
            trailer("X-Forwarded-For: 1.2.3.4"),
        ),
        ("a certificate in the trailers", trailer("Client-Cert: :AAAA:")),
        ("a user in the trailers", trailer("X_Forwarded_User: admin")),
        ("a trailer that is no field", trailer("nonsense")),
        ("a folded trailer", trailer("X: a\r\n b")),
        ("a space before the colon of a trailer", trailer("X : a")),
        ("NUL in a trailer", trailer("X: a\0b")),
        (
            "endless trailers",
            format!("3\r\nabc\r\n0\r\n{}", "X: y\r\n".repeat(20_000)),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, body) in table {
        let mut raw = Raw::connect(gateway.address());
        let _ = raw.try_send(post("Transfer-Encoding: chunked\r\n", &body));
        match raw.reader.read_response("POST") {
            Ok(response) if matches!(response.status, 400 | 431 | 413) => {
                if !response.headers.lists("connection", "close") || !raw.read_to_end().is_empty() {
                    wrong.push(format!("{name}: the connection goes on"));
                }
            }
            Ok(response) => wrong.push(format!("{name}: status {}", response.status)),
            Err(e) => wrong.push(format!("{name}: no response: {e}")),
        }
    }
    assert_eq!(client::get(gateway.address(), "/fence").status, 200);
    let whole = backend
        .requests()
        .iter()
        .filter(|r| r.complete && r.path() != "/fence")
        .count();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(whole, 0, "such requests were complete at the upstream");
}

#[test]
fn what_is_unusual_but_right_is_normalised() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let send = |bytes: &str| {
        let mut raw = Raw::connect(gateway.address());
        raw.send(bytes);
        assert_eq!(raw.response("POST").status, 200, "{bytes:?}");
        backend.last()
    };

    let seen = send(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b;c=\"d\"\r\nabc\r\n00\r\n\r\n",
    );
    assert_eq!(
        (seen.text().as_str(), seen.header("content-length")),
        ("abc", None)
    );

    let seen = send("GET /x HTTP/1.1\r\nHost:a.test\r\nX-Ows: \t a b\t \r\nX-Empty:\r\n\r\n");
    assert_eq!(
        (seen.header("x-ows"), seen.header("x-empty")),
        (Some("a b"), Some(""))
    );
    assert!(
        String::from_utf8_lossy(&seen.raw_head).contains("X-Ows: a b\r\n"),
        "{seen:?}"
    );

    let seen = send("GET http://a.test/x?y HTTP/1.1\r\nHost: A.test\r\n\r\n");
    assert_eq!(seen.target, "/x?y");

    let seen = send("\r\nGET /after-an-empty-line HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(seen.target, "/after-an-empty-line");

    let seen = send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(
        (seen.version.as_str(), seen.headers.count("host")),
        ("HTTP/1.1", 1)
    );

    let seen = send("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0003\r\n\r\nabc");
    assert_eq!(
        (seen.header("content-length"), seen.text().as_str()),
        (Some("3"), "abc")
    );
}
