//! Bounds how much a request may have.

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Size};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds how much a request may have, below what `client.limits` and the route's `max_body` allow.
///
/// A body whose length is declared is refused before a byte of it is read; one that comes in chunks is cut off as soon as
/// it has more. The client gets `413` (`body_too_large`), `414` (`uri_too_long`) or `431` (`header_too_large`) with the
/// limit in the answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SizeLimit {
    /// The most bytes of the body.
    pub body: Option<Size>,
    /// The most bytes of path and query together.
    pub target: Option<Size>,
    /// The most bytes of the query.
    pub query: Option<Size>,
    /// The most bytes of all header fields together: names, values, and 4 for each.
    pub headers: Option<Size>,
    /// The most header fields.
    pub fields: Option<u32>,
}

impl PolicyConfig for SizeLimit {
    const NAME: &'static str = "size_limit";
    const STAGE: Stage = Stage::Admit;
    const EXAMPLE: &'static str = "body: 64KiB\nquery: 2KiB\nfields: 50\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let sizes = [self.body, self.target, self.query, self.headers];
        if sizes.iter().all(Option::is_none) && self.fields.is_none() {
            return Err(cx.error(
                "body",
                "nothing is bounded; give `body`, `target`, `query`, `headers` or `fields`",
            ));
        }
        let bytes = |size: Option<Size>| size.map_or(u64::MAX, Size::get);
        Ok(Arc::new(Bounds {
            body: self.body.map(Size::get),
            target: bytes(self.target),
            query: bytes(self.query),
            headers: bytes(self.headers),
            fields: self.fields.map_or(u64::MAX, u64::from),
        }))
    }
}

struct Bounds {
    body: Option<u64>,
    target: u64,
    query: u64,
    headers: u64,
    fields: u64,
}

impl Bounds {
    fn decide(&self, ex: &mut Exchange) -> Outcome {
        let head = &ex.request.head;
        let query = head.query().map_or(0, str::len) as u64;
        let target = head.path().len() as u64 + query + u64::from(head.query().is_some());
        let fields = head.headers.len() as u64;
        let over = |code, setting, limit: u64, found: u64| {
            (found > limit).then(|| Failure::new(code).limit(setting, limit, Some(found)))
        };
        let refused = over(Code::UriTooLong, "size_limit.target", self.target, target)
            .or_else(|| over(Code::UriTooLong, "size_limit.query", self.query, query))
            .or_else(|| over(Code::HeaderTooLarge, "size_limit.fields", self.fields, fields))
            .or_else(|| {
                if self.headers == u64::MAX {
                    return None;
                }
                let sizes = head
                    .headers
                    .iter()
                    .map(|field| field.name.len() + field.value.len() + 4);
                let size = sizes.sum::<usize>() as u64;
                over(Code::HeaderTooLarge, "size_limit.headers", self.headers, size)
            });
        if let Some(failure) = refused {
            return Err(failure);
        }
        if let Some(limit) = self.body {
            ex.limit_body(limit, "size_limit.body")?;
        }
        Ok(Verdict::Continue)
    }
}

impl Policy for Bounds {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }
}
