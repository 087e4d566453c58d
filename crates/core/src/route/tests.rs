//! The table against a plain matcher: thousands of random tables and requests, the same on every run.
//!
//! The plain matcher looks at every rule, cuts paths with `split`, and compares what fits by the words of the table in
//! this module's documentation. It shares no code with the tree, the index or the sorting.

use super::table::tests::Request;
use super::*;
use crate::config::types::{HostPattern, PathForm, PathPattern, Segment};
use crate::config::{DoubledSlashes, EncodedSlashes, Match, Paths};
use crate::http::normalize::{self, Form};
use std::cmp::Reverse;
use std::collections::HashMap;

const HOSTS: [&str; 7] = [
    "a.test",
    "b.a.test",
    "c.b.a.test",
    "*.a.test",
    "*.b.a.test",
    "*.test",
    "*",
];
const ASKED: [&str; 7] = [
    "a.test",
    "B.a.test:80",
    "c.b.a.test.",
    "d.c.b.a.test",
    "x.test",
    "other",
    "",
];
const PIECES: [&str; 10] = ["a", "b", "c", "{x}", "{y}", "a%2Fb", "", "d.e", "%7ea", "~"];
const REGEXES: [&str; 6] = [
    "~^/a",
    "~^/(?<n>[ab])/",
    "~b$",
    "~^/a?b",
    "~^/(?<n>.)/(?<m>.*)$",
    "~^/c/(a|b)",
];
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "PURGE"];

type Regexes = HashMap<String, regex::Regex>;

fn random_path(random: &mut Random) -> Option<PathPattern> {
    if random.chance(12) {
        return None;
    }
    if random.chance(6) {
        return Some(random.pick(&REGEXES).parse().unwrap());
    }
    let mut text = String::new();
    for at in 0..random.below(5) {
        let piece = random.pick(&PIECES);
        let piece = if piece.is_empty() && at > 0 { "a" } else { piece };
        text.push('/');
        // Names must differ within a pattern.
        text.push_str(&piece.replace('}', &format!("{at}}}")));
    }
    if text == "/" || text.is_empty() {
        text = "/".to_owned();
    }
    if text.starts_with("//") {
        text.remove(0);
    }
    match random.below(4) {
        0 => text = format!("{}/**", text.trim_end_matches('/')),
        1 => text = format!("{}/{{rest**}}", text.trim_end_matches('/')),
        _ => {}
    }
    Some(text.parse().unwrap_or_else(|error| panic!("{text}: {error}")))
}

fn random_rule(id: usize, random: &mut Random) -> Rule {
    let mut matches = Match {
        path: random_path(random),
        ..Match::default()
    };
    for _ in 0..random.below(3) {
        matches.hosts.push(random.pick(&HOSTS).parse().unwrap());
    }
    for _ in 0..random.below(3) {
        matches.methods.push(random.pick(&METHODS).to_owned());
    }
    for name in ["x-one", "x-two"] {
        if random.chance(4) {
            matches
                .headers
                .insert(name.to_owned(), serde_json::from_str("\"1\"").unwrap());
        }
    }
    if random.chance(6) {
        matches
            .query
            .insert("q".to_owned(), serde_json::from_str("\"1\"").unwrap());
    }
    let mut paths = Paths::default();
    if random.chance(3) {
        paths.encoded_slashes = if random.chance(2) {
            EncodedSlashes::Keep
        } else {
            EncodedSlashes::Decode
        };
    }
    if random.chance(3) {
        paths.doubled_slashes = if random.chance(2) {
            DoubledSlashes::Keep
        } else {
            DoubledSlashes::Reject
        };
    }
    let name = format!("r{}", random.below(1000));
    Rule {
        id,
        name,
        matches,
        paths,
    }
}

fn random_request(random: &mut Random) -> Request {
    const STEPS: [&str; 14] = [
        "/a", "/b", "/c", "/d.e", "/", "/a%2Fb", "/a%2fb", "/%61", "/~", "/%7Ea", "/a/b", "//a", "/.",
        "/x/..",
    ];
    let mut path: String = (0..=random.below(4)).map(|_| random.pick(&STEPS)).collect();
    if random.chance(20) {
        path = "/..".to_owned() + &path;
    }
    let query = if random.chance(2) { "?q=1" } else { "?p=1&q=2" };
    let fields: Vec<_> = ["x-one", "x-two"]
        .into_iter()
        .filter(|_| random.chance(2))
        .map(|name| (name, "1"))
        .collect();
    let method = random.pick(&METHODS);
    Request::new(&format!("{method} {}{path}{query}", random.pick(&ASKED)), &fields)
}

/// How specific a path pattern is, the smaller the more; none if it does not cover the path.
fn path_key(
    regexes: &Regexes,
    pattern: Option<&PathPattern>,
    path: &str,
) -> Option<(u8, Vec<u8>, Reverse<usize>, String)> {
    let any = Some((3, Vec::new(), Reverse(0), String::new()));
    let Some(pattern) = pattern else { return any };
    let segments = match pattern.form() {
        PathForm::Regex(text) => {
            let found = regexes[text].is_match(path);
            return found.then(|| (2, Vec::new(), Reverse(text.len()), text.clone()));
        }
        PathForm::Segments(segments) => segments,
    };
    if matches!(segments.as_slice(), [Segment::Rest(_)]) {
        return any;
    }
    let mut parts = path.split('/').skip(1);
    let mut key = Vec::new();
    for segment in segments {
        match segment {
            Segment::Rest(_) => {
                key.push(3);
                return Some((1, key, Reverse(0), String::new()));
            }
            Segment::Literal(text) => {
                key.push(1);
                parts.next().filter(|part| part == text)?;
            }
            Segment::Param(_) => {
                key.push(2);
                parts.next().filter(|part| !part.is_empty())?;
            }
        }
    }
    parts
        .next()
        .is_none()
        .then(|| (1, key, Reverse(0), String::new()))
}

