//! Rules to table: compiles what is written, sorts by precedence, and lays out the tree.
//!
//! Nothing here runs while requests are served. Everything that is wrong is reported at once.

use super::index::narrow;
use super::path::{self, MAX_CAPTURES, MAX_SEGMENTS};
use super::predicate::{Methods, Named, Predicates, REGEX_SIZE};
use super::table::{BELOW, Compiled, EXACT, Entry, HostRoutes, RegexRoutes, Table};
use super::version::Versions;
use crate::config::types::{HostPattern, PathForm, PathPattern, Segment, ValueMatch};
use crate::config::{Match, Paths};
use crate::http::normalize::Form;
use gatehouse_http1::Method;
use indexmap::IndexMap;
use regex::{Regex, RegexBuilder};
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::ops::Range;

/// A route's conditions, as given to [`Table::build`].
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// What [`super::Found`] names the rule by.
    pub id: usize,
    /// The route's name; the last thing that decides about precedence.
    pub name: String,
    /// What a request must be like.
    pub matches: Match,
    /// What slashes in the path mean: the route's own setting, else that of the document.
    pub paths: Paths,
}

/// What keeps a rule from being compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// The rule's id.
    pub rule: usize,
    /// The rule's name.
    pub name: String,
    /// Where, below the route's `match`: `path`, `headers.x-tenant`.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl Table {
    /// Compiles and orders all rules. Each is taken, compiled and gone before the next, as they are large.
    ///
    /// # Errors
    /// All rules that cannot be compiled, in the order given.
    pub fn build(rules: impl IntoIterator<Item = Rule>, versions: Versions) -> Result<Self, Vec<BuildError>> {
        let rules = rules.into_iter();
        let mut errors = Vec::new();
        let mut regexes = HashMap::new();
        let mut compiled = Vec::with_capacity(rules.size_hint().0);
        let mut hosts_of = Vec::with_capacity(rules.size_hint().0);
        for mut rule in rules {
            check_path(&rule, &mut regexes, &mut errors);
            hosts_of.push(std::mem::take(&mut rule.matches.hosts));
            compiled.push(compile(rule, &regexes, &mut errors));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let forms = compiled
            .iter()
            .fold(0, |bits, rule: &Compiled| bits | rule.form.bit());
        let mut table = Self {
            rules: compiled,
            versions,
            forms,
            ..Self::default()
        };
        table.sort(hosts_of);
        table.lay_out(&regexes);
        Ok(table)
    }

    /// Makes one entry for each rule and host, and brings all into the order of precedence.
    fn sort(&mut self, hosts_of: Vec<Vec<HostPattern>>) {
        let mut pairs = Vec::with_capacity(hosts_of.len());
        for (rule, mut hosts) in (0..).zip(hosts_of) {
            if hosts.is_empty() {
                hosts.push(HostPattern::Any);
            }
            hosts.sort_unstable();
            hosts.dedup();
            pairs.extend(hosts.into_iter().map(|host| (host, rule)));
        }
        // Both rules exist: the numbers were counted above.
        pairs.sort_by(|(host, rule), (other_host, other)| {
            compare_hosts(host, other_host)
                .then_with(|| compare_rules(&self.rules[*rule as usize], &self.rules[*other as usize]))
        });
        for (pattern, rule) in pairs {
            if self.hosts.last().is_none_or(|last| last.pattern != pattern) {
                self.add_host(pattern);
            }
            self.entries.push(Entry {
                rule,
                host: narrow(self.hosts.len() - 1),
            });
        }
    }

    fn add_host(&mut self, pattern: HostPattern) {
        let at = narrow(self.hosts.len());
        match &pattern {
            HostPattern::Any => self.any_host = Some(at),
            HostPattern::Exact(name) => self.host_index.insert(EXACT, name.as_bytes(), at),
            HostPattern::Below(parent) => {
                self.has_wildcards = true;
                self.host_index.insert(BELOW, parent.as_bytes(), at);
            }
        }
        self.hosts.push(HostRoutes {
            pattern,
            root: None,
            regexes: Vec::new(),
            any_path: 0..0,
        });
    }

    /// Gives each entry its place: in the tree, under its regular expression, or among those for any path.
    fn lay_out(&mut self, regexes: &HashMap<String, Regex>) {
        for (rank, entry) in (0..).zip(&self.entries) {
            // Both were numbered by `sort`.
            let host = &mut self.hosts[entry.host as usize];
            let rule = &self.rules[entry.rule as usize];
            match kind(rule.path.as_ref()) {
                PathKind::Any => extend(&mut host.any_path, rank),
                PathKind::Segments(segments) => {
                    let root = *host.root.get_or_insert_with(|| self.tree.add_root());
                    self.tree.insert(root, segments, rank);
                }
                PathKind::Regex(text) => {
                    match host.regexes.last_mut().filter(|last| last.regex.as_str() == text) {
                        Some(last) => extend(&mut last.entries, rank),
                        None => host.regexes.extend(regexes.get(text).map(|regex| RegexRoutes {
                            regex: regex.clone(),
                            literal: literal_beginning(text).to_owned(),
                            captures: regex.capture_names().flatten().next().is_some(),
                            entries: rank..rank + 1,
                        })),
                    }
                }
            }
        }
    }
}

