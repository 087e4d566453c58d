//! YAML to values, strictly.
//!
//! YAML 1.2 with its core schema: `no` is a text, `0o17` a number. One document; keys are texts and stand
//! once; no aliases, merge keys or tags of one's own, so that what is written is what is meant and every
//! value has one place. Depth, size and the length of keys are bounded. `${env:NAME}` in a text is replaced
//! here, before anything has a type.

mod build;
mod environment;
mod scalar;

pub use environment::Environment;
pub use scalar::core_scalar;

use build::Builder;
use saphyr_parser::{Event, Parser, Span};
use serde_json::Value;
use std::collections::HashMap;

/// Largest text there may be, in bytes.
pub const LARGEST: usize = 16 << 20;

/// Deepest nesting there may be.
const DEEPEST: usize = 64;

/// After so many problems the rest is not looked at.
const MOST_PROBLEMS: usize = 100;

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters, at least 1.
    pub width: usize,
}

impl Spot {
    /// The first character.
    pub const START: Self = Self {
        line: 1,
        column: 1,
        width: 1,
    };

    fn of(span: Span) -> Self {
        let one_line = span.start.line() == span.end.line();
        // Beyond the line's end it is the renderer who cuts it.
        let width = if one_line { span.len().max(1) } else { usize::MAX };
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
            width,
        }
    }
}

/// Where a value is, and the key it stands under. In a list, both are the value's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: Spot,
    /// The value.
    pub value: Spot,
}

/// Where each path of a text is.
pub type Positions = HashMap<String, Found>;

/// Something in the text that is not as it should be, before anything has a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub path: String,
    /// What is wrong; what to write instead.
    pub message: String,
    /// Where.
    pub spot: Spot,
    /// Whether the value at this place is missing for it.
    pub no_value: bool,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The document; null if there is none.
    pub value: Value,
    /// What is wrong with the text.
    pub problems: Vec<Problem>,
    /// Whether the text is YAML to its end. If not, the value is only its beginning.
    pub complete: bool,
    /// Paths of values that came from the environment, and so may become what their field wants.
    pub from_environment: Vec<String>,
}

/// An item of a section, complete.
#[derive(Debug)]
pub struct Item<'a> {
    /// The section, as its index in [`Items::sections`].
    pub section: usize,
    /// The key the item stands under.
    pub name: &'a str,
    /// What stands there.
    pub value: Value,
    /// Paths in it that came from the environment.
    pub from_environment: Vec<String>,
}

/// Takes items of sections out of a document while it is being read, so that a large one is never in memory
/// whole. Where an item was, null stays.
pub struct Items<'a> {
    /// The sections items are taken from.
    pub sections: &'a [&'static str],
    /// Called with each item at its end, in the order of the text. What comes later in the text may still
    /// be wrong.
    pub take: &'a mut dyn FnMut(Item<'_>),
}

/// Reads a text. A byte order mark at its beginning is skipped.
pub fn parse(text: &str, environment: Environment<'_>) -> Parsed {
    finish(text, Builder::new(environment, None, None))
}

/// Reads a text and hands items out as soon as they are there.
pub fn parse_items<'a>(text: &str, environment: Environment<'a>, items: Items<'a>) -> Parsed {
    finish(text, Builder::new(environment, None, Some(items)))
}

fn finish(text: &str, mut builder: Builder<'_>) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let complete = run(text, &mut builder);
    let (value, problems, from_environment) = builder.finish();
    Parsed {
        value,
        problems,
        complete,
        from_environment,
    }
}

/// Where everything in the text is. Where the text is no YAML, positions end.
pub fn positions(text: &str) -> Positions {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new(&|_| Some(String::new()), Some(Positions::new()), None);
    run(text, &mut builder);
    builder.into_positions()
}

/// Feeds the builder; answers whether it came to the end.
fn run(text: &str, builder: &mut Builder<'_>) -> bool {
    if text.len() > LARGEST {
        builder.problem(
            Spot::START,
            format!("the file has {} bytes; the most is {LARGEST}", text.len()),
        );
        return false;
    }
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let mark = *error.marker();
                let spot = Spot {
                    line: mark.line().max(1),
                    column: mark.col() + 1,
                    width: 1,
                };
                let line = text.lines().nth(spot.line - 1).unwrap_or_default();
                builder.problem(spot, format!("not YAML: {}", explain(error.info(), line)));
                return false;
            }
        };
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    builder.problem(
                        Spot::of(span),
                        "a second document begins here; keep one document in a file",
                    );
                    return false;
                }
            }
            Event::Scalar(text, style, _, tag) => builder.scalar(text, style, tag.as_deref(), span),
            Event::MappingStart(_, tag) => builder.open(true, tag.as_deref(), span),
            Event::SequenceStart(_, tag) => builder.open(false, tag.as_deref(), span),
            Event::MappingEnd | Event::SequenceEnd => builder.close(),
            Event::Alias(_) => builder.alias(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        if builder.gave_up() {
            return false;
        }
    }
    true
}

/// The parser's words, and what to do about the commonest mistakes.
fn explain(info: &str, line: &str) -> String {
    let info = info.trim_end_matches('.');
    let advice = if line.contains("${") && info.contains("flow") {
        "; between `{` and `}`, put a text with `${…}` in quotes"
    } else if info.contains("tab") {
        "; indent with blanks"
    } else if info.contains("mapping values are not allowed") {
        "; put a text that has `: ` in quotes, and indent keys alike"
    } else if info.contains("did not find expected key")
        || info.contains("block collection")
        || info.contains("indent")
    {
        "; keys of one map begin in the same column"
    } else {
        ""
    };
    let mut chars = info.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    format!(
        "{}{}{advice}",
        first.map(String::from).unwrap_or_default(),
        chars.as_str()
    )
}

#[cfg(test)]
mod tests;
