//! What is wrong with a document: told to the person who wrote it, all at once.
//!
//! A [`Diagnostic`] is a pure value that says where by path. [`Sources`] turns paths into files, lines and
//! columns, and has the text for excerpts. Rendering, for people or as JSON, is here and nowhere else.

use super::source::Sources;
use serde_json::{Value, json};
use std::fmt::Write;

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// The document can be used, but probably does not do what was meant.
    Warning,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Where in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 when only the file is known.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters to mark, at least 1.
    pub width: usize,
}

/// One thing that is wrong or doubtful.
///
/// Messages are in lower case, without a final full stop, with names in backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// What it is about, such as `routes.orders.policies[1].rate_limit.limt`. Empty: the whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead, in a few words: shown below the excerpt.
    pub hint: Option<String>,
    /// What to do about it, in a sentence.
    pub help: Option<String>,
    /// Points at the key and not at the value.
    pub at_key: bool,
    /// Where it is, once it was looked up.
    pub place: Option<Place>,
}

impl Diagnostic {
    /// Something that makes the document useless.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, path.into(), message.into())
    }

    /// Something doubtful.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, path.into(), message.into())
    }

    /// An error from a message in two halves, `what is wrong; what to write instead`.
    pub fn halves(path: impl Into<String>, message: &str) -> Self {
        match message.split_once("; ") {
            Some((what, instead)) => Self::error(path, what).hint(instead),
            None => Self::error(path, message),
        }
    }

    fn new(severity: Severity, path: String, message: String) -> Self {
        Self {
            severity,
            path,
            message,
            hint: None,
            help: None,
            at_key: false,
            place: None,
        }
    }

    /// Says what to write instead.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Points at the key and not at the value.
    #[must_use]
    pub fn at_key(self) -> Self {
        Self { at_key: true, ..self }
    }

    /// The diagnostic for people: what, where, an excerpt, what to do. Ends with a line end.
    pub fn render(&self, sources: &Sources) -> String {
        let mut out = format!("{}: {}\n", self.severity.as_str(), self.message);
        let mut indent = 1;
        if let Some(place) = &self.place {
            if place.line == 0 {
                let _ = writeln!(out, "  --> {}", place.file);
            } else {
                let _ = writeln!(out, "  --> {}:{}:{}", place.file, place.line, place.column);
                indent = self.excerpt(place, sources, &mut out);
            }
        } else if let Some(hint) = &self.hint {
            let _ = writeln!(out, "   = {hint}");
        }
        let indent = " ".repeat(indent.max(1) + 1);
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{indent} = help: {help}");
        } else if let Some((parent, _)) = self.path.rsplit_once('.') {
            let _ = writeln!(out, "{indent} = at {parent}");
        }
        out
    }

    /// Appends the line with carets below, and answers how wide its number is.
    fn excerpt(&self, place: &Place, sources: &Sources, out: &mut String) -> usize {
        let Some(line) = sources.line(&place.file, place.line) else {
            return 1;
        };
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        // A tab is shown as one blank, so that the carets stand where they should.
        let line: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(LONGEST_LINE)
            .collect();
        let before = " ".repeat(place.column.saturating_sub(1).min(LONGEST_LINE));
        let room = line
            .chars()
            .count()
            .saturating_sub(place.column.saturating_sub(1))
            .max(1);
        let carets = "^".repeat(place.width.clamp(1, room));
        let hint = self.hint.as_deref().unwrap_or_default();
        let _ = writeln!(out, " {gutter} |\n {number} | {}", line.trim_end());
        let _ = writeln!(
            out,
            " {gutter} | {}",
            format!("{before}{carets} {hint}").trim_end()
        );
        number.len()
    }

    /// The diagnostic for programs.
    pub fn to_json(&self) -> Value {
        let place = self.place.as_ref();
        let at = |number: fn(&Place) -> usize| place.map(number).filter(|n| *n > 0);
        json!({
            "severity": self.severity.as_str(),
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
            "help": self.help,
            "file": place.map(|place| &place.file),
            "line": at(|place| place.line),
            "column": at(|place| if place.line == 0 { 0 } else { place.column }),
        })
    }
}

/// Longest piece of a line that an excerpt shows.
const LONGEST_LINE: usize = 400;

