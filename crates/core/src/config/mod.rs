//! The document as written: plain data, each value already of its own type.
//!
//! Doc comments of the sections are the reference manual: the schema carries them, and the reference pages
//! and the console's forms are made from the schema. Sections are maps by name, so that documents merge and
//! compare by name; their order means nothing. Settings of policies stay raw until the plan is compiled,
//! because the engine knows no policy.

pub mod check;
mod client;
mod consumer;
pub mod diagnostic;
mod files;
mod http3;
mod listener;
pub mod load;
mod policy;
mod process;
pub mod reader;
mod route;
pub mod schema;
mod selector;
pub mod source;
mod store;
mod template;
mod tls;
pub mod types;
mod upstream;
pub mod yaml;

pub use check::{Broken, compile_regex};
pub use client::{Client, ClientLimits, ClientTimeouts, Http2, Underscores};
pub use client::{DoubledSlashes, EncodedSlashes, Forwarded, Paths, RequestId, Trust, Versions};
pub use consumer::{
    ApiKey, CertificateSubject, Consumer, ConsumersFrom, ConsumersInRedis, CredentialSort, Credentials,
    NamedConsumer, Password,
};
pub use consumer::{PublicKey, SharedSecret, SignatureAlgorithm, Subject};
pub(crate) use diagnostic::closest;
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use files::{Digests, NamedFiles};
pub use http3::{AltSvc, Http3};
pub use listener::{Listener, Protocol, ProxyProtocol, RedirectToHttps};
pub use load::{Loaded, load, load_str};
pub use policy::PolicyEntry;
pub use process::{AccessLog, Admin, Dns, Level, Log, LogFormat, Process};
pub use reader::{Read, Reader};
pub use route::{
    Forward, HostHeader, Match, Redirect, RedirectStatus, Reply, Rewrite, Route, Split, Sticky, UrlScheme,
};
pub use selector::Selector;
pub use source::{Source, Sources};
pub use store::{Redis, RedisMode, RedisTls, Store};
pub use template::{Template, Variable};
pub use tls::{
    Certificate, ClientAuth, ClientAuthMode, ForwardCertificate, Hsts, ListenerTls, SessionTickets,
    TlsProfile,
};
pub use types::{
    Address, Cidr, HashMethod, HostPattern, PasswordHash, PathPattern, Percent, Secret, Sha256, Size, Span,
    Timestamp, ValueMatch,
};
pub use upstream::{Balance, EndpointSpec, Pool, Upstream, UpstreamLimits, UpstreamProtocol};
pub use upstream::{UpstreamTimeouts, UpstreamTls};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Gatehouse document: what to listen on, where requests go, and what is done to them on the way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses to accept connections on, by name. There must be at least one.
    pub listeners: IndexMap<String, Listener>,
    /// Policies for every request, before its route is known, in the order written.
    pub policies: Vec<PolicyEntry>,
    /// Policies to refer to with `use: NAME`. Those who use the same name share its state.
    pub named_policies: IndexMap<String, PolicyEntry>,
    /// Who may call, by name: what they belong to, and how they prove it.
    pub consumers: IndexMap<String, Consumer>,
    /// More consumers, for those too many for the document.
    pub consumers_from: Option<ConsumersFrom>,
    /// Where counts and sessions are kept that several gateways share, by name.
    pub stores: IndexMap<String, Store>,
    /// What requests are matched by, and what answers them, by name. The most specific match wins.
    pub routes: IndexMap<String, Box<Route>>,
    /// Sets of endpoints that requests are forwarded to, by name.
    pub upstreams: IndexMap<String, Upstream>,
    /// How a client says which version of an API it wants. Absent: versions are not looked for.
    pub versions: Option<Versions>,
    /// Timeouts and limits on the client side.
    pub client: Client,
    /// Trusted proxies before us, and the fields that tell upstreams who called.
    pub forwarded: Forwarded,
    /// Identifiers of requests.
    pub request_id: RequestId,
    /// How unusual paths are treated. A route may say otherwise.
    pub paths: Paths,
    /// One line of JSON for each request.
    pub access_log: AccessLog,
    /// How names of endpoints are resolved.
    pub dns: Dns,
    /// The listener for probes and metrics.
    pub admin: Admin,
    /// What needs a restart to change.
    pub process: Process,
    /// More files with `consumers`, `listeners`, `named_policies`, `routes`, `stores` and `upstreams`, relative to this
    /// one. The last part of a path may have `*`.
    pub include: Vec<String>,
}

impl Config {
    /// The document of a gateway that forwards every request to one endpoint, everything else as by default.
    pub fn one_liner(to: types::EndpointUrl, listen: Address) -> Self {
        let forward = Forward {
            upstream: Some("upstream".to_owned()),
            ..Forward::default()
        };
        let route = Route {
            forward: Some(Box::new(forward)),
            ..Route::matching(Match::default())
        };
        Self {
            listeners: [("main".to_owned(), Listener::at(listen))].into(),
            routes: [("all".to_owned(), Box::new(route))].into(),
            upstreams: [("upstream".to_owned(), Upstream::of(vec![to.into()]))].into(),
            ..Self::default()
        }
    }
}

/// Whether a text is a token, as methods, field names and cookie names are (RFC 9110 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
