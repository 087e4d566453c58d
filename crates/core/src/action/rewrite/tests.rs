use super::redirect::Target;
use super::*;
use crate::route::{Query, Rule, Table, Versions};
use gatehouse_http1::{Headers, Method};
use serde_json::{Value, json};

/// What the pattern captures in the path, found as for a request.
fn captures(pattern: &str, path: &str) -> (Captures, Vec<String>) {
    let matches = serde_json::from_value(json!({ "path": pattern })).unwrap();
    let paths =
        serde_json::from_value(json!({ "doubled_slashes": "keep", "encoded_slashes": "keep" })).unwrap();
    let rule = Rule {
        id: 0,
        name: String::new(),
        matches,
        paths,
    };
    let table = Table::build(vec![rule], Versions::default()).unwrap();
    let headers = Headers::new();
    let query = Query {
        host: "",
        path,
        query: None,
        method: &Method::Get,
        headers: &headers,
        client: [127, 0, 0, 1].into(),
        listener: "",
    };
    let mut captures = Captures::default();
    table.find(&query, &mut captures).unwrap();
    (captures, table.capture_names(0).to_vec())
}

fn other(variable: &Variable, out: &mut Vec<u8>) {
    let value: &[u8] = match variable {
        Variable::Header(_) => b"../a b?c#d%2F\r\n",
        Variable::Method => b"GET",
        _ => b"",
    };
    out.extend_from_slice(value);
}

fn rewrite(pattern: &str, path: &str, forward: Value) -> Result<(String, Option<String>), Refusal> {
    let (captures, names) = captures(pattern, path);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let forward = serde_json::from_value(forward).unwrap();
    let rewrite = PathRewrite::new(&forward, &names).unwrap();
    let source = Source {
        scheme: "http",
        host: "a.test:8080",
        path,
        query: Some("q=1"),
        captures: &captures,
        other: &other,
    };
    let rewritten = rewrite.apply(&source)?;
    Ok((rewritten.path.into_owned(), rewritten.stripped.map(str::to_owned)))
}

#[test]
fn prefixes_are_stripped_by_segments() {
    let cases = [
        ("/v1/users/123", "/v1", "/users/123", true),
        ("/v1", "/v1", "/", true),
        ("/v1/", "/v1", "/", true),
        ("/v1/users", "/v1/", "/users", true),
        ("/v10/users", "/v1", "/v10/users", false),
        ("/v2/users", "/v1", "/v2/users", false),
        ("/a/b/c", "/a/b", "/c", true),
        ("/~a/b", "/%7ea", "/b", true),
        ("/a", "/", "/a", false),
        ("/v1//x", "/v1", "//x", true),
    ];
    for (path, prefix, expected, stripped) in cases {
        let rewritten = rewrite("/**", path, json!({ "strip_prefix": prefix })).unwrap();
        assert_eq!(
            (rewritten.0.as_str(), rewritten.1.is_some()),
            (expected, stripped),
            "{path} {prefix}"
        );
    }
    let borrowed = PathRewrite::default();
    let captures = Captures::default();
    let source = Source {
        scheme: "",
        host: "",
        path: "/a",
        query: None,
        captures: &captures,
        other: &other,
    };
    assert!(matches!(
        borrowed.apply(&source).unwrap().path,
        Cow::Borrowed("/a")
    ));
}

