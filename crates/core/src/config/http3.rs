//! HTTP/3: what a client may do on its connections, and how others learn of it.

use super::types::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

/// What a client may do on a connection of HTTP/3. Connections take a change as they begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http3 {
    /// Requests at a time on one connection. The client waits to begin more. From 1 to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent_streams: u32,
    /// Bytes of a request's body that a client may send before they are passed on. From 16KiB to 16MiB.
    pub stream_window: Size,
    /// The same for all requests of a connection together, and for all responses it has not confirmed. From 64KiB
    /// to 256MiB.
    pub connection_window: Size,
    /// Requests that a client may take back within ten seconds. Above: the connection is closed. At least 1.
    #[schemars(range(min = 1))]
    pub max_resets: u32,
    /// How long nothing may be heard of a client, though it is asked to answer, before its connection is given up.
    /// From 1s to 10m.
    pub idle_timeout: Span,
    /// Handshakes under way at a listener from which on a client must first show that it gets what is sent to its
    /// address (`Retry`), which costs it a round trip. `0`: always. From half of `client.limits.handshakes` on in any
    /// case: places are shared out by address then.
    pub retry_above: u32,
    /// Takes requests that a returning client sends with its first packet. Whoever listened in can send them
    /// again, so it is for GET, HEAD and OPTIONS only: others get `425`. Their upstream is told with `Early-Data: 1`.
    pub early_data: bool,
    /// Lets a connection go on when the client's address changes. What is decided by the address is then decided by
    /// the new one, request by request.
    pub migration: bool,
}

impl Default for Http3 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window: Size::kib(256),
            connection_window: Size::mib(1),
            max_resets: 500,
            idle_timeout: Span::from_secs(30),
            retry_above: 100,
            early_data: false,
            migration: true,
        }
    }
}

/// What responses over HTTP/1.1 and HTTP/2 say of HTTP/3 (RFC 7838): `Alt-Svc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AltSvc {
    /// How long clients may remember it. `0s`: nothing is said.
    pub max_age: Span,
    /// The port clients see, if it is another than the listener's.
    pub port: Option<NonZeroU16>,
}

impl Default for AltSvc {
    fn default() -> Self {
        Self {
            max_age: Span::from_secs(24 * 3600),
            port: None,
        }
    }
}
