//! From the path as received to a route and the form of the path that is forwarded.
//!
//! Almost every path has one form, and is looked up once. Where slashes are doubled or escaped, each route has its own
//! idea of the path: the path is written in every form some route is matched in, a route matches in its own form only,
//! and the best by the ordinary order wins. What was matched is what is forwarded.

use super::miss::Miss;
use super::path::Captures;
use super::table::{Found, Query, Search, Table};
use crate::http::normalize::{self, Form, Refusal, Shape};

impl Table {
    /// Finds the route for a path as received; [`Found::path`] is its normal form where that differs.
    /// `captures` are ranges of the normal form.
    ///
    /// # Errors
    /// Why no route answers; [`Miss::Refused`] when the path is one that no upstream, or not this route's, should see.
    pub fn resolve<'t>(&'t self, query: &Query<'_>, captures: &mut Captures) -> Result<Found<'t>, Miss<'t>> {
        match normalize::shape(query.path) {
            Shape::Normal => self.find(query, captures),
            Shape::Plain => {
                let mut path = String::new();
                normalize::write(query.path, Form::ALL[0], &mut path).map_err(Miss::Refused)?;
                let found = self.find(
                    &Query {
                        path: &path,
                        ..*query
                    },
                    captures,
                )?;
                Ok(Found {
                    path: Some(path).filter(|path| path != query.path),
                    ..found
                })
            }
            Shape::Slashes => self.resolve_slashes(query, captures),
        }
    }

    /// Tries every form; a refusal by the winner is final, since trying the next route would let the request choose.
    fn resolve_slashes<'t>(
        &'t self,
        query: &Query<'_>,
        captures: &mut Captures,
    ) -> Result<Found<'t>, Miss<'t>> {
        let mut best = None;
        let mut best_rank = u32::MAX;
        let mut misses = Misses::default();
        for form in Form::ALL.into_iter().filter(|form| self.forms & form.bit() != 0) {
            let mut path = String::new();
            let facts = match normalize::write(query.path, form, &mut path) {
                Ok(facts) => facts,
                Err(refusal) => {
                    misses.refused.get_or_insert(refusal);
                    continue;
                }
            };
            let query = Query {
                path: &path,
                ..*query
            };
            let search = Search::new(&self.versions, &query, Some(form));
            let mut captured = Captures::default();
            match self.search(&search, &mut captured) {
                Some((rank, found)) if rank < best_rank => {
                    best_rank = rank;
                    *captures = captured;
                    best = Some((
                        facts,
                        Found {
                            path: Some(path),
                            ..found
                        },
                    ));
                }
                Some(_) => {}
                None => misses.add(self.miss(&search)),
            }
        }
        let Some((facts, found)) = best else {
            return Err(misses.into_miss());
        };
        if let Some(rule) = self
            .entries
            .get(best_rank as usize)
            .and_then(|entry| self.rules.get(entry.rule as usize))
        {
            facts.check(&rule.paths).map_err(Miss::Refused)?;
        }
        Ok(Found {
            path: found.path.filter(|path| path != query.path),
            ..found
        })
    }
}

/// The reasons of several forms. The most telling is given: a refused path before a wrong method before a version.
#[derive(Default)]
struct Misses<'t> {
    refused: Option<Refusal>,
    method: Option<Vec<&'t str>>,
    other: Option<Miss<'t>>,
}

impl<'t> Misses<'t> {
    fn add(&mut self, miss: Miss<'t>) {
        match miss {
            Miss::MethodNotAllowed { allow } => self.method.get_or_insert_default().extend(allow),
            Miss::NotFound => {}
            miss => self.other = self.other.take().or(Some(miss)),
        }
    }

    fn into_miss(self) -> Miss<'t> {
        if let Some(refusal) = self.refused {
            return Miss::Refused(refusal);
        }
        if let Some(mut allow) = self.method {
            allow.sort_unstable();
            allow.dedup();
            return Miss::MethodNotAllowed { allow };
        }
        self.other.unwrap_or(Miss::NotFound)
    }
}

#[cfg(test)]
mod tests;
