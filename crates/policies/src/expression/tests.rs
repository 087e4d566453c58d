//! Expressions: what they see, and what is refused before a request meets it.

use super::*;
use gatehouse_core::consumer::Consumer;
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_http1::{HeadLimits, RequestHead, parse_request};
use serde_json::json;

fn compile(text: &str) -> Result<Expression, String> {
    Expression::compile(text, &Arc::new(environment()))
}

fn identity() -> Identity {
    let claims = json!({
        "sub": "ada", "org": { "id": 7, "roles": ["admin", "dev"] }, "email_verified": true, "level": 2.5,
        "https://x.example/plan": "gold", "tags": ["a", "b"], "nothing": null,
    });
    Identity {
        method: "jwt",
        proof: Arc::new(Proof {
            subject: "ada".into(),
            credential: Some("key-1".into()),
            scopes: ["read".into(), "write".into()].into(),
            claims: claims.as_object().cloned().unwrap_or_default(),
        }),
        consumer: Some(Arc::new(Consumer {
            name: "acme".into(),
            groups: ["partners".into()].into(),
            tier: Some("free".into()),
            labels: [("region".into(), "eu".into())].into(),
        })),
    }
}

fn head() -> RequestHead {
    let bytes = b"POST /orders/7?a=1&b=x%20y&a=2 HTTP/1.1\r\nHost: API.example.com\r\nX-Tenant: acme\r\nX-Many: 1\r\nX-Many: 2\r\nUser-Agent: curl\r\n\r\n";
    let mut head = RequestHead::new();
    parse_request(bytes, &HeadLimits::default(), &mut head).unwrap();
    head
}

fn holds(text: &str, identity: Option<&Identity>) -> Result<bool, String> {
    let head = head();
    let mut facts = Facts::none(&head);
    facts.path = "/orders/7";
    facts.identity = identity;
    facts.route = "orders";
    compile(text)
        .unwrap_or_else(|why| panic!("{text}: {why}"))
        .holds(&facts)
}

#[test]
fn sees_request_source_consumer_and_claims() {
    let ada = identity();
    for text in [
        "request.method == 'POST' && request.path.startsWith('/orders/') && request.host == 'api.example.com'",
        "request.query == 'a=1&b=x%20y&a=2' && request.params['b'] == 'x y' && request.params.a == '1'",
        "request.headers['X-Tenant'] == consumer.name && request.headers['x-many'] == '1, 2'",
        "request.headers['user-agent'].matches('^curl') && !('x-none' in request.headers)",
        "has(request.headers.host) && size(request.headers) == 4",
        "request.scheme == 'http' && route.name == 'orders'",
        "in_cidr(source.ip, '192.0.2.0/24') && !in_cidr(source.ip, '10.0.0.0/8')",
        "claims.org.id == 7 && 'admin' in claims.org.roles && claims.email_verified",
        "claims['https://x.example/plan'] == 'gold' && claims.level > 2.0 && claims.nothing == null",
        "claims.tags.exists(tag, tag == 'b') && claims.tags.all(t, t.matches('^[a-z]$'))",
        "has(claims.org) && !has(claims.team) && has(claims.org.id)",
        "consumer.tier == 'free' && 'partners' in consumer.groups && consumer.labels.region == 'eu'",
        "identity.known && identity.subject == 'ada' && 'write' in identity.scopes && identity.method == 'jwt'",
        "request.method in ['GET', 'POST'] ? true : false",
        "claims.sub == 'ada' || claims.team == 'x'",
        "claims.team == 'x' || claims.sub == 'ada'",
    ] {
        assert_eq!(holds(text, Some(&ada)), Ok(true), "{text}");
    }
}

