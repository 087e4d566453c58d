//! Warnings: what is allowed, but probably not meant.
//!
//! Pure functions of the document. Of kinds of policies only [`Facts`] are known, and of their settings only
//! words that mean the same everywhere: `key`, which says what requests are counted together by, and those for callers.

mod callers;
mod strict;

use crate::config::types::{Address, PathForm, Segment};
use crate::config::{Config, Diagnostic, Match, PathPattern, PolicyEntry, Route};
use crate::policy::{Kind, Stage};
use indexmap::IndexMap;
use serde_json::Value;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

pub use strict::strict;

/// What is known of a kind of policies.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Where in a chain it belongs.
    pub stage: Stage,
    /// Whether it answers the preflights of CORS.
    pub answers_preflight: bool,
}

impl Facts {
    /// What is known of the kind of that name, if there is one.
    pub fn of(kinds: &[Kind], name: &str) -> Option<Self> {
        let kind = kinds.iter().find(|kind| kind.name == name)?;
        Some(Self {
            stage: kind.stage,
            answers_preflight: kind.answers_preflight,
        })
    }
}

/// What is known of a kind, by its name. None if there is no such kind.
pub type FactsOf<'a> = &'a dyn Fn(&str) -> Option<Facts>;

/// Everything doubtful about a document that is otherwise right.
pub fn lint(config: &Config, facts: FactsOf<'_>) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    same_matches(config, &mut out);
    unused(config, &mut out);
    for (name, route) in &config.routes {
        forwarding(config, name, route, &mut out);
    }
    callers::nobody(config, &mut out);
    admin(config, &mut out);
    timeouts(config, &mut out);
    unverified(config, &mut out);
    let everybody = order(config, "policies", &config.policies, facts, false, &mut out);
    for (name, route) in &config.routes {
        order(
            config,
            &format!("routes.{name}.policies"),
            &route.policies,
            facts,
            everybody,
            &mut out,
        );
    }
    out
}

/// Routes that match exactly the same: of these, only one is ever taken.
fn same_matches(config: &Config, out: &mut Vec<Diagnostic>) {
    // Most paths stand once: only those that do not are worth a closer look.
    let path = |route: &Route| canonical_path(route.r#match.path.as_ref());
    let mut once = HashSet::with_capacity(config.routes.len());
    let mut again = HashSet::new();
    let hasher = RandomState::new();
    for route in config.routes.values() {
        let number = hasher.hash_one(path(route));
        if !once.insert(number) {
            again.insert(number);
        }
    }
    let mut paths: IndexMap<String, Vec<(&str, &Match)>> = IndexMap::new();
    for (name, route) in config.routes.iter().filter(|_| !again.is_empty()) {
        let path = path(route);
        if again.contains(&hasher.hash_one(&path)) {
            paths.entry(path).or_default().push((name, &route.r#match));
        }
    }
    for routes in paths.values() {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for (name, conditions) in routes {
            let first = *seen.entry(canonical(conditions)).or_insert(name);
            if first != *name {
                let message = format!(
                    "route `{name}` matches the same requests as route `{first}`, so one of them is never taken"
                );
                out.push(
                    Diagnostic::warning(format!("routes.{name}.match"), message)
                        .help("make one more specific, or remove it"),
                );
            }
        }
    }
}

/// A text that is the same for matches that mean the same, apart from their path: order means nothing.
fn canonical(conditions: &Match) -> String {
    fn sorted<T: ToString>(items: impl Iterator<Item = T>) -> Vec<String> {
        let mut items: Vec<String> = items.map(|item| item.to_string()).collect();
        items.sort_unstable();
        items.dedup();
        items
    }
    let any = conditions.hosts.contains(&crate::config::HostPattern::Any);
    let hosts = if any {
        Vec::new()
    } else {
        sorted(conditions.hosts.iter())
    };
    let headers = conditions
        .headers
        .iter()
        .map(|(name, value)| format!("{}={value:?}", name.to_ascii_lowercase()));
    let query = conditions
        .query
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"));
    let cookies = conditions
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"));
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        hosts,
        sorted(conditions.methods.iter()),
        sorted(headers),
        sorted(query),
        sorted(cookies),
        sorted(conditions.client.iter()),
        sorted(conditions.listeners.iter()),
        conditions.version,
    )
}

/// The same for paths: names of captures mean nothing, and no path is any path.
fn canonical_path(path: Option<&PathPattern>) -> String {
    let segments = match path.map(PathPattern::form) {
        None => return "/<..>".to_owned(),
        Some(PathForm::Regex(regex)) => return format!("~{regex}"),
        Some(PathForm::Segments(segments)) => segments,
    };
    let mut text = String::new();
    for segment in segments {
        text.push('/');
        text.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::Param(_) => "<>",
            Segment::Rest(_) => "<..>",
        });
    }
    text
}

