//! Warnings about callers that nobody is: groups and tiers that no consumer has.

use std::collections::HashSet;

use serde_json::Value;

use crate::config::{Config, Diagnostic, PolicyEntry};

/// Settings that say something of who calls, whatever kind of policy has them.
const OF_CALLERS: [&str; 5] = ["scopes", "roles", "groups", "consumers", "claims"];

/// Whether these settings judge who calls, and not only the request.
pub(super) fn judged(settings: &Value) -> bool {
    match settings {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| OF_CALLERS.contains(&name.as_str()) || judged(value)),
        Value::Array(items) => items.iter().any(judged),
        Value::String(text) => {
            let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            words.any(|word| matches!(word, "consumer" | "identity" | "claims"))
        }
        _ => false,
    }
}

/// The first setting with a template that names who calls, by its path, and the variable.
pub(super) fn named(settings: &Value) -> Option<(String, &str)> {
    let (path, variable) = named_below(settings)?;
    Some((path.trim_start_matches('.').to_owned(), variable))
}

fn named_below(settings: &Value) -> Option<(String, &str)> {
    let below = |at: String, value| {
        let (path, variable) = named_below(value)?;
        Some((format!("{at}{path}"), variable))
    };
    match settings {
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, value)| below(format!(".{name}"), value)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(i, value)| below(format!("[{i}]"), value)),
        Value::String(text) => {
            let variables = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
            let mut names = variables.map(|(name, _)| name);
            let found = names.find(|name| {
                let (first, _) = name.split_once('.').unwrap_or((name, ""));
                matches!(first, "consumer" | "identity" | "claims")
            });
            found.map(|name| (String::new(), name))
        }
        _ => None,
    }
}

/// Groups and tiers that policies name and no consumer has. Only if all consumers are in the document.
pub(super) fn nobody(config: &Config, out: &mut Vec<Diagnostic>) {
    if config.consumers.is_empty() || config.consumers_from.is_some() {
        return;
    }
    let consumers = config.consumers.values();
    let groups: HashSet<&str> = consumers
        .clone()
        .flat_map(|consumer| consumer.groups.iter().map(String::as_str))
        .collect();
    let tiers: HashSet<&str> = consumers
        .filter_map(|consumer| consumer.tier.as_deref())
        .collect();
    let known = Known { groups, tiers };
    let lists = config
        .routes
        .iter()
        .map(|(name, route)| (format!("routes.{name}.policies"), &route.policies));
    let lists = [("policies".to_owned(), &config.policies)]
        .into_iter()
        .chain(lists);
    for (path, policies) in lists {
        for (i, entry) in policies.iter().enumerate() {
            if let PolicyEntry::Inline { kind, settings } = entry {
                known.look(&format!("{path}[{i}].{kind}"), settings, out);
            }
        }
    }
    for (name, entry) in &config.named_policies {
        if let PolicyEntry::Inline { kind, settings } = entry {
            known.look(&format!("named_policies.{name}.{kind}"), settings, out);
        }
    }
}

struct Known<'a> {
    groups: HashSet<&'a str>,
    tiers: HashSet<&'a str>,
}

impl Known<'_> {
    fn look(&self, path: &str, settings: &Value, out: &mut Vec<Diagnostic>) {
        for list in ["any", "all"] {
            let names = settings.get("groups").and_then(|groups| groups.get(list));
            for name in names.and_then(Value::as_array).into_iter().flatten() {
                if let Some(name) = name.as_str().filter(|name| !self.groups.contains(name)) {
                    let message = format!("no consumer is in the group `{name}`");
                    out.push(Diagnostic::warning(format!("{path}.groups.{list}"), message));
                }
            }
        }
        // Where a tier comes from elsewhere, it may have any name.
        let tiers = settings.get("tiers").filter(|_| settings.get("tier").is_none());
        for name in tiers
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|tiers| tiers.keys())
        {
            if !self.tiers.contains(name.as_str()) && !self.groups.contains(name.as_str()) {
                let message = format!("no consumer has the tier `{name}`, or is in a group of that name");
                out.push(Diagnostic::warning(format!("{path}.tiers.{name}"), message).at_key());
            }
        }
    }
}
