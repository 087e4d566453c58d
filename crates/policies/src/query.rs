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

use crate::values::{Rendered, Values};

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
        Ok(Arc::new(Editor {
            default: Values::new(&self.default),
            set: Values::new(&self.set),
            add: Values::new(&self.add),
            keep: self.keep,
            remove: self.remove,
            rename: self.rename.into_iter().collect(),
        }))
    }
}

struct Editor {
    keep: Vec<String>,
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    default: Values,
    set: Values,
    add: Values,
}

/// One parameter as it is written, and its name decoded.
struct Pair<'q> {
    text: Cow<'q, str>,
    name: Cow<'q, [u8]>,
}

impl<'q> Pair<'q> {
    fn read(text: &'q str) -> Self {
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        Self {
            text: Cow::Borrowed(text),
            name: decode(name),
        }
    }

    fn is(&self, name: &str) -> bool {
        *self.name == *name.as_bytes()
    }

    fn write(name: &str, value: &[u8]) -> Pair<'static> {
        let mut text = String::with_capacity(name.len() + value.len() + 1);
        encode(name.as_bytes(), &mut text);
        text.push('=');
        encode(value, &mut text);
        Pair {
            text: Cow::Owned(text),
            name: Cow::Owned(name.as_bytes().to_vec()),
        }
    }
}

impl Editor {
    fn edit(&self, query: &str, rendered: &Rendered) -> String {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(Pair::read);
        let stays = |pair: &Pair<'_>| {
            (self.keep.is_empty() || self.keep.iter().any(|name| pair.is(name)))
                && !self.remove.iter().any(|name| pair.is(name))
        };
        let mut pairs: Vec<Pair<'_>> = pairs.filter(stays).collect();
        for (old, new) in &self.rename {
            if pairs.iter().any(|pair| pair.is(old)) {
                pairs.retain(|pair| !pair.is(new) || pair.is(old));
                for pair in pairs.iter_mut().filter(|pair| pair.is(old)) {
                    *pair = renamed(pair, new);
                }
            }
        }
        let at = &mut 0;
        self.default.each(rendered, at, |name, value| {
            if !pairs.iter().any(|pair| pair.is(name)) {
                pairs.push(Pair::write(name, value));
            }
        });
        self.set.each(rendered, at, |name, value| {
            let fresh = Pair::write(name, value);
            match pairs.iter().position(|pair| pair.is(name)) {
                None => pairs.push(fresh),
                Some(first) => {
                    let mut place = 0..;
                    pairs.retain(|pair| place.next() == Some(first) || !pair.is(name));
                    if let Some(pair) = pairs.get_mut(first) {
                        *pair = fresh;
                    }
                }
            }
        });
        self.add
            .each(rendered, at, |name, value| pairs.push(Pair::write(name, value)));
        let mut out = String::with_capacity(query.len() + 32);
        for (i, pair) in pairs.iter().enumerate() {
            if i > 0 {
                out.push('&');
            }
            out.push_str(&pair.text);
        }
        out
    }
}

/// The same value by another name.
fn renamed<'q>(pair: &Pair<'_>, new: &str) -> Pair<'q> {
    let mut text = String::with_capacity(pair.text.len() + new.len());
    encode(new.as_bytes(), &mut text);
    if let Some((_, value)) = pair.text.split_once('=') {
        text.push('=');
        text.push_str(value);
    }
    Pair {
        text: Cow::Owned(text),
        name: Cow::Owned(new.as_bytes().to_vec()),
    }
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
        let mut rendered = Rendered::default();
        for values in [&self.default, &self.set, &self.add] {
            values.render(ex, &mut rendered);
        }
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
        let editor = Editor {
            default: Values::new(&config.default),
            set: Values::new(&config.set),
            add: Values::new(&config.add),
            keep: config.keep,
            remove: config.remove,
            rename: config.rename.into_iter().collect(),
        };
        editor.edit(query, &Rendered::default())
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
