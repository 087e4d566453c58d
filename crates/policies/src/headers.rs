//! Sets, adds, renames and removes header fields of requests and responses.

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage, Step};
use gatehouse_http1::{self as http1, FieldName, FieldNames, Headers as Fields, Known};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Rendered;

/// Sets, adds, renames and removes header fields of requests and responses.
///
/// On each side the edits are made in this order, however they are written: `remove`, `rename`, `replace`, `default`,
/// `set`, `add`. Values may have variables, such as `${request.id}`, `${claims.sub}` or `${request.header.X-Tenant}`; one
/// without a value is empty. All values are worked out before the first edit, so that they see the fields as they
/// came. Bytes that may not stand in a value become spaces. Fields that say where a message ends or that belong to one
/// connection are the gateway's own and cannot be named.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Headers {
    /// What is done to the request before it is sent on.
    #[serde(default)]
    pub request: Edits,
    /// What is done to the response before it goes to the client.
    #[serde(default)]
    pub response: Edits,
}

/// Changes to header fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Edits {
    /// Names of fields to remove. A `*` at the end stands for any rest: `X-Internal-*`.
    pub remove: Vec<String>,
    /// Names to change, from old to new; values stay. Any of the new name before are replaced.
    pub rename: IndexMap<String, String>,
    /// Fields to set only if there is one of that name, which is replaced.
    pub replace: IndexMap<String, Template>,
    /// Fields to set only if there is none of that name.
    pub default: IndexMap<String, Template>,
    /// Fields to set: any of that name before are replaced.
    pub set: IndexMap<String, Template>,
    /// Fields to add beside any of that name.
    pub add: IndexMap<String, Template>,
}

impl PolicyConfig for Headers {
    const NAME: &'static str = "headers";
    const STAGE: Stage = Stage::Transform;
    const EXAMPLE: &'static str = "request:\n  rename: { X-Token: X-Legacy-Token }\n  set: { X-Request-Path: \"${request.path}\" }\nresponse:\n  remove: [Server, X-Internal-*]\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        check(&self.request, "request", cx)?;
        check(&self.response, "response", cx)?;
        Ok(Arc::new(Editor {
            request: Compiled::new(&self.request),
            response: Compiled::new(&self.response),
        }))
    }
}

/// Fields that are the gateway's own: framing, connection, and the host, which routes rewrite.
const OWN: [Known; 10] = [
    Known::Host,
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Te,
    Known::Trailer,
    Known::Upgrade,
    Known::Expect,
];

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn check(edits: &Edits, side: &str, cx: &Compile<'_>) -> Result<(), Diagnostic> {
    let mut names = Vec::new();
    for (i, name) in edits.remove.iter().enumerate() {
        let name = name.strip_suffix('*').unwrap_or(name);
        names.push((format!("{side}.remove[{i}]"), name));
    }
    for (old, new) in &edits.rename {
        names.push((format!("{side}.rename.{old}"), old));
        names.push((format!("{side}.rename.{old}"), new));
    }
    let maps = [
        ("replace", &edits.replace),
        ("default", &edits.default),
        ("set", &edits.set),
        ("add", &edits.add),
    ];
    for (field, map) in maps {
        names.extend(
            map.keys()
                .map(|name| (format!("{side}.{field}.{name}"), name.as_str())),
        );
    }
    for (field, name) in names {
        if !http1::is_token(name.as_bytes()) {
            return Err(cx.error(&field, format!("`{name}` cannot be the name of a header field")));
        }
        if Known::of(name.as_bytes()).is_some_and(|known| OWN.contains(&known)) {
            return Err(cx.error(
                &field,
                format!("`{name}` is the gateway's own and cannot be changed here"),
            ));
        }
    }
    Ok(())
}

struct Editor {
    request: Compiled,
    response: Compiled,
}

/// The edits of one side.
struct Compiled {
    is_nothing: bool,
    remove: FieldNames,
    /// What the names begin with.
    remove_all: Box<[Box<str>]>,
    rename: Box<[(FieldName, FieldName)]>,
    /// All others, in the order in which they are made.
    edits: Box<[Edit]>,
}

/// Some fields and what is done with them.
enum Edit {
    /// Neighbours without variables: their lines are written once.
    Made(Way, Fields),
    /// One that is worked out for each message.
    Template(Way, FieldName, Template),
}

/// How a field is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Replace,
    Default,
    Set,
    Add,
}

impl Way {
    fn one(self, fields: &mut Fields, name: &FieldName, value: &[u8]) {
        match self {
            Self::Replace if fields.find_field(name).is_none() => {}
            Self::Default if fields.find_field(name).is_some() => {}
            Self::Replace | Self::Set => fields.set_field(name, value),
            Self::Default | Self::Add => fields.append_field(name, value),
        }
    }

    fn all(self, fields: &mut Fields, made: &Fields) {
        match self {
            Self::Replace => fields.replace_present(made),
            Self::Default => fields.append_missing(made),
            Self::Set => fields.set_all(made),
            Self::Add => fields.append_all(made),
        }
    }

    /// Adds a field to those that are edited together; those of one name have the effect that they have one by one.
    fn make(self, made: &mut Fields, name: &FieldName, value: &[u8]) {
        match self {
            Self::Replace => made.append_field(name, value),
            _ => self.one(made, name, value),
        }
    }
}

