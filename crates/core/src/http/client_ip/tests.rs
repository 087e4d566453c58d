use super::*;

fn client(peer: &str, rfc7239: bool, fields: &[(&str, &str)]) -> (String, bool) {
    let trusted = ["10.0.0.0/8", "2001:db8:1::/48"]
        .map(|block| block.parse().unwrap())
        .to_vec();
    let settings = Forwarded {
        trusted,
        rfc7239,
        ..Forwarded::default()
    };
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.append_name(name.as_bytes(), value.as_bytes());
    }
    let client = resolve(peer.parse().unwrap(), &headers, &settings);
    (client.ip.to_string(), client.trusted_peer)
}

#[test]
fn a_stranger_is_who_it_is() {
    let spoofed = [("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=1.1.1.1")];
    assert_eq!(
        client("192.0.2.9", true, &spoofed),
        ("192.0.2.9".to_owned(), false)
    );
    assert_eq!(
        client("::ffff:192.0.2.9", true, &spoofed),
        ("192.0.2.9".to_owned(), false)
    );
}

#[test]
fn the_list_is_walked_from_the_right() {
    let cases: [(&[&str], &str); 16] = [
        (&[], "10.0.0.1"),
        (&["192.0.2.1"], "192.0.2.1"),
        (&["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
        (&["1.1.1.1, 192.0.2.1, 10.2.2.2"], "192.0.2.1"),
        (&["1.1.1.1", "192.0.2.1,10.2.2.2"], "192.0.2.1"),
        (&["192.0.2.1", "10.2.2.2"], "192.0.2.1"),
        (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        (&["1.1.1.1, unknown, 10.2.2.2"], "10.2.2.2"),
        (&["1.1.1.1, unknown"], "10.0.0.1"),
        (&["1.1.1.1, 10.2.2.2, 300.1.1.1"], "10.0.0.1"),
        (&["1.1.1.1, , 10.2.2.2 ,"], "1.1.1.1"),
        (&["192.0.2.1:4711"], "192.0.2.1"),
        (&["2001:db8::7"], "2001:db8::7"),
        (&["[2001:db8::7]:99, [2001:db8:1::1]"], "2001:db8::7"),
        (&["::ffff:192.0.2.1"], "192.0.2.1"),
        (&["1.1.1.1, ::ffff:10.1.1.1"], "1.1.1.1"),
    ];
    for (lines, expected) in cases {
        let fields: Vec<_> = lines.iter().map(|line| ("X-Forwarded-For", *line)).collect();
        assert_eq!(
            client("10.0.0.1", false, &fields),
            (expected.to_owned(), true),
            "{lines:?}"
        );
    }
}

#[test]
fn the_walk_is_bounded() {
    let long = format!("1.1.1.1{}", ", 10.9.9.9".repeat(MAX_HOPS));
    assert_eq!(
        client("10.0.0.1", false, &[("x-forwarded-for", &long)]).0,
        "10.9.9.9"
    );
    let fits = format!("1.1.1.1{}", ", 10.9.9.9".repeat(MAX_HOPS - 1));
    assert_eq!(
        client("10.0.0.1", false, &[("x-forwarded-for", &fits)]).0,
        "1.1.1.1"
    );
}

#[test]
fn forwarded_is_walked_where_it_is_in_use() {
    let cases = [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=1.1.1.1;proto=https, for=192.0.2.1;by=10.0.0.1", "192.0.2.1"),
        ("for=192.0.2.1, for=10.2.2.2", "192.0.2.1"),
        ("for=\"[2001:db8::7]:4711\";host=\"a,b;c\"", "2001:db8::7"),
        ("for=\"192.0.2.1:80\"", "192.0.2.1"),
        ("for=\"192.0.2\\.1\"", "192.0.2.1"),
        ("for=[2001:db8::7]", "2001:db8::7"),
        ("for=1.1.1.1, for=unknown", "10.0.0.1"),
        ("for=1.1.1.1, for=_hidden, for=10.2.2.2", "10.2.2.2"),
        ("for=1.1.1.1, proto=https", "10.0.0.1"),
        ("for=1.1.1.1,, ;for=192.0.2.1; ,", "192.0.2.1"),
        ("for=\"1.1.1.1, for=192.0.2.1", "10.0.0.1"),
        ("for=\"1.1.1.1, for=192.0.2.1;host=\"x\"", "10.0.0.1"),
        ("for=1.1.1.1;for=192.0.2.1", "10.0.0.1"),
        ("for = 192.0.2.1", "10.0.0.1"),
        ("for=", "10.0.0.1"),
        ("for", "10.0.0.1"),
        ("", "10.0.0.1"),
    ];
    for (value, expected) in cases {
        let fields = [("Forwarded", value)];
        assert_eq!(
            client("10.0.0.1", true, &fields),
            (expected.to_owned(), true),
            "{value}"
        );
        assert_eq!(
            client("10.0.0.1", false, &fields),
            ("10.0.0.1".to_owned(), true),
            "{value}"
        );
    }
}

#[test]
fn two_stories_must_be_the_same() {
    let both = |list, element| {
        client(
            "10.0.0.1",
            true,
            &[("X-Forwarded-For", list), ("Forwarded", element)],
        )
        .0
    };
    assert_eq!(both("192.0.2.1", "for=192.0.2.1"), "192.0.2.1");
    assert_eq!(both("192.0.2.1", "for=6.6.6.6"), "10.0.0.1");
    assert_eq!(both("6.6.6.6", "for=192.0.2.1"), "10.0.0.1");
}

#[test]
fn the_scheme_is_taken_from_trusted_peers_only() {
    let mut headers = Headers::new();
    let ip = IpAddr::from([10, 0, 0, 1]);
    let trusted = Client {
        ip,
        trusted_peer: true,
    };
    assert_eq!(scheme("http", &headers, trusted), "http");
    headers.append(Known::XForwardedProto, b"HTTPS, http");
    assert_eq!(scheme("http", &headers, trusted), "https");
    assert_eq!(
        scheme(
            "http",
            &headers,
            Client {
                ip,
                trusted_peer: false
            }
        ),
        "http"
    );
    headers.set(Known::XForwardedProto, b"gopher");
    assert_eq!(scheme("http", &headers, trusted), "http");
}
