//! What is written of `external_auth`.

use std::path::PathBuf;

use gatehouse_core::config::{Size, Span, Template};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks another service whether a request may go on, over HTTP or in gRPC as Envoy does.
///
/// Over HTTP the service gets a `GET` (a `POST`, if the body is sent along) with the fields listed in `send`, and with
/// `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto`, `-For` and `X-Request-Id`, which say what the client asked for. If it answers with
/// 2xx, the request goes on.
///
/// With `protocol: grpc` it is asked by `envoy.service.auth.v3.Authorization/Check`, the service that Envoy calls
/// `ext_authz`: `request.http` has method, path, host, scheme, protocol, header fields, id, size and, with `body`, the body;
/// `source` and `destination` the addresses and the client's name by its certificate; `context_extensions` what is in
/// `context`. If the answer's status is 0, the request goes on. Of what it may say, `dynamic_metadata` is ignored.
///
/// A request that goes on has the fields of the answer listed in `accept`; clients cannot send those fields
/// themselves, on any route. The service may also take fields off, and over gRPC set and remove parameters of the query;
/// fields in `accept_response` are put into the answer to the client.
///
/// If the service refuses with 401, the client gets `401` (`unauthenticated`) and its `WWW-Authenticate`; with any other
/// status `403` (`forbidden`); or in both cases the answer of the service itself, if `relay` says so.
///
/// An answer of 5xx over HTTP, a call of gRPC that fails, no answer in time, and no connection are failures: `on_failure` decides.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalAuth {
    /// Where the service is: `http://auth.internal:9000/check`; for gRPC without a path. Both may be `https`.
    pub url: String,
    /// How it is asked.
    #[serde(default)]
    pub protocol: Protocol,
    /// A file of certificates in PEM: the authorities that the service's certificate must be from. Absent: those of the
    /// system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Fields of the request that the service sees. Absent: over HTTP `Authorization` and `Cookie`, over gRPC all.
    #[serde(default)]
    pub send: Option<Vec<String>>,
    /// What the service is told besides, over gRPC: its `context_extensions`.
    #[serde(default)]
    pub context: IndexMap<String, String>,
    /// Fields of the service's answer that the upstream gets in the request. Over gRPC a field takes the place of one
    /// that is there, unless `append` or `append_action` says otherwise.
    #[serde(default)]
    pub accept: Vec<String>,
    /// Fields of the service's answer that the client gets in the response, if the request goes on: such as
    /// `Set-Cookie`. Over gRPC those in `response_headers_to_add`.
    #[serde(default)]
    pub accept_response: Vec<String>,
    /// The field of the answer that names the caller: it makes the caller known to policies that follow and to the
    /// access log.
    #[serde(default)]
    pub subject: Option<String>,
    /// Sends the body along, if it has at most so many bytes; a longer one gets `413`. At most `64MiB`.
    #[serde(default)]
    pub body: Option<Size>,
    /// Sends the beginning of a body that is longer than `body` instead, marked by `X-Partial-Body: true`, over gRPC by
    /// `x-envoy-auth-partial-body`. The rest is not waited for.
    #[serde(default)]
    pub allow_partial: bool,
    /// Whether the client gets the service's own answer if it refuses: status, `Location`, `Set-Cookie`,
    /// `WWW-Authenticate`, `Content-Type`, and up to 64 KiB of body; over gRPC all of `denied_response`. For redirects
    /// to a login.
    #[serde(default)]
    pub relay: bool,
    /// How long the service may take; at most `1m`.
    #[serde(default = "ExternalAuth::two_seconds")]
    pub timeout: Span,
    /// What happens if the service does not answer or fails: `closed` refuses with `500` (`policy_failed`), `open` lets
    /// the request through as it is.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Remembers answers. One that sets a cookie is not remembered.
    #[serde(default)]
    pub cache: Option<Remember>,
}

/// How a service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// By a request of HTTP/1.1.
    #[default]
    Http,
    /// By a call of `envoy.service.auth.v3.Authorization/Check`, over HTTP/2.
    Grpc,
}

/// What happens if there is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The request is refused.
    #[default]
    Closed,
    /// The request goes on.
    Open,
}

/// Which answers are remembered, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remember {
    /// What an answer depends on, such as `${request.header.Authorization} ${method} ${path}`. Requests for which it is
    /// empty, and those with a field of it more than once, are always asked about. Must name everything that the service
    /// looks at, but for the body: where that is sent along, it is part of the key.
    pub key: Template,
    /// For how long; at most `1h`.
    pub ttl: Span,
    /// How many answers are kept at most.
    #[serde(default = "Remember::ten_thousand")]
    pub entries: u32,
}

impl Remember {
    fn ten_thousand() -> u32 {
        10_000
    }
}

impl ExternalAuth {
    fn two_seconds() -> Span {
        Span::from_secs(2)
    }
}
