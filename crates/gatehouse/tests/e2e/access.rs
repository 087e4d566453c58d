//! `access` behind an authentication: known callers, decisions in the log and in metrics, dry runs.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use gatehouse_testkit::{HttpBackend, Reply, Request, client};

use crate::gateway;

#[test]
fn known_callers_get_403_and_the_log_says_why() {
    let auth = HttpBackend::scripted(|call| {
        let name = call
            .request()
            .header("authorization")
            .unwrap_or("nobody")
            .to_owned();
        call.reply(&Reply::ok("").header("X-User-Id", &name))
    });
    let config = format!(
        "
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
process: {{ log: {{ level: debug }} }}
policies: [ {{ external_auth: {{ url: \"{}\", subject: X-User-Id }} }} ]
routes:
  mine: {{ match: {{ path: \"/users/{{name}}\" }}, policies: [ {{ access: {{ conditions: {{ own: \"request.path == '/users/' + identity.subject\" }} }} }} ], reply: {{ body: in }} }}
  scoped: {{ match: {{ path: /scoped }}, policies: [ {{ access: {{ scopes: {{ all: [\"orders:read\"] }} }} }} ], reply: {{ body: in }} }}
  dry: {{ match: {{ path: /dry }}, policies: [ {{ access: {{ dry_run: true, groups: {{ any: [staff] }} }} }} ], reply: {{ body: in }} }}
",
        auth.url()
    );
    let gateway = gateway(&config).start();
    let ask = |path: &str| {
        let request = Request::new("GET", path).header("Authorization", "ada");
        client::once(gateway.address(), &request)
    };
    assert_eq!(ask("/users/ada").status, 200);
    let refused = ask("/users/eve");
    assert_eq!(refused.status, 403);
    assert!(!refused.text().contains("own"), "{}", refused.text());
    let refused = ask("/scoped");
    assert_eq!(refused.status, 403);
    assert!(!refused.text().contains("orders:read"), "{}", refused.text());
    assert_eq!(ask("/dry").status, 200);

    gateway.wait_log("lacks `orders:read`");
    let count = |route: &str, rule: &str, outcome: &str| {
        let policy = format!("routes.{route}.policies[0]");
        let labels = [("policy", policy.as_str()), ("rule", rule), ("outcome", outcome)];
        gateway.metrics().sum("gatehouse_access_decisions_total", &labels)
    };
    assert_eq!(count("mine", "", "allowed"), 1.0);
    assert_eq!(count("mine", "conditions.own", "denied"), 1.0);
    assert_eq!(count("scoped", "scopes", "denied"), 1.0);
    assert_eq!(count("dry", "groups", "would_deny"), 1.0);
}
