//! Sets, adds, renames and removes header fields of requests and responses.

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage, Step};
use gatehouse_http1::{self as http1, Known};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Rendered, Values};

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
#[derive(Default)]
struct Compiled {
    is_nothing: bool,
    remove: Box<[Box<str>]>,
    /// What the names begin with.
    remove_all: Box<[Box<str>]>,
    rename: Box<[(Box<str>, Box<str>)]>,
    replace: Values,
    default: Values,
    set: Values,
    add: Values,
}

impl Compiled {
    fn new(edits: &Edits) -> Self {
        let (all, one): (Vec<&String>, Vec<&String>) =
            edits.remove.iter().partition(|name| name.ends_with('*'));
        let mut compiled = Self {
            is_nothing: false,
            remove: one.into_iter().map(|name| name.as_str().into()).collect(),
            remove_all: all
                .into_iter()
                .map(|name| name.trim_end_matches('*').into())
                .collect(),
            rename: edits
                .rename
                .iter()
                .map(|(old, new)| (old.as_str().into(), new.as_str().into()))
                .collect(),
            replace: Values::new(&edits.replace),
            default: Values::new(&edits.default),
            set: Values::new(&edits.set),
            add: Values::new(&edits.add),
        };
        let values = [&compiled.replace, &compiled.default, &compiled.set, &compiled.add];
        compiled.is_nothing = edits.remove.is_empty()
            && edits.rename.is_empty()
            && values.iter().all(|values| values.is_empty());
        compiled
    }

    /// The values of all variables, before anything is changed.
    fn render(&self, ex: &Exchange) -> Rendered {
        let mut rendered = Rendered::default();
        for values in [&self.replace, &self.default, &self.set, &self.add] {
            values.render(ex, &mut rendered);
        }
        rendered
    }

    fn apply(&self, headers: &mut http1::Headers, rendered: &Rendered) {
        for name in &self.remove {
            headers.remove_name(name.as_bytes());
        }
        if !self.remove_all.is_empty() {
            headers.retain(|known, name, _| {
                known.is_some_and(|known| OWN.contains(&known)) || !self.removes(name)
            });
        }
        for (old, new) in &self.rename {
            rename(headers, old.as_bytes(), new.as_bytes());
        }
        let at = &mut 0;
        self.replace.each(rendered, at, |name, value| {
            if headers.find(name.as_bytes()).is_some() {
                headers.set_name(name.as_bytes(), value);
            }
        });
        self.default.each(rendered, at, |name, value| {
            if headers.find(name.as_bytes()).is_none() {
                headers.set_name(name.as_bytes(), value);
            }
        });
        self.set.each(rendered, at, |name, value| {
            headers.set_name(name.as_bytes(), value);
        });
        self.add.each(rendered, at, |name, value| {
            headers.append_name(name.as_bytes(), value);
        });
    }

    fn removes(&self, name: &[u8]) -> bool {
        let begins = |start: &[u8]| {
            name.get(..start.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
        };
        self.remove_all.iter().any(|start| begins(start.as_bytes()))
    }
}

fn rename(headers: &mut http1::Headers, old: &[u8], new: &[u8]) {
    let values: Vec<Vec<u8>> = headers.find_all(old).map(<[u8]>::to_vec).collect();
    if values.is_empty() {
        return;
    }
    headers.remove_name(old);
    headers.remove_name(new);
    for value in values {
        headers.append_name(new, &value);
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
