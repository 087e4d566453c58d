use super::*;
use crate::http::address::PeerLines;

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        assert!(headers.append_name(name.as_bytes(), value.as_bytes()), "{name}");
    }
    headers
}

fn lines(headers: &Headers) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    headers
        .iter()
        .map(|field| format!("{}: {}", text(field.name).to_lowercase(), text(field.value)))
        .collect()
}

#[test]
fn what_belongs_to_the_hop_is_taken_off() {
    let mut request = headers(&[
        ("Host", "a"),
        ("Connection", "keep-alive, X-Secret , Te"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "x"),
        ("X-Secret", "1"),
        ("x-secret", "2"),
        ("X-Kept", "3"),
    ]);
    clean_request(&mut request, false);
    assert_eq!(lines(&request), ["host: a", "x-kept: 3"]);
    let mut response = headers(&[
        ("Connection", "close, X-Hop"),
        ("Proxy-Authenticate", "Basic"),
        ("X-Hop", "1"),
    ]);
    clean_response(&mut response);
    assert!(lines(&response).is_empty());
}

#[test]
fn connection_cannot_take_away_what_it_does_not_own() {
    let fields = [
        ("Host", "a"),
        ("Authorization", "Bearer x"),
        ("Content-Length", "3"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "1.1.1.1"),
        ("X-Request-ID", "7"),
        ("Cache-Control", "no-store"),
    ];
    let mut request = headers(&fields);
    let all: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    request.append(Known::Connection, all.join(",").as_bytes());
    let before = headers(&fields);
    clean_request(&mut request, false);
    assert_eq!(lines(&request), lines(&before));
}

#[test]
fn te_stays_only_for_trailers_and_only_when_told() {
    for (value, keep, expected) in [
        ("trailers", true, vec!["te: trailers"]),
        ("gzip;q=0.5, Trailers", true, vec!["te: trailers"]),
        ("gzip", true, vec![]),
        ("trailers", false, vec![]),
    ] {
        let mut request = headers(&[("TE", value), ("Connection", "TE")]);
        clean_request(&mut request, keep);
        assert_eq!(lines(&request), expected, "{value}");
    }
}

const HOP: Hop<'_> = Hop {
    peer: b"192.0.2.7",
    trusted_peer: false,
    host: "api.example.com:8080",
    scheme: "http",
    port: b"8080",
    prefix: None,
    version: Version::Http11,
};

fn apply(settings: &config::Forwarded, hop: &Hop<'_>, fields: &[(&str, &str)]) -> Vec<String> {
    let mut headers = headers(fields);
    Forwarding::new(settings).apply(&mut headers, hop).unwrap();
    let mut lines = lines(&headers);
    lines.sort();
    lines
}

#[test]
fn what_is_written_is_what_would_be_added() {
    let peer = PeerLines::new("192.0.2.7".parse().unwrap(), "http", 8080);
    for prefix in [None, Some("/v1")] {
        for (x_forwarded, via) in [(true, Some("edge")), (true, None), (false, Some("edge"))] {
            let settings = settings(x_forwarded, false, via);
            let hop = Hop { prefix, ..HOP };
            let mut out = Vec::new();
            let forwarding = Forwarding::new(&settings);
            forwarding.write(&mut out, hop.version, peer.as_bytes(), hop.host, prefix);
            let text = String::from_utf8(out).unwrap();
            let mut written: Vec<_> = text.split_terminator("\r\n").map(str::to_owned).collect();
            written.sort();
            assert_eq!(written, apply(&settings, &hop, &[]));
        }
    }
}

fn settings(x_forwarded: bool, rfc7239: bool, via: Option<&str>) -> config::Forwarded {
    config::Forwarded {
        x_forwarded,
        rfc7239,
        via: via.map(str::to_owned),
        ..config::Forwarded::default()
    }
}

