use super::*;
use crate::config;
use crate::route::Rule;
use serde_json::{Value, json};

/// A table of routes as they are written in the document: name to `match`, and `paths` beside it.
pub(crate) fn table(routes: &Value, versions: &Value) -> Table {
    let rules = routes
        .as_object()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(id, (name, route))| {
            let mut matches = route.clone();
            let paths = matches
                .as_object_mut()
                .unwrap()
                .remove("paths")
                .unwrap_or_else(|| json!({}));
            Rule {
                id,
                name: name.clone(),
                matches: serde_json::from_value(matches).unwrap(),
                paths: serde_json::from_value(paths).unwrap(),
            }
        });
    let versions: Option<config::Versions> = serde_json::from_value(versions.clone()).unwrap();
    let versions = versions.map_or_else(Versions::default, |written| Versions::new(&written).unwrap());
    Table::build(rules, versions).unwrap()
}

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// A request written as `METHOD host/path?query` and header fields.
pub(crate) struct Request {
    pub(crate) method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: Headers,
}

impl Request {
    pub(crate) fn new(line: &str, fields: &[(&str, &str)]) -> Self {
        let (method, target) = line.split_once(' ').unwrap();
        let slash = target.find('/').unwrap_or(target.len());
        let (host, target) = target.split_at(slash);
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let mut headers = Headers::new();
        for (name, value) in fields {
            assert!(headers.append_name(name.as_bytes(), value.as_bytes()));
        }
        Self {
            method: Method::parse(method).unwrap(),
            host: host.to_owned(),
            path: if path.is_empty() { "*" } else { path }.to_owned(),
            query: query.map(str::to_owned),
            headers,
        }
    }

    pub(crate) fn query(&self) -> Query<'_> {
        Query {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
            client: [10, 0, 0, 1].into(),
            listener: "main",
        }
    }
}

/// The name of the route that answers with its captures, or the reason why none does.
fn answer(table: &Table, line: &str, fields: &[(&str, &str)]) -> String {
    let request = Request::new(line, fields);
    let mut captures = Captures::default();
    match table.find(&request.query(), &mut captures) {
        Ok(found) => {
            let rule = table.rules.iter().find(|rule| rule.id == found.rule).unwrap();
            let names = table.capture_names(found.rule);
            let show = |(at, name): (usize, &String)| {
                format!(" {name}={}", captures.text(at, &request.path).unwrap())
            };
            rule.name.clone() + &names.iter().enumerate().map(show).collect::<String>()
        }
        Err(Miss::NotFound) => "404".to_owned(),
        Err(Miss::MethodNotAllowed { allow }) => format!("405 {}", allow.join(",")),
        Err(Miss::VersionUnknown { given, known }) => {
            format!(
                "400 {} of {}",
                given.as_deref().unwrap_or("none"),
                known.join(",")
            )
        }
        Err(Miss::NotAcceptable { known }) => format!("406 {}", known.join(",")),
        Err(Miss::Refused(refusal)) => format!("400 {refusal}"),
    }
}

#[test]
fn hosts_then_paths_then_predicates() {
    let table = table(
        &json!({
            "exact": { "hosts": ["api.example.com"], "path": "/a" },
            "wild": { "hosts": ["*.example.com"], "path": "/**" },
            "deep": { "hosts": ["*.eu.example.com"], "path": "/a/**" },
            "any": { "path": "/a" },
            "six": { "hosts": ["[2001:db8::1]"] },
            "two": { "hosts": ["one.test", "two.test"], "path": "/{x}" },
        }),
        &Value::Null,
    );
    let cases = [
        ("GET api.example.com/a", "exact"),
        ("GET API.Example.com.:8080/a", "exact"),
        ("GET api.example.com/b", "wild"),
        ("GET x.eu.example.com/a", "deep"),
        ("GET x.eu.example.com/b", "wild"),
        ("GET example.com/a", "any"),
        ("GET example.com/b", "404"),
        ("GET /a", "any"),
        ("GET [2001:DB8::1]:80/x", "six"),
        ("OPTIONS [2001:db8::1]", "six"),
        ("OPTIONS api.example.com", "404"),
        ("GET two.test/7", "two x=7"),
        ("GET one.test/7/8", "404"),
    ];
    for (line, expected) in cases {
        assert_eq!(answer(&table, line, &[]), expected, "{line}");
    }
}