/// Adds the next rank to a range of neighbours.
fn extend(range: &mut Range<u32>, rank: u32) {
    if range.start == range.end {
        range.start = rank;
    }
    range.end = rank + 1;
}

fn compile(rule: Rule, regexes: &HashMap<String, Regex>, errors: &mut Vec<BuildError>) -> Compiled {
    let Rule {
        id,
        name,
        matches,
        paths,
    } = rule;
    let mut methods = Vec::with_capacity(matches.methods.len());
    for (at, written) in matches.methods.iter().enumerate() {
        match Method::parse(written) {
            Some(method) => methods.push(method),
            None => errors.push(BuildError {
                rule: id,
                name: name.clone(),
                field: format!("methods[{at}]"),
                message: format!("`{written}` is no method; expected such as `GET`"),
            }),
        }
    }
    let mut named = |section: &str, conditions: &IndexMap<String, ValueMatch>| {
        let mut compiled = Vec::with_capacity(conditions.len());
        for (key, condition) in conditions {
            match Named::new(key, condition) {
                Ok(named) => compiled.push(named),
                Err(message) => errors.push(BuildError {
                    rule: id,
                    name: name.clone(),
                    field: format!("{section}.{key}"),
                    message,
                }),
            }
        }
        compiled
    };
    let predicates = Predicates {
        methods: Methods::new(&methods),
        headers: named("headers", &matches.headers),
        query: named("query", &matches.query),
        cookies: named("cookies", &matches.cookies),
        client: matches.client,
        listeners: matches.listeners,
        names_head: methods.contains(&Method::Head),
    };
    Compiled {
        id,
        name,
        takes_all: matches.path.is_none(),
        captures: matches
            .path
            .as_ref()
            .map_or_else(Vec::new, |path| capture_names(path, regexes)),
        path: matches.path,
        predicates,
        version: matches.version,
        form: Form::of(&paths),
        paths,
    }
}

/// The names of captures in the order in which they are kept.
fn capture_names(path: &PathPattern, regexes: &HashMap<String, Regex>) -> Vec<String> {
    match path.form() {
        PathForm::Segments(_) => path.captures().into_iter().map(str::to_owned).collect(),
        PathForm::Regex(text) => {
            let names = regexes
                .get(text)
                .into_iter()
                .flat_map(|regex| regex.capture_names().flatten());
            names.map(str::to_owned).collect()
        }
    }
}