#[test]
fn what_needs_no_interpreter_means_the_same_without() {
    let ada = identity();
    let head = head();
    // What is there, what is not, and what is no text, on either side of everything.
    let texts = [
        "'POST'",
        "''",
        "'a'",
        "request.method",
        "request.host",
        "request.path",
        "request.query",
        "source.ip",
        "source.country",
        "route.name",
        "request.headers['X-Tenant']",
        "request.headers.host",
        "request.headers['x-many']",
        "request.headers['x-none']",
        "consumer.name",
        "consumer.tier",
        "consumer.labels.region",
        "consumer.labels.none",
        "identity.subject",
        "identity.method",
        "identity.credential",
        "claims.sub",
        "claims['https://x.example/plan']",
        "claims.org.id",
        "claims.tags",
        "claims.none",
        "claims.nothing",
    ];
    let lists = [
        "['POST', 'a']",
        "[]",
        "['a', 1]",
        "consumer.groups",
        "identity.scopes",
        "claims.tags",
        "claims['tags']",
        "claims.org.roles",
        "claims.org",
        "claims.sub",
        "claims.none",
    ];
    let mut conditions = vec![
        "identity.known".to_owned(),
        "!identity.known".to_owned(),
        "claims.email_verified".to_owned(),
        "request.path.matches('^/orders')".to_owned(),
        "claims.sub.matches('d')".to_owned(),
    ];
    for left in texts {
        for right in texts {
            conditions.push(format!("{left} == {right}"));
            conditions.push(format!("{left} != {right}"));
        }
        conditions.push(format!("{left}.startsWith('a')"));
        conditions.push(format!("{left}.endsWith({left})"));
        conditions.push(format!("{left}.contains('d')"));
        conditions.extend(lists.map(|list| format!("{left} in {list}")));
    }
    let base = conditions.clone();
    for (i, other) in base.iter().enumerate() {
        let one = &base[(i * 7 + 3) % base.len()];
        conditions.push(format!("{one} && {other}"));
        conditions.push(format!("!({one}) || {other}"));
    }
    let env = Arc::new(environment());
    let mut quick = 0;
    for text in &conditions {
        // Some are refused: a text is never equal to a list.
        let Ok(condition) = Expression::compile(text, &env) else {
            continue;
        };
        for identity in [None, Some(&ada)] {
            let mut facts = Facts::none(&head);
            (facts.path, facts.route, facts.identity) = ("/orders/7", "orders", identity);
            let facts = facts.with(&condition.patterns);
            let decided = condition.quick.as_ref().and_then(|quick| quick.holds(&facts));
            let meant = condition.evaluate(&condition.program, &facts);
            if let Some(decided) = decided {
                assert_eq!(meant, Ok(decided), "{text}");
                quick += 1;
            }
        }
    }
    assert!(quick > 2_000, "{quick}");
}

#[test]
fn what_is_not_there_is_an_error_and_not_true() {
    let ada = identity();
    for text in [
        "claims.team == 'x'",
        "claims.team != 'x'",
        "request.headers['x-none'] == ''",
        "claims['none'] == 1",
        "claims.sub",
        "!claims.org.none",
        "consumer.labels.none == 'x'",
    ] {
        assert!(holds(text, Some(&ada)).is_err(), "{text}");
    }
    assert_eq!(
        holds(
            "consumer.name == '' && identity.subject == '' && !identity.known",
            None
        ),
        Ok(true)
    );
    assert!(holds("claims.sub == ''", None).is_err());
}

#[test]
fn mistakes_are_found_when_it_is_compiled() {
    for (text, why) in [
        ("request.mehtod == 'GET'", "did you mean `request.method`?"),
        ("consumer.color == 'x'", "there is no name `consumer.color`"),
        ("request == 1", "there is no name `request`"),
        ("jwt.sub == 'x'", "there is no name `jwt.sub`"),
        ("claims.tags.exists(t, tt == 'x')", "there is no name `tt`"),
        ("upper(request.path) == 'X'", "there is no function `upper`"),
        ("request.path.startWith('/')", "did you mean `startsWith`?"),
        ("request.path > 5", "`>` does not take a text and a number"),
        ("consumer.tier == 5", "never equal"),
        ("request.headers['x-n'] != 5", "never equal"),
        ("request.headers.host == true", "never equal"),
        ("consumer.groups == 'a'", "never equal"),
        ("identity.known == 'true'", "never equal"),
        ("5 in consumer.groups", "never in a list of texts"),
        ("request.path - 'a' == 'b'", "`-` does not take a text and a text"),
        ("request.path", "it gives a string"),
        ("'a' + 'b'", "it gives a string"),
        (
            "claims.sub == 'x' && request.path + 1 == 2",
            "`+` does not take a text and a number",
        ),
        ("request.path.matches('(')", "not a regular expression"),
        ("request.path.matches(request.query)", "must be written out"),
        ("request.path ==", "at column"),
        ("", "at column"),
        ("claims.a.all(a, claims.b.all(b, a == b))", "stands in another"),
    ] {
        let error = compile(text).err().unwrap_or_else(|| panic!("{text} compiles"));
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains('\n'), "{text}: {error}");
    }
    assert!(compile(&"true || ".repeat(600)).is_err());
}

#[test]
fn knows_whether_it_asks_who_calls() {
    for (text, asks) in [
        ("in_cidr(source.ip, '10.0.0.0/8')", false),
        ("identity.known || request.method == 'GET'", false),
        ("claims.sub == 'x'", true),
        ("request.path == '/' && 'x' in consumer.groups", true),
        ("['a'].exists(x, x in identity.scopes)", true),
    ] {
        assert_eq!(compile(text).unwrap().asks_identity, asks, "{text}");
    }
}
