use super::*;
use crate::config::{Severity, load_str};

fn facts(kind: &str) -> Option<Facts> {
    let stage = match kind {
        "cors" => Stage::Admit,
        "key_auth" => Stage::Authenticate,
        "access" => Stage::Authorize,
        "rate_limit" => Stage::Limit,
        _ => return None,
    };
    Some(Facts {
        stage,
        answers_preflight: kind == "cors",
    })
}

/// What is said about a document, each as `path: message`.
fn said(text: &str) -> Vec<String> {
    let loaded = load_str(text, "test");
    assert!(
        !loaded.diagnostics.has_errors(),
        "{}",
        loaded.diagnostics.render(&loaded.sources)
    );
    let warnings = lint(&loaded.config, &facts);
    assert!(
        warnings
            .iter()
            .all(|warning| warning.severity == Severity::Warning)
    );
    warnings
        .iter()
        .map(|warning| format!("{}: {}", warning.path, warning.message))
        .collect()
}

const GOOD: &str = "
listeners: { main: { address: 127.0.0.1:0 } }
policies: [ { key_auth: {} } ]
named_policies: { limit: { rate_limit: { key: consumer } } }
routes:
  a: { match: { path: /api/** }, policies: [ use: limit, access: {} ], forward: { upstream: u, strip_prefix: /api } }
  b: { match: { path: '/{x}/y' }, forward: { upstream: u, strip_prefix: /api } }
  c: { match: { path: '~^/api/' }, forward: { split: [ { upstream: u, weight: 1 }, { upstream: v, weight: 1 } ], sticky: { client_ip: true }, strip_prefix: /api } }
upstreams: { u: { endpoints: [ http://a ] }, v: { endpoints: [ http://b ] } }
";

#[test]
fn a_good_document_is_not_talked_about() {
    assert_eq!(said(GOOD), Vec::<String>::new());
}

#[test]
fn doubtful_things_are_said() {
    let base = "listeners: { main: { address: 127.0.0.1:0 } }\n";
    let upstream = "upstreams: { u: { endpoints: [ http://a ] } }\n";
    let cases = [
        ("", "routes: there are no routes"),
        (
            "routes: { a: { match: { path: '/x/{a}' }, reply: {} }, b: { match: { path: '/x/{b}' }, reply: {} } }",
            "routes.b.match: route `b` matches the same requests as route `a`",
        ),
        (
            "routes: { a: { match: { hosts: [ a, b ], headers: { X: y } }, reply: {} }, b: { match: { hosts: [ b, a ], headers: { x: y }, path: /** }, reply: {} } }",
            "routes.b.match: route `b` matches the same",
        ),
        (
            "routes: { a: { match: {}, reply: {} } }\nupstreams: { v: { endpoints: [ http://a ] } }",
            "upstreams.v: no route forwards to upstream `v`",
        ),
        (
            "routes: { a: { match: {}, reply: {} } }\nnamed_policies: { p: { cors: {} } }",
            "named_policies.p: nothing uses the named policy `p`",
        ),
        (
            "routes: { a: { match: { path: /v2/** }, forward: { upstream: u, strip_prefix: /v1 } } }",
            "routes.a.forward.strip_prefix: route `a` strips `/v1`, but matches `/v2/**`",
        ),
        (
            "routes: { a: { match: { path: /** }, forward: { upstream: u, strip_prefix: /v1 } } }",
            "routes.a.forward.strip_prefix: route `a` strips `/v1`, but matches `/**`",
        ),
        (
            "routes: { a: { match: {}, forward: { upstream: u, strip_prefix: /v1 } } }",
            "routes.a.forward.strip_prefix: route `a` strips `/v1`, but matches any path",
        ),
        (
            "routes: { a: { match: {}, forward: { upstream: u, sticky: { cookie: c } } } }",
            "routes.a.forward.sticky: route `a` is sticky",
        ),
        (
            "routes: { a: { match: {}, timeout: 2h, forward: { upstream: u } } }",
            "routes.a.timeout: the timeout of route `a` is `2h`",
        ),
        (
            "admin: { address: '0.0.0.0:9900' }\nroutes: { a: { match: {}, reply: {} } }",
            "admin.address: the admin listener is at `0.0.0.0:9900`",
        ),
        (
            "client: { timeouts: { total: 1m } }\nroutes: { a: { match: {}, forward: { upstream: u } } }",
            "upstreams.u.timeouts.total: the timeout of upstream `u` is `1h`",
        ),
        (
            "routes: { a: { match: {}, policies: [ rate_limit: { key: consumer }, key_auth: {} ], reply: {} } }",
            "routes.a.policies[0].rate_limit: `rate_limit` is keyed by consumer",
        ),
        (
            "policies: [ access: { scopes: { any: [ a ] } } ]\nroutes: { a: { match: {}, reply: {} } }",
            "policies[0].access: `access` judges the consumer",
        ),
        (
            "policies: [ access: { conditions: { a: 'consumer.tier != request.path' } } ]\nroutes: { a: { match: {}, reply: {} } }",
            "policies[0].access: `access` judges the consumer",
        ),
        (
            "consumers: { a: { groups: [ g ] } }\nroutes: { a: { match: {}, policies: [ key_auth: {}, access: { groups: { any: [ g, h ] } } ], reply: {} } }",
            "routes.a.policies[1].access.groups.any: no consumer is in the group `h`",
        ),
        (
            "consumers: { a: { tier: t, groups: [ g ] } }\nroutes: { a: { match: {}, policies: [ rate_limit: { tiers: { t: {}, g: {}, u: {} } } ], reply: {} } }",
            "routes.a.policies[0].rate_limit.tiers.u: no consumer has the tier `u`",
        ),
        (
            "policies: [ key_auth: {} ]\nroutes: { a: { match: {}, policies: [ cors: {} ], reply: {} } }",
            "routes.a.policies[0].cors: `cors` comes after authentication",
        ),
    ];
    for (text, expected) in cases {
        let upstream = if text.contains("upstream: u") {
            upstream
        } else {
            ""
        };
        let said = said(&format!("{base}{upstream}{text}\n"));
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].starts_with(expected), "{text}: {said:?}");
    }
}
