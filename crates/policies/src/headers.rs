//! Sets, adds and removes header fields of requests and responses.

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage, Step};
use gatehouse_http1::{self as http1, Known};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sets, adds and removes header fields of requests and responses.
///
/// Of each side, fields are removed first, then set, then added. Values may have variables, such as
/// `${request.id}` or `${request.header.X-Tenant}`; one without a value is empty. Fields that say where a
/// message ends or that belong to one connection are the gateway's own and cannot be named.
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
    /// Names of fields to remove.
    pub remove: Vec<String>,
    /// Fields to set: any of that name before are replaced.
    pub set: IndexMap<String, Template>,
    /// Fields to add beside any of that name.
    pub add: IndexMap<String, Template>,
}

impl PolicyConfig for Headers {
    const NAME: &'static str = "headers";
    const STAGE: Stage = Stage::Transform;
    const EXAMPLE: &'static str =
        "request:\n  set: { X-Request-Path: \"${request.path}\" }\nresponse:\n  remove: [Server]\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        check(&self.request, "request", cx)?;
        check(&self.response, "response", cx)?;
        Ok(Arc::new(self))
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
    let removed = edits
        .remove
        .iter()
        .enumerate()
        .map(|(i, name)| (format!("{side}.remove[{i}]"), name));
    let set = edits.set.keys().map(|name| (format!("{side}.set.{name}"), name));
    let added = edits.add.keys().map(|name| (format!("{side}.add.{name}"), name));
    for (field, name) in removed.chain(set).chain(added) {
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

impl Edits {
    fn is_nothing(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// The values of all variables, before anything is changed.
    fn render(&self, ex: &Exchange) -> Vec<Vec<u8>> {
        let render = |template: &Template| {
            let mut value = Vec::with_capacity(32);
            template.render(&mut value, &mut |variable, out| ex.variable(variable, out));
            value
        };
        self.set.values().chain(self.add.values()).map(render).collect()
    }

    fn apply(&self, headers: &mut http1::Headers, values: Vec<Vec<u8>>) {
        for name in &self.remove {
            headers.remove_name(name.as_bytes());
        }
        let mut values = values.into_iter();
        for (name, value) in self.set.keys().zip(&mut values) {
            headers.set_name(name.as_bytes(), &value);
        }
        for (name, value) in self.add.keys().zip(values) {
            headers.append_name(name.as_bytes(), &value);
        }
    }
}

impl Policy for Headers {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        if !self.request.is_nothing() {
            let values = self.request.render(ex);
            self.request.apply(&mut ex.request.head.headers, values);
        }
        Step::CONTINUE
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        if !self.response.is_nothing() {
            let values = self.response.render(ex);
            self.response.apply(response.headers_mut(), values);
        }
        Step::CONTINUE
    }
}
