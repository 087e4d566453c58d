//! The client side: timeouts, limits, and what is believed of what a client says.

use super::http3::Http3;
use super::types::{Cidr, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Timeouts and limits on the client side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// How long a client may take for each part of a request.
    pub timeouts: ClientTimeouts,
    /// How much a client may send.
    pub limits: ClientLimits,
    /// What a client may do on a connection of HTTP/2.
    pub http2: Http2,
    /// What a client may do on a connection of HTTP/3.
    pub http3: Http3,
    /// What is done with header names that have an underscore and equal a known name once it is a hyphen,
    /// such as `Content_Length`: many servers take the one for the other.
    pub underscores: Underscores,
}

/// How long a client may take for each part of a request. All must be longer than nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTimeouts {
    /// For the TLS handshake, from when the connection was accepted.
    pub handshake: Span,
    /// For the head of a request, from its first byte; on a new connection, from when it was accepted.
    pub head: Span,
    /// Between two pieces of a body.
    pub body_idle: Span,
    /// Between the end of a response and the first byte of the next request.
    pub keep_alive: Span,
    /// Between two pieces of a response that the client takes.
    pub write_idle: Span,
    /// For a whole exchange, from the first byte of the request to the last of the response.
    pub total: Span,
    /// For reading what a client still sends after a response that closes the connection, so that the
    /// response is not lost.
    pub linger: Span,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            handshake: Span::from_secs(10),
            head: Span::from_secs(10),
            body_idle: Span::from_secs(30),
            keep_alive: Span::from_secs(75),
            write_idle: Span::from_secs(30),
            total: Span::from_secs(3600),
            linger: Span::from_secs(2),
        }
    }
}

/// How much a client may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientLimits {
    /// Bytes of the head of a request: the request line and all fields. Above: `431`.
    pub head: Size,
    /// Fields in a head. Above: `431`. From 1 to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    pub fields: u32,
    /// Bytes of the request target; never more than `head`, whatever is written here. Above: `414`.
    pub target: Size,
    /// Bytes of a request's body. Above: `413`. A route may say otherwise.
    pub body: Size,
    /// Requests on one connection, after which it is closed. At least 1.
    #[schemars(range(min = 1))]
    pub requests_per_connection: u64,
    /// TLS handshakes under way at a time on each worker; for HTTP/3, at each listener. Above: the connection is closed.
    /// Once half of them are taken, no client gets more than a sixteenth, or eight. At least 1.
    #[schemars(range(min = 1))]
    pub handshakes: u32,
    /// Bytes a second that a body must come with, on the average. `0` turns it off.
    pub min_rate: Size,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            head: Size::kib(16),
            fields: 100,
            target: Size::kib(8),
            body: Size::mib(100),
            requests_per_connection: 1_000_000,
            handshakes: 2048,
            min_rate: Size::bytes(240),
        }
    }
}

/// What a client may do on a connection of HTTP/2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2 {
    /// Requests at a time on one connection. Above: the request is refused, and may be tried again. From 1 to
    /// 100000.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent_streams: u32,
    /// Bytes of a request's body that a client may send before they are passed on. From 16KiB to 16MiB.
    pub stream_window: Size,
    /// The same for all requests of a connection together. From 64KiB to 256MiB.
    pub connection_window: Size,
    /// Requests that a client may take back within ten seconds, or begin in vain because there are as many as there may
    /// be. Above: the connection is closed. At least 1.
    #[schemars(range(min = 1))]
    pub max_resets: u32,
    /// Malformed requests within ten seconds. Above: the connection is closed. At least 1.
    #[schemars(range(min = 1))]
    pub max_malformed: u32,
    /// Frames within ten seconds that ask for work but bring no request on: `SETTINGS`, `PING`, `PRIORITY`, empty
    /// and unknown ones; `WINDOW_UPDATE` too, as far as there are more than what was sent explains. Above: the
    /// connection is closed. At least 100.
    #[schemars(range(min = 100))]
    pub max_control_frames: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window: Size::kib(256),
            connection_window: Size::mib(1),
            max_resets: 500,
            max_malformed: 100,
            max_control_frames: 2000,
        }
    }
}

/// What is done with header names that differ from a known name by underscores only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// The request is refused with `400`.
    #[default]
    Refuse,
    /// The field is left out.
    Drop,
    /// The field is passed on.
    Allow,
}

/// Trusted proxies before us, and the fields that tell upstreams who called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Forwarded {
    /// Proxies whose `X-Forwarded-*` and `Forwarded` fields are believed. From others, these fields are
    /// removed.
    pub trusted: Vec<Cidr>,
    /// Sends `X-Forwarded-For`, `-Host`, `-Proto` and `-Port` to upstreams, and `-Prefix` when a prefix was
    /// stripped.
    pub x_forwarded: bool,
    /// Sends `Forwarded` (RFC 7239) to upstreams.
    pub rfc7239: bool,
    /// Our name in `Via`; `null` sends none.
    pub via: Option<String>,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            x_forwarded: true,
            rfc7239: false,
            via: Some("gatehouse".to_owned()),
        }
    }
}

/// Identifiers of requests: `X-Request-ID` and `X-Correlation-Id`, sent to upstreams and back to clients.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestId {
    /// Whose identifiers are taken over; everybody else's are replaced by our own.
    pub trust: Trust,
}

/// Whose word is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Nobody's.
    Never,
    /// That of the proxies in `forwarded.trusted`.
    #[default]
    TrustedProxies,
    /// Everybody's.
    Always,
}

/// How unusual paths are treated, before a route is looked for and before the request is forwarded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// What is done with `%2F` and `%5C`.
    pub encoded_slashes: EncodedSlashes,
    /// What is done with `//`.
    pub doubled_slashes: DoubledSlashes,
}

/// What is done with slashes that are percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlashes {
    /// The request is refused with `400`.
    #[default]
    Reject,
    /// They stay as they are, and are no separators.
    Keep,
    /// They become slashes before the path is matched.
    Decode,
}

/// What is done with empty segments in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoubledSlashes {
    /// They become one slash before the path is matched.
    #[default]
    Merge,
    /// They stay as they are.
    Keep,
    /// The request is refused with `400`.
    Reject,
}

/// How a client says which version of an API it wants. Routes match it with `match.version`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Versions {
    /// The header that carries the version, such as `X-API-Version`.
    pub header: Option<String>,
    /// A media type in `Accept` that carries it, such as `application/vnd.company.{version}+json`.
    pub media_type: Option<String>,
    /// The version of requests that name none.
    pub default: Option<String>,
}
