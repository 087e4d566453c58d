//! TLS on a listener: its certificates, what it accepts, and what it asks of clients.
//!
//! Files are named here and read when the plan is compiled; a change of one of them is a reload.

use super::types::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// TLS on a listener. Relative paths begin at the folder of the main document. All files are watched: a change
/// of one takes force without touching connections, and one that is bad leaves the old in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates with their keys, at least one. The name a client asks for chooses; the first is for clients
    /// that ask for none, or for one that no certificate has. Of several for the same name the client gets the
    /// first that it can verify, ECDSA before RSA.
    pub certificates: Vec<Certificate>,
    /// Whether clients must ask for a name that a certificate has: others are refused in the handshake, and
    /// requests for a host that the connection's certificate has not get `421`.
    #[serde(default)]
    pub strict_sni: bool,
    /// Which versions of TLS are spoken.
    #[serde(default)]
    pub profile: TlsProfile,
    /// How clients that come back are spared the long handshake.
    #[serde(default)]
    pub session_tickets: SessionTickets,
    /// Whether clients show certificates, and which are accepted.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Sends `Strict-Transport-Security`: browsers then use HTTPS only.
    #[serde(default)]
    pub hsts: Option<Hsts>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A PEM file with the certificate, then those that signed it, up to but without the root.
    pub cert: PathBuf,
    /// A PEM file with its private key: ECDSA (P-256, P-384, P-521), RSA or Ed25519.
    pub key: PathBuf,
    /// A DER file with an OCSP response, which is given to clients that ask for one.
    #[serde(default)]
    pub ocsp: Option<PathBuf>,
}

/// Versions of TLS, by the names that Mozilla gives to such sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsProfile {
    /// TLS 1.3 only.
    Modern,
    /// TLS 1.2 and 1.3, with forward secrecy and authenticated encryption always.
    #[default]
    Intermediate,
}

/// Session tickets (RFC 5077, RFC 8446 4.6.1). Keys live as long as the listener, whatever else changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionTickets {
    /// Whether tickets are given out and taken.
    pub enabled: bool,
    /// A file of keys that several nodes share, one a line: 48 or 80 random bytes in base64, such as
    /// `openssl rand -base64 48` prints. The first encrypts, all decrypt; at most 16. Absent: keys that this
    /// process makes for itself.
    pub key_file: Option<PathBuf>,
    /// How often the process makes itself a new key, and how long a ticket is good: its key is forgotten after
    /// twice this time. From `1m` to `7d`.
    pub rotate: Span,
}

impl Default for SessionTickets {
    fn default() -> Self {
        Self {
            enabled: true,
            key_file: None,
            rotate: Span::from_secs(12 * 3600),
        }
    }
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAuth {
    /// Whether clients are asked for a certificate.
    pub mode: ClientAuthMode,
    /// A PEM file with the certificates of the authorities that may have signed those of clients.
    pub ca: Option<PathBuf>,
    /// A PEM file with lists of revoked certificates, one of each authority in a client's chain: without its
    /// list a client is refused.
    pub crl: Option<PathBuf>,
    /// Fields that tell upstreams of the client's certificate. Whatever a client itself sends by these names is
    /// removed, here and on all other listeners.
    pub forward: Vec<ForwardCertificate>,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and may have none; one that is bad is refused.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// A field that tells upstreams of the client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardCertificate {
    /// `Client-Cert`: the certificate itself (RFC 9440).
    ClientCert,
    /// `Client-Cert-Chain`: the certificates that came with it (RFC 9440).
    ClientCertChain,
    /// `X-Forwarded-Client-Cert`, as Envoy writes it: `Hash`, `Subject`, `URI` and `DNS`.
    Xfcc,
}

/// What browsers are told about the use of HTTPS (RFC 6797).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hsts {
    /// How long they remember it. `0s` makes them forget it.
    pub max_age: Span,
    /// Whether it holds for all names below the host, too.
    pub include_subdomains: bool,
    /// Whether the host may be put into the lists that browsers come with. Needs `include_subdomains` and a
    /// `max_age` of a year.
    pub preload: bool,
}

/// The value of `Strict-Transport-Security` (RFC 6797 6.1).
impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", self.max_age.get().as_secs())?;
        if self.include_subdomains {
            f.write_str("; includeSubDomains")?;
        }
        if self.preload {
            f.write_str("; preload")?;
        }
        Ok(())
    }
}

impl Default for Hsts {
    fn default() -> Self {
        Self {
            max_age: Span::from_secs(365 * 24 * 3600),
            include_subdomains: false,
            preload: false,
        }
    }
}