#[test]
fn regular_expressions_come_after_segments_and_before_any_path() {
    let table = table(
        &json!({
            "exact": { "path": "/v1/status" },
            "prefix": { "path": "/v2/**" },
            "number": { "path": r"~^/v(?<n>[0-9]+)/(?<rest>.*)$" },
            "short": { "path": "~^/v[0-9]+/" },
            "tail": { "path": "~(?<last>[^/]+)[.]json$", "methods": ["GET"] },
            "all": { "path": "/{rest**}", "methods": ["GET"] },
            "none": {},
        }),
        &Value::Null,
    );
    let cases = [
        ("GET /v1/status", "exact"),
        ("GET /v2/x", "prefix"),
        ("GET /v1/x/y", "number n=1 rest=x/y"),
        ("GET /a/b.json", "tail last=b"),
        ("POST /a/b.json", "none"),
        ("GET /a/b", "all rest=a/b"),
        ("GET /", "all rest="),
        ("OPTIONS ", "none"),
    ];
    for (line, expected) in cases {
        assert_eq!(answer(&table, line, &[]), expected, "{line}");
    }
}

#[test]
fn more_conditions_come_first_and_the_name_decides_last() {
    let table = table(
        &json!({
            "z_plain": { "path": "/a" },
            "a_plain": { "path": "/a" },
            "get": { "path": "/a", "methods": ["GET"] },
            "head": { "path": "/a", "methods": ["HEAD"] },
            "canary": { "path": "/a", "headers": { "X-Canary": { "present": true } } },
            "get_beta": { "path": "/a", "methods": ["GET"], "cookies": { "beta": "1" } },
            "get_q": { "path": "/a", "methods": ["GET"], "query": { "q": { "present": true } } },
            "client": { "path": "/a", "client": ["192.0.2.0/24"], "listeners": ["main"], "headers": { "X-Canary": "1" } },
        }),
        &Value::Null,
    );
    let canary = ("x-canary", "1");
    let beta = ("cookie", "beta=1");
    assert_eq!(answer(&table, "GET /a", &[]), "get");
    assert_eq!(answer(&table, "HEAD /a", &[]), "head");
    assert_eq!(answer(&table, "GET /a", &[canary]), "get");
    assert_eq!(answer(&table, "POST /a", &[canary]), "canary");
    assert_eq!(answer(&table, "POST /a", &[]), "a_plain");
    assert_eq!(answer(&table, "GET /a?q=1", &[beta]), "get_beta");
    assert_eq!(answer(&table, "GET /a?q=1", &[]), "get_q");
    let order: Vec<_> = table.explain().map(|row| row.name).collect();
    assert_eq!(
        order,
        [
            "get_beta", "get_q", "head", "get", "client", "canary", "a_plain", "z_plain"
        ]
    );
}

#[test]
fn only_a_wrong_method_is_405() {
    let table = table(
        &json!({
            "read": { "path": "/a", "methods": ["GET"] },
            "write": { "path": "/a", "methods": ["POST", "PURGE"], "headers": { "X-Key": "1" } },
            "below": { "path": "/b/**", "methods": ["DELETE"] },
        }),
        &Value::Null,
    );
    assert_eq!(answer(&table, "DELETE /a", &[]), "405 GET,HEAD");
    assert_eq!(
        answer(&table, "DELETE /a", &[("x-key", "1")]),
        "405 GET,HEAD,POST,PURGE"
    );
    assert_eq!(answer(&table, "OPTIONS /b/c", &[]), "405 DELETE");
    assert_eq!(answer(&table, "HEAD /a", &[]), "read");
    assert_eq!(answer(&table, "GET /c", &[]), "404");
}

