//! Why no route answers a request: worked out only after the search has failed.
//!
//! Hides nothing behind a wrong reason: 405 only if some rule fits but for the method, a version is unknown only if
//! some rule fits but for the version, and everything else is 404. A refused path explains itself.

use super::path::Captures;
use super::table::{Search, Table};
use super::version::Source;
use crate::http::normalize::Refusal;

/// Why no route answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss<'t> {
    /// No rule fits: 404.
    NotFound,
    /// Rules fit but for the method: 405.
    MethodNotAllowed {
        /// The methods they take, sorted: the value of `Allow`. `HEAD` is among them when `GET` is, since routes for
        /// `GET` answer it; `OPTIONS` only if a route takes it.
        allow: Vec<&'t str>,
    },
    /// Rules fit but for the version, which a header names, or nothing does: 400.
    VersionUnknown {
        /// The version asked for first.
        given: Option<String>,
        /// The versions there are, sorted.
        known: Vec<&'t str>,
    },
    /// Rules fit but for the version, and the client accepts nothing else: 406.
    NotAcceptable {
        /// The versions there are, sorted.
        known: Vec<&'t str>,
    },
    /// The path is one no upstream should see, or one the route refuses: 400.
    Refused(Refusal),
}

impl Table {
    /// Judges all rules that cover host and path, after none was found.
    pub(super) fn miss<'t>(&'t self, search: &Search<'_>) -> Miss<'t> {
        let mut allow = Vec::new();
        let mut known = Vec::new();
        self.walk(search.query, &mut Captures::default(), |_, rule| {
            if search.may_take(rule) && rule.predicates.hold(search.query) {
                let choices = (0..).map_while(|at| search.wanted().choice(at));
                match rule.version.as_deref() {
                    Some(version)
                        if !choices
                            .into_iter()
                            .any(|wanted| wanted.eq_ignore_ascii_case(version)) =>
                    {
                        known.push(version);
                    }
                    _ => allow.extend(rule.predicates.methods.names()),
                }
            }
            None::<()>
        });
        for list in [&mut allow, &mut known] {
            list.sort_unstable();
            list.dedup();
        }
        match (allow.is_empty(), known.is_empty()) {
            (false, _) => Miss::MethodNotAllowed { allow },
            (true, true) => Miss::NotFound,
            (true, false) if search.wanted().source == Source::Accept => Miss::NotAcceptable { known },
            (true, false) => Miss::VersionUnknown {
                given: search.wanted().choice(0).map(str::to_owned),
                known,
            },
        }
    }
}
