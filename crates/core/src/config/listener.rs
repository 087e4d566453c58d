//! Listeners: the addresses we accept on, and how much of a connection we accept.

use super::types::{Address, Cidr, FileMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address to accept connections on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// An IP address and a port, or `unix:` and the path of a socket. Port 0 is any free one.
    pub address: Address,
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
            proxy_protocol: None,
            backlog: Self::default_backlog(),
            max_connections: Self::default_max_connections(),
            max_connections_per_client: Self::default_max_connections_per_client(),
            unix_mode: None,
        }
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