/// Upstreams nobody forwards to, and named policies nobody uses.
fn unused(config: &Config, out: &mut Vec<Diagnostic>) {
    let forwards = config.routes.values().filter_map(|route| route.forward.as_ref());
    let upstreams: HashSet<&str> = forwards
        .flat_map(|forward| {
            forward
                .upstream
                .iter()
                .chain(forward.split.iter().map(|part| &part.upstream))
        })
        .map(String::as_str)
        .collect();
    for name in config
        .upstreams
        .keys()
        .filter(|name| !upstreams.contains(name.as_str()))
    {
        let message = format!("no route forwards to upstream `{name}`");
        out.push(Diagnostic::warning(format!("upstreams.{name}"), message).at_key());
    }
    let lists = config.routes.values().map(|route| &route.policies);
    let lists = lists
        .chain(config.upstreams.values().map(|upstream| &upstream.policies))
        .chain([&config.policies]);
    let policies: HashSet<&str> = lists
        .flatten()
        .filter_map(|entry| match entry {
            PolicyEntry::Use(name) => Some(name.as_str()),
            PolicyEntry::Inline { .. } => None,
        })
        .collect();
    for name in config
        .named_policies
        .keys()
        .filter(|name| !policies.contains(name.as_str()))
    {
        let message = format!("nothing uses the named policy `{name}`");
        out.push(Diagnostic::warning(format!("named_policies.{name}"), message).at_key());
    }
    if config.routes.is_empty() {
        out.push(Diagnostic::warning(
            "routes",
            "there are no routes, so every request is answered with 404",
        ));
    }
}

