//! The routing table: hosts, then the path tree, then predicates; the first entry in the order of precedence wins.
//!
//! All entries stand in one vector in that order (see the table in `route`), so an entry's position is its rank, each
//! path pattern owns a range of it, and printing the order is printing the vector. Built once, then only read; finding
//! a route allocates nothing unless a regular expression captures or a query must be decoded.

use super::host;
use super::index::Index;
use super::miss::Miss;
use super::path::{Captures, Tree};
use super::predicate::Predicates;
use super::version::{Versions, Wanted};
use crate::config::Paths;
use crate::config::types::{HostPattern, PathPattern};
use crate::http::normalize::Form;
use gatehouse_http1::{Headers, Method};
use regex::Regex;
use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::ops::Range;

/// What of a request routes are chosen by.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The authority as sent: case, port and a final dot do not matter. Empty if there was none.
    pub host: &'a str,
    /// The path; [`Table::find`] wants it in normal form, [`Table::resolve`] takes it as received.
    pub path: &'a str,
    /// What stands after the `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// All header fields.
    pub headers: &'a Headers,
    /// Who calls, as found through trusted proxies.
    pub client: IpAddr,
    /// The name of the listener the request came in by.
    pub listener: &'a str,
}

/// A route that answers, and what choosing it was based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'t> {
    /// The rule's id, as given to [`Table::build`].
    pub rule: usize,
    /// The version the route was matched by, if it is matched by version.
    pub version: Option<&'t str>,
    /// Whether the version the request asks for was looked at: then the answer varies by [`Versions::vary`].
    pub versioned: bool,
    /// The path to use from here on, where it is not the one that was asked about.
    pub path: Option<String>,
}

/// All routes in the order in which they are tried.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) rules: Vec<Compiled>,
    /// In order of precedence; positions are ranks.
    pub(super) entries: Vec<Entry>,
    pub(super) hosts: Vec<HostRoutes>,
    pub(super) host_index: Index,
    /// Routes for any host, and for requests without one.
    pub(super) any_host: Option<u32>,
    pub(super) has_wildcards: bool,
    pub(super) tree: Tree,
    pub(super) versions: Versions,
    /// The forms of paths that some rule is matched in, as bits of [`Form`].
    pub(super) forms: u8,
}

/// The scope of names in the index of hosts, and that of what stands after `*.`.
pub(super) const EXACT: u32 = 0;
pub(super) const BELOW: u32 = 1;

/// One rule under one host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) rule: u32,
    pub(super) host: u32,
}

/// The routes of one host pattern.
#[derive(Debug)]
pub(super) struct HostRoutes {
    pub(super) pattern: HostPattern,
    /// The root of its path tree, unless all its paths are regular expressions or open.
    pub(super) root: Option<u32>,
    pub(super) regexes: Vec<RegexRoutes>,
    /// Entries that take any path.
    pub(super) any_path: Range<u32>,
}

/// The entries under one regular expression.
#[derive(Debug)]
pub(super) struct RegexRoutes {
    pub(super) regex: Regex,
    /// Text every match begins with; spares most runs of the expression.
    pub(super) literal: String,
    pub(super) captures: bool,
    pub(super) entries: Range<u32>,
}

/// A rule as it is asked.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) id: usize,
    pub(super) name: String,
    pub(super) path: Option<PathPattern>,
    /// The names of what the path captures.
    pub(super) captures: Vec<String>,
    pub(super) predicates: Predicates,
    pub(super) version: Option<String>,
    pub(super) paths: Paths,
    pub(super) form: Form,
    /// Takes requests whose target is no path, such as `*`.
    pub(super) takes_all: bool,
}

/// One line of the computed order; see [`Table::explain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'t> {
    /// The rule's id.
    pub rule: usize,
    /// The rule's name.
    pub name: &'t str,
    /// The host pattern; `*` for any.
    pub host: String,
    /// The path pattern; none for any.
    pub path: Option<&'t str>,
    /// The methods, sorted; empty for all.
    pub methods: Vec<&'t str>,
    /// Conditions that count as header fields: headers, cookies, client, listeners, version.
    pub headers: usize,
    /// Conditions on the query.
    pub query: usize,
    /// The version it is matched by.
    pub version: Option<&'t str>,
}

/// A search under way: the question, and what is worked out on demand.
pub(super) struct Search<'q> {
    pub(super) query: &'q Query<'q>,
    /// Only rules that are matched in this form; all if the path is the same in every form.
    pub(super) form: Option<Form>,
    versions: &'q Versions,
    wanted: OnceCell<Wanted<'q>>,
    choice: Cell<usize>,
}

impl<'q> Search<'q> {
    pub(super) fn new(versions: &'q Versions, query: &'q Query<'q>, form: Option<Form>) -> Self {
        Self {
            query,
            form,
            versions,
            wanted: OnceCell::new(),
            choice: Cell::new(0),
        }
    }

    /// What the request asks for; looking at it makes the answer vary by it.
    pub(super) fn wanted(&self) -> &Wanted<'q> {
        self.wanted
            .get_or_init(|| self.versions.wanted(self.query.headers))
    }

    fn is_version(&self, version: &str) -> bool {
        self.wanted()
            .choice(self.choice.get())
            .is_some_and(|wanted| wanted.eq_ignore_ascii_case(version))
    }

    /// Goes on to the next version the client would take; false if there is none or none was looked at.
    fn next_version(&self) -> bool {
        let next = self.choice.get() + 1;
        self.choice.set(next);
        self.wanted
            .get()
            .is_some_and(|wanted| wanted.choice(next).is_some())
    }

    fn fits(&self, rule: &Compiled) -> bool {
        self.may_take(rule)
            && rule.predicates.methods.allow(self.query.method)
            && rule.predicates.hold(self.query)
            && rule
                .version
                .as_deref()
                .is_none_or(|version| self.is_version(version))
    }

    /// Whether the rule is matched in the form of the path at hand.
    pub(super) fn may_take(&self, rule: &Compiled) -> bool {
        self.form.is_none_or(|form| form == rule.form)
    }
}

