//! Mistakes in listeners, upstreams and the sections there is one of.

use super::{check, load, told};

/// What is in line 3, and what is told.
const SECTIONS: &[(&str, &str)] = &[
    (
        "ruotes: {}\n",
        "3:1 unknown section `ruotes` | did you mean `routes`?",
    ),
    (
        "plugins: {}\n",
        "3:1 unknown section `plugins` | expected one of `consumers`, `listeners`, `named_policies`,",
    ),
    (
        "routes: [ a ]\n",
        "3:9 `routes` is a list | expected a map, each item under its own name",
    ),
    ("client: 5\n", "3:9 `client` is `5` | expected a map"),
    (
        "client: { timeouts: [ 1 ] }\n",
        "3:21 `timeouts` is a list | expected a map",
    ),
    (
        "policies: { cors: {} }\n",
        "3:11 `policies` is a map | expected a list",
    ),
    (
        "policies: [ { cors: {}, csrf: {} } ]\n",
        "3:13 bad value for `policies[0]`: the policy has two kinds, `cors` and `csrf` | begin each",
    ),
    (
        "policies: [ cors ]\n",
        "3:13 `policies[0]` is `cors` | expected a policy such as",
    ),
    (
        "policies: [ use: nothing ]\n",
        "3:18 uses the named policy `nothing`, which does not exist | there are no named policies",
    ),
    (
        "named_policies: { a: { cors: {} }, b: { use: a } }\n",
        "3:46 named policy `b` uses `a` | write the policy itself here",
    ),
    (
        "client: { timeouts: { head: 0s } }\n",
        "3:29 `head` is `0s` | expected more",
    ),
    (
        "client: { timeouts: { head: 10 } }\n",
        "3:29 `head` is `10` | expected a length of time such as `250ms`, `10s` or `1h30m`",
    ),
    (
        "client: { timeouts: { head: 10 s } }\n",
        "3:29 bad value for `head`: `10 s` is not a length of time | expected a length of time",
    ),
    (
        "client: { limits: { head: 10MiB } }\n",
        "3:27 `head` is `10MiB` | expected from `1KiB` to `1MiB`",
    ),
    (
        "client: { limits: { body: 10mb } }\n",
        "3:27 bad value for `body`: `10mb` is not a size | expected a number of bytes",
    ),
    (
        "client: { limits: { fields: 0 } }\n",
        "3:29 `fields` is `0` | expected a number from 1 to 10000",
    ),
    (
        "client: { underscores: drpo }\n",
        "3:24 `underscores` is `drpo` | did you mean `drop`?",
    ),
    (
        "forwarded: { trusted: [ 10.0.0.1/8 ] }\n",
        "3:25 bad value for `trusted[0]`: `10.0.0.1/8` has bits after its prefix | did you mean `10.0.0.0/8`?",
    ),
    (
        "forwarded: { via: my gate }\n",
        "3:19 `my gate` is not the name of a proxy",
    ),
    (
        "versions: {}\n",
        "3:11 `versions` says not where a version is | give `header` or `media_type`",
    ),
    (
        "versions: { media_type: application/json }\n",
        "3:25 `application/json` is not a media type with one `{version}`",
    ),
    (
        "access_log: { file: a, syslog: 'unix:/dev/log' }\n",
        "3:13 both `file` and `syslog` are set",
    ),
    (
        "dns: { min_ttl: 10m }\n",
        "3:17 `min_ttl` is `10m` | expected at most `max_ttl`, which is `5m`",
    ),
    (
        "process: { workers: 0 }\n",
        "3:21 `workers` is `0` | expected a number from 1 to 1024",
    ),
    (
        "process: { pid_file: ${env:NOT} }\n",
        "3:23 not YAML: while parsing a flow mapping, did not find expected ',' or '}' | between `{` and `}`, put a text with `${…}` in quotes",
    ),
    (
        "process: { pid_file: '${env:NOT}' }\n",
        "3:22 environment variable `NOT` is not set | set it, or give a default",
    ),
    (
        "process: { drain: { timeout: 0s } }\n",
        "3:30 `timeout` is `0s` | expected more, since nothing would ever succeed",
    ),
    (
        "process: { workers: '${env:PORT}' }\n",
        "3:21 `workers` is `8080` | expected a number from 1 to 1024",
    ),
];

