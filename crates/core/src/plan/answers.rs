//! Paths that policies answer themselves, such as the one that a login comes back to: requests for them have to find the
//! policy, and no other that takes them for its own.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::compile::Context;
use crate::config::types::{PathForm, Segment};
use crate::config::{Config, Diagnostic, PathPattern, PolicyEntry, Route};
use crate::policy::Answered;

/// What the policies of a document answer, by the places of the policies.
#[derive(Default)]
pub(super) struct Answers {
    of: HashMap<String, Vec<Answered>>,
    /// Paths that come to a route with a policy that answers them.
    reached: HashSet<String>,
    /// Places on routes, each with one of its routes' paths.
    used: IndexMap<String, Option<PathPattern>>,
}

impl Answers {
    /// Notes what the policy at that place answers.
    pub fn add(&mut self, place: &str, answered: Vec<Answered>) {
        if !answered.is_empty() {
            self.of.insert(place.to_owned(), answered);
        }
    }
}

/// Looks at the policies that a route has, those of everywhere first.
pub(super) fn route(cx: &mut Context<'_>, name: &str, route: &Route) {
    let answers = &mut cx.answers;
    if answers.of.is_empty() {
        return;
    }
    let pattern = route.r#match.path.as_ref();
    let mut alone: HashMap<&str, &str> = HashMap::new();
    let mut places = HashSet::new();
    for place in places_of(cx.config, name, route) {
        let Some((place, answered)) = answers.of.get_key_value(&place) else {
            continue;
        };
        // The same policy twice answers once.
        if !places.insert(place) {
            continue;
        }
        for one in answered {
            if pattern.is_none_or(|pattern| may_match(pattern, &one.path)) {
                answers.reached.insert(one.path.clone());
            }
            if !one.alone {
                continue;
            }
            let first = *alone.entry(&one.path).or_insert(&one.at);
            if first != one.at {
                let message = format!(
                    "`{}` is answered by `{first}` already, before it comes here; expected another, such as `{}/2`",
                    one.path,
                    one.path.trim_end_matches('/')
                );
                let is_told = |told: &Diagnostic| told.path == one.at && told.message == message;
                if !cx.diagnostics.iter().any(is_told) {
                    cx.diagnostics.push(Diagnostic::error(one.at.clone(), message));
                }
            }
        }
    }
    for place in places {
        if !answers.used.contains_key(place) {
            answers.used.insert(place.clone(), pattern.cloned());
        }
    }
}

/// Warns of paths that find no route with their policy, once all routes are looked at.
pub(super) fn unreached(cx: &mut Context<'_>) {
    for (place, pattern) in &cx.answers.used {
        let answered = cx.answers.of.get(place).map(Vec::as_slice).unwrap_or_default();
        let missing = || {
            answered
                .iter()
                .filter(|one| !cx.answers.reached.contains(&one.path))
        };
        let Some(first) = missing().next() else { continue };
        let paths: Vec<String> = missing().map(|one| format!("`{}`", one.path)).collect();
        let paths = paths.join(", ");
        let message = format!("no route with this policy matches {paths}, which it is to answer");
        let below = pattern.as_ref().map(beginning).unwrap_or_default();
        let mut help = "name it in `named_policies`, and use it on a route for that path as well".to_owned();
        if !below.is_empty() {
            help = format!(
                "write a path below the route's, such as `{below}{}`; or {help}",
                first.path
            );
        }
        cx.diagnostics
            .push(Diagnostic::warning(first.at.clone(), message).help(help));
    }
}

/// Where the policies of a route stand in the document.
fn places_of<'a>(config: &'a Config, name: &'a str, route: &'a Route) -> impl Iterator<Item = String> + 'a {
    let place = |entry: &PolicyEntry, list: String| match entry {
        PolicyEntry::Use(name) => format!("named_policies.{name}"),
        PolicyEntry::Inline { .. } => list,
    };
    let everywhere = config.policies.iter().enumerate();
    let everywhere = everywhere.map(move |(i, entry)| place(entry, format!("policies[{i}]")));
    let own = route.policies.iter().enumerate();
    everywhere.chain(own.map(move |(i, entry)| place(entry, format!("routes.{name}.policies[{i}]"))))
}

/// Whether a route of that pattern may be asked for the path. Regular expressions get the benefit of the doubt.
fn may_match(pattern: &PathPattern, path: &str) -> bool {
    let PathForm::Segments(segments) = pattern.form() else {
        return true;
    };
    let mut parts = path.trim_start_matches('/').split('/');
    for segment in segments {
        match (segment, parts.next()) {
            (Segment::Rest(_), _) => return true,
            (Segment::Literal(literal), Some(part)) if literal == part => {}
            (Segment::Param(_), Some(_)) => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// The part of a pattern that is the same for all its paths.
fn beginning(pattern: &PathPattern) -> String {
    let PathForm::Segments(segments) = pattern.form() else {
        return String::new();
    };
    let literals = segments.iter().map_while(|segment| match segment {
        Segment::Literal(literal) if !literal.is_empty() => Some(format!("/{literal}")),
        _ => None,
    });
    let text: String = literals.collect();
    // Below a path without an end is nothing.
    let is_open = matches!(segments.last(), Some(Segment::Rest(_)));
    if is_open { text } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_match_what_a_path_says() {
        let may = |pattern: &str, path: &str| may_match(&pattern.parse().unwrap(), path);
        assert!(may("/**", "/oauth2/callback") && may("/oauth2/{step}", "/oauth2/callback"));
        assert!(may("/shop/**", "/shop/callback") && may("/a", "/a"));
        assert!(!may("/shop/**", "/oauth2/callback") && !may("/a", "/a/b") && !may("/a/b", "/a"));
        let begins = |pattern: &str| beginning(&pattern.parse().unwrap());
        assert_eq!(
            (begins("/shop/**"), begins("/shop"), begins("/**")),
            ("/shop".into(), String::new(), String::new())
        );
    }
}
