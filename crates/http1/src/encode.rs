//! Writing messages: heads and chunks, always as HTTP/1.1 and always framed by us (RFC 9112).
//!
//! Whatever is given, what is written is one line per call: control bytes in values become spaces, what may not stand
//! in a target is percent-encoded, a field whose name is no token is left out.

use crate::byte;
use crate::framing::Framing;
use crate::head::method::Method;
use crate::head::request::RequestHead;
use crate::headers::Headers;
use crate::known::Known;
use crate::trailers;

/// The fields that a caller writes itself, since they are about its own connection and framing.
pub(crate) const OWN: u64 = Known::ContentLength.bit()
    | Known::TransferEncoding.bit()
    | Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::Upgrade.bit()
    | Known::Host.bit();

/// Writes the request line of a head, in origin form. The path and query of a head were checked or escaped when they
/// came in.
pub fn request_line(out: &mut Vec<u8>, head: &RequestHead) {
    match &head.method {
        // The variant is public, so its text may have come from elsewhere than a parser.
        Method::Other(name) if !byte::is_token(name.as_bytes()) => out.extend_from_slice(b"INVALID"),
        known => out.extend_from_slice(known.as_str().as_bytes()),
    }
    out.push(b' ');
    let path = head.path();
    out.extend_from_slice(if path.is_empty() { "/" } else { path }.as_bytes());
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes a status line. An empty reason becomes the standard one, if there is one.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status.clamp(100, 999)));
    out.push(b' ');
    if reason.is_empty() {
        out.extend_from_slice(standard_reason(status).as_bytes());
    } else {
        out.extend_from_slice(&byte::clean(reason));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes one field line.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !byte::is_token(name) {
        return;
    }
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(&byte::clean(value));
    out.extend_from_slice(b"\r\n");
}

/// Writes a field whose parts are known to be good: `start` is a name, a colon and a space; `value` has no control
/// bytes, because it was parsed from a head or made by the gateway. Costs three copies.
pub fn vouched(out: &mut Vec<u8>, start: &'static str, value: &[u8]) {
    debug_assert!(start.ends_with(": ") && value.iter().all(|b| *b >= b' ' && *b != 127));
    out.reserve(start.len() + value.len() + 2);
    out.extend_from_slice(start.as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes whole field lines whose parts are known to be good, as in [`vouched`]. Costs one copy.
pub fn vouched_lines(out: &mut Vec<u8>, lines: &[u8]) {
    debug_assert!(lines.is_empty() || lines.ends_with(b"\r\n"));
    out.extend_from_slice(lines);
}

/// Writes all fields but Content-Length, Transfer-Encoding, Connection, Keep-Alive, Proxy-Connection, Upgrade and Host:
/// framing and host are always the caller's own.
pub fn fields(out: &mut Vec<u8>, headers: &Headers) {
    headers.write(out, OWN);
}

/// Writes the field that announces the framing: `content-length`, `transfer-encoding: chunked` or nothing.
pub fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

/// Writes the line before a chunk of `len` bytes. An empty chunk would end the body, so for 0 nothing is written; then
/// `chunk_end` must be left out too.
pub fn chunk_start(out: &mut Vec<u8>, len: usize) {
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (4 * place) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the line end after a chunk's data.
pub fn chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body, with the trailers that may be trailers (RFC 9110 6.5.1).
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Headers>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write(out, trailers::UNWRITTEN);
    }
    out.extend_from_slice(b"\r\n");
}

/// The digits of the numbers below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0u8;
    while n < 100 {
        pairs[n as usize] = [b'0' + n / 10, b'0' + n % 10];
        n += 1;
    }
    pairs
};

/// Writes a number in decimal.
pub fn decimal(out: &mut Vec<u8>, mut n: u64) {
    // `u64::MAX` has twenty digits.
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while n >= 10 {
        let [tens, ones] = PAIRS[(n % 100) as usize];
        digits[start - 1] = ones;
        digits[start - 2] = tens;
        start -= 2;
        n /= 100;
    }
    // A last single digit, or nothing but a zero.
    if n > 0 || start == digits.len() {
        start -= 1;
        digits[start] = PAIRS[(n % 10) as usize][1];
    }
    out.extend_from_slice(&digits[start..]);
}

