use super::*;

fn response(bytes: &[u8], method: &str) -> io::Result<Response> {
    Reader::new(bytes).read_response(method)
}

#[test]
fn reads_each_framing() {
    let r = response(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y \r\n\r\nabcrest",
        "GET",
    )
    .unwrap();
    assert_eq!(
        (r.status, r.text().as_str(), r.header("x")),
        (200, "abc", Some("y"))
    );
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x\r\n0123456789\r\n0\r\nT: 1\r\n\r\n";
    let r = response(chunked, "GET").unwrap();
    assert_eq!(
        (r.text().as_str(), r.trailers.get("t"), r.chunked),
        ("abc0123456789", Some("1"), true)
    );
    assert_eq!(
        response(b"HTTP/1.1 200 OK\r\n\r\nto the end", "GET")
            .unwrap()
            .text(),
        "to the end"
    );
    assert_eq!(
        response(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "HEAD")
            .unwrap()
            .body,
        b""
    );
    let r = response(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "GET",
    )
    .unwrap();
    assert_eq!((r.interim.len(), r.status), (1, 204));
}

#[test]
fn refuses_what_a_sender_must_not_send() {
    for wrong in [
        &b"HTTP/1.1 200 OK\nX: y\n\n"[..],
        b"HTTP/1.1 200 OK\r\nX y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
    ] {
        assert!(response(wrong, "GET").is_err(), "{:?}", latin1(wrong));
    }
}
