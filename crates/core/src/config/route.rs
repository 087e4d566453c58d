//! Routes: what a request must be like, the policies it meets, and what answers it.

use super::client::Paths;
use super::policy::PolicyEntry;
use super::template::Template;
use super::types::{Cidr, HostPattern, PathPattern, Size, Span, ValueMatch};
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A route: requests that match it meet its policies, then are answered by `forward`, `reply` or `redirect`,
/// of which it has exactly one.
// There may be thousands: what most do without is boxed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What a request must be like. `{}` is any request.
    pub r#match: Match,
    /// A label for logs and metrics, such as `v2`. It matches nothing; `match.version` does.
    #[serde(default)]
    pub version: Option<String>,
    /// Policies for requests of this route, in the order written, after those for every request.
    #[serde(default)]
    pub policies: Vec<PolicyEntry>,
    /// Sends the request to an upstream.
    #[serde(default)]
    pub forward: Option<Box<Forward>>,
    /// Answers by itself.
    #[serde(default)]
    pub reply: Option<Box<Reply>>,
    /// Sends the client elsewhere.
    #[serde(default)]
    pub redirect: Option<Box<Redirect>>,
    /// How unusual paths are treated on this route. Absent: as `paths` says for all.
    #[serde(default)]
    pub paths: Option<Paths>,
    /// How long a whole exchange may take; at most `client.timeouts.total`. Absent: as that says for all.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Bytes a request's body may have. Absent: as `client.limits.body` says for all.
    #[serde(default)]
    pub max_body: Option<Size>,
}

impl Route {
    /// A route for these requests that does nothing yet.
    pub fn matching(r#match: Match) -> Self {
        Self {
            r#match,
            version: None,
            policies: Vec::new(),
            forward: None,
            reply: None,
            redirect: None,
            paths: None,
            timeout: None,
            max_body: None,
        }
    }
}

/// What a request must be like: all that is given must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// One of these hosts. None: any.
    pub hosts: Vec<HostPattern>,
    /// This path: exact (`/status`), with captures (`/users/{id}`), with all below it (`/api/**`), or `~` and a
    /// regular expression. Absent: any.
    pub path: Option<PathPattern>,
    /// One of these methods, in capitals. None: any.
    pub methods: Vec<String>,
    /// These request headers, by name.
    pub headers: IndexMap<String, ValueMatch>,
    /// These query parameters, by name.
    pub query: IndexMap<String, ValueMatch>,
    /// These cookies, by name.
    pub cookies: IndexMap<String, ValueMatch>,
    /// The client's address is in one of these blocks. None: any.
    pub client: Vec<Cidr>,
    /// The request came in by one of these listeners. None: any.
    pub listeners: Vec<String>,
    /// The version the client asked for, as `versions` finds it.
    pub version: Option<String>,
}

/// Sends the request to an upstream: to one, or to several by weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Forward {
    /// The upstream. Either this or `split`.
    pub upstream: Option<String>,
    /// Several upstreams, each with its share of the requests.
    pub split: Vec<Split>,
    /// Keeps a client on the same part of a `split`. Absent: each request is dealt anew.
    pub sticky: Option<Sticky>,
    /// Removes this beginning of the path, in whole segments, before the request is sent.
    pub strip_prefix: Option<String>,
    /// Sets the whole path, such as `/v2/users/${path.id}`.
    pub path: Option<Template>,
    /// Replaces what a regular expression finds in the path.
    pub rewrite: Option<Rewrite>,
    /// The `Host` that is sent.
    pub host: HostHeader,
    /// Protocols that a client may switch to by `Upgrade`, as `websocket`. None: no request switches. Another version of
    /// HTTP cannot be one of them: what is in it would pass unread. `connect` is the method CONNECT: bytes then pass to
    /// and from an endpoint of the upstream, wherever the client says that it wants to go; hosts in `match` say who may
    /// be named.
    pub upgrades: Vec<String>,
    /// How long a connection that has switched may live. `client.timeouts.total` and its like are not for it.
    pub tunnel: Tunnel,
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            upstream: None,
            split: Vec::new(),
            sticky: None,
            strip_prefix: None,
            path: None,
            rewrite: None,
            host: HostHeader::default(),
            upgrades: vec!["websocket".to_owned()],
            tunnel: Tunnel::default(),
        }
    }
}

/// How long a connection that has switched to another protocol may live. All must be longer than nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tunnel {
    /// How long nothing may pass in either direction. A WebSocket is then told to go away (code 1001).
    pub idle: Span,
    /// How old it may get, less up to a tenth by chance. A WebSocket is then told to go away (code 1001).
    pub max_age: Span,
}

impl Default for Tunnel {
    fn default() -> Self {
        Self {
            idle: Span::from_secs(3600),
            max_age: Span::from_secs(24 * 3600),
        }
    }
}

/// An upstream and its share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The upstream.
    pub upstream: String,
    /// Its share, relative to the sum of all weights. `0` is none.
    pub weight: u32,
}

/// What keeps a client on the same part of a split. Exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "StickyKeys", into = "StickyKeys")]
pub enum Sticky {
    /// The value of this request header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The address of the client.
    ClientIp,
    /// The consumer, once an authentication found out.
    Consumer,
}