fn host_key(pattern: &HostPattern, host: &str) -> Option<(u8, Reverse<usize>)> {
    let host = host
        .trim_end_matches(":80")
        .trim_end_matches('.')
        .to_ascii_lowercase();
    pattern.matches(&host).then_some(match pattern {
        HostPattern::Exact(_) => (0, Reverse(0)),
        HostPattern::Below(parent) => (1, Reverse(parent.len())),
        HostPattern::Any => (2, Reverse(0)),
    })
}

fn others_hold(rule: &Rule, request: &Request) -> bool {
    let query = request.query();
    let headers = rule
        .matches
        .headers
        .keys()
        .all(|name| query.headers.find(name.as_bytes()) == Some(b"1"));
    headers && (rule.matches.query.is_empty() || query.query == Some("q=1"))
}

fn takes_method(rule: &Rule, request: &Request) -> bool {
    let methods = &rule.matches.methods;
    let name = request.method.as_str();
    methods.is_empty()
        || methods
            .iter()
            .any(|method| method == name || (method == "GET" && name == "HEAD"))
}

/// What the plain matcher makes of a request: the rule and its path, or a word for the reason.
fn plainly(regexes: &Regexes, rules: &[Rule], request: &Request) -> Result<(usize, String), &'static str> {
    let query = request.query();
    let mut fitting = Vec::new();
    let mut refused = false;
    let mut wrong_method = false;
    for rule in rules {
        let mut path = String::new();
        let Ok(facts) = normalize::write(query.path, Form::of(&rule.paths), &mut path) else {
            refused = true;
            continue;
        };
        let any = [HostPattern::Any];
        let hosts = if rule.matches.hosts.is_empty() {
            &any[..]
        } else {
            &rule.matches.hosts
        };
        let host = hosts
            .iter()
            .filter_map(|pattern| host_key(pattern, query.host))
            .min();
        let (Some(host), Some(pattern)) = (host, path_key(regexes, rule.matches.path.as_ref(), &path)) else {
            continue;
        };
        if !others_hold(rule, request) {
            continue;
        }
        if !takes_method(rule, request) {
            wrong_method = true;
            continue;
        }
        let names_head = rule.matches.methods.iter().any(|method| method == "HEAD");
        let counts = (
            Reverse(rule.matches.headers.len()),
            Reverse(rule.matches.query.len()),
        );
        let key = (
            host,
            pattern,
            rule.matches.methods.is_empty(),
            counts,
            !names_head,
            rule.name.clone(),
            rule.id,
        );
        fitting.push((key, facts, path, rule));
    }
    let best = fitting
        .into_iter()
        .min_by(|(one, ..), (other, ..)| one.cmp(other));
    match best {
        Some((_, facts, path, rule)) => facts
            .check(&rule.paths)
            .map(|()| (rule.id, path))
            .map_err(|_| "refused"),
        None if refused => Err("refused"),
        None if wrong_method => Err("method"),
        None => Err("none"),
    }
}

#[test]
fn the_table_agrees_with_a_plain_matcher() {
    let mut random = Random(2026);
    let compile = |text: &&str| (text[1..].to_owned(), regex::Regex::new(&text[1..]).unwrap());
    let regexes: Regexes = REGEXES.iter().map(compile).collect();
    let mut seen = [0; 4];
    for _ in 0..500 {
        let count = 1 + random.below(25);
        let rules: Vec<_> = (0..count).map(|id| random_rule(id, &mut random)).collect();
        let table = Table::build(rules.clone(), Versions::default()).unwrap();
        for _ in 0..40 {
            let request = random_request(&mut random);
            let query = request.query();
            let mut captures = Captures::default();
            let found = match table.resolve(&query, &mut captures) {
                Ok(found) => {
                    let path = found.path.unwrap_or_else(|| query.path.to_owned());
                    check_captures(&rules[found.rule], &path, &captures);
                    Ok((found.rule, path))
                }
                Err(Miss::Refused(_)) => Err("refused"),
                Err(Miss::MethodNotAllowed { .. }) => Err("method"),
                Err(_) => Err("none"),
            };
            let expected = plainly(&regexes, &rules, &request);
            assert_eq!(found, expected, "{query:?}\n{rules:#?}");
            seen[["refused", "method", "none"]
                .iter()
                .position(|word| Err(*word) == found)
                .unwrap_or(3)] += 1;
        }
    }
    assert!(
        seen.iter().all(|&count| count > 500),
        "every outcome is met often: {seen:?}"
    );
}

/// Putting the captures back into the pattern gives the path.
fn check_captures(rule: &Rule, path: &str, captures: &Captures) {
    let Some(pattern) = &rule.matches.path else { return };
    let PathForm::Segments(segments) = pattern.form() else {
        return;
    };
    let mut at = 0;
    let mut built = String::new();
    for segment in segments {
        let capture = if let Segment::Literal(text) = segment {
            text
        } else {
            at += 1;
            captures.text(at - 1, path).unwrap()
        };
        built = format!("{built}/{capture}");
    }
    // `/a/**` covers `/a` too, where nothing follows the slash that is not there.
    assert!(
        built == path || built.strip_suffix('/') == Some(path),
        "{pattern} {path} {built}"
    );
}
