use super::*;
use crate::known::Known;

fn parse_for(to: RequestKind, text: &str) -> Result<Option<(Parsed, ResponseHead)>, HeadError> {
    let mut head = ResponseHead::new();
    let parsed = parse_response(text.as_bytes(), &HeadLimits::default(), to, &mut head)?;
    Ok(parsed.map(|parsed| (parsed, head)))
}

fn accepted(text: &str) -> (Parsed, ResponseHead) {
    match parse_for(RequestKind::Other, text) {
        Ok(Some(both)) => both,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn is_malformed(text: &str) -> bool {
    matches!(parse_for(RequestKind::Other, text), Err(HeadError::Malformed(_)))
}

#[test]
fn a_response_is_taken_apart() {
    let text = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nServer: s\r\n\r\nno";
    let (parsed, head) = accepted(text);
    assert_eq!(
        (parsed.len, parsed.framing, parsed.keep_alive),
        (56, Framing::Length(2), true)
    );
    assert_eq!(
        (head.status, head.version, head.reason()),
        (404, Version::Http11, &b"Not Found"[..])
    );
    assert_eq!(head.headers.get(Known::Server), Some(&b"s"[..]));
    for end in 0..parsed.len {
        assert!(
            parse_for(RequestKind::Other, &text[..end]).unwrap().is_none(),
            "{end}"
        );
    }
}

#[test]
fn the_reason_is_free_text_without_controls() {
    let reason = |line: &str| accepted(&format!("{line}\r\n\r\n")).1.reason().to_vec();
    assert_eq!(reason("HTTP/1.1 200"), b"");
    assert_eq!(reason("HTTP/1.1 200 "), b"");
    assert_eq!(reason("HTTP/1.0 200 \u{e4}\tb "), "\u{e4}\tb".as_bytes());
    let mut head = ResponseHead::new();
    head.set_reason(b"a\r\nb");
    assert_eq!(head.reason(), b"a  b");
}

#[test]
fn the_status_line_is_strict() {
    for line in [
        "HTTP/1.1 099 x",
        "HTTP/1.1 600 x",
        "HTTP/1.1 999 x",
        "HTTP/1.1 20 x",
        "HTTP/1.1 2000 x",
        "HTTP/1.1 +20 x",
        "HTTP/1.1  200 x",
        "HTTP/1.1\t200 x",
        "HTTP/1.1 200\tx",
        "HTTP/1.1 200x",
        "HTTP/1.1 200 \0",
        "HTTP/1.1 200 a\rb",
        "HTTP/1.1 200 \x7f",
        "http/1.1 200 x",
        "HTTP/1.10 200 x",
        "HTTP/0.9 200 x",
        " HTTP/1.1 200 x",
        "ICY 200 OK",
        "200 OK",
        "\r\nHTTP/1.1 200 x",
        "\nHTTP/1.1 200 x",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 200 x\nA: b",
        "HTTP/1.1 200\nA: b",
    ] {
        assert!(is_malformed(&format!("{line}\r\n\r\n")), "{line:?}");
    }
    for line in ["HTTP/2.0 200 x", "HTTP/1.2 200 x"] {
        let result = parse_for(RequestKind::Other, &format!("{line}\r\n\r\n"));
        assert_eq!(result.unwrap_err(), HeadError::UnsupportedVersion, "{line:?}");
    }
}

#[test]
fn fields_are_as_strict_as_a_requests() {
    for lines in [
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: \0\r\n",
        "A: b\n",
        "A b\r\n",
        ": b\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 1, 1\r\n",
    ] {
        assert!(
            is_malformed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")),
            "{lines:?}"
        );
        // What cannot be read is refused even where it would not matter.
        let head = parse_for(RequestKind::Head, &format!("HTTP/1.1 304 OK\r\n{lines}\r\n"));
        assert!(matches!(head, Err(HeadError::Malformed(_))), "{lines:?}");
    }
    assert!(is_malformed(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    for coding in ["gzip, chunked", "identity", "chunked, gzip", ""] {
        let result = parse_for(
            RequestKind::Other,
            &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n"),
        );
        assert_eq!(result.unwrap_err(), HeadError::UnsupportedCoding, "{coding}");
    }
}

#[test]
fn the_framing_depends_on_request_and_status() {
    use Framing::{Chunked, Length, None, UntilClose};
    use RequestKind::{Connect, Head, Other};
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: Chunked\r\n";
    // Kind, status, lines; framing, keep-alive, declared length.
    let cases = [
        (Other, 200, length, Length(5), true, Some(5)),
        (Other, 200, chunked, Chunked, true, Option::None),
        (Other, 200, "", UntilClose, false, Option::None),
        (Other, 205, "Content-Length: 0\r\n", Length(0), true, Some(0)),
        (Head, 200, length, None, true, Some(5)),
        (Head, 200, chunked, None, true, Option::None),
        (Head, 200, "", None, true, Option::None),
        (Other, 304, length, None, true, Some(5)),
        (Other, 304, "", None, true, Option::None),
        (Other, 204, "", None, true, Option::None),
        (Other, 204, "Content-Length: 0\r\n", None, true, Option::None),
        (Other, 204, length, None, false, Option::None),
        (Other, 204, chunked, None, false, Option::None),
        (Other, 100, length, None, true, Option::None),
        (
            Other,
            101,
            "Connection: upgrade\r\nUpgrade: x\r\n",
            None,
            true,
            Option::None,
        ),
        (Connect, 200, length, None, true, Option::None),
        (Connect, 200, chunked, None, true, Option::None),
        (Connect, 407, length, Length(5), true, Some(5)),
    ];
    for (to, status, lines, framing, keep_alive, declared) in cases {
        let text = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
        let (parsed, _) = parse_for(to, &text).unwrap().unwrap();
        assert_eq!(
            (parsed.framing, parsed.keep_alive),
            (framing, keep_alive),
            "{to:?} {text}"
        );
        assert_eq!(parsed.declared_length, declared, "{to:?} {text}");
    }
    assert!(is_malformed(
        "HTTP/1.1 100 x\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
}

#[test]
fn old_servers_close_unless_they_say_otherwise() {
    let keeps = |text: &str| accepted(&format!("{text}\r\n\r\n")).0.keep_alive;
    assert!(!keeps("HTTP/1.0 200 x\r\nContent-Length: 0"));
    assert!(keeps(
        "HTTP/1.0 200 x\r\nContent-Length: 0\r\nConnection: keep-alive"
    ));
    assert!(!keeps("HTTP/1.0 200 x\r\nConnection: keep-alive"));
    assert!(!keeps("HTTP/1.1 200 x\r\nContent-Length: 0\r\nConnection: close"));
}

#[test]
fn limits_hold() {
    let limits = HeadLimits {
        bytes: 40,
        fields: 2,
        target: 0,
    };
    let parse = |text: &str| {
        parse_response(
            text.as_bytes(),
            &limits,
            RequestKind::Other,
            &mut ResponseHead::new(),
        )
    };
    assert!(
        parse("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n")
            .unwrap()
            .is_some()
    );
    let result = parse("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nE: f\r\n\r\n");
    assert_eq!(
        result.unwrap_err(),
        HeadError::TooManyFields {
            limit: 2,
            measured: 3
        }
    );
    let result = parse(&format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(40)));
    assert_eq!(
        result.unwrap_err(),
        HeadError::HeadTooLarge {
            limit: 40,
            measured: 57
        }
    );
}
