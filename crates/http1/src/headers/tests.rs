use super::*;

fn sample() -> Headers {
    let mut headers = Headers::new();
    for (name, value) in [
        ("Host", "a"),
        ("X-One", "1"),
        ("Via", "v1"),
        ("x-one", "2"),
        ("via", "v2"),
    ] {
        assert!(headers.append_name(name.as_bytes(), value.as_bytes()));
    }
    headers
}

fn text(headers: &Headers) -> String {
    let mut out = Vec::new();
    headers.write(&mut out, 0);
    String::from_utf8(out).unwrap().replace("\r\n", "|")
}

type Edit = fn(&mut Headers, &Headers);

#[test]
fn lookups_ignore_case_and_keep_order() {
    let headers = sample();
    assert_eq!((headers.len(), headers.is_empty()), (5, false));
    assert!(headers.contains(Known::Via) && !headers.contains(Known::Cookie));
    assert_eq!(headers.get(Known::Via), Some(&b"v1"[..]));
    assert_eq!(headers.get(Known::Cookie), None);
    assert!(headers.all(Known::Via).eq([b"v1", b"v2"]));
    assert_eq!(headers.find(b"VIA"), Some(&b"v1"[..]));
    assert!(headers.find_all(b"X-ONE").eq([b"1", b"2"]));
    assert_eq!(headers.find(b"x-two"), None);
    assert_eq!(text(&headers), "Host: a|X-One: 1|Via: v1|x-one: 2|via: v2|");
}

#[test]
fn set_replaces_all_in_the_place_of_the_first() {
    let mut headers = sample();
    headers.set(Known::Via, b"v3");
    assert!(headers.set_name(b"X-ONE", b"3") && headers.set_name(b"X-Two", b"4"));
    headers.set(Known::Accept, b"*/*");
    assert_eq!(text(&headers), "Host: a|X-ONE: 3|via: v3|X-Two: 4|accept: */*|");
    assert_eq!(headers.len(), 5);
    assert_eq!(headers.get(Known::Accept), Some(&b"*/*"[..]));
}

#[test]
fn removed_fields_are_gone() {
    let mut headers = sample();
    assert!(headers.remove(Known::Via) && !headers.remove(Known::Via) && !headers.remove(Known::Cookie));
    assert!(!headers.contains(Known::Via) && headers.find(b"via").is_none());
    assert!(headers.remove_name(b"X-ONE") && !headers.remove_name(b"x-one"));
    assert!(headers.remove_name(b"HOST") && !headers.contains(Known::Host));
    assert!(headers.is_empty() && headers.iter().next().is_none());
    assert_eq!(text(&headers), "");
    headers.append(Known::Via, b"v4");
    assert_eq!((text(&headers), headers.len()), ("via: v4|".into(), 1));
}

#[test]
fn retain_keeps_what_it_is_told_to() {
    let mut headers = sample();
    headers.retain(|known, name, value| known != Some(Known::Host) && name != b"x-one" && value != b"v1");
    assert_eq!(text(&headers), "X-One: 1|via: v2|");
    assert!(headers.contains(Known::Via) && !headers.contains(Known::Host) && headers.len() == 2);
}

#[test]
fn no_edit_can_split_a_header() {
    let mut headers = Headers::new();
    headers.set(Known::Via, b" a\r\nevil: 1\0 ");
    headers.append(Known::Via, b"\x7f");
    assert!(headers.set_name(b"x", b"a\nb\tc") && headers.append_name(b"y", b"\xff"));
    for name in [&b""[..], b"a b", b"a:", b"a\r\n", b"\xc3\xa4"] {
        assert!(!headers.set_name(name, b"v") && !headers.append_name(name, b"v"));
    }
    assert!(
        !headers.append_name("a".repeat(65536).as_bytes(), b"v")
            && headers.append_name("a".repeat(65535).as_bytes(), b"v")
    );
    headers.remove_name("A".repeat(65535).as_bytes());
    headers.remove_name(b"Y");
    assert_eq!(text(&headers), "via: a  evil: 1|via: |x: a b\tc|");
}

#[test]
fn lists_join_all_fields() {
    let mut headers = Headers::new();
    headers.append(Known::Connection, b"a, ,b\t,");
    headers.append(Known::Connection, b"");
    headers.append(Known::Connection, b"c");
    assert!(headers.list(Known::Connection).eq([b"a", b"b", b"c"]));
}

#[test]
fn connection_names_what_goes_no_further() {
    let mut headers = sample();
    headers.append(Known::Connection, b"close, X-ONE , host, connection,");
    headers.append(Known::KeepAlive, b"timeout=5");
    headers.append(Known::Connection, b"via,Keep-Alive, absent");
    headers.remove_named_by_connection();
    assert_eq!(
        text(&headers),
        "Host: a|connection: close, X-ONE , host, connection,|connection: via,Keep-Alive, absent|"
    );
    assert!(
        !headers.contains(Known::Via) && !headers.contains(Known::KeepAlive) && headers.contains(Known::Host)
    );
    assert_eq!(headers.len(), 3);
}

