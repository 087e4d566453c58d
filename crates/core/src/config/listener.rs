//! Listeners: the addresses we accept on, and how much of a connection we accept.

use super::tls::ListenerTls;
use super::types::{Address, Cidr, FileMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

/// What a listener speaks unless it says otherwise.
const DEFAULT_PROTOCOLS: &[Protocol] = &[Protocol::Http1];

/// An address to accept connections on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// An IP address and a port, or `unix:` and the path of a socket. Port 0 is any free one.
    pub address: Address,
    /// TLS on every connection. Absent: HTTP in the clear.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Protocols that are spoken, the preferred first. With TLS the client chooses among them (ALPN).
    #[serde(default = "Listener::default_protocols")]
    pub protocols: Vec<Protocol>,
    /// Answers every request with a redirect to the same place over HTTPS: `true`, or the port HTTPS is at if that
    /// is not 443. Requests that came over HTTPS to a trusted proxy are served.
    #[serde(default)]
    pub redirect_to_https: Option<RedirectToHttps>,
    /// Takes the client's address from a PROXY header, version 1 or 2, before the first byte of HTTP.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How many connections may wait in the system's queue to be accepted. At least 1.
    #[serde(default = "Listener::default_backlog")]
    #[schemars(range(min = 1))]
    pub backlog: u32,
    /// How many connections may be open at a time. Above it, new ones are closed. At least 1.
    #[serde(default = "Listener::default_max_connections")]
    #[schemars(range(min = 1))]
    pub max_connections: u32,
    /// How many of them one client address may have. Above it, new ones are closed. At least 1.
    #[serde(default = "Listener::default_max_connections_per_client")]
    #[schemars(range(min = 1))]
    pub max_connections_per_client: u32,
    /// Permission bits of a Unix socket, in octal and in quotes, such as `"0660"`. Absent: the umask decides.
    #[serde(default)]
    pub unix_mode: Option<FileMode>,
}

impl Listener {
    /// A listener at this address, everything else as by default.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            tls: None,
            protocols: Self::default_protocols(),
            redirect_to_https: None,
            proxy_protocol: None,
            backlog: Self::default_backlog(),
            max_connections: Self::default_max_connections(),
            max_connections_per_client: Self::default_max_connections_per_client(),
            unix_mode: None,
        }
    }

    fn default_protocols() -> Vec<Protocol> {
        DEFAULT_PROTOCOLS.to_vec()
    }

    const fn default_backlog() -> u32 {
        4096
    }

    const fn default_max_connections() -> u32 {
        100_000
    }

    const fn default_max_connections_per_client() -> u32 {
        1000
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// Its name in ALPN (RFC 7301).
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// Where HTTPS is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RedirectToHttps {
    /// `true`: at port 443. `false`: no redirect.
    Usual(bool),
    /// At this port.
    Port(NonZeroU16),
}

impl RedirectToHttps {
    /// The port HTTPS is at, if clients are to go there.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Usual(on) => on.then_some(443),
            Self::Port(port) => Some(port.get()),
        }
    }
}

/// Who may send a PROXY header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Addresses of the load balancers that send it. Others are served as the clients they are.
    pub from: Vec<Cidr>,
    /// Whether these senders must send it: connections from them without it are closed.
    #[serde(default = "ProxyProtocol::default_required")]
    pub required: bool,
}

impl ProxyProtocol {
    const fn default_required() -> bool {
        true
    }
}
