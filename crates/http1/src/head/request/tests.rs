use super::*;

fn parse_with(text: &[u8], limits: &HeadLimits) -> Result<Option<(Parsed, RequestHead)>, HeadError> {
    let mut head = RequestHead::new();
    Ok(parse_request(text, limits, &mut head)?.map(|parsed| (parsed, head)))
}

fn parse(text: &str) -> Result<Option<(Parsed, RequestHead)>, HeadError> {
    parse_with(text.as_bytes(), &HeadLimits::default())
}

fn accepted(text: &str) -> (Parsed, RequestHead) {
    match parse(text) {
        Ok(Some(both)) => both,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn is_malformed(text: &str) -> bool {
    matches!(parse(text), Err(HeadError::Malformed(_)))
}

/// A GET of `/` with these further lines.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn a_request_is_taken_apart() {
    let (parsed, head) =
        accepted("\r\nPOST /a?b HTTP/1.1\r\nHost: h:1\r\nX-A:\t v \r\nContent-length: 3\r\n\r\nabcGET");
    assert_eq!(parsed.framing, Framing::Length(3));
    assert_eq!(
        (parsed.len, parsed.keep_alive, parsed.expect_continue),
        (64, true, false)
    );
    assert_eq!(parsed.declared_length, Some(3));
    assert_eq!((head.method.as_str(), head.version), ("POST", Version::Http11));
    assert_eq!(
        (head.path(), head.query(), head.authority(), head.raw_target()),
        ("/a", Some("b"), "h:1", "/a?b")
    );
    assert_eq!(
        (head.headers.find(b"x-a"), head.headers.len()),
        (Some(&b"v"[..]), 3)
    );
}

#[test]
fn every_prefix_needs_more() {
    let text = "\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n";
    for end in 0..text.len() {
        assert!(parse(&text[..end]).unwrap().is_none(), "{end}");
    }
    assert_eq!(accepted(text).0.len, text.len());
}

#[test]
fn a_head_that_is_no_good_or_not_whole_keeps_no_fields() {
    let limits = HeadLimits {
        fields: 3,
        ..HeadLimits::default()
    };
    for lines in [
        "User-Agent: u\r\nx y: a\r\n",
        "User-Agent: u\r\nx: \u{1}\r\n",
        "User-Agent: u\r\nA: 1\r\nB: 2\r\n",
    ] {
        let mut head = RequestHead::new();
        assert!(parse_request(get(lines).as_bytes(), &limits, &mut head).is_err());
        assert_eq!(head.headers.get(Known::UserAgent), None, "{lines}");
        assert_eq!(head.headers.iter().count(), 0);
    }
    let mut head = RequestHead::new();
    let cut = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\nA";
    assert!(parse_request(cut, &limits, &mut head).unwrap().is_none());
    assert_eq!(head.headers.get(Known::UserAgent), None);
}

#[test]
fn a_reused_head_forgets() {
    let mut head = RequestHead::new();
    let limits = HeadLimits::default();
    let first = "DELETE /long/path?q HTTP/1.0\r\nHost: abc\r\nCookie: c\r\n\r\n";
    parse_request(first.as_bytes(), &limits, &mut head).unwrap();
    parse_request(get("").as_bytes(), &limits, &mut head).unwrap();
    assert_eq!(
        (head.method.as_str(), head.path(), head.query()),
        ("GET", "/", None)
    );
    assert_eq!(
        (
            head.headers.len(),
            head.headers.get(Known::Cookie),
            head.authority()
        ),
        (1, None, "a")
    );
}

#[test]
fn the_body_is_framed_in_one_way_or_not_at_all() {
    let framing = |lines: &str| accepted(&get(lines)).0.framing;
    assert_eq!(framing(""), Framing::None);
    assert_eq!(framing("Content-Length: 0\r\n"), Framing::Length(0));
    assert_eq!(framing("transfer-encoding: CHUNKED\r\n"), Framing::Chunked);
    for lines in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: gzip\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\ncontent-length: 2\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length:\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 1 1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 18446744073709551616\r\n",
    ] {
        assert!(is_malformed(&get(lines)), "{lines}");
    }
    for coding in [
        "gzip",
        "",
        "chunked, chunked",
        "gzip, chunked",
        "chunked;q=1",
        "identity",
        "xchunked",
        "\"chunked\"",
    ] {
        let result = parse(&get(&format!("Transfer-Encoding: {coding}\r\n")));
        assert_eq!(result.unwrap_err(), HeadError::UnsupportedCoding, "{coding}");
    }
    assert!(is_malformed(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    assert!(is_malformed("POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n"));
}

#[test]
fn lines_end_in_cr_lf_and_nothing_else() {
    for text in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\n\r\n",
        "GET / HTTP/1.1\r\nB:\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nB: \n c\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.0\n\n",
        "GET / HTTP/1.0\r\n\n",
        "GET / HTTP/1.0\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\rd\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX",
        // Not yet complete, and hopeless.
        "GET / HTTP/1.1\nHost",
        "GET / HTTP/1.1\r\nHost: a\nB",
    ] {
        assert!(is_malformed(text), "{text:?}: {:?}", parse(text));
    }
}

#[test]
fn fields_are_tokens_with_clean_values() {
    for line in [
        " B: c",
        "\tB: c",
        "B : c",
        "B\t: c",
        "B",
        "B c",
        ": c",
        "B(: c",
        "B\u{e4}: c",
        "B\0: c",
        "B: \0",
        "B: \x01",
        "B: \x7f",
        "B: \x1b[0m",
        "B: c\r\n d",
        "B: c\r\n\td",
        "B:\r\n c",
        "\"B\": c",
        "B/: c",
        "@: c",
    ] {
        assert!(is_malformed(&get(&format!("{line}\r\n"))), "{line:?}");
    }
    // The first line after the request line too.
    assert!(is_malformed("GET / HTTP/1.1\r\n Host: a\r\n\r\n"));
    let (_, head) = accepted(&get("B:c\r\nC: \u{e4}\t\"\r\n!#$%&'*+.^_`|~09-Z:\r\n"));
    assert_eq!(head.headers.find(b"c"), Some("\u{e4}\t\"".as_bytes()));
    assert_eq!(head.headers.find(b"!#$%&'*+.^_`|~09-z"), Some(&b""[..]));
}

#[test]
fn the_request_line_has_three_parts() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET",
        "/",
        "GET / ",
        "GET HTTP/1.1",
        "G\u{e4}T / HTTP/1.1",
        "GE(T / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/0.9",
        "GET / HTTP 1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1.1\0",
        "GET / HTTP/1,1",
        "GET /a b HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /#a HTTP/1.1",
        "GET /a\\b HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /%4 HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
    ] {
        assert!(is_malformed(&format!("{line}\r\nHost: a\r\n\r\n")), "{line:?}");
    }
    let long = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(65));
    assert!(is_malformed(&long));
    for version in ["HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"] {
        let result = parse(&format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert_eq!(result.unwrap_err(), HeadError::UnsupportedVersion, "{version}");
    }
    assert_eq!(
        parse("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_err(),
        HeadError::UnsupportedVersion
    );
}

#[test]
fn there_is_one_host_and_it_agrees() {
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.0\r\nHost:\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \u{e4}\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: b:1\r\n\r\n",
    ] {
        assert!(is_malformed(text), "{text:?}");
    }
    assert_eq!(accepted("GET / HTTP/1.0\r\n\r\n").1.authority(), "");
    assert_eq!(accepted("GET http://b/ HTTP/1.0\r\n\r\n").1.authority(), "b");
    let (_, head) = accepted("GET http://B:80/ HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(
        (head.authority(), head.scheme(), head.form()),
        ("B:80", Some("http"), TargetForm::Absolute)
    );
    let (_, head) = accepted("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    assert_eq!(
        (head.authority(), head.path(), head.form()),
        ("a:1", "", TargetForm::Authority)
    );
    assert_eq!(accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").1.path(), "*");
}

#[test]
fn the_connection_outlives_the_message_if_both_say_so() {
    let keeps = |version: &str, lines: &str| {
        accepted(&format!("GET / {version}\r\nHost: a\r\n{lines}\r\n"))
            .0
            .keep_alive
    };
    assert!(keeps("HTTP/1.1", "") && !keeps("HTTP/1.0", ""));
    assert!(
        !keeps("HTTP/1.1", "Connection: x, Close\r\n") && keeps("HTTP/1.0", "Connection: Keep-Alive\r\n")
    );
    assert!(!keeps(
        "HTTP/1.0",
        "Connection: keep-alive\r\nConnection: close\r\n"
    ));
}

#[test]
fn expectations_are_for_http_1_1() {
    let expects = |version: &str, value: &str| {
        accepted(&format!(
            "PUT / {version}\r\nHost: a\r\nContent-Length: 1\r\nExpect: {value}\r\n\r\n"
        ))
        .0
        .expect_continue
    };
    assert!(expects("HTTP/1.1", "100-Continue") && !expects("HTTP/1.0", "100-continue"));
    assert!(!expects("HTTP/1.1", "200-ok"));
    assert!(!accepted(&get("Expect: 100-continue\r\n")).0.expect_continue);
}

#[test]
fn limits_hold_for_whole_and_partial_heads() {
    let limits = HeadLimits {
        bytes: 100,
        fields: 3,
        target: 20,
    };
    let padded = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nB: {}\r\n\r\n", "b".repeat(len - 32));
    let result = |text: &str| parse_with(text.as_bytes(), &limits);
    assert_eq!(result(&padded(100)).unwrap().unwrap().0.len, 100);
    assert_eq!(
        result(&padded(101)).unwrap_err(),
        HeadError::HeadTooLarge {
            limit: 100,
            measured: 101
        }
    );
    assert_eq!(
        result(&padded(200)).unwrap_err(),
        HeadError::HeadTooLarge {
            limit: 100,
            measured: 200
        }
    );
    assert!(result(&padded(101)[..99]).unwrap().is_none());
    assert_eq!(
        result(&padded(101)[..100]).unwrap_err(),
        HeadError::HeadTooLarge {
            limit: 100,
            measured: 101
        }
    );
    // A body behind the head does not count.
    assert!(result(&(padded(100) + &"x".repeat(500))).unwrap().is_some());

    assert!(result(&get("B: 1\r\nC: 2\r\n")).unwrap().is_some());
    let many = get("B: 1\r\nC: 2\r\nD: 3\r\n");
    let too_many = HeadError::TooManyFields {
        limit: 3,
        measured: 4,
    };
    assert_eq!(result(&many).unwrap_err(), too_many);
    assert_eq!(result(many.strip_suffix("\r\n").unwrap()).unwrap_err(), too_many);

    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "t".repeat(len - 1));
    assert!(result(&target(20)).unwrap().is_some());
    assert_eq!(
        result(&target(21)).unwrap_err(),
        HeadError::TargetTooLong {
            limit: 20,
            measured: 21
        }
    );
    assert_eq!(
        result(&target(21)[..25]).unwrap_err(),
        HeadError::TargetTooLong {
            limit: 20,
            measured: 21
        }
    );
    assert!(result(&target(21)[..24]).unwrap().is_none());
    assert_eq!(
        result(&target(500)).unwrap_err(),
        HeadError::TargetTooLong {
            limit: 20,
            measured: 500
        }
    );
    let nothing = HeadLimits {
        bytes: 0,
        fields: 0,
        target: 0,
    };
    assert!(parse_with(b"G", &nothing).is_err());
    let endless = HeadLimits {
        bytes: usize::MAX,
        fields: usize::MAX,
        target: usize::MAX,
    };
    assert!(
        parse_with(get(&"A: b\r\n".repeat(1000)).as_bytes(), &endless)
            .unwrap()
            .is_some()
    );
}