const CLAIMS: [(&str, &str); 10] = [
    ("X_Forwarded_User", "admin"),
    ("X-Forwarded_Email", "root@example.com"),
    ("X-Forwarded-For", "1.1.1.1"),
    ("X-Forwarded-Host", "outer"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/gw/"),
    ("Forwarded", "for=1.1.1.1"),
    ("X-Real-IP", "1.1.1.1"),
    ("X-Forwarded-User", "admin"),
];

#[test]
fn claims_of_strangers_are_replaced() {
    let expected = [
        "via: 1.1 gatehouse",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: api.example.com:8080",
        "x-forwarded-port: 8080",
        "x-forwarded-proto: http",
    ];
    let plain = settings(true, false, Some("gatehouse"));
    assert_eq!(apply(&plain, &HOP, &[]), expected);
    assert_eq!(apply(&plain, &HOP, &CLAIMS), expected);
    assert!(apply(&settings(false, false, None), &HOP, &CLAIMS).is_empty());
}

#[test]
fn words_of_trusted_peers_are_added_to() {
    let hop = Hop {
        trusted_peer: true,
        prefix: Some("/v1"),
        ..HOP
    };
    let lines = apply(&settings(true, true, Some("gatehouse")), &hop, &CLAIMS);
    let expected = [
        "forwarded: for=1.1.1.1, for=192.0.2.7;host=\"api.example.com:8080\";proto=http",
        "via: 1.1 gatehouse",
        "x-forwarded-for: 1.1.1.1, 192.0.2.7",
        "x-forwarded-host: outer",
        "x-forwarded-port: 443",
        "x-forwarded-prefix: /gw/v1",
        "x-forwarded-proto: https",
        "x-forwarded-user: admin",
        "x-forwarded_email: root@example.com",
        "x-real-ip: 1.1.1.1",
        "x_forwarded_user: admin",
    ];
    assert_eq!(lines, expected);
    let untouched: Vec<_> = CLAIMS
        .iter()
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect();
    let mut kept = apply(&settings(false, false, None), &hop, &CLAIMS);
    kept.sort_by_key(|line| untouched.iter().position(|other| other == line));
    assert_eq!(kept, untouched);
}

#[test]
fn several_lines_become_one_list() {
    let hop = Hop {
        trusted_peer: true,
        ..HOP
    };
    let fields = [
        ("X-Forwarded-For", "1.1.1.1"),
        ("x-forwarded-for", ""),
        ("x-forwarded-for", "2.2.2.2"),
    ];
    let lines = apply(&settings(true, false, None), &hop, &fields);
    assert_eq!(lines[0], "x-forwarded-for: 1.1.1.1, 2.2.2.2, 192.0.2.7");
}

#[test]
fn forwarded_quotes_what_is_no_token() {
    let rfc7239 = settings(false, true, None);
    let element = |peer: &'static [u8], host, scheme| {
        apply(
            &rfc7239,
            &Hop {
                peer,
                host,
                scheme,
                ..HOP
            },
            &[],
        )
        .join("\n")
    };
    assert_eq!(
        element(b"2001:db8::1", "a", "https"),
        "forwarded: for=\"[2001:db8::1]\";host=a;proto=https"
    );
    assert_eq!(element(b"unix", "", "http"), "forwarded: for=unknown;proto=http");
    assert_eq!(
        element(b"10.0.0.1", "[::1]", "http"),
        "forwarded: for=10.0.0.1;host=\"[::1]\";proto=http"
    );
    assert_eq!(
        element(b"10.0.0.1", "a\"b\\", "http"),
        "forwarded: for=10.0.0.1;host=\"a\\\"b\\\\\";proto=http"
    );
}

#[test]
fn circles_are_seen_in_via() {
    let forwarding = Forwarding::new(&settings(false, false, Some("edge")));
    let old = Hop {
        version: Version::Http10,
        ..HOP
    };
    let mut request = headers(&[("Via", "1.0 fred, HTTP/1.1 Edge (x)")]);
    assert_eq!(passes(&request, "edge"), 1);
    forwarding.apply(&mut request, &old).unwrap();
    assert_eq!(
        lines(&request),
        ["via: 1.0 fred, HTTP/1.1 Edge (x)", "via: 1.0 edge"]
    );
    for _ in 2..=MAX_LOOPS {
        forwarding.apply(&mut request, &HOP).unwrap();
    }
    assert_eq!(forwarding.apply(&mut request, &HOP), Err(Loop));
}

#[test]
fn a_date_is_added_only_where_there_is_none() {
    let mut response = headers(&[]);
    add_date(&mut response, b"Sun, 22 Nov 2026 11:00:00 GMT");
    add_date(&mut response, b"other");
    assert_eq!(lines(&response), ["date: Sun, 22 Nov 2026 11:00:00 GMT"]);
}
