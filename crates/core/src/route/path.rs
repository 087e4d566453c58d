//! The path tree: finds every pattern that covers a path, the most specific first, without allocating.
//!
//! Patterns are cut at slashes. A node stands for the segments before it and has literal children (in one shared
//! [`Index`]), at most one child for `{param}`, and two places where patterns end: exactly here, or here and below
//! (`/**`). One `Tree` holds one such tree for each host, all in the same vectors.
//!
//! A walk visits a node at most once, since a node belongs to one sequence of segments: backtracking is bounded by the
//! size of the configuration, whatever the path. Regular expressions are not here; see `table.rs`.

use super::index::{Index, narrow};
use crate::config::types::Segment;
use std::cmp::Ordering;
use std::ops::Range;

/// The most captures one pattern may have.
pub const MAX_CAPTURES: usize = 16;

/// The most segments one pattern may have; it bounds the depth of a walk.
pub const MAX_SEGMENTS: usize = 64;

/// Where the captures of the matched pattern lie in the path, in the order of the pattern.
#[derive(Debug, Clone, Copy, Default)]
pub struct Captures {
    spans: [(u32, u32); MAX_CAPTURES],
    len: u8,
}

impl Captures {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// How many there are. A `/**` counts as one even where the pattern gives it no name.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The capture at this position as a range of the matched path.
    pub fn range(&self, at: usize) -> Option<Range<usize>> {
        let (start, end) = *self.spans.get(at).filter(|_| at < self.len())?;
        Some(start as usize..end as usize)
    }

    /// The capture at this position; `path` is the path that was matched.
    pub fn text<'p>(&self, at: usize, path: &'p str) -> Option<&'p str> {
        path.get(self.range(at)?)
    }

    /// Adds one; ignored when full, which patterns within [`MAX_CAPTURES`] never are.
    pub(super) fn push(&mut self, range: Range<usize>) {
        if let Some(span) = self.spans.get_mut(usize::from(self.len)) {
            *span = (narrow(range.start), narrow(range.end));
            self.len += 1;
        }
    }

    fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }
}

/// Trees of path patterns in flat vectors. What a pattern leads to is a range of numbers, given in order of precedence.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    literals: Index,
}

#[derive(Debug, Clone)]
struct Node {
    /// Patterns that end here.
    exact: Range<u32>,
    /// Patterns that cover this place and everything below.
    below: Range<u32>,
    /// The child for `{param}`.
    param: Option<u32>,
    /// Whether there are literal children.
    has_literals: bool,
}

impl Tree {
    /// Starts a tree and gives its root.
    pub(super) fn add_root(&mut self) -> u32 {
        self.nodes.push(Node {
            exact: 0..0,
            below: 0..0,
            param: None,
            has_literals: false,
        });
        narrow(self.nodes.len() - 1)
    }

    /// Puts one entry under a pattern. Entries come in ascending order, those of one pattern in a row.
    pub(super) fn insert(&mut self, root: u32, segments: &[Segment], entry: u32) {
        let mut node = root;
        let mut below = false;
        for segment in segments {
            match segment {
                Segment::Literal(text) => node = self.literal_child(node, text),
                Segment::Param(_) => node = self.param_child(node),
                Segment::Rest(_) => below = true,
            }
        }
        let Some(node) = self.nodes.get_mut(node as usize) else {
            return;
        };
        let place = if below { &mut node.below } else { &mut node.exact };
        if place.start == place.end {
            *place = entry..entry;
        }
        debug_assert_eq!(place.end, entry, "entries of one pattern must be neighbours");
        place.end = entry + 1;
    }

    fn literal_child(&mut self, node: u32, text: &str) -> u32 {
        if let Some(child) = self.literals.get(node, text.as_bytes()) {
            return child;
        }
        let child = self.add_root();
        self.literals.insert(node, text.as_bytes(), child);
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.has_literals = true;
        }
        child
    }

    fn param_child(&mut self, node: u32) -> u32 {
        if let Some(child) = self.nodes.get(node as usize).and_then(|node| node.param) {
            return child;
        }
        let child = self.add_root();
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.param = Some(child);
        }
        child
    }

    /// Calls `visit` with the entries of each pattern that covers `path`, the most specific first, until it gives
    /// something. `captures` then holds what that pattern captured, and is empty otherwise.
    pub(super) fn walk<T>(
        &self,
        root: u32,
        path: &str,
        captures: &mut Captures,
        mut visit: impl FnMut(Range<u32>) -> Option<T>,
    ) -> Option<T> {
        captures.clear();
        if !path.starts_with('/') {
            return None;
        }
        Walk {
            tree: self,
            path,
            captures,
            visit: &mut visit,
        }
        .step(root, 0)
    }
}

struct Walk<'a, F> {
    tree: &'a Tree,
    path: &'a str,
    captures: &'a mut Captures,
    visit: &'a mut F,
}

impl<F> Walk<'_, F> {
    /// `at` is where the slash before the next segment stands, or the end of the path.
    fn step<T>(&mut self, id: u32, at: usize) -> Option<T>
    where
        F: FnMut(Range<u32>) -> Option<T>,
    {
        let node = self.tree.nodes.get(id as usize)?;
        let start = at + 1;
        let Some(rest) = self.path.as_bytes().get(start..) else {
            let found = if node.exact.start == node.exact.end {
                None
            } else {
                (self.visit)(node.exact.clone())
            };
            return found.or_else(|| self.below(&node.below, at));
        };
        if node.has_literals || node.param.is_some() {
            // Segments are short: a plain loop beats `memchr`.
            let len = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            if node.has_literals
                && let Some(child) = self.tree.literals.get(id, rest.get(..len).unwrap_or_default())
                && let Some(found) = self.step(child, start + len)
            {
                return Some(found);
            }
            if let (Some(child), 1..) = (node.param, len) {
                self.captures.push(start..start + len);
                if let Some(found) = self.step(child, start + len) {
                    return Some(found);
                }
                self.captures.pop();
            }
        }
        self.below(&node.below, start)
    }

    /// The patterns that cover all from `start` on.
    fn below<T>(&mut self, entries: &Range<u32>, start: usize) -> Option<T>
    where
        F: FnMut(Range<u32>) -> Option<T>,
    {
        if entries.start == entries.end {
            return None;
        }
        self.captures.push(start..self.path.len());
        let found = (self.visit)(entries.clone());
        if found.is_none() {
            self.captures.pop();
        }
        found
    }
}

/// Orders two patterns as a walk meets them: the more specific of two that cover the same path comes first.
///
/// The first segment in which they differ decides: a pattern that ends comes first, then literals, `{param}`, and last
/// `/**`. Names of captures do not count.
pub(super) fn compare(one: &[Segment], other: &[Segment]) -> Ordering {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::Param(_) => 1,
        Segment::Rest(_) => 2,
    };
    for (a, b) in one.iter().zip(other) {
        let order = match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => a.cmp(b),
            _ => rank(a).cmp(&rank(b)),
        };
        if order.is_ne() {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

#[cfg(test)]
mod tests;
