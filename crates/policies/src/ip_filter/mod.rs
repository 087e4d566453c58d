//! Lets requests in by the address they come from.

mod feed;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use gatehouse_core::config::{Cidr, Diagnostic};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::telemetry::metrics::Family;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::feed::{BLOCKS, FETCHED, FETCHES, Feed};
use crate::addresses::{Addresses, Gathering};

pub use self::feed::AddressFeed;

/// Lets requests in by the address of the client, as it is seen through trusted proxies (`forwarded.trusted`).
///
/// Whoever is in `deny` or in one of `deny_files` or `deny_feeds` gets `403` (`forbidden`), whatever else holds. If anything
/// stands in `allow`, `allow_files` or `allow_feeds`, everybody who is not in there gets `403` too.
///
/// Files have a block or an address on each line; what follows `#` or `;` is a comment. They are watched, and read again
/// when they change. A million IPv4 blocks take 8 MB.
///
/// Feeds are such files that others publish; they are fetched again and again. What was fetched last stays in force while a
/// feed cannot be fetched, or has a line that is none. Until it was fetched once, nobody is in it: a feed of `deny` then
/// denies nobody, one of `allow` lets nobody in. What must hold from the first request on belongs into a file.
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
    /// Lists of addresses that may call, fetched from others.
    pub allow_feeds: Vec<AddressFeed>,
    /// Lists of addresses that may not, fetched from others.
    pub deny_feeds: Vec<AddressFeed>,
}

impl PolicyConfig for IpFilter {
    const NAME: &'static str = "ip_filter";
    const STAGE: Stage = Stage::Admit;
    const EXAMPLE: &'static str = "allow: [10.0.0.0/8, \"2001:db8::/32\"]\ndeny: [10.6.6.6]\n";

    const METRICS: &'static [Family] = &[FETCHES, FETCHED, BLOCKS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let allow = Written {
            name: "allow",
            blocks: &self.allow,
            files: &self.allow_files,
            feeds: &self.allow_feeds,
        };
        let deny = Written {
            name: "deny",
            blocks: &self.deny,
            files: &self.deny_files,
            feeds: &self.deny_feeds,
        };
        if allow.is_empty() && deny.is_empty() {
            return Err(cx.error("allow", "there are no addresses; give `allow` or `deny`"));
        }
        Ok(Arc::new(Filter {
            allow: if allow.is_empty() {
                None
            } else {
                Some(allow.compile(cx)?)
            },
            deny: deny.compile(cx)?,
        }))
    }
}

/// The addresses of one side, as written.
struct Written<'a> {
    name: &'static str,
    blocks: &'a [Cidr],
    files: &'a [PathBuf],
    feeds: &'a [AddressFeed],
}

impl Written<'_> {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.files.is_empty() && self.feeds.is_empty()
    }

    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    fn compile(&self, cx: &mut Compile<'_>) -> Result<List, Diagnostic> {
        let mut gathering = Gathering::default();
        for block in self.blocks {
            gathering.add(*block);
        }
        for (i, file) in self.files.iter().enumerate() {
            let read = cx.read(file).and_then(|bytes| gathering.read(&bytes));
            read.map_err(|why| {
                cx.error(
                    &format!("{}_files[{i}]", self.name),
                    format!("cannot use `{}`: {why}", file.display()),
                )
            })?;
        }
        let mut feeds = Vec::with_capacity(self.feeds.len());
        for (i, feed) in self.feeds.iter().enumerate() {
            // None if the document is only checked.
            feeds.extend(feed.compile(&format!("{}_feeds[{i}]", self.name), cx)?);
        }
        Ok(List {
            here: gathering.finish(),
            feeds: feeds.into(),
        })
    }
}

/// Addresses of the document and its files, and those that are fetched.
struct List {
    here: Addresses,
    feeds: Box<[Arc<Feed>]>,
}

impl List {
    fn have(&self, ip: IpAddr) -> bool {
        self.here.have(ip) || self.feeds.iter().any(|feed| feed.have(ip))
    }
}

struct Filter {
    /// None: everybody.
    allow: Option<List>,
    deny: List,
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