#[test]
fn underscores_are_noticed() {
    let mut headers = sample();
    assert!(!headers.has_underscores() && !headers.has_underscore_lookalike());
    headers.append_name(b"x_custom", b"1");
    assert!(headers.has_underscores() && !headers.has_underscore_lookalike());
    headers.append_name(b"Content_length", b"1");
    assert!(headers.has_underscore_lookalike());
    headers.retain(|_, name, _| Known::lookalike(name).is_none());
    assert!(!headers.has_underscore_lookalike() && headers.find(b"x_custom").is_some());
    headers.clear();
    assert!(!headers.has_underscores() && headers.is_empty() && !headers.contains(Known::Host));
}

#[test]
fn secrets_are_not_shown() {
    let mut headers = Headers::new();
    headers.append(Known::Authorization, b"Bearer abc");
    headers.append(Known::Via, b"\"x\"\xff");
    let shown = format!("{headers:?}");
    assert_eq!(shown, r#"{"authorization": (secret), "via": "\"x\"\xff"}"#);
}

fn named(name: &str) -> FieldName {
    FieldName::new(name.as_bytes()).unwrap()
}

fn made(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.append_field(&named(name), value.as_bytes());
    }
    headers
}

#[test]
fn names_that_are_made_once_mean_the_same() {
    assert_eq!(FieldName::new(b"no token"), None);
    assert_eq!(FieldName::new(&vec![b'a'; 65_536]), None);
    assert_eq!(named("Via").known(), Some(Known::Via));
    assert_eq!(named("X-One").known(), None);
    let mut headers = sample();
    assert_eq!(headers.find_field(&named("VIA")), Some(&b"v1"[..]));
    assert_eq!(headers.find_field(&named("X-ONE")), Some(&b"1"[..]));
    // One that has the mark of another.
    let twin = format!("{}-one", "x".repeat(1 + 64));
    assert_eq!(mark(twin.as_bytes()), mark(b"X-ONE"));
    assert_eq!(headers.find_field(&named(&twin)), None);
    headers.set_field(&named("X-ONE"), b" 3 ");
    headers.set_field(&named("via"), b"v3");
    headers.append_field(&named("X-Two"), b"a\r\nb");
    assert_eq!(text(&headers), "Host: a|X-ONE: 3|via: v3|X-Two: a  b|");
    let names: FieldNames = ["x-one", "Via", "accept", "x-three"]
        .map(named)
        .into_iter()
        .collect();
    headers.remove_fields(&names);
    assert_eq!(
        (text(&headers).as_str(), headers.len()),
        ("Host: a|X-Two: a  b|", 2)
    );
    assert!(!headers.contains(Known::Via));
    headers.remove_fields(&names);
    assert_eq!(headers.len(), 2);
}

#[test]
fn fields_that_are_made_once_are_added_together() {
    let mut both = made(&[("X-One", "3"), ("X_Y", "4"), ("Via", "v3")]);
    // What was removed from it is not added.
    both.append_field(&named("X-Gone"), b"5");
    both.remove_name(b"X-Gone");
    let mut headers = sample();
    headers.append_all(&both);
    assert_eq!(
        text(&headers),
        "Host: a|X-One: 1|Via: v1|x-one: 2|via: v2|X-One: 3|X_Y: 4|Via: v3|"
    );
    assert_eq!((headers.len(), headers.has_underscores()), (8, true));
    assert!(headers.find_all(b"x-one").eq([b"1", b"2", b"3"]));

    let edits: [(Edit, &str, &str); 3] = [
        (
            Headers::set_all,
            "Host: a|X-One: 3|Via: v3|X_Y: 4|",
            "X-One: 3|X_Y: 4|Via: v3|",
        ),
        (
            Headers::append_missing,
            "Host: a|X-One: 1|Via: v1|x-one: 2|via: v2|X_Y: 4|",
            "X-One: 3|X_Y: 4|Via: v3|",
        ),
        (Headers::replace_present, "Host: a|X-One: 3|Via: v3|", ""),
    ];
    for (edit, expected, alone) in edits {
        let mut headers = sample();
        edit(&mut headers, &both);
        assert_eq!(text(&headers), expected);
        let mut headers = Headers::new();
        edit(&mut headers, &both);
        assert_eq!(text(&headers), alone);
        // A mark alone is no name.
        let twin = format!("{}-one", "x".repeat(1 + 64));
        let mut headers = made(&[(&twin, "6")]);
        edit(&mut headers, &both);
        assert_eq!(text(&headers), format!("{twin}: 6|{alone}"));
    }
}

#[test]
fn marks_of_parsed_names_are_known() {
    let mut head = crate::RequestHead::new();
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n\r\n";
    crate::parse_request(bytes, &crate::HeadLimits::default(), &mut head).unwrap();
    assert_eq!(head.headers.find_field(&named("x-one")), Some(&b"1"[..]));
    head.headers.set_all(&made(&[("X-ONE", "2")]));
    assert_eq!(text(&head.headers), "Host: a|X-ONE: 2|");
}