#[test]
fn paths_are_set_from_captures() {
    let cases = [
        ("/users/{id}", "/users/7", "/v2/users/${path.id}", "/v2/users/7"),
        ("/users/{id}", "/users/a%2Fb;c", "/v2/${path.id}", "/v2/a%2Fb;c"),
        (
            "/files/{rest**}",
            "/files/a/b",
            "/store/${path.rest}",
            "/store/a/b",
        ),
        ("/files/{rest**}", "/files", "/store/${path.rest}", "/store/"),
        ("/**", "/a/b", "/outer${request.path}", "/outer/a/b"),
        ("/**", "/a", "/x", "/x"),
        ("/**", "/a", "/x y/%7e?", ""),
        ("~^/(?<a>[.])(?<b>[.])x", "/..x", "/r/${path.a}${path.b}/s", "/s"),
        ("~^/(?<a>.*)$", "/a", "${path.a}", "/a"),
        (
            "/**",
            "/a",
            "/h/${request.header.x}/e",
            "/h/..%2Fa%20b%3Fc%23d%252F%0D%0A/e",
        ),
        (
            "/**",
            "/a",
            "/${request.method}/${request.host}",
            "/GET/a.test:8080",
        ),
    ];
    for (pattern, path, template, expected) in cases {
        if expected.is_empty() {
            let forward = serde_json::from_value(json!({ "path": template })).unwrap();
            assert!(PathRewrite::new(&forward, &[]).is_err(), "{template}");
            continue;
        }
        match rewrite(pattern, path, json!({ "path": template })) {
            Ok((rewritten, _)) => assert_eq!(rewritten, expected, "{template}"),
            Err(refusal) => assert!(
                matches!(refusal, Refusal::Control(_) | Refusal::HiddenDots),
                "{template} {refusal}"
            ),
        }
    }
    let leaves = rewrite(
        "~^/(?<a>[.])(?<b>[.])x",
        "/..x",
        json!({ "path": "/${path.a}${path.b}/s" }),
    );
    assert_eq!(leaves, Err(Refusal::AboveRoot));
}

#[test]
fn expressions_replace_all_they_find() {
    let cases = [
        ("/api/v1/users", "^/api/v([0-9]+)/", "/v$1/", "/v1/users"),
        (
            "/api/v1/users",
            "^/api/(?<version>v[0-9]+)/(.*)$",
            "/${2}/${version}",
            "/users/v1",
        ),
        ("/a/b/a", "a", "x", "/x/b/x"),
        ("/a/b", "^/none", "/x", "/a/b"),
        ("/a/b", "^/a", "", "/b"),
        ("/a", "^/a", "", "/"),
        ("/a/b", "^/a/(c)?", "/x$1", "/xb"),
        ("/a1", "a(1)", "$1a", "/1a"),
        ("/a", "a", "$$", "/$"),
        ("/a", "a", "b c", "/b%20c"),
        ("/a/b", "b", "../c", "/c"),
    ];
    for (path, regex, to, expected) in cases {
        let (rewritten, _) =
            rewrite("/**", path, json!({ "rewrite": { "regex": regex, "to": to } })).unwrap();
        assert_eq!(rewritten, expected, "{path} {regex} {to}");
    }
    let both = json!({ "strip_prefix": "/api", "rewrite": { "regex": "^/v1", "to": "/one" } });
    assert_eq!(
        rewrite("/**", "/api/v1/x", both).unwrap(),
        ("/one/x".to_owned(), Some("/api".to_owned()))
    );
}

#[test]
fn settings_are_refused_with_a_reason() {
    let cases = [
        (
            json!({ "strip_prefix": "v1" }),
            "strip_prefix",
            "does not begin with a slash",
        ),
        (
            json!({ "strip_prefix": "/a/../.." }),
            "strip_prefix",
            "above the root",
        ),
        (
            json!({ "strip_prefix": "/v1/**" }),
            "strip_prefix",
            "plain segments",
        ),
        (json!({ "path": "x" }), "path", "does not begin with `/`"),
        (json!({ "path": "/x?y" }), "path", "query or fragment"),
        (json!({ "path": "/${path.name}" }), "path", "captures `id`"),
        (
            json!({ "rewrite": { "regex": "(", "to": "" } }),
            "rewrite.regex",
            "unclosed group",
        ),
        (
            json!({ "rewrite": { "regex": "a", "to": "$1" } }),
            "rewrite.to",
            "group `1`",
        ),
        (
            json!({ "rewrite": { "regex": "a", "to": "${b}" } }),
            "rewrite.to",
            "group `b`",
        ),
        (
            json!({ "rewrite": { "regex": "a", "to": "$b" } }),
            "rewrite.to",
            "lone `$`",
        ),
        (
            json!({ "rewrite": { "regex": "a", "to": "${b" } }),
            "rewrite.to",
            "lone `$`",
        ),
        (
            json!({ "rewrite": { "regex": "a", "to": "/?x" } }),
            "rewrite.to",
            "query",
        ),
    ];
    for (forward, field, reason) in cases {
        let errors =
            PathRewrite::new(&serde_json::from_value(forward.clone()).unwrap(), &["id"]).unwrap_err();
        assert_eq!((errors.len(), errors[0].field), (1, field), "{forward}");
        assert!(
            errors[0].message.contains(reason),
            "{forward}: {}",
            errors[0].message
        );
    }
}

