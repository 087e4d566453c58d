//! Sets, adds, renames and removes parameters of the query that is sent on.

use std::borrow::Cow;
use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage, Step};
use gatehouse_core::route::decode;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Rendered;

/// Sets, adds, renames and removes parameters of the query that is sent on.
///
/// The edits are made in this order, however they are written: `keep`, `remove`, `rename`, `default`, `set`, `add`. Names are
/// compared decoded, as forms are read: `+` is a space and `%41` is `A`. What is written is percent-encoded, so
/// that no value can begin another parameter; parameters that are not edited stay as they were sent, byte for byte and in
/// their order. Values may have variables, such as `${consumer.name}`, worked out before the first edit. A query without
/// any parameter left is not sent.
///
/// In the policies of a route, the route was chosen by the query as it came in; in `policies`, it is chosen by the
/// edited one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Names of the only parameters that stay. Empty: all stay.
    pub keep: Vec<String>,
    /// Names of parameters to remove.
    pub remove: Vec<String>,
    /// Names to change, from old to new; values stay. Any of the new name before are removed.
    pub rename: IndexMap<String, String>,
    /// Parameters to set only if there is none of that name.
    pub default: IndexMap<String, Template>,
    /// Parameters to set: the first of that name is replaced, others of it are removed.
    pub set: IndexMap<String, Template>,
    /// Parameters to add at the end, beside any of that name.
    pub add: IndexMap<String, Template>,
}

impl PolicyConfig for Query {
    const NAME: &'static str = "query";
    const STAGE: Stage = Stage::Transform;
    const EXAMPLE: &'static str =
        "remove: [debug]\nrename: { q: search }\nset: { caller: \"${consumer.name}\" }\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let maps = [("default", &self.default), ("set", &self.set), ("add", &self.add)];
        let named = maps
            .iter()
            .flat_map(|(field, map)| map.keys().map(move |name| (*field, name)));
        let renamed = self
            .rename
            .iter()
            .flat_map(|(old, new)| [("rename", old), ("rename", new)]);
        let listed = self.remove.iter().map(|name| ("remove", name));
        let kept = self.keep.iter().map(|name| ("keep", name));
        for (field, name) in named.chain(renamed).chain(listed).chain(kept) {
            if name.is_empty() {
                return Err(cx.error(field, "a parameter without a name cannot be edited"));
            }
        }
        Ok(Arc::new(Editor::new(&self)))
    }
}

struct Editor {
    keep: Box<[Box<str>]>,
    remove: Box<[Box<str>]>,
    rename: Box<[(Box<str>, Name)]>,
    /// All others, in the order in which they are made.
    edits: Box<[Edit]>,
}

/// The name of a parameter, and how it is written.
struct Name {
    name: Box<str>,
    written: Box<str>,
}

/// A parameter and what is done with it.
struct Edit {
    way: Way,
    name: Name,
    value: Value,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Default,
    Set,
    Add,
}

enum Value {
    /// `=` and the value as it is written.
    Written(Box<str>),
    Template(Template),
}

/// One parameter: as it is written, up to the `=` and from there on, and its name decoded.
#[derive(Clone)]
struct Pair<'q> {
    start: &'q str,
    rest: &'q str,
    name: Cow<'q, [u8]>,
}

impl<'q> Pair<'q> {
    fn read(text: &'q str) -> Self {
        let (start, rest) = text.split_at(text.find('=').unwrap_or(text.len()));
        Self {
            start,
            rest,
            name: decode(start),
        }
    }

    fn new(name: &'q Name, rest: &'q str) -> Self {
        Self {
            start: &name.written,
            rest,
            name: Cow::Borrowed(name.name.as_bytes()),
        }
    }

    fn is(&self, name: &str) -> bool {
        *self.name == *name.as_bytes()
    }
}

impl Name {
    fn new(name: &str) -> Self {
        let mut written = String::with_capacity(name.len());
        encode(name.as_bytes(), &mut written);
        Self {
            name: name.into(),
            written: written.into(),
        }
    }
}

/// `=` and a value as it is written.
fn written(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len() + 1);
    out.push('=');
    encode(value, &mut out);
    out
}

impl Editor {
    fn new(config: &Query) -> Self {
        let maps = [
            (Way::Default, &config.default),
            (Way::Set, &config.set),
            (Way::Add, &config.add),
        ];
        let named = maps
            .into_iter()
            .flat_map(|(way, map)| map.iter().map(move |named| (way, named)));
        let edits = named.map(|(way, (name, value))| Edit {
            way,
            name: Name::new(name),
            value: match value.literal() {
                Some(text) => Value::Written(written(text.as_bytes()).into()),
                None => Value::Template(value.clone()),
            },
        });
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let rename = config.rename.iter();
        Self {
            keep: names(&config.keep),
            remove: names(&config.remove),
            rename: rename
                .map(|(old, new)| (old.as_str().into(), Name::new(new)))
                .collect(),
            edits: edits.collect(),
        }
    }

    /// The values that have variables as they are written, before anything is changed.
    fn render(&self, ex: &Exchange) -> Vec<String> {
        let templates = self.edits.iter().filter_map(|edit| match &edit.value {
            Value::Written(_) => None,
            Value::Template(template) => Some(template),
        });
        Rendered::of(templates, ex).values().map(written).collect()
    }

