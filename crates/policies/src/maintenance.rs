//! Answers in place of a service that is down on purpose.

use std::sync::Arc;

use bytes::Bytes;
use gatehouse_core::config::{Cidr, Diagnostic, Span, ValueMatch};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::route::HeaderConditions;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addresses::Addresses;

/// Answers `503` (`maintenance`) with `Retry-After` in place of a service that is down on purpose.
///
/// Preflights of CORS are answered alike, unless a `cors` before it answers them.
///
/// Those who look after the service can be let through: by their address, or by header fields that only they know.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// Whether the service is down. `false` keeps the policy ready and lets everybody through.
    pub enabled: bool,
    /// After what time clients should try again.
    pub retry_after: Span,
    /// Addresses and blocks that are let through.
    pub allow: Vec<Cidr>,
    /// Header fields, all of which a request must have to be let through. A field that is there more than once fits
    /// nothing.
    pub allow_headers: IndexMap<String, ValueMatch>,
    /// What is answered in place of the usual description of a failure, such as a page.
    pub body: Option<String>,
    /// The type of `body`.
    pub content_type: String,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            enabled: true,
            retry_after: Span::from_secs(300),
            allow: Vec::new(),
            allow_headers: IndexMap::new(),
            body: None,
            content_type: "text/html; charset=utf-8".to_owned(),
        }
    }
}

impl PolicyConfig for Maintenance {
    const NAME: &'static str = "maintenance";
    const STAGE: Stage = Stage::Admit;
    const EXAMPLE: &'static str =
        "retry_after: 10m\nallow: [10.0.0.0/8]\nallow_headers: { X-Preview: let-me-see }\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let allow_headers = HeaderConditions::new(&self.allow_headers)
            .map_err(|(name, why)| cx.error(&format!("allow_headers.{name}"), why))?;
        Ok(Arc::new(Down {
            enabled: self.enabled,
            retry_after: self.retry_after.get().as_secs().max(1).to_string(),
            allow: self.allow.into_iter().collect(),
            allow_headers,
            names: self
                .allow_headers
                .keys()
                .map(|name| name.as_str().into())
                .collect(),
            body: self.body.map(Bytes::from),
            content_type: self.content_type,
        }))
    }
}

struct Down {
    enabled: bool,
    retry_after: String,
    allow: Addresses,
    allow_headers: HeaderConditions,
    /// Of the fields that `allow_headers` looks at.
    names: Box<[Box<str>]>,
    body: Option<Bytes>,
    content_type: String,
}

impl Down {
    fn decide(&self, ex: &Exchange) -> Outcome {
        let fields = &ex.request.head.headers;
        let is_once = |name: &str| fields.find_all(name.as_bytes()).nth(1).is_none();
        let by_headers = !self.names.is_empty()
            && self.allow_headers.hold(fields)
            && self.names.iter().all(|name| is_once(name));
        if !self.enabled || by_headers || self.allow.have(ex.client.ip) {
            return Ok(Verdict::Continue);
        }
        let Some(body) = &self.body else {
            let failure = Failure::new(Code::Maintenance);
            return Err(failure.header("retry-after", self.retry_after.clone()));
        };
        let mut response = Response::new(503).with_body(&self.content_type, body.clone());
        let headers = response.headers_mut();
        headers.set_name(b"retry-after", self.retry_after.as_bytes());
        headers.set_name(b"cache-control", b"no-store");
        Ok(Verdict::Respond(Box::new(response)))
    }
}

impl Policy for Down {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }
}
