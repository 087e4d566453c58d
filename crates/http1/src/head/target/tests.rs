use super::*;

fn load(raw: &str, method: &Method) -> Result<Target, HeadError> {
    let mut target = Target::default();
    target.load(raw, method).map(|()| target)
}

#[test]
fn every_form_is_taken_apart() {
    use TargetForm::{Absolute, Asterisk, Authority, Origin};
    let (get, options) = (Method::Get, Method::Options);
    let cases = [
        (&get, "/", Origin, None, "", "/", None),
        (&get, "/a%2Fb?c=d?e", Origin, None, "", "/a%2Fb", Some("c=d?e")),
        (&get, "/?", Origin, None, "", "/", Some("")),
        (&get, "//x/http://y", Origin, None, "", "//x/http://y", None),
        (&get, "/?100%", Origin, None, "", "/", Some("100%")),
        (
            &get,
            "HTTP://a:1/b?c",
            Absolute,
            Some("http"),
            "a:1",
            "/b",
            Some("c"),
        ),
        (
            &get,
            "https://[::1]?c",
            Absolute,
            Some("https"),
            "[::1]",
            "/",
            Some("c"),
        ),
        (&get, "http://a", Absolute, Some("http"), "a", "/", None),
        (&options, "http://a", Absolute, Some("http"), "a", "*", None),
        (&options, "http://a/", Absolute, Some("http"), "a", "/", None),
        (&options, "http://a?", Absolute, Some("http"), "a", "/", Some("")),
        (&options, "*", Asterisk, None, "", "*", None),
        (&Method::Connect, "a:443", Authority, None, "a:443", "", None),
    ];
    for (method, raw, form, scheme, authority, path, query) in cases {
        let target = load(raw, method).unwrap();
        assert_eq!((target.form(), target.scheme()), (form, scheme), "{raw}");
        assert_eq!(
            (target.authority(), target.path(), target.query()),
            (authority, path, query),
            "{raw}"
        );
        assert_eq!(target.raw(), raw);
    }
}

#[test]
fn anything_else_is_refused() {
    for raw in [
        "*",
        "a",
        "a:80",
        "?a",
        "/%",
        "/%1",
        "/%g0",
        "/a%?b",
        "ftp://a/",
        "http:/a",
        "http://",
        "http:///a",
        "http://u@a/",
        "http://a:b/",
        "://a",
        "http://a%20/",
        "**",
        "",
    ] {
        assert!(load(raw, &Method::Get).is_err(), "{raw}");
    }
    for raw in ["/", "a", "http://a:1/", "*", "a:", ":1", "a:1/"] {
        assert!(load(raw, &Method::Connect).is_err(), "{raw}");
    }
}

#[test]
fn edits_leave_the_raw_target_and_stay_one_line() {
    let mut target = load("/a?b", &Method::Get).unwrap();
    target.load_host(b"h:1").unwrap();
    target.set_path("x y");
    assert_eq!((target.path(), target.query()), ("/x%20y", Some("b")));
    target.set_query(Some("c\r\nd"));
    target.set_path("/z");
    assert_eq!((target.path(), target.query()), ("/z", Some("c%0D%0Ad")));
    target.set_query(None);
    assert_eq!(
        (target.query(), target.raw(), target.authority()),
        (None, "/a?b", "h:1")
    );
}

#[test]
fn host_must_agree_with_the_target() {
    let agrees = |raw, method, host: &str| load(raw, &method).unwrap().load_host(host.as_bytes()).is_ok();
    assert!(agrees("http://a/", Method::Get, "A"));
    assert!(agrees("http://a/", Method::Get, "a:80"));
    assert!(agrees("https://a:443/", Method::Get, "a"));
    assert!(agrees("a:443", Method::Connect, "a:443"));
    assert!(!agrees("http://a/", Method::Get, "b"));
    assert!(!agrees("http://a/", Method::Get, "a:443"));
    assert!(!agrees("a:443", Method::Connect, "b:443"));
    assert!(!agrees("/", Method::Get, "") && !agrees("/", Method::Get, "a b"));
}