impl Compiled {
    fn new(edits: &Edits) -> Self {
        let (all, one): (Vec<&String>, Vec<&String>) =
            edits.remove.iter().partition(|name| name.ends_with('*'));
        let name = |name: &String| FieldName::new(name.as_bytes());
        let rename = edits.rename.iter();
        let maps = [
            (Way::Replace, &edits.replace),
            (Way::Default, &edits.default),
            (Way::Set, &edits.set),
            (Way::Add, &edits.add),
        ];
        let mut compiled = Self {
            is_nothing: false,
            remove: one.into_iter().filter_map(name).collect(),
            remove_all: all
                .into_iter()
                .map(|name| name.trim_end_matches('*').into())
                .collect(),
            rename: rename
                .filter_map(|(old, new)| Some((name(old)?, name(new)?)))
                .collect(),
            edits: maps
                .into_iter()
                .flat_map(|(way, map)| compile(way, map))
                .collect(),
        };
        compiled.is_nothing =
            edits.remove.is_empty() && compiled.rename.is_empty() && compiled.edits.is_empty();
        compiled
    }

    /// The values of all variables, before anything is changed.
    fn render(&self, ex: &Exchange) -> Rendered {
        let templates = self.edits.iter().filter_map(|edit| match edit {
            Edit::Made(..) => None,
            Edit::Template(_, _, template) => Some(template),
        });
        Rendered::of(templates, ex)
    }

    fn apply(&self, fields: &mut Fields, rendered: &Rendered) {
        fields.remove_fields(&self.remove);
        if !self.remove_all.is_empty() {
            fields.retain(|known, name, _| {
                known.is_some_and(|known| OWN.contains(&known)) || !self.removes(name)
            });
        }
        for (old, new) in &self.rename {
            rename(fields, old, new);
        }
        let mut values = rendered.values();
        for edit in &self.edits {
            match edit {
                Edit::Made(way, made) => way.all(fields, made),
                Edit::Template(way, name, _) => way.one(fields, name, values.next().unwrap_or_default()),
            }
        }
    }

    fn removes(&self, name: &[u8]) -> bool {
        let begins = |start: &[u8]| {
            name.get(..start.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
        };
        self.remove_all.iter().any(|start| begins(start.as_bytes()))
    }
}

/// The edits of one map, in its order.
fn compile(way: Way, map: &IndexMap<String, Template>) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (name, value) in map {
        let Some(name) = FieldName::new(name.as_bytes()) else {
            continue;
        };
        match (value.literal(), edits.last_mut()) {
            (None, _) => edits.push(Edit::Template(way, name, value.clone())),
            (Some(text), Some(Edit::Made(_, made))) => way.make(made, &name, text.as_bytes()),
            (Some(text), _) => {
                let mut made = Fields::new();
                way.make(&mut made, &name, text.as_bytes());
                edits.push(Edit::Made(way, made));
            }
        }
    }
    edits
}

fn rename(fields: &mut Fields, old: &FieldName, new: &FieldName) {
    if fields.find_field(old).is_none() {
        return;
    }
    let values: Vec<Vec<u8>> = fields.find_all(old.as_bytes()).map(<[u8]>::to_vec).collect();
    fields.remove_name(old.as_bytes());
    fields.remove_name(new.as_bytes());
    for value in values {
        fields.append_field(new, &value);
    }
}

impl Policy for Editor {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        if !self.request.is_nothing {
            let rendered = self.request.render(ex);
            self.request.apply(&mut ex.request.head.headers, &rendered);
        }
        Step::CONTINUE
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        if !self.response.is_nothing {
            let rendered = self.response.render(ex);
            self.response.apply(response.headers_mut(), &rendered);
        }
        Step::CONTINUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(settings: serde_json::Value, fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let edits: Edits = serde_json::from_value(settings).unwrap();
        let mut headers = Fields::new();
        for (name, value) in fields {
            headers.append_name(name.as_bytes(), value.as_bytes());
        }
        Compiled::new(&edits).apply(&mut headers, &Rendered::default());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        headers
            .iter()
            .map(|field| (text(field.name), text(field.value)))
            .collect()
    }

    #[test]
    fn fields_that_are_edited_together_are_edited_one_by_one() {
        let before = [("X-One", "1"), ("x-two", "2"), ("X-One", "3")];
        let cases = [
            (
                serde_json::json!({ "set": { "X-A": "a", "x-one": "9" } }),
                "x-one 9,x-two 2,X-A a",
            ),
            (
                serde_json::json!({ "set": { "X-A": "a", "x-a": "b" } }),
                "X-One 1,x-two 2,X-One 3,x-a b",
            ),
            (
                serde_json::json!({ "default": { "X-A": "a", "x-a": "b", "x-one": "c" } }),
                "X-One 1,x-two 2,X-One 3,X-A a",
            ),
            (
                serde_json::json!({ "replace": { "X-A": "a", "X-Two": "b", "x-two": "c" } }),
                "X-One 1,x-two c,X-One 3",
            ),
            (
                serde_json::json!({ "add": { "X-Two": "a", "x-two": " b " } }),
                "X-One 1,x-two 2,X-One 3,X-Two a,x-two b",
            ),
            (
                serde_json::json!({ "remove": ["x-one"], "rename": { "X-Two": "X-One" }, "set": { "X-New": "4" } }),
                "X-One 2,X-New 4",
            ),
        ];
        for (settings, expected) in cases {
            let after: Vec<String> = edited(settings.clone(), &before)
                .iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            assert_eq!(after.join(","), expected, "{settings}");
        }
    }
}