#[test]
fn the_host_is_the_clients_the_endpoints_or_fixed() {
    let literal = HostHeader::Literal("c".to_owned());
    assert_eq!(host(&HostHeader::Preserve, "a", "b"), "a");
    assert_eq!(host(&HostHeader::Preserve, "", "b"), "b");
    assert_eq!(host(&HostHeader::Upstream, "a", "b"), "b");
    assert_eq!(host(&literal, "a", "b"), "c");
}

#[test]
fn redirects_lead_where_they_should() {
    let cases = [
        (json!({ "scheme": "https" }), "/a/b", "https://a.test/a/b?q=1"),
        (json!({ "scheme": "http" }), "/a", "http://a.test:8080/a?q=1"),
        (json!({ "host": "www.test" }), "/a", "http://www.test/a?q=1"),
        (
            json!({ "host": "www.${request.host}" }),
            "/a",
            "http://www.a.test:8080/a?q=1",
        ),
        (
            json!({ "path": "/new/${path.rest}" }),
            "/a/b",
            "http://a.test:8080/new/a/b?q=1",
        ),
        (json!({ "path": "new" }), "/a", "http://a.test:8080/new?q=1"),
        (
            json!({ "keep_query": false, "path": "/n" }),
            "/a",
            "http://a.test:8080/n",
        ),
        (
            json!({ "to": "https://${request.host}${request.path}" }),
            "/a",
            "https://a.test:8080/a?q=1",
        ),
        (
            json!({ "to": "https://b.test/?x=1" }),
            "/a",
            "https://b.test/?x=1",
        ),
        (
            json!({ "to": "https://b.test/#top" }),
            "/a",
            "https://b.test/?q=1#top",
        ),
        (
            json!({ "to": "/x?from=${path.rest}&${request.query}" }),
            "/a",
            "/x?from=a&q=1",
        ),
        (
            json!({ "to": "${request.path}" }),
            "//evil.test/x",
            "/evil.test/x?q=1",
        ),
        (json!({ "to": "/${path.rest}" }), "//evil.test", "/evil.test?q=1"),
        (json!({ "to": "//b.test${request.path}" }), "/a", "//b.test/a?q=1"),
        (
            json!({ "to": "https://${path.rest}.b.test/" }),
            "/evil.test/x",
            "https://evil.test%2Fx.b.test/?q=1",
        ),
        (
            json!({ "to": "https://b.test/${path.rest}" }),
            "/x/y",
            "https://b.test/x/y?q=1",
        ),
        (
            json!({ "to": "https://b.test/${request.header.x}" }),
            "/x",
            "https://b.test/..%2Fa%20b%3Fc%23d%252F%0D%0A?q=1",
        ),
    ];
    for (redirect, path, expected) in cases {
        let (captures, _) = captures("/{rest**}", path);
        let target = Target::new(&serde_json::from_value(redirect.clone()).unwrap(), &["rest"]).unwrap();
        let source = Source {
            scheme: "http",
            host: "a.test:8080",
            path,
            query: Some("q=1"),
            captures: &captures,
            other: &other,
        };
        assert_eq!(
            target.location(&source).as_deref(),
            Ok(expected),
            "{redirect} {path}"
        );
    }
}

#[test]
fn a_redirect_without_a_host_stays_here() {
    let target = Target::new(&config::Redirect::default(), &[]).unwrap();
    let captures = Captures::default();
    let source = Source {
        scheme: "http",
        host: "",
        path: "//evil.test",
        query: None,
        captures: &captures,
        other: &other,
    };
    assert_eq!(target.location(&source).as_deref(), Ok("/evil.test"));
    let wrong = serde_json::from_value(json!({ "to": "/${path.x}", "host": "${path.y}" })).unwrap();
    assert_eq!(Target::new(&wrong, &[]).unwrap_err().len(), 2);
    for to in ["${path.x}", "javascript:x", "b.test/x"] {
        let errors = Target::new(&serde_json::from_value(json!({ "to": to })).unwrap(), &["x"]).unwrap_err();
        assert!(errors[0].message.contains("must begin with"), "{to}");
    }
}
