//! Builds a value from the parser's events, without recursion, and notes where everything is if asked to.

use super::environment::{Environment, substitute};
use super::{DEEPEST, Found, Item, Items, MOST_PROBLEMS, Positions, Problem, Spot, core_scalar};
use saphyr_parser::{ScalarStyle, Span, Tag};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Write;

/// Longest key there may be, in bytes. Paths are made of keys.
const LONGEST_KEY: usize = 256;

pub(super) struct Builder<'e> {
    environment: Environment<'e>,
    stack: Vec<Frame>,
    root: Value,
    problems: Vec<Problem>,
    from_environment: Vec<String>,
    positions: Option<Positions>,
    items: Option<Items<'e>>,
    /// Set when going on makes no sense.
    stopped: bool,
}

/// A map or list that is not finished.
enum Frame {
    Map {
        map: Map<String, Value>,
        /// Lines of the keys so far, in order, to name the first of two.
        lines: Vec<usize>,
        /// The key whose value comes next.
        key: Option<Key>,
    },
    List {
        items: Vec<Value>,
    },
}

struct Key {
    text: String,
    spot: Spot,
    /// Why the value under it is not kept.
    refused: bool,
}

impl<'e> Builder<'e> {
    pub(super) fn new(
        environment: Environment<'e>,
        positions: Option<Positions>,
        items: Option<Items<'e>>,
    ) -> Self {
        Self {
            environment,
            stack: Vec::new(),
            root: Value::Null,
            problems: Vec::new(),
            from_environment: Vec::new(),
            positions,
            items,
            stopped: false,
        }
    }

    /// The value so far, what is wrong, and the paths that came from the environment.
    pub(super) fn finish(mut self) -> (Value, Vec<Problem>, Vec<String>) {
        while !self.stack.is_empty() {
            self.close();
        }
        (self.root, self.problems, self.from_environment)
    }

    pub(super) fn into_positions(self) -> Positions {
        self.positions.unwrap_or_default()
    }

    pub(super) fn gave_up(&self) -> bool {
        self.stopped || self.problems.len() >= MOST_PROBLEMS
    }

    pub(super) fn problem(&mut self, spot: Spot, message: impl Into<String>) {
        let problem = Problem {
            path: self.path(),
            message: message.into(),
            spot,
            no_value: false,
        };
        self.problems.push(problem);
    }

    /// A problem that leaves nothing to put where the value belongs.
    fn no_value(&mut self, spot: Spot, message: impl Into<String>) -> Value {
        let problem = Problem {
            path: self.path(),
            message: message.into(),
            spot,
            no_value: true,
        };
        self.problems.push(problem);
        Value::Null
    }