/// The reason phrase registered for a status (RFC 9110 15 and later ones), or nothing.
fn standard_reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn head(method: Method, path: &str, query: Option<&str>) -> RequestHead {
        let mut head = RequestHead::default();
        head.method = method;
        head.set_path(path);
        head.set_query(query);
        head
    }

    #[test]
    fn lines_are_written_as_the_grammar_has_them() {
        for (method, path, query, expected) in [
            (Method::Get, "/a", Some("b=c"), "GET /a?b=c HTTP/1.1\r\n"),
            (Method::Options, "*", None, "OPTIONS * HTTP/1.1\r\n"),
            (Method::Get, "", Some(""), "GET /? HTTP/1.1\r\n"),
        ] {
            let head = head(method, path, query);
            assert_eq!(written(|out| request_line(out, &head)), expected);
        }
        assert_eq!(
            written(|out| request_line(out, &RequestHead::default())),
            "GET / HTTP/1.1\r\n"
        );
        assert_eq!(written(|out| status_line(out, 200, b"")), "HTTP/1.1 200 OK\r\n");
        assert_eq!(written(|out| status_line(out, 599, b"")), "HTTP/1.1 599 \r\n");
        assert_eq!(
            written(|out| status_line(out, 404, b"Nope")),
            "HTTP/1.1 404 Nope\r\n"
        );
        assert_eq!(
            written(|out| framing(out, Framing::Length(0))),
            "content-length: 0\r\n"
        );
        assert_eq!(
            written(|out| framing(out, Framing::Chunked)),
            "transfer-encoding: chunked\r\n"
        );
        assert_eq!(written(|out| framing(out, Framing::UntilClose)), "");
    }

    #[test]
    fn nothing_given_can_start_another_line() {
        let evil = "a\r\nx: y";
        let line = written(|out| request_line(out, &head(Method::Get, evil, Some(evil))));
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(
            written(|out| request_line(out, &head(Method::Other(evil.into()), "/", None))),
            "INVALID / HTTP/1.1\r\n"
        );
        assert_eq!(
            written(|out| status_line(out, 200, evil.as_bytes())),
            "HTTP/1.1 200 a  x: y\r\n"
        );
        assert_eq!(written(|out| field(out, b"n", evil.as_bytes())), "n: a  x: y\r\n");
        assert_eq!(written(|out| field(out, evil.as_bytes(), b"v")), "");
    }

    #[test]
    fn numbers_have_no_leading_zeros() {
        for n in [0, 1, 9, 10, 255, 16, 4096, u64::MAX] {
            assert_eq!(written(|out| decimal(out, n)), n.to_string());
        }
        for n in [1, 15, 16, 255, 256, 65536, usize::MAX] {
            assert_eq!(written(|out| chunk_start(out, n)), format!("{n:x}\r\n"));
        }
        assert_eq!(written(|out| chunk_start(out, 0)), "");
    }

    #[test]
    fn connection_fields_are_left_to_the_caller() {
        let mut headers = Headers::new();
        for name in [
            "Host",
            "A",
            "Content-Length",
            "Transfer-Encoding",
            "B",
            "Keep-Alive",
            "Upgrade",
            "Connection",
            "C",
        ] {
            headers.append_name(name.as_bytes(), b"1");
        }
        assert_eq!(written(|out| fields(out, &headers)), "A: 1\r\nB: 1\r\nC: 1\r\n");
        headers.append(Known::Cookie, b"secret");
        assert_eq!(
            written(|out| last_chunk(out, Some(&headers))),
            "0\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n"
        );
        assert_eq!(written(|out| last_chunk(out, None)), "0\r\n\r\n");
    }
}