/// Checks the bounds of a path, and compiles its regular expression unless another rule has the same.
fn check_path(rule: &Rule, regexes: &mut HashMap<String, Regex>, errors: &mut Vec<BuildError>) {
    let Some(path) = &rule.matches.path else { return };
    let error = |message| BuildError {
        rule: rule.id,
        name: rule.name.clone(),
        field: "path".to_owned(),
        message,
    };
    match path.form() {
        PathForm::Segments(segments) if segments.len() > MAX_SEGMENTS => {
            let count = segments.len();
            errors.push(error(format!(
                "`{path}` has {count} segments; at most {MAX_SEGMENTS} are compared"
            )));
        }
        PathForm::Segments(_) => {}
        PathForm::Regex(text) => {
            if !regexes.contains_key(text) {
                match RegexBuilder::new(text).size_limit(REGEX_SIZE).build() {
                    Ok(regex) => {
                        regexes.insert(text.clone(), regex);
                    }
                    Err(problem) => errors.push(error(problem.to_string())),
                }
            }
        }
    }
    // A `/**` without a name is kept like a capture.
    let captures = capture_names(path, regexes).len() + 1;
    if captures > MAX_CAPTURES {
        let most = MAX_CAPTURES - 1;
        errors.push(error(format!(
            "`{path}` has {captures} captures; at most {most} are kept"
        )));
    }
}

/// How a path is looked up.
enum PathKind<'a> {
    Segments(&'a [Segment]),
    Regex(&'a str),
    /// None given, or `/**`.
    Any,
}

fn kind(path: Option<&PathPattern>) -> PathKind<'_> {
    match path.map(PathPattern::form) {
        None => PathKind::Any,
        Some(PathForm::Regex(text)) => PathKind::Regex(text),
        Some(PathForm::Segments(segments)) => match segments.as_slice() {
            [Segment::Rest(_)] => PathKind::Any,
            segments => PathKind::Segments(segments),
        },
    }
}

fn compare_hosts(one: &HostPattern, other: &HostPattern) -> Ordering {
    let key = |host: &HostPattern| match host {
        HostPattern::Exact(_) => (0, Reverse(0)),
        HostPattern::Below(parent) => (1, Reverse(parent.len())),
        HostPattern::Any => (2, Reverse(0)),
    };
    key(one).cmp(&key(other)).then_with(|| one.cmp(other))
}

/// The rows of the table in `route`, from the path down.
fn compare_rules(one: &Compiled, other: &Compiled) -> Ordering {
    let key = |rule: &Compiled| {
        let predicates = &rule.predicates;
        let headers = predicates.weight() + usize::from(rule.version.is_some());
        (
            predicates.methods.is_any(),
            Reverse(headers),
            Reverse(predicates.query.len()),
            !predicates.names_head,
        )
    };
    compare_paths(one.path.as_ref(), other.path.as_ref())
        .then_with(|| key(one).cmp(&key(other)))
        .then_with(|| one.name.as_bytes().cmp(other.name.as_bytes()))
        .then_with(|| one.id.cmp(&other.id))
}

fn compare_paths(one: Option<&PathPattern>, other: Option<&PathPattern>) -> Ordering {
    let rank = |kind: &PathKind<'_>| match kind {
        PathKind::Segments(_) => 0,
        PathKind::Regex(_) => 1,
        PathKind::Any => 2,
    };
    match (kind(one), kind(other)) {
        (PathKind::Segments(a), PathKind::Segments(b)) => path::compare(a, b),
        (PathKind::Regex(a), PathKind::Regex(b)) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
        (a, b) => rank(&a).cmp(&rank(&b)),
    }
}

/// Text with which every match begins and that stands at the start of the path. Errs on the side of less.
fn literal_beginning(regex: &str) -> &str {
    let Some(rest) = regex.strip_prefix('^').filter(|_| !regex.contains('|')) else {
        return "";
    };
    let len = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"/_-~%".contains(byte))
        .count();
    // `ab?` and `ab*` do without the `b`.
    let kept = match rest.as_bytes().get(len) {
        Some(b'?' | b'*' | b'{') => len.saturating_sub(1),
        _ => len,
    };
    rest.get(..kept).unwrap_or_default()
}

#[cfg(test)]
mod tests;
