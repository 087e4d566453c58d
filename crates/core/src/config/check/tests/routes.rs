//! Mistakes in routes.

use super::{check, route};

/// What is inside of the braces of a route in line 4, and what is told.
const CASES: &[(&str, &str)] = &[
    (
        "match: {}",
        "4:3 route `orders` answers nothing | give it `forward`, `reply` or `redirect`",
    ),
    (
        "match: {}, forward: { upstream: users }, reply: {}",
        "4:61 route `orders` has more than one answer: `forward`, `reply`",
    ),
    ("reply: {}", "4:3 missing field `match` in route `orders`"),
    (
        "match: { path: users }, reply: {}",
        "4:28 bad value for `path`: `users` does not begin with `/`",
    ),
    (
        "match: { path: '~(' }, reply: {}",
        "4:28 `(` is not a regular expression: unclosed group",
    ),
    (
        "match: { hosts: [ a:80 ] }, reply: {}",
        "4:31 bad value for `hosts[0]`: `a:80` has a port",
    ),
    (
        "match: { methods: [ get ] }, reply: {}",
        "4:33 `get` is in lower case | methods are matched letter for letter, write `GET`",
    ),
    (
        "match: { headers: { X: 2 } }, reply: {}",
        "4:36 `X` is `2` | expected a text to equal (in quotes",
    ),
    (
        "match: { headers: { 'X Y': a } }, reply: {}",
        "4:40 `X Y` is not the name of a header",
    ),
    (
        "match: { query: { a: { regex: '[' } } }, reply: {}",
        "4:43 `[` is not a regular expression: unclosed character class",
    ),
    (
        "match: { query: { a: { exact: b, present: true } } }, reply: {}",
        "4:34 bad value for `a`: more than one test is given",
    ),
    (
        "match: { listeners: [ mian ] }, reply: {}",
        "4:35 route `orders` matches listener `mian`, which does not exist | did you mean `main`? | listeners are `main`",
    ),
    (
        "match: { version: v2 }, reply: {}",
        "4:31 route `orders` matches a version, but nothing says where a version is",
    ),
    (
        "match: {}, forward: {}",
        "4:33 route `orders` forwards to nothing",
    ),
    (
        "match: {}, forward: { upstream: order }",
        "4:45 route `orders` forwards to upstream `order`, which does not exist | did you mean `orders`? | upstreams are `users`, `orders`",
    ),
    (
        "match: {}, forward: { upstream: users, split: [ { upstream: orders, weight: 1 } ] }",
        "4:59 route `orders` has both `upstream` and `split`",
    ),
    (
        "match: {}, forward: { split: [ { upstream: orders, weight: 0 } ] }",
        "4:42 all weights are `0`",
    ),
    (
        "match: {}, forward: { split: [ { upstream: orders } ] }",
        "4:44 missing field `weight` in `split[0]`",
    ),
    (
        "match: {}, forward: { upstream: users, sticky: {} }",
        "4:60 bad value for `sticky`: nothing to go by",
    ),
    (
        "match: {}, forward: { upstream: users, sticky: { header: a, client_ip: true } }",
        "4:60 bad value for `sticky`: more than one thing to go by",
    ),
    (
        "match: {}, forward: { upstream: users, strip_prefix: /v1/ }",
        "4:66 `/v1/` is not a beginning of a path",
    ),
    (
        "match: { path: '/u/{id}' }, forward: { upstream: users, path: '/x/${path.ix}' }",
        "4:75 `${path.ix}` is not captured by the path of route `orders` | its path captures `id`",
    ),
    (
        "match: {}, forward: { upstream: users, path: '/x/${path.id}' }",
        "4:58 `${path.id}` is not captured by the path of route `orders` | capture it with",
    ),
    (
        "match: {}, forward: { upstream: users, path: 'x' }",
        "4:58 `x` is not a path",
    ),
    (
        "match: {}, forward: { upstream: users, path: '/${requst.id}' }",
        "4:58 bad value for `path`: unknown variable `${requst.id}` | did you mean `${request.id}`?",
    ),
    (
        "match: {}, forward: { upstream: users, rewrite: { regex: '^/a(b)', to: '/$2' } }",
        "4:84 `/$2` asks for the group `2`",
    ),
    (
        "match: {}, forward: { upstream: users, host: 'a b' }",
        "4:58 bad value for `host`: `a b` is not a host",
    ),
    (
        "match: {}, reply: { status: 99 }",
        "4:41 `status` is `99` | expected a number from 200 to 599",
    ),
    (
        "match: {}, reply: { body: a, json: 1 }",
        "4:48 both `body` and `json` are set",
    ),
    (
        "match: {}, reply: { headers: { Content-Length: '1' } }",
        "4:60 `Content-Length` says where a message ends",
    ),
    (
        "match: {}, redirect: {}",
        "4:34 route `orders` sends clients back to where they are",
    ),
    (
        "match: {}, redirect: { to: /a, status: 200 }",
        "4:52 bad value for `status`: `200` is not the status of a redirect",
    ),
    (
        "match: {}, redirect: { to: /a, scheme: https }",
        "4:40 `to` is the whole target",
    ),
    (
        "match: {}, timeout: soon, reply: {}",
        "4:33 bad value for `timeout`: `soon` is not a length of time",
    ),
    (
        "match: {}, reply: {}, max_body: -1",
        "4:45 `max_body` is `-1` | expected a number of bytes",
    ),
];

#[test]
fn routes() {
    for (inside, expected) in CASES {
        check(&route(inside), expected);
    }
}
