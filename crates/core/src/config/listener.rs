//! Listeners: the addresses we accept on, and how much of a connection we accept.

use super::http3::AltSvc;
use super::tls::ListenerTls;
use super::types::{Address, Cidr, FileMode};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::num::NonZeroU16;

/// What a listener speaks unless it says otherwise.
const DEFAULT_PROTOCOLS: &[Protocol] = &[Protocol::Http2, Protocol::Http1];

/// An address to accept connections on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// An IP address and a port, or `unix:` and the path of a socket. Port 0 is any free one.
    pub address: Address,
    /// TLS on every connection. Absent: HTTP in the clear.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Protocols that are spoken, the preferred first. With TLS they are agreed on in the handshake (ALPN); in the
    /// clear, HTTP/2 is for clients that begin with it (RFC 9113 3.3).
    #[serde(default = "Listener::default_protocols")]
    pub protocols: Vec<Protocol>,
    /// What responses over the other protocols say of HTTP/3, if it is spoken.
    #[serde(default)]
    pub alt_svc: AltSvc,
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
            alt_svc: AltSvc::default(),
            redirect_to_https: None,
            proxy_protocol: None,
            backlog: Self::default_backlog(),
            max_connections: Self::default_max_connections(),
            max_connections_per_client: Self::default_max_connections_per_client(),
            unix_mode: None,
        }
    }

    /// True if clients of other protocols are told of HTTP/3.
    pub fn advertises_http3(&self) -> bool {
        self.tls.is_some() && self.speaks(Protocol::Http3) && !self.alt_svc.max_age.is_zero()
    }

    fn default_protocols() -> Vec<Protocol> {
        DEFAULT_PROTOCOLS.to_vec()
    }

    /// True if `protocol` is spoken here.
    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
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
    /// HTTP/3, over UDP at the same port. Needs `tls`.
    Http3,
}

impl Protocol {
    /// Its name in ALPN (RFC 7301).
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
            Self::Http3 => b"h3",
        }
    }
}

/// Where HTTPS is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RedirectToHttps {
    /// `true`: at port 443. `false`: no redirect.
    Usual(bool),
    /// At this port.
    Port(NonZeroU16),
}

impl<'de> Deserialize<'de> for RedirectToHttps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if let Some(on) = value.as_bool() {
            return Ok(Self::Usual(on));
        }
        let port = value
            .as_u64()
            .and_then(|port| NonZeroU16::new(u16::try_from(port).ok()?));
        port.map(Self::Port).ok_or_else(|| {
            D::Error::custom(format!(
                "`{value}` is no port; expected `true`, `false` or a port such as `8443`"
            ))
        })
    }
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