impl Table {
    /// Finds the route for a path in normal form that is the same for every route.
    ///
    /// # Errors
    /// Why no route answers.
    pub fn find<'t>(&'t self, query: &Query<'_>, captures: &mut Captures) -> Result<Found<'t>, Miss<'t>> {
        let search = Search::new(&self.versions, query, None);
        match self.search(&search, captures) {
            Some((_, found)) => Ok(found),
            None => Err(self.miss(&search)),
        }
    }

    /// The names of what the rule's path captures, in the order of [`Captures`].
    pub fn capture_names(&self, rule: usize) -> &[String] {
        // Ids are most often positions.
        let at_its_place = self.rules.get(rule).filter(|compiled| compiled.id == rule);
        let found = at_its_place.or_else(|| self.rules.iter().find(|compiled| compiled.id == rule));
        found.map_or(&[], |compiled| compiled.captures.as_slice())
    }

    /// The settings of versions the table was built with.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// All rules in the order in which they are tried, once for each of their hosts.
    pub fn explain(&self) -> impl Iterator<Item = Row<'_>> {
        self.entries.iter().filter_map(|entry| {
            let rule = self.rules.get(entry.rule as usize)?;
            let host = self.hosts.get(entry.host as usize)?;
            let mut methods: Vec<_> = rule.predicates.methods.names().collect();
            methods.sort_unstable();
            Some(Row {
                rule: rule.id,
                name: &rule.name,
                host: host.pattern.to_string(),
                path: rule.path.as_ref().map(PathPattern::as_str),
                methods,
                headers: rule.predicates.weight() + usize::from(rule.version.is_some()),
                query: rule.predicates.query.len(),
                version: rule.version.as_deref(),
            })
        })
    }

    /// The best entry and its rank.
    pub(super) fn search(&self, search: &Search<'_>, captures: &mut Captures) -> Option<(u32, Found<'_>)> {
        loop {
            let found = self.walk(search.query, captures, |rank, rule| {
                search.fits(rule).then_some((rank, rule))
            });
            if let Some((rank, rule)) = found {
                let version = rule.version.as_deref();
                let versioned = search.wanted.get().is_some();
                return Some((
                    rank,
                    Found {
                        rule: rule.id,
                        version,
                        versioned,
                        path: None,
                    },
                ));
            }
            if !search.next_version() {
                return None;
            }
        }
    }

    /// Calls `visit` with each entry whose host and path cover the request, in order, until it gives something.
    pub(super) fn walk<'t, T>(
        &'t self,
        query: &Query<'_>,
        captures: &mut Captures,
        mut visit: impl FnMut(u32, &'t Compiled) -> Option<T>,
    ) -> Option<T> {
        if self.host_index.is_empty() {
            return self.walk_host(self.any_host?, query.path, captures, &mut visit);
        }
        let mut buffer = [0; 255];
        let host = host::canonical(query.host, &mut buffer);
        if let Some(routes) = self.host_index.get(EXACT, host.as_bytes())
            && let Some(found) = self.walk_host(routes, query.path, captures, &mut visit)
        {
            return Some(found);
        }
        if self.has_wildcards {
            for parent in host::parents(host) {
                if let Some(routes) = self.host_index.get(BELOW, parent.as_bytes())
                    && let Some(found) = self.walk_host(routes, query.path, captures, &mut visit)
                {
                    return Some(found);
                }
            }
        }
        self.walk_host(self.any_host?, query.path, captures, &mut visit)
    }

    fn walk_host<'t, T>(
        &'t self,
        routes: u32,
        path: &str,
        captures: &mut Captures,
        visit: &mut impl FnMut(u32, &'t Compiled) -> Option<T>,
    ) -> Option<T> {
        let routes = self.hosts.get(routes as usize)?;
        if let Some(root) = routes.root {
            let found = self
                .tree
                .walk(root, path, captures, |entries| self.among(entries, visit));
            if found.is_some() {
                return found;
            }
        }
        captures.clear();
        for candidate in &routes.regexes {
            if path.starts_with(&candidate.literal)
                && candidate.regex.is_match(path)
                && let Some(found) = self.among(candidate.entries.clone(), visit)
            {
                if candidate.captures {
                    capture(&candidate.regex, path, captures);
                }
                return Some(found);
            }
        }
        let is_path = path.starts_with('/');
        let found = self.among(routes.any_path.clone(), &mut |rank, rule| {
            if is_path || rule.takes_all {
                visit(rank, rule)
            } else {
                None
            }
        });
        if found.is_some() && is_path {
            captures.push(1..path.len());
        }
        found
    }

    fn among<'t, T>(
        &'t self,
        entries: Range<u32>,
        visit: &mut impl FnMut(u32, &'t Compiled) -> Option<T>,
    ) -> Option<T> {
        let listed = self.entries.get(entries.start as usize..entries.end as usize)?;
        entries
            .zip(listed)
            .find_map(|(rank, entry)| visit(rank, self.rules.get(entry.rule as usize)?))
    }
}

/// Keeps the named groups of the first match; one that took no part is empty.
fn capture(regex: &Regex, path: &str, captures: &mut Captures) {
    let Some(groups) = regex.captures(path) else {
        return;
    };
    for (at, name) in regex.capture_names().enumerate() {
        if name.is_some() {
            captures.push(groups.get(at).map_or(0..0, |group| group.range()));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