/// Whole documents, and what is told.
const DOCUMENTS: &[(&str, &str)] = &[
    (
        "listeners:\n  main: {}\n",
        "2:3 missing field `address` in listener `main`",
    ),
    (
        "listeners:\n  main: { adress: 127.0.0.1:1 }\n",
        "2:11 unknown field `adress` in listener `main` | did you mean `address`?",
    ),
    (
        "listeners:\n  main: { address: 8080 }\n",
        "2:20 `address` is `8080` | expected an address such as",
    ),
    (
        "listeners:\n  main: { address: localhost:80 }\n",
        "2:20 bad value for `address`: `localhost:80` is a name, not an address | write `127.0.0.1:80`",
    ),
    (
        "listeners:\n  a b: { address: 127.0.0.1:80 }\n",
        "2:3 listener `a b` has a name with other than letters",
    ),
    (
        "listeners:\n  a: { address: 127.0.0.1:80 }\n  b: { address: 127.0.0.1:80 }\n",
        "3:17 `127.0.0.1:80` is the address of `listeners.a` already",
    ),
    (
        "listeners:\n  a: { address: 127.0.0.1:9900 }\n",
        "1:1 `127.0.0.1:9900` is the address of `listeners.a` already",
    ),
    (
        "listeners:\n  a: { address: 127.0.0.1:0, unix_mode: '0660' }\n",
        "2:41 `unix_mode` is for Unix sockets",
    ),
    (
        "listeners:\n  a: { address: 'unix:/a', unix_mode: 660 }\n",
        "2:39 `unix_mode` is `660` | expected a file mode in quotes such as `\"0660\"`",
    ),
    (
        "listeners:\n  a: { address: 127.0.0.1:0, proxy_protocol: { from: [] } }\n",
        "2:54 `from` is empty",
    ),
    (
        "listeners:\n  a: { address: 127.0.0.1:0 }\n  a: { address: 127.0.0.1:1 }\n",
        "3:3 `a` is written twice | the first is in line 2",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [] }\n",
        "3:19 `endpoints` is `[]` | expected at least 1 in the list",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ a:80 ] }\n",
        "3:21 bad value for `endpoints[0]`: `a:80` has no scheme | write `http://a:80`",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ http://a ], tls: {} }\n",
        "3:38 upstream `u` has `tls` but no endpoint with it | write `https://` before theirs",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ http://a/b ] }\n",
        "3:21 bad value for `endpoints[0]`: `http://a/b` has a path | set one with",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ http://x@a ] }\n",
        "3:21 bad value for `endpoints[0]`: `http://x@a` has a user name",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ http://a, http://a ] }\n",
        "3:31 `http://a:80` is written twice",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ { url: http://a, weight: 0 } ] }\n",
        "3:19 all endpoints of upstream `u` have the weight `0`",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ { url: http://a, wieght: 1 } ] }\n",
        "3:38 unknown field `wieght` in `endpoints[0]` | did you mean `weight`?",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ http://a ], balance: random }\n",
        "3:42 `balance` is `random` | expected `round_robin` or `least_request`",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ http://a ], timeout: 1s, timeouts: { total: 2s } }\n",
        "3:42 upstream `u` has both `timeout` and `timeouts.total`",
    ),
    (
        "listeners: { a: { address: 127.0.0.1:0 } }\nupstreams:\n  u: { endpoints: [ http://a ], policies: [ use: x ] }\n",
        "3:50 uses the named policy `x`, which does not exist",
    ),
];

#[test]
fn sections() {
    for (text, expected) in SECTIONS {
        check(text, expected);
    }
}

#[test]
fn listeners_and_upstreams() {
    for (text, expected) in DOCUMENTS {
        let told = told(&load(text));
        assert_eq!(told.len(), 1, "{text}\n{told:#?}");
        assert!(
            told[0].starts_with(expected),
            "{text}\n     told {}\n expected {expected}",
            told[0]
        );
    }
}
