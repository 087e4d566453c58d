use super::super::table::tests::{Request, table};
use super::*;
use serde_json::{Value, json};

/// The route and the path that is forwarded, or the reason of a refusal.
fn resolve(table: &Table, line: &str) -> String {
    let request = Request::new(line, &[]);
    let query = request.query();
    let mut captures = Captures::default();
    match table.resolve(&query, &mut captures) {
        Ok(found) => {
            let path = found.path.as_deref().unwrap_or(query.path);
            assert_ne!(
                found.path.as_deref(),
                Some(query.path),
                "a path is given only if it differs"
            );
            let rule = table.rules.iter().find(|rule| rule.id == found.rule).unwrap();
            let names = table.capture_names(found.rule).len();
            let captured = (0..names).map(|at| captures.text(at, path).unwrap());
            [rule.name.as_str(), path]
                .into_iter()
                .chain(captured)
                .collect::<Vec<_>>()
                .join(" ")
        }
        Err(Miss::Refused(refusal)) => format!("400 {refusal:?}"),
        Err(Miss::MethodNotAllowed { allow }) => format!("405 {}", allow.join(",")),
        Err(miss) => format!("{miss:?}"),
    }
}

#[test]
fn a_route_matches_and_forwards_its_own_form() {
    let table = table(
        &json!({
            "plain": { "path": "/plain/**" },
            "keep": { "path": "/keep/{name}/{rest**}", "paths": { "encoded_slashes": "keep", "doubled_slashes": "keep" } },
            "decode": { "path": "/decode/{name}/{rest**}", "paths": { "encoded_slashes": "decode" } },
            "strict": { "path": "/strict/**", "paths": { "doubled_slashes": "reject" }, "methods": ["GET"] },
        }),
        &Value::Null,
    );
    let cases = [
        ("GET /plain/a", "plain /plain/a"),
        ("GET /plain/%7ea/./b", "plain /plain/~a/b"),
        ("GET /plain/.well-known", "plain /plain/.well-known"),
        ("GET /plain//a", "plain /plain/a"),
        ("GET //plain/a", "plain /plain/a"),
        ("GET /plain/a%2Fb", "400 EncodedSlash"),
        ("GET /plain%2Fa", "NotFound"),
        ("GET /keep/a%2fb//c", "keep /keep/a%2Fb//c a%2Fb /c"),
        ("GET /keep//c", "NotFound"),
        ("GET /keep/a/..%2Fb", "400 HiddenDots"),
        ("GET /decode/a%2fb//c", "decode /decode/a/b/c a b/c"),
        ("GET /decode%2Fa%2Fb", "decode /decode/a/b a b"),
        ("GET /decode/a/..%2F..%2Fplain%2Fx", "400 HiddenDots"),
        ("GET /strict//a", "400 DoubledSlash"),
        ("GET /strict/a", "strict /strict/a"),
        ("POST /strict//a", "405 GET,HEAD"),
        ("GET /plain/..", "NotFound"),
        ("GET /../plain", "400 AboveRoot"),
        ("GET /plain/%00", "400 Control(0)"),
        ("GET //../..", "400 AboveRoot"),
    ];
    for (line, expected) in cases {
        assert_eq!(resolve(&table, line), expected, "{line}");
    }
}

#[test]
fn among_several_forms_the_ordinary_order_decides() {
    let table = table(
        &json!({
            "wide": { "path": "/a/**", "paths": { "encoded_slashes": "keep" } },
            "narrow": { "path": "/a/b/c", "paths": { "encoded_slashes": "decode" } },
            "all": { "path": "/**" },
        }),
        &Value::Null,
    );
    assert_eq!(resolve(&table, "GET /a/b%2Fc"), "narrow /a/b/c");
    assert_eq!(resolve(&table, "GET /a/b%2Fd"), "wide /a/b%2Fd");
    assert_eq!(resolve(&table, "GET /x%2Fd"), "400 EncodedSlash");
    assert_eq!(resolve(&table, "GET /a/b//c"), "narrow /a/b/c");
}

#[test]
fn an_empty_table_has_nothing() {
    let table = table(&json!({}), &Value::Null);
    assert_eq!(resolve(&table, "GET /a"), "NotFound");
    assert_eq!(resolve(&table, "GET //a"), "NotFound");
}
