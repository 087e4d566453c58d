//! What types cannot say about a document: references, exclusive fields, names.
//!
//! Kinds of policies are not known here; their settings are looked at when the plan is compiled. Parts in
//! which something is wrong already are not judged by what they lack, so that one mistake is told once.

mod http3;
mod listener;
mod regex;
mod route;
mod tls;
mod upstream;
mod upstream_tls;

pub use regex::{REGEX_SIZE, compile_regex};

use super::diagnostic::{Diagnostic, Diagnostics, closest, list};
use super::types::Span;
use super::{Config, PolicyEntry, is_token};
use indexmap::IndexMap;
use std::collections::HashSet;
use std::fmt::Display;

/// Parts of a document that had something wrong when they got their types, such as `routes.orders`. Some are
/// not in the document at all, but still are no names of nothing.
#[derive(Debug, Default, Clone)]
pub struct Broken(HashSet<String>);

impl Broken {
    /// Adds a part.
    pub fn add(&mut self, path: String) {
        self.0.insert(path);
    }

    /// Whether this part had something wrong.
    pub(super) fn has(&self, path: &str) -> bool {
        !self.0.is_empty() && self.0.contains(path)
    }

    fn names<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter_map(move |path| path.strip_prefix(section)?.strip_prefix('.'))
    }
}

/// Adds everything that types could not refuse.
pub fn check(config: &Config, broken: &Broken, out: &mut Diagnostics) {
    let mut check = Check { config, broken, out };
    check.names();
    check.listeners();
    check.sections();
    check.policies("policies", &config.policies);
    check.named_policies();
    check.routes();
    check.upstreams();
}

/// What is wrong with a name of something in the document, if anything is.
pub(crate) fn name_fault(kind: &str, name: &str) -> Option<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(legal) {
        return None;
    }
    Some(format!(
        "{kind} `{name}` has a name with other than letters, digits, `_` and `-`, or more than 64"
    ))
}

struct Check<'a> {
    config: &'a Config,
    broken: &'a Broken,
    out: &'a mut Diagnostics,
}

impl<'a> Check<'a> {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.out.push(Diagnostic::error(path, message));
    }

    /// An error whose message has two halves.
    fn halves(&mut self, path: impl Into<String>, message: impl AsRef<str>) {
        self.out.push(Diagnostic::halves(path, message.as_ref()));
    }

    /// Names are parts of paths, labels and file names, so they are plain.
    fn names(&mut self) {
        let config = self.config;
        self.section_names("consumers", "consumer", &config.consumers);
        self.section_names("stores", "store", &config.stores);
        self.section_names("listeners", "listener", &config.listeners);
        self.section_names("named_policies", "named policy", &config.named_policies);
        self.section_names("routes", "route", &config.routes);
        self.section_names("upstreams", "upstream", &config.upstreams);
    }

    fn section_names<T>(&mut self, section: &'a str, kind: &str, items: &'a IndexMap<String, T>) {
        let broken = self.broken;
        let gone = broken.names(section).filter(|name| !items.contains_key(*name));
        for name in items.keys().map(String::as_str).chain(gone) {
            if let Some(message) = name_fault(kind, name) {
                let diagnostic = Diagnostic::error(format!("{section}.{name}"), message).at_key();
                self.out.push(diagnostic.hint("expected such as `orders_v2`"));
            }
        }
    }

    /// An error unless the name is there. `who` and `does` begin the sentence.
    fn refers<T>(
        &mut self,
        path: &str,
        sentence: &str,
        section: &'a str,
        items: &'a IndexMap<String, T>,
        name: &str,
    ) {
        let broken = self.broken;
        if items.contains_key(name) || broken.has(&format!("{section}.{name}")) {
            return;
        }
        let gone = broken.names(section).filter(|name| !items.contains_key(*name));
        let known: Vec<&str> = items.keys().map(String::as_str).chain(gone).collect();
        let what = section.replace('_', " ");
        let help = match known.as_slice() {
            [] => format!("there are no {what}"),
            known => format!("{what} are {}", list(known.iter().copied())),
        };
        let mut diagnostic =
            Diagnostic::error(path, format!("{sentence} `{name}`, which does not exist")).help(help);
        if let Some(guess) = closest(name, known.iter().copied()) {
            diagnostic = diagnostic.hint(format!("did you mean `{guess}`?"));
        }
        self.out.push(diagnostic);
    }

    fn policies(&mut self, path: &str, policies: &[PolicyEntry]) {
        for (index, entry) in policies.iter().enumerate() {
            if let PolicyEntry::Use(name) = entry {
                let path = format!("{path}[{index}].use");
                self.refers(
                    &path,
                    "uses the named policy",
                    "named_policies",
                    &self.config.named_policies,
                    name,
                );
            }
        }
    }

    fn named_policies(&mut self) {
        for (name, entry) in &self.config.named_policies {
            if let PolicyEntry::Use(other) = entry {
                let message = format!("named policy `{name}` uses `{other}`; write the policy itself here");
                self.halves(format!("named_policies.{name}.use"), message);
            }
        }
    }

    fn longer_than_nothing<const N: usize>(&mut self, path: &str, spans: [(&str, Span); N]) {
        for (name, span) in spans {
            if span.is_zero() {
                self.halves(
                    format!("{path}.{name}"),
                    format!("`{name}` is `0s`; expected more, since nothing would ever succeed"),
                );
            }
        }
    }

    fn in_range<T: PartialOrd + Display + Copy>(
        &mut self,
        path: &str,
        name: &str,
        value: T,
        least: T,
        most: T,
    ) {
        if value < least || value > most {
            self.halves(
                format!("{path}.{name}"),
                format!("`{name}` is `{value}`; expected from `{least}` to `{most}`"),
            );
        }
    }

    fn token(&mut self, path: String, what: &str, name: &str) {
        if !is_token(name) {
            self.halves(
                path,
                format!(
                    "`{}` is not the name of a {what}; expected letters, digits and such as `-`",
                    name.escape_debug()
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