/// All that is wrong with a document, in the order it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds several.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(more);
    }

    /// Keeps those for which the condition holds.
    pub fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.0.retain(keep);
    }

    /// Keeps only so many, those that came first.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Whether the document cannot be used.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each in turn.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Says where those from this number on are, if they do not know it.
    pub(crate) fn place_from(&mut self, first: usize, place: Option<&Place>) {
        for diagnostic in self.0.iter_mut().skip(first) {
            if diagnostic.place.is_none() {
                diagnostic.place = place.cloned();
            }
        }
    }

    /// Looks up where those are that do not know it yet, then sorts by file, line and column.
    pub fn locate(&mut self, sources: &Sources) {
        for diagnostic in &mut self.0 {
            if diagnostic.place.is_none() {
                diagnostic.place = sources.place(&diagnostic.path, diagnostic.at_key);
            }
        }
        self.0.sort_by_cached_key(|diagnostic| {
            let place = diagnostic.place.as_ref();
            (
                place.map(|place| (sources.rank(&place.file), place.line, place.column)),
                diagnostic.severity,
            )
        });
    }

    /// All of them for people, with an empty line between two.
    pub fn render(&self, sources: &Sources) -> String {
        self.0
            .iter()
            .map(|diagnostic| diagnostic.render(sources))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// All of them for programs.
    pub fn to_json(&self) -> Value {
        self.0.iter().map(Diagnostic::to_json).collect()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The known word that is closest to this one, if it is close enough to be meant.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    let folded = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|known| {
            (
                strsim::osa_distance(&folded, &known.to_ascii_lowercase().replace('-', "_")),
                known,
            )
        })
        .filter(|(distance, known)| *distance <= limit && *distance < known.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Names in backticks with commas between; a long list ends early.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 16;
    let mut names = names.into_iter();
    let shown: Vec<_> = names
        .by_ref()
        .take(MOST)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.count();
    let shown = shown.join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;

    fn sources() -> Sources {
        let text = "listeners:\n  main: { address: 0.0.0.0:8080 }\nroutes:\n  orders:\n    policies:\n      - rate_limit:\n          limt: 100\n";
        let mut sources = Sources::default();
        sources.add(Source::new("gatehouse.yaml", text));
        sources
    }

    fn render(diagnostic: Diagnostic) -> String {
        let (sources, mut all) = (sources(), Diagnostics::default());
        all.push(diagnostic);
        all.locate(&sources);
        all.render(&sources)
    }

    #[test]
    fn shows_an_excerpt_with_carets() {
        let diagnostic = Diagnostic::error(
            "routes.orders.policies[0].rate_limit.limt",
            "unknown field `limt` in `rate_limit`",
        );
        let expected = "\
error: unknown field `limt` in `rate_limit`
  --> gatehouse.yaml:7:11
   |
 7 |           limt: 100
   |           ^^^^ did you mean `limit`?
   = at routes.orders.policies[0].rate_limit
";
        assert_eq!(
            render(diagnostic.at_key().hint("did you mean `limit`?")),
            expected
        );
    }

    #[test]
    fn help_takes_the_place_of_the_path() {
        let diagnostic =
            Diagnostic::warning("listeners.main.address", "something about `main`").help("do something");
        let expected = "\
warning: something about `main`
  --> gatehouse.yaml:2:20
   |
 2 |   main: { address: 0.0.0.0:8080 }
   |                    ^^^^^^^^^^^^
   = help: do something
";
        assert_eq!(render(diagnostic), expected);
    }

    #[test]
    fn json_has_all_of_it() {
        let sources = sources();
        let mut all = Diagnostics::default();
        all.push(Diagnostic::error("routes.orders", "a").hint("b"));
        all.locate(&sources);
        let expected = json!([{ "severity": "error", "path": "routes.orders", "message": "a", "hint": "b", "help": null,
            "file": "gatehouse.yaml", "line": 5, "column": 5 }]);
        assert_eq!(all.to_json(), expected);
    }

    #[test]
    fn guesses_only_when_close() {
        let known = ["limit", "window", "key", "strip_prefix"];
        let cases = [
            ("limt", Some("limit")),
            ("Limit", Some("limit")),
            ("strip-prefix", Some("strip_prefix")),
            ("colour", None),
            ("x", None),
            ("", None),
        ];
        for (word, guess) in cases {
            assert_eq!(closest(word, known), guess, "{word}");
        }
        assert_eq!(list(["a", "b"]), "`a`, `b`");
    }
}
