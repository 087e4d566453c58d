use super::*;
use serde_json::json;

#[test]
fn only_text_that_every_match_begins_with_is_literal() {
    let cases = [
        ("^/v[0-9]+", "/v"),
        ("^/api/users$", "/api/users"),
        ("^/ab?c", "/a"),
        ("^/ab*c", "/a"),
        ("^/ab{0,2}", "/a"),
        ("^/ab+c", "/ab"),
        ("^/a|^/b", ""),
        ("^(?i)/a", ""),
        ("/a", ""),
        ("(?i)^/a", ""),
        (r"^/a\.b", "/a"),
        ("^", ""),
        ("^a?", ""),
    ];
    for (regex, expected) in cases {
        assert_eq!(literal_beginning(regex), expected, "{regex}");
    }
}

fn rule(id: usize, matches: serde_json::Value) -> Rule {
    Rule {
        id,
        name: format!("r{id}"),
        matches: serde_json::from_value(matches).unwrap(),
        paths: Paths::default(),
    }
}

#[test]
fn all_errors_are_reported() {
    let many = format!(
        "/{{p{}}}",
        (0..MAX_CAPTURES)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("}/{p")
    );
    let deep = "/a".repeat(MAX_SEGMENTS + 1);
    let rules = vec![
        rule(3, json!({ "path": "~^/(" })),
        rule(
            4,
            json!({ "headers": { "X-A": { "regex": "[" } }, "cookies": { "c": { "regex": "*" } } }),
        ),
        rule(5, json!({ "path": many })),
        rule(
            6,
            json!({ "path": deep, "query": { "q": { "regex": "a{999}{999}" } } }),
        ),
        rule(7, json!({ "methods": ["GET", "G T"] })),
    ];
    let errors = Table::build(rules, Versions::default()).unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error.rule, error.field.as_str()))
        .collect();
    let expected = [
        (3, "path"),
        (4, "headers.X-A"),
        (4, "cookies.c"),
        (5, "path"),
        (6, "path"),
        (6, "query.q"),
        (7, "methods[1]"),
    ];
    assert_eq!(places, expected);
}