    pub(super) fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, span: Span) {
        let spot = Spot::of(span);
        if self.wants_key() {
            return self.key(text, spot);
        }
        self.note(spot);
        let plain = style == ScalarStyle::Plain;
        let value = match substitute(&text, self.environment) {
            // From the environment everything is a text; who reads it knows what the field wants.
            Ok(Some(text)) => {
                let path = self.path();
                self.from_environment.push(path);
                Value::String(text)
            }
            Ok(None) => match tag {
                None if plain => core_scalar(&text),
                None => Value::String(text.into_owned()),
                Some(tag) => self.tagged(tag, &text, plain, spot),
            },
            Err(message) => self.no_value(spot, message),
        };
        self.put(value);
    }

    /// A scalar with a tag: those of the core schema are known, if the text fits.
    fn tagged(&mut self, tag: &Tag, text: &str, plain: bool, spot: Spot) -> Value {
        let value = if plain {
            core_scalar(text)
        } else {
            Value::String(text.to_owned())
        };
        let fits = match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
            (true, "str") => return Value::String(text.to_owned()),
            (true, "int") => value.is_i64() || value.is_u64(),
            (true, "float") => value.is_number(),
            (true, "bool") => value.is_boolean(),
            (true, "null") => value.is_null(),
            _ => {
                return self.no_value(spot, format!("unknown tag `{tag}`; write the value without it"));
            }
        };
        if fits {
            return value;
        }
        self.no_value(
            spot,
            format!(
                "`{text}` is not what its tag says; write it without `!!{}`",
                tag.suffix
            ),
        )
    }

    pub(super) fn open(&mut self, map: bool, tag: Option<&Tag>, span: Span) {
        let spot = Spot {
            width: 1,
            ..Spot::of(span)
        };
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            self.problem(spot, format!("unknown tag `{tag}`; write the value without it"));
        }
        if self.wants_key() {
            self.problem(spot, "a key is a list or map here; expected a text, and quotes around one that begins with `{` or `[`");
            self.stopped = true;
            return;
        }
        if self.stack.len() >= DEEPEST {
            self.problem(spot, format!("nested too deep; the most is {DEEPEST} levels"));
            self.stopped = true;
            return;
        }
        self.note(spot);
        self.stack.push(if map {
            Frame::Map {
                map: Map::new(),
                lines: Vec::new(),
                key: None,
            }
        } else {
            Frame::List { items: Vec::new() }
        });
    }

    pub(super) fn close(&mut self) {
        match self.stack.pop() {
            Some(Frame::Map { map, .. }) => self.put(Value::Object(map)),
            Some(Frame::List { items }) => self.put(Value::Array(items)),
            None => {}
        }
    }

    pub(super) fn alias(&mut self, span: Span) {
        let spot = Spot::of(span);
        let advice =
            "write the value again; policies that repeat go to `named_policies` and are called with `use`";
        let message = format!("an alias stands for a value here; {advice}");
        if self.wants_key() {
            self.problem(spot, message);
            self.stopped = true;
            return;
        }
        self.note(spot);
        let value = self.no_value(spot, message);
        self.put(value);
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: None, .. }))
    }

    fn key(&mut self, text: Cow<'_, str>, spot: Spot) {
        let Some(Frame::Map { map, lines, .. }) = self.stack.last() else {
            return;
        };
        let trouble = if map.contains_key(text.as_ref()) {
            let first = map
                .keys()
                .position(|known| *known == text)
                .and_then(|at| lines.get(at))
                .copied();
            Some(format!(
                "`{text}` is written twice; the first is in line {}",
                first.unwrap_or_default()
            ))
        } else if text.is_empty() {
            Some("a key is empty; expected a name before the `:`".to_owned())
        } else if text.len() > LONGEST_KEY {
            Some(format!(
                "a key has {} bytes; the most is {LONGEST_KEY}",
                text.len()
            ))
        } else {
            None
        };
        let refused = trouble.is_some();
        if let Some(Frame::Map { key, .. }) = self.stack.last_mut() {
            let text = if text.len() > LONGEST_KEY {
                String::new()
            } else {
                text.into_owned()
            };
            *key = Some(Key { text, spot, refused });
        }
        if let Some(message) = trouble {
            self.problem(spot, message);
        }
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, value: Value) {
        let value = self.hand_out(value);
        match self.stack.last_mut() {
            None => self.root = value,
            Some(Frame::List { items }) => items.push(value),
            Some(Frame::Map { map, lines, key }) => {
                if let Some(key) = key.take().filter(|key| !key.refused) {
                    lines.push(key.spot.line);
                    map.insert(key.text, value);
                }
            }
        }
    }

    /// Hands out a finished item, if it is one that is wanted; what is left is kept in its place.
    fn hand_out(&mut self, value: Value) -> Value {
        let [
            Frame::Map {
                key: Some(section), ..
            },
            Frame::Map { key: Some(item), .. },
        ] = self.stack.as_slice()
        else {
            return value;
        };
        let Some(items) = &mut self.items else {
            return value;
        };
        let known = items.sections.iter().position(|known| *known == section.text);
        match known.filter(|_| !section.refused && !item.refused) {
            None => value,
            Some(section) => {
                (items.take)(Item {
                    section,
                    name: &item.text,
                    value,
                    from_environment: std::mem::take(&mut self.from_environment),
                });
                Value::Null
            }
        }
    }

    /// Notes where the value that begins now is. Of two with the same key, the first counts.
    fn note(&mut self, value: Spot) {
        if self.positions.is_none() {
            return;
        }
        let key = match self.stack.last() {
            Some(Frame::Map { key: Some(key), .. }) => key.spot,
            _ => value,
        };
        let path = self.path();
        if let Some(positions) = &mut self.positions {
            positions.entry(path).or_insert(Found { key, value });
        }
    }

    /// The path of the value that comes next or is being built.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match frame {
                Frame::List { items } => {
                    let _ = write!(path, "[{}]", items.len());
                }
                Frame::Map { key: Some(key), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key.text);
                }
                Frame::Map { key: None, .. } => {}
            }
        }
        path
    }
}
