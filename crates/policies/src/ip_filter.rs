//! Lets requests in by the address they come from.

use std::path::PathBuf;
use std::sync::Arc;

use gatehouse_core::config::{Cidr, Diagnostic};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addresses::{Addresses, Gathering};

/// Lets requests in by the address of the client, as it is seen through trusted proxies (`forwarded.trusted`).
///
/// Whoever is in `deny` or in one of `deny_files` gets `403` (`forbidden`), whatever else holds. If anything stands in `allow` or
/// `allow_files`, everybody who is not in there gets `403` too.
///
/// Files have a block or an address on each line; what follows `#` or `;` is a comment. They are watched, and read again
/// when they change. A million IPv4 blocks take 8 MB.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IpFilter {
    /// Addresses and blocks that may call.
    pub allow: Vec<Cidr>,
    /// Addresses and blocks that may not.
    pub deny: Vec<Cidr>,
    /// Files with addresses that may call.
    pub allow_files: Vec<PathBuf>,
    /// Files with addresses that may not.
    pub deny_files: Vec<PathBuf>,
}

impl PolicyConfig for IpFilter {
    const NAME: &'static str = "ip_filter";
    const STAGE: Stage = Stage::Admit;
    const EXAMPLE: &'static str = "allow: [10.0.0.0/8, \"2001:db8::/32\"]\ndeny: [10.6.6.6]\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let closed = !self.allow.is_empty() || !self.allow_files.is_empty();
        if !closed && self.deny.is_empty() && self.deny_files.is_empty() {
            return Err(cx.error("allow", "there are no addresses; give `allow` or `deny`"));
        }
        let mut allow = None;
        if closed {
            allow = Some(gather(&self.allow, &self.allow_files, "allow_files", cx)?);
        }
        Ok(Arc::new(Filter {
            allow,
            deny: gather(&self.deny, &self.deny_files, "deny_files", cx)?,
        }))
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn gather(
    blocks: &[Cidr],
    files: &[PathBuf],
    field: &str,
    cx: &mut Compile<'_>,
) -> Result<Addresses, Diagnostic> {
    let mut gathering = Gathering::default();
    for block in blocks {
        gathering.add(*block);
    }
    for (i, file) in files.iter().enumerate() {
        let read = cx.read(file).and_then(|bytes| gathering.read(&bytes));
        read.map_err(|why| {
            cx.error(
                &format!("{field}[{i}]"),
                format!("cannot use `{}`: {why}", file.display()),
            )
        })?;
    }
    Ok(gathering.finish())
}

struct Filter {
    /// None: everybody.
    allow: Option<Addresses>,
    deny: Addresses,
}

impl Filter {
    fn decide(&self, ex: &Exchange) -> Outcome {
        let ip = ex.client.ip;
        let why = if self.deny.have(ip) {
            "is denied"
        } else if self.allow.as_ref().is_some_and(|allow| !allow.have(ip)) {
            "is not among those allowed"
        } else {
            return Ok(Verdict::Continue);
        };
        Err(Failure::new(Code::Forbidden).detail(format!("ip_filter: {ip} {why}")))
    }
}

impl Policy for Filter {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }
}