    fn edit(&self, query: &str, rendered: &[String]) -> String {
        let mut pairs: Vec<Pair<'_>> = Vec::with_capacity(16);
        let read = query.split('&').filter(|pair| !pair.is_empty()).map(Pair::read);
        pairs.extend(read.filter(|pair| {
            (self.keep.is_empty() || self.keep.iter().any(|name| pair.is(name)))
                && !self.remove.iter().any(|name| pair.is(name))
        }));
        for (old, new) in &self.rename {
            if pairs.iter().any(|pair| pair.is(old)) {
                pairs.retain(|pair| !pair.is(&new.name) || pair.is(old));
                for pair in pairs.iter_mut().filter(|pair| pair.is(old)) {
                    *pair = Pair::new(new, pair.rest);
                }
            }
        }
        let mut rendered = rendered.iter();
        for Edit { way, name, value } in &self.edits {
            let rest = match value {
                Value::Written(rest) => rest,
                Value::Template(_) => rendered.next().map_or("=", String::as_str),
            };
            let first = match way {
                Way::Add => None,
                Way::Default | Way::Set => pairs.iter().position(|pair| pair.is(&name.name)),
            };
            match (way, first) {
                (_, None) => pairs.push(Pair::new(name, rest)),
                (Way::Set, Some(first)) => {
                    let mut place = 0..;
                    pairs.retain(|pair| place.next() == Some(first) || !pair.is(&name.name));
                    if let Some(pair) = pairs.get_mut(first) {
                        *pair = Pair::new(name, rest);
                    }
                }
                (Way::Default | Way::Add, Some(_)) => {}
            }
        }
        let length = pairs.iter().map(|pair| pair.start.len() + pair.rest.len() + 1);
        let mut out = String::with_capacity(length.sum());
        for pair in &pairs {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(pair.start);
            out.push_str(pair.rest);
        }
        out
    }
}

/// A query without some parameters and with others, as a service asks for them: none, if nothing is left.
pub(crate) fn edited(query: &str, unset: &[String], set: &[(String, String)]) -> Option<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(Pair::read);
    let is_edited =
        |pair: &Pair<'_>| unset.iter().any(|name| pair.is(name)) || set.iter().any(|(name, _)| pair.is(name));
    let kept = pairs
        .filter(|pair| !is_edited(pair))
        .map(|pair| [pair.start, pair.rest].concat());
    let set = set.iter().filter(|(name, _)| !name.is_empty());
    let set = set.map(|(name, value)| format!("{}{}", Name::new(name).written, written(value.as_bytes())));
    let all: Vec<String> = kept.chain(set).collect();
    (!all.is_empty()).then(|| all.join("&"))
}

/// As forms write it, but for spaces, which are `%20`: that every reader takes for a space.
fn encode(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~!$'()*,:@/?".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(
                    DIGITS
                        .get(usize::from(digit))
                        .map_or('0', |digit| char::from(*digit)),
                );
            }
        }
    }
}

impl Policy for Editor {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        let rendered = self.render(ex);
        let head = &mut ex.request.head;
        let before = head.query();
        let after = self.edit(before.unwrap_or_default(), &rendered);
        if before.is_none_or(|before| before != after) {
            head.set_query(Some(after.as_str()).filter(|after| !after.is_empty()));
        }
        Step::CONTINUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(settings: serde_json::Value, query: &str) -> String {
        let config: Query = serde_json::from_value(settings).unwrap();
        Editor::new(&config).edit(query, &[])
    }

    #[test]
    fn edits_are_made_in_their_order() {
        let cases = [
            (serde_json::json!({ "remove": ["a"] }), "a=1&b=2&%61=3&a", "b=2"),
            (
                serde_json::json!({ "remove": ["a b"] }),
                "a+b=1&a%20b=2&ab=3",
                "ab=3",
            ),
            (
                serde_json::json!({ "rename": { "a": "b" } }),
                "b=0&a=%20x+y&a",
                "b=%20x+y&b",
            ),
            (serde_json::json!({ "rename": { "a": "b" } }), "b=0", "b=0"),
            (
                serde_json::json!({ "default": { "a": "1", "b": "2" } }),
                "b=",
                "b=&a=1",
            ),
            (
                serde_json::json!({ "set": { "a": "9" } }),
                "a=1&b=%zz&a=2",
                "a=9&b=%zz",
            ),
            (serde_json::json!({ "set": { "a": "9" } }), "", "a=9"),
            (
                serde_json::json!({ "add": { "a": "x&b=1 +%#;\u{e9}" } }),
                "a=1",
                "a=1&a=x%26b%3D1%20%2B%25%23%3B%C3%A9",
            ),
            (
                serde_json::json!({ "keep": ["a"], "add": { "b": "1" } }),
                "b=0&a=1&c&",
                "a=1&b=1",
            ),
            (
                serde_json::json!({ "remove": ["a"], "rename": { "b": "a" }, "set": { "a": "x" } }),
                "a=1&b=2",
                "a=x",
            ),
            (serde_json::json!({ "rename": { "a": "a" } }), "a=1", "a=1"),
        ];
        for (settings, query, expected) in cases {
            assert_eq!(edited(settings.clone(), query), expected, "{settings} {query}");
        }
    }
}