#[test]
fn versions_by_header_and_by_media_type() {
    let versions = json!({ "header": "X-API-Version", "media_type": "application/vnd.shop.{version}+json", "default": "v1" });
    let routes = json!({
        "one": { "path": "/orders/**", "version": "v1" },
        "two": { "path": "/orders/**", "version": "v2" },
        "three": { "path": "/orders/**", "version": "v3", "methods": ["POST"] },
        "plain": { "path": "/health" },
    });
    let table = table(&routes, &versions);
    let cases: [(&str, Fields<'_>, &str); 12] = [
        ("GET /orders/1", &[], "one"),
        ("GET /orders/1", &[("X-API-Version", "v2")], "two"),
        ("GET /orders/1", &[("X-API-Version", "V2")], "two"),
        (
            "GET /orders/1",
            &[("Accept", "application/vnd.shop.v2+json")],
            "two",
        ),
        (
            "GET /orders/1",
            &[(
                "Accept",
                "application/vnd.shop.v9+json, application/vnd.shop.v2+json;q=0.5",
            )],
            "two",
        ),
        (
            "GET /orders/1",
            &[("Accept", "application/vnd.shop.v9+json, */*;q=0.1")],
            "one",
        ),
        ("GET /orders/1", &[("Accept", "text/html")], "one"),
        (
            "GET /orders/1",
            &[("Accept", "application/vnd.shop.v9+json")],
            "406 v1,v2,v3",
        ),
        ("GET /orders/1", &[("X-API-Version", "v9")], "400 v9 of v1,v2,v3"),
        ("GET /orders/1", &[("X-API-Version", "v3")], "405 POST"),
        ("POST /orders/1", &[("X-API-Version", "v3")], "three"),
        ("GET /health", &[("X-API-Version", "v9")], "plain"),
    ];
    for (line, fields, expected) in cases {
        assert_eq!(answer(&table, line, fields), expected, "{line} {fields:?}");
    }
    let find = |line: &str| {
        let request = Request::new(line, &[]);
        let found = table.find(&request.query(), &mut Captures::default()).unwrap();
        (found.version, found.versioned)
    };
    assert_eq!(find("GET /orders/1"), (Some("v1"), true));
    assert_eq!(find("GET /health"), (None, false));
    assert_eq!(table.versions().vary(), Some("accept, x-api-version"));
}

#[test]
fn without_a_default_a_version_must_be_named() {
    let table = table(
        &json!({ "one": { "path": "/a", "version": "v1" } }),
        &json!({ "header": "V" }),
    );
    assert_eq!(answer(&table, "GET /a", &[]), "400 none of v1");
    assert_eq!(answer(&table, "GET /a", &[("v", "v1")]), "one");
}

#[test]
fn rows_say_what_counts() {
    let table = table(
        &json!({
            "one": { "hosts": ["*.a.test", "b.test"], "path": "/x/{id}", "methods": ["POST", "GET"], "version": "v1",
                     "headers": { "A": "1" }, "query": { "q": "1" } },
            "rest": {},
        }),
        &Value::Null,
    );
    let rows: Vec<_> = table.explain().collect();
    assert_eq!(
        rows.iter()
            .map(|row| (row.host.as_str(), row.name))
            .collect::<Vec<_>>(),
        [("b.test", "one"), ("*.a.test", "one"), ("*", "rest"),]
    );
    assert_eq!(
        (rows[0].path, rows[0].headers, rows[0].query, rows[0].version),
        (Some("/x/{id}"), 2, 1, Some("v1"))
    );
    assert_eq!(rows[0].methods, ["GET", "HEAD", "POST"]);
    assert_eq!((rows[2].path, rows[2].methods.len()), (None, 0));
}
