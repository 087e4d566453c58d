use super::super::Query;
use super::*;
use serde_json::{Value, json};

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        assert!(headers.append_name(name.as_bytes(), value.as_bytes()));
    }
    headers
}

fn named(name: &str, condition: &Value) -> Named {
    Named::new(name, &serde_json::from_value(condition.clone()).unwrap()).unwrap()
}

#[test]
fn header_conditions() {
    let fields = headers(&[
        ("X-Tenant", "blue"),
        ("x-tenant", "green"),
        ("Accept", "a/b"),
        ("X-Empty", ""),
    ]);
    let cases = [
        ("x-tenant", json!("blue"), true),
        ("X-TENANT", json!("green"), true),
        ("x-tenant", json!("Blue"), false),
        ("x-tenant", json!({ "prefix": "gr" }), true),
        ("x-tenant", json!({ "regex": "^gre{2}n$" }), true),
        ("x-tenant", json!({ "regex": "^red" }), false),
        ("x-tenant", json!({ "exact": "red", "invert": true }), true),
        ("x-tenant", json!({ "exact": "blue", "invert": true }), false),
        ("x-tenant", json!({ "present": true }), true),
        ("x-tenant", json!({ "absent": true }), false),
        ("x-empty", json!({ "present": true }), true),
        ("x-empty", json!(""), true),
        ("x-other", json!({ "present": true }), false),
        ("x-other", json!({ "absent": true }), true),
        ("x-other", json!({ "exact": "a", "invert": true }), true),
        ("accept", json!("a/b"), true),
        ("authorization", json!({ "present": true, "invert": true }), true),
    ];
    for (name, condition, expected) in cases {
        assert_eq!(
            named(name, &condition).in_headers(&fields),
            expected,
            "{name} {condition}"
        );
    }
}

#[test]
fn query_conditions_are_compared_decoded() {
    let cases = [
        ("a=1&b=2", "b", json!("2"), true),
        ("a=1&b=2", "B", json!("2"), false),
        ("a=1&a=2", "a", json!("2"), true),
        ("a", "a", json!({ "present": true }), true),
        ("a", "a", json!(""), true),
        ("ab=1", "a", json!({ "absent": true }), true),
        ("q=a+b%2Bc%26", "q", json!("a b+c&"), true),
        ("%71=%c3%a9", "q", json!("é"), true),
        ("q=100%&r=%4", "q", json!("100%"), true),
        ("q=100%&r=%4", "r", json!("%4"), true),
        ("q=x=y", "q", json!("x=y"), true),
        ("q=%ff", "q", json!({ "regex": "." }), false),
        ("q=%ff", "q", json!({ "regex": "(?-u:.)" }), true),
        ("&&", "", json!({ "absent": true }), true),
        ("", "q", json!({ "absent": true }), true),
    ];
    for (query, name, condition, expected) in cases {
        assert_eq!(
            named(name, &condition).in_query(query),
            expected,
            "{query} {name} {condition}"
        );
    }
    assert!(matches!(decode("plain"), Cow::Borrowed(_)));
}

#[test]
fn cookie_conditions() {
    let fields = headers(&[("Cookie", "a=1; beta=\"on\";c=x=y"), ("cookie", " d=;A=2 ; e")]);
    let cases = [
        ("a", json!("1"), true),
        ("A", json!("2"), true),
        ("beta", json!("on"), true),
        ("c", json!("x=y"), true),
        ("d", json!(""), true),
        ("e", json!({ "absent": true }), true),
        ("b", json!({ "present": true }), false),
    ];
    for (name, condition, expected) in cases {
        assert_eq!(
            named(name, &condition).in_cookies(&fields),
            expected,
            "{name} {condition}"
        );
    }
}

#[test]
fn methods_and_what_get_takes_along() {
    let methods = |names: &[&str]| {
        Methods::new(
            &names
                .iter()
                .map(|name| Method::parse(name).unwrap())
                .collect::<Vec<_>>(),
        )
    };
    let all = methods(&[]);
    assert!(all.is_any() && all.allow(&Method::Delete) && all.allow(&Method::parse("PURGE").unwrap()));
    let some = methods(&["GET", "PURGE"]);
    for (name, allowed) in [
        ("GET", true),
        ("HEAD", true),
        ("PURGE", true),
        ("POST", false),
        ("get", false),
    ] {
        assert_eq!(some.allow(&Method::parse(name).unwrap()), allowed, "{name}");
    }
    assert_eq!(some.names().collect::<Vec<_>>(), ["GET", "HEAD", "PURGE"]);
    assert!(!methods(&["HEAD"]).allow(&Method::Get));
    for (at, (bit_of, name)) in BITS.iter().enumerate() {
        assert_eq!(
            (1 << at, bit(&Method::parse(name).unwrap())),
            (*bit_of, Some(*bit_of))
        );
    }
}

#[test]
fn client_and_listener() {
    let predicates = Predicates {
        client: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        listeners: vec!["public".to_owned(), "internal".to_owned()],
        ..Predicates::default()
    };
    let none = Headers::new();
    let holds = |client: &str, listener: &str| {
        predicates.hold(&Query {
            host: "",
            path: "/",
            query: None,
            method: &Method::Get,
            headers: &none,
            client: client.parse().unwrap(),
            listener,
        })
    };
    assert!(
        holds("10.1.2.3", "public") && holds("2001:db8::7", "internal") && holds("::ffff:10.0.0.1", "public")
    );
    assert!(!holds("11.0.0.1", "public") && !holds("10.1.2.3", "admin"));
    assert_eq!(predicates.weight(), 2);
}
