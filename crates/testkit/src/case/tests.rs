use serde_json::json;

use super::*;
use crate::headers::Headers;

const CASE: &str = r#"
about: A client over its limit gets 429.
backends: { orders: { status: 200, body: ok } }
config: |
  routes: {}
steps:
  - send: GET /orders
    headers: { X-A: ["${ab*2}", c] }
    expect: { status: 200, headers: { ratelimit-remaining: "0" }, backend: none }
  - reload: "routes: {}"
  - send: POST /x HTTP/1.0
    body: { a: 1 }
    repeat: 3
    expect: { body: { code: rate_limited }, spread: { orders: [1, 3] } }
"#;

#[test]
fn a_case_is_read() {
    let case = parse("limit", CASE).unwrap();
    assert_eq!(
        (case.name.as_str(), case.config.as_str(), case.steps.len()),
        ("limit", "routes: {}\n", 3)
    );
    let Step::Send(send) = &case.steps[0] else {
        panic!("{case:?}")
    };
    assert_eq!(
        send.headers,
        [
            ("X-A".to_owned(), "abab".to_owned()),
            ("X-A".to_owned(), "c".to_owned())
        ]
    );
    let Step::Send(send) = &case.steps[2] else {
        panic!("{case:?}")
    };
    assert_eq!(send.body.as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!(
        (send.repeat, &send.expect.spread),
        (3, &vec![("orders".to_owned(), 1, 3)])
    );
}

#[test]
fn a_bad_case_says_what_is_wrong() {
    for (text, part) in [
        ("about: x", "needs"),
        ("abuot: x", "no `abuot`"),
        ("about: x\nconfig: y\nsteps: [ { send: GET } ]", "step 1: `send`"),
        (
            "about: x\nconfig: y\nsteps: [ { send: GET /, expect: { stat: 1 } } ]",
            "no `stat`",
        ),
    ] {
        let error = parse("bad", text).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn expectations_are_compared() {
    let headers = Headers(vec![
        ("A".into(), "1".into()),
        ("b".into(), "x, y".into()),
        ("b".into(), "z".into()),
    ]);
    let ok = |expected: Value| compare::headers(&entries(&expected).unwrap(), &headers);
    assert!(ok(json!({"a": "1", "B": ["x, y", "z"], "c": "absent", "b": "present"})).is_empty());
    assert!(ok(json!({"a": {"contains": "1"}})).is_empty());
    assert_eq!(
        ok(json!({"a": "2", "b": "z", "c": "present", "A": "absent"})).len(),
        4
    );

    let body = |expected: Value, actual: &str| compare::body(&expected, actual.as_bytes());
    assert!(body(json!("ok"), "ok").is_empty());
    assert!(body(json!({"contains": "o"}), "ok").is_empty());
    assert!(
        body(
            json!({"a": {"b": [1, "present"]}, "no": "absent"}),
            r#"{"a":{"b":[1,"present"],"c":2}}"#
        )
        .is_empty()
    );
    assert!(body(json!({"a": {"starts": "x"}}), r#"{"a":"xy"}"#).is_empty());
    assert_eq!(
        body(json!({"a": 1, "b": 2}), r#"{"a":2}"#),
        ["body.a: expected 1, got 2", "body.b: missing, expected 2"]
    );
    assert_eq!(body(json!({"a": 1}), "text").len(), 1);
}