fn forwarding(config: &Config, name: &str, route: &Route, out: &mut Vec<Diagnostic>) {
    let Some(forward) = &route.forward else { return };
    let path = format!("routes.{name}.forward");
    if let Some(prefix) = &forward.strip_prefix
        && !route
            .r#match
            .path
            .as_ref()
            .is_some_and(|path| may_begin(path, prefix))
    {
        let all = route
            .r#match
            .path
            .as_ref()
            .map_or_else(|| "any path".to_owned(), |path| format!("`{path}`"));
        let message =
            format!("route `{name}` strips `{prefix}`, but matches {all}, which does not begin with it");
        out.push(
            Diagnostic::warning(format!("{path}.strip_prefix"), message)
                .help("paths that begin otherwise are forwarded whole"),
        );
    }
    if forward
        .upgrades
        .iter()
        .any(|one| one.eq_ignore_ascii_case("connect"))
    {
        let only_connect =
            matches!(route.r#match.methods.as_slice(), [one] if one.eq_ignore_ascii_case("CONNECT"));
        if !only_connect {
            let message = format!("route `{name}` allows `connect`, and is for other methods too");
            let help = "what passes a tunnel is seen by no policy: give CONNECT a route of its own, with \
                        `methods: [CONNECT]` and an upstream that nothing else protects";
            out.push(Diagnostic::warning(format!("{path}.upgrades"), message).help(help));
        }
    }
    if forward.sticky.is_some() && forward.split.len() < 2 {
        let message =
            format!("route `{name}` is sticky, but has no `split` of two or more upstreams to stick to");
        out.push(Diagnostic::warning(format!("{path}.sticky"), message));
    }
    let total = config.client.timeouts.total;
    if let Some(timeout) = route.timeout.filter(|timeout| *timeout > total) {
        let message = format!(
            "the timeout of route `{name}` is `{timeout}`, longer than `client.timeouts.total`, which is `{total}`"
        );
        out.push(
            Diagnostic::warning(format!("routes.{name}.timeout"), message).help("the shorter one counts"),
        );
    }
}

/// Whether all paths of the pattern begin with the segments of the prefix. Regular expressions get the
/// benefit of the doubt.
fn may_begin(path: &PathPattern, prefix: &str) -> bool {
    let PathForm::Segments(segments) = path.form() else {
        return true;
    };
    let mut segments = segments.iter();
    let mut prefix = prefix.trim_start_matches('/').split('/');
    prefix.all(|part| match segments.next() {
        Some(Segment::Literal(literal)) => literal == part,
        // What is captured may or may not be the part.
        Some(Segment::Param(_)) => true,
        Some(Segment::Rest(_)) | None => false,
    })
}

fn admin(config: &Config, out: &mut Vec<Diagnostic>) {
    if let Some(Address::Tcp(address)) = &config.admin.address
        && !address.ip().to_canonical().is_loopback()
    {
        let message = format!("the admin listener is at `{address}`, where others may reach it");
        let help = "it asks nobody who they are: use `127.0.0.1`, or keep others away by other means";
        out.push(Diagnostic::warning("admin.address", message).help(help));
    }
}

fn timeouts(config: &Config, out: &mut Vec<Diagnostic>) {
    let total = config.client.timeouts.total;
    for (name, upstream) in &config.upstreams {
        let timeout = upstream.total_timeout();
        if timeout > total {
            let field = if upstream.timeout.is_some() {
                "timeout"
            } else {
                "timeouts.total"
            };
            let message = format!(
                "the timeout of upstream `{name}` is `{timeout}`, longer than `client.timeouts.total`, which is `{total}`"
            );
            out.push(
                Diagnostic::warning(format!("upstreams.{name}.{field}"), message)
                    .help("the shorter one counts"),
            );
        }
    }
}

/// Upstreams whose endpoints anybody may pretend to be.
fn unverified(config: &Config, out: &mut Vec<Diagnostic>) {
    for (name, upstream) in &config.upstreams {
        if upstream.tls.as_ref().is_some_and(|tls| !tls.verify) {
            let message = format!(
                "upstream `{name}` does not check certificates, so anybody on the way can pretend to be it"
            );
            out.push(
                Diagnostic::warning(format!("upstreams.{name}.tls.verify"), message)
                    .help("name the authority of its certificates in `tls.ca` instead"),
            );
        }
    }
}

/// Looks at the order of a list of policies. `known` says whether the consumer is known before it; the
/// answer, whether it is after.
fn order(
    config: &Config,
    path: &str,
    policies: &[PolicyEntry],
    facts: FactsOf<'_>,
    known: bool,
    out: &mut Vec<Diagnostic>,
) -> bool {
    let mut known = known;
    for (index, entry) in policies.iter().enumerate() {
        let (at, entry) = match entry {
            PolicyEntry::Use(name) => (format!("{path}[{index}].use"), config.named_policies.get(name)),
            entry @ PolicyEntry::Inline { kind, .. } => (format!("{path}[{index}].{kind}"), Some(entry)),
        };
        let Some(PolicyEntry::Inline { kind, settings }) = entry else {
            continue;
        };
        let facts = facts(kind);
        let stage = facts.map(|facts| facts.stage);
        if known && facts.is_some_and(|facts| facts.answers_preflight) {
            let message =
                format!("`{kind}` comes after authentication, whose refusals web pages then cannot read");
            let help = "put it first, in `policies` if the authentication is there";
            out.push(Diagnostic::warning(at, message).at_key().help(help));
            continue;
        }
        known |= stage == Some(Stage::Authenticate);
        if known {
            continue;
        }
        let help = "put `key_auth`, `jwt` or another authentication before it";
        if let Some(key) = settings.get("key").and_then(key_of_caller) {
            let message = format!("`{kind}` is keyed by {key}, but nothing before it finds the {key}");
            out.push(
                Diagnostic::warning(at, message)
                    .at_key()
                    .help(format!("{help}, or key by `client_ip`")),
            );
        } else if stage == Some(Stage::Authorize) && callers::judged(settings) {
            let message = format!("`{kind}` judges the consumer, but nothing before it finds the consumer");
            out.push(Diagnostic::warning(at, message).at_key().help(help));
        } else if matches!(stage, Some(Stage::Admit | Stage::Authorize | Stage::Limit))
            && let Some((field, variable)) = callers::named(settings)
        {
            let message = format!(
                "`{field}` of `{kind}` names `${{{variable}}}`, but nothing before it finds out who calls"
            );
            // The settings of a named policy stand elsewhere.
            let inline = at.ends_with(kind.as_str());
            let at = if inline { format!("{at}.{field}") } else { at };
            out.push(Diagnostic::warning(at, message).help(help));
        }
    }
    known
}

/// What of a key is known only once an authentication has found out who calls.
fn key_of_caller(key: &Value) -> Option<&'static str> {
    match key {
        Value::String(key) if key == "consumer" => Some("consumer"),
        Value::String(key) if key == "credential" => Some("credential"),
        Value::String(key) if key.starts_with("claim:") => Some("claim"),
        Value::Array(keys) => keys.iter().find_map(key_of_caller),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
