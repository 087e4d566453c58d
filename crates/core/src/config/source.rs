//! The texts a document came from, and where in them each path is.
//!
//! Positions are worked out the first time one is asked for: a good document never pays for them.

use super::diagnostic::Place;
use super::yaml;
use std::cell::OnceCell;
use std::collections::HashMap;

/// One text, with the name it is shown by.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    text: String,
    positions: OnceCell<yaml::Positions>,
    lines: OnceCell<Vec<usize>>,
}

impl Source {
    /// A text and its name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            positions: OnceCell::new(),
            lines: OnceCell::new(),
        }
    }

    /// The name it is shown by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the path is: its key or its value. A path that is not in the text is where the nearest thing
    /// around it is.
    pub fn place(&self, path: &str, at_key: bool) -> Place {
        let positions = self.positions.get_or_init(|| yaml::positions(&self.text));
        let (mut path, mut at_key) = (path, at_key);
        let spot = loop {
            if let Some(found) = positions.get(path) {
                break if at_key { found.key } else { found.value };
            }
            let Some(end) = path.rfind(['.', '[']) else {
                break positions.get("").map_or(yaml::Spot::START, |found| found.value);
            };
            path = path.get(..end).unwrap_or_default();
            // What is missing is missing below this key.
            at_key = true;
        };
        self.place_of(spot)
    }

    /// A spot of this text, cut to its line.
    pub(crate) fn place_of(&self, spot: yaml::Spot) -> Place {
        // The parser counts blanks after a value to it, and values of several lines go on.
        let rest = self
            .line(spot.line)
            .unwrap_or_default()
            .chars()
            .skip(spot.column.saturating_sub(1));
        let marked: String = rest.take(spot.width).collect();
        let width = marked.trim_end().chars().count().max(1);
        Place {
            file: self.name.clone(),
            line: spot.line,
            column: spot.column,
            width,
        }
    }

    /// A line of the text, by its number from 1.
    fn line(&self, number: usize) -> Option<&str> {
        let starts = self.lines.get_or_init(|| {
            std::iter::once(0)
                .chain(memchr::memchr_iter(b'\n', self.text.as_bytes()).map(|at| at + 1))
                .collect()
        });
        let start = *starts.get(number.checked_sub(1)?)?;
        self.text.get(start..)?.lines().next()
    }
}

/// All texts of a document: the main one first, then those it includes.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
    /// Which file an item of a section came from, such as `routes.orders`. The others are in the main one.
    owners: HashMap<String, usize>,
}

impl Sources {
    /// Adds a text and answers its number.
    pub fn add(&mut self, source: Source) -> usize {
        self.files.push(source);
        self.files.len() - 1
    }

    /// Says which text an item such as `routes.orders` is in.
    pub fn own(&mut self, item: String, file: usize) {
        self.owners.insert(item, file);
    }

    /// The texts, the main one first.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// Where a path is. None if there are no texts, as for a configuration that was made by a program.
    pub fn place(&self, path: &str, at_key: bool) -> Option<Place> {
        self.place_in(self.owner(path), path, at_key)
    }

    /// Where a path is in this text.
    pub fn place_in(&self, file: usize, path: &str, at_key: bool) -> Option<Place> {
        self.files.get(file).map(|source| source.place(path, at_key))
    }

    fn owner(&self, path: &str) -> usize {
        if self.owners.is_empty() {
            return 0;
        }
        // Names of sections and items have neither dots nor brackets.
        let item_end = path
            .match_indices(['.', '['])
            .nth(1)
            .map_or(path.len(), |(at, _)| at);
        path.get(..item_end)
            .and_then(|item| self.owners.get(item))
            .copied()
            .unwrap_or(0)
    }

    /// A line of a text, by the text's name and the number from 1.
    pub(crate) fn line(&self, file: &str, number: usize) -> Option<&str> {
        self.files
            .iter()
            .find(|source| source.name == file)
            .and_then(|source| source.line(number))
    }

    /// The order of the texts, for sorting.
    pub(crate) fn rank(&self, file: &str) -> usize {
        self.files
            .iter()
            .position(|source| source.name == file)
            .unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_paths_and_what_is_around_them() {
        let text = "# a comment\nroutes:\n  a:\n    match: { path: /x, hosts: [ é.example, \"b\" ] }\n    policies:\n      - cors: {}\n      - rate_limit:\n          limt: 1\nlast: |\n  text\n";
        let source = Source::new("f", text);
        let cases = [
            ("routes", true, (2, 1, 6)),
            ("routes", false, (3, 3, 1)),
            ("routes.a", true, (3, 3, 1)),
            ("routes.a.match", false, (4, 12, 1)),
            ("routes.a.match.path", true, (4, 14, 4)),
            ("routes.a.match.path", false, (4, 20, 2)),
            ("routes.a.match.hosts[1]", false, (4, 44, 3)),
            ("routes.a.policies[1].rate_limit.limt", true, (8, 11, 4)),
            ("routes.a.policies[1].rate_limit.limt", false, (8, 17, 1)),
            ("routes.a.policies[0].cors", true, (6, 9, 4)),
            ("routes.a.forward", false, (3, 3, 1)),
            ("routes.a.match.hosts[7]", false, (4, 24, 5)),
            ("nothing", false, (2, 1, 1)),
            ("", false, (2, 1, 1)),
        ];
        for (path, at_key, expected) in cases {
            let place = source.place(path, at_key);
            assert_eq!((place.line, place.column, place.width), expected, "{path}");
        }
    }

    #[test]
    fn items_are_in_the_file_that_owns_them() {
        let mut sources = Sources::default();
        sources.add(Source::new("main", "routes:\n  a: {}\n"));
        let team = sources.add(Source::new("team", "# team\nroutes:\n  b: {}\n"));
        sources.own("routes.b".into(), team);
        let show = |path| {
            sources
                .place(path, true)
                .map(|place| format!("{}:{}", place.file, place.line))
        };
        assert_eq!(show("routes.a").as_deref(), Some("main:2"));
        assert_eq!(show("routes.b.forward").as_deref(), Some("team:3"));
        assert_eq!(show("client").as_deref(), Some("main:1"));
        assert_eq!(Sources::default().place("a", true), None);
    }
}