/// What keeps a client on the same part of a split. Exactly one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Sticky", extend("minProperties" = 1, "maxProperties" = 1))]
struct StickyKeys {
    /// The value of this request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    /// The value of this cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    /// The address of the client.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_ip: bool,
    /// The consumer, once an authentication found out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    consumer: bool,
}

impl TryFrom<StickyKeys> for Sticky {
    type Error = String;

    fn try_from(keys: StickyKeys) -> Result<Self, String> {
        let given = [
            keys.header.map(Self::Header),
            keys.cookie.map(Self::Cookie),
            keys.client_ip.then_some(Self::ClientIp),
            keys.consumer.then_some(Self::Consumer),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(
                "nothing to go by; give one of `header`, `cookie`, `client_ip: true` or `consumer: true`"
                    .to_owned(),
            ),
            (Some(_), Some(_)) => Err(
                "more than one thing to go by; keep one of `header`, `cookie`, `client_ip` or `consumer`"
                    .to_owned(),
            ),
        }
    }
}

impl From<Sticky> for StickyKeys {
    fn from(sticky: Sticky) -> Self {
        match sticky {
            Sticky::Header(name) => Self {
                header: Some(name),
                ..Self::default()
            },
            Sticky::Cookie(name) => Self {
                cookie: Some(name),
                ..Self::default()
            },
            Sticky::ClientIp => Self {
                client_ip: true,
                ..Self::default()
            },
            Sticky::Consumer => Self {
                consumer: true,
                ..Self::default()
            },
        }
    }
}

/// Replaces what a regular expression finds in the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// The regular expression, in linear time: no back references, no look-around.
    pub regex: String,
    /// What comes in its place; `$1` and `${name}` are what groups found.
    pub to: String,
}

/// The `Host` that is sent to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostHeader {
    /// `preserve`: the one the client sent.
    #[default]
    Preserve,
    /// `upstream`: that of the endpoint.
    Upstream,
    /// This one.
    Literal(String),
}

impl FromStr for HostHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "preserve" => Ok(Self::Preserve),
            "upstream" => Ok(Self::Upstream),
            _ => {
                let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
                if !text.is_empty() && text.bytes().all(legal) {
                    Ok(Self::Literal(text.to_owned()))
                } else {
                    Err(format!(
                        "`{text}` is not a host; expected `preserve`, `upstream` or such as `api.example.com`"
                    ))
                }
            }
        }
    }
}

impl fmt::Display for HostHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preserve => "preserve",
            Self::Upstream => "upstream",
            Self::Literal(host) => host,
        })
    }
}

super::types::text_type!(HostHeader, "`preserve`, `upstream` or a host such as `api.example.com`", {
    "description": "`preserve` sends the client's `Host`, `upstream` that of the endpoint; anything else is sent as it is.",
    "examples": ["preserve", "upstream", "api.example.com"],
});

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    /// The status, from 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// The body, as a text. Either this or `json`.
    pub body: Option<String>,
    /// The body, as a value that is sent as JSON.
    pub json: Option<Value>,
    /// The `Content-Type`. Absent: `text/plain; charset=utf-8`, or `application/json` for `json`.
    pub content_type: Option<String>,
    /// More fields, by name.
    pub headers: IndexMap<String, String>,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 200,
            body: None,
            json: None,
            content_type: None,
            headers: IndexMap::new(),
        }
    }
}

/// Sends the client elsewhere: to a whole URL, or to the same one with parts of it changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// The whole target, such as `https://${request.host}${request.path}`. Either this or its parts.
    pub to: Option<Template>,
    /// The scheme of the target. Absent: that of the request.
    pub scheme: Option<UrlScheme>,
    /// The host of the target, perhaps with a port. Absent: that of the request.
    pub host: Option<Template>,
    /// The path of the target. Absent: that of the request.
    pub path: Option<Template>,
    /// The status.
    pub status: RedirectStatus,
    /// Appends the query of the request, unless the target has one.
    pub keep_query: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            to: None,
            scheme: None,
            host: None,
            path: None,
            status: RedirectStatus::default(),
            keep_query: true,
        }
    }
}

/// A scheme of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UrlScheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl UrlScheme {
    /// The scheme as it stands in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The status of a redirect: 301, 302, 303, 307 or 308.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RedirectStatus(u16);

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

impl RedirectStatus {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for RedirectStatus {
    /// Permanent, and the method stays.
    fn default() -> Self {
        Self(308)
    }
}

impl TryFrom<u16> for RedirectStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        if REDIRECTS.contains(&status) {
            Ok(Self(status))
        } else {
            Err(format!(
                "`{status}` is not the status of a redirect; expected 301, 302, 303, 307 or 308"
            ))
        }
    }
}

impl From<RedirectStatus> for u16 {
    fn from(status: RedirectStatus) -> Self {
        status.0
    }
}

impl JsonSchema for RedirectStatus {
    fn schema_name() -> Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "description": "The status of a redirect.", "type": "integer", "enum": REDIRECTS })
    }
}
