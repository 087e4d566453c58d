//! How endpoints are spoken to: which HTTP, and the TLS around it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tls::TlsProfile;

/// Which HTTP the endpoints are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// What an `https` endpoint chooses (ALPN): HTTP/2 if it can. HTTP/1.1 in the clear.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2. In the clear the endpoint must expect it without being asked (prior knowledge).
    Http2,
}

/// How `https` endpoints are recognised, and how they recognise us.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// A PEM file with the authorities that endpoints' certificates must come from. Absent: the system's.
    pub ca: Option<PathBuf>,
    /// The name asked for (SNI) and expected in the certificate. Absent: the host of the endpoint's URL.
    pub server_name: Option<String>,
    /// Names of which the certificate must bear one, in place of the server's: DNS names, addresses, or
    /// URIs such as `spiffe://example.org/orders`.
    pub subject_alt_names: Vec<String>,
    /// Whether the certificate is checked. `false`: whoever gets between reads and changes everything.
    pub verify: bool,
    /// A PEM file with the certificate we show when asked for one, and those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the private key of `certificate`.
    pub key: Option<PathBuf>,
    /// Which versions of TLS are spoken.
    pub profile: TlsProfile,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            ca: None,
            server_name: None,
            subject_alt_names: Vec::new(),
            verify: true,
            certificate: None,
            key: None,
            profile: TlsProfile::default(),
        }
    }
}
