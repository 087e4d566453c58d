//! Addresses: where we listen, whom we trust, where endpoints are.

use super::text_type;
use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a listener accepts: an IP address with a port, or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address. Port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(text, path).map(Self::Unix);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
        let port = port.parse::<u16>().unwrap_or(8080);
        Err(match text.rsplit_once(':') {
            Some(("" | "*", _)) => {
                format!("`{text}` names no address; write `0.0.0.0:{port}` or `[::]:{port}`")
            }
            Some(("localhost", _)) => format!("`{text}` is a name, not an address; write `127.0.0.1:{port}`"),
            None if text.parse::<IpAddr>().is_ok() => {
                format!("`{text}` has no port; write such as `0.0.0.0:8080`")
            }
            None if text.parse::<u16>().is_ok() => {
                format!("`{text}` names no address; write `0.0.0.0:{port}`")
            }
            _ => format!(
                "`{text}` is not an address; expected such as `0.0.0.0:8080`, `[::]:8080` or `unix:/run/gatehouse.sock`"
            ),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

text_type!(Address, "an address such as `0.0.0.0:8080`, `[::]:8080` or `unix:/run/gatehouse.sock`", {
    "description": "An IP address with a port, such as `0.0.0.0:8080` or `[::]:8080` (port 0: any free one), or `unix:` and the path of a socket.",
    "examples": ["0.0.0.0:8080", "[::]:8080", "unix:/run/gatehouse.sock"],
});

/// Linux allows 108 bytes in `sun_path`, one of them the final NUL; other systems a few less.
const LONGEST_UNIX_PATH: usize = 103;

fn unix_path(text: &str, path: &str) -> Result<PathBuf, String> {
    if path.is_empty() || path.contains('\0') {
        return Err(format!("`{text}` names no socket; expected `unix:` and a path"));
    }
    if path.len() > LONGEST_UNIX_PATH {
        return Err(format!(
            "`{text}` is too long; a socket's path has at most {LONGEST_UNIX_PATH} bytes"
        ));
    }
    Ok(PathBuf::from(path))
}

/// A block of IP addresses: one address, or an address and a prefix length such as `10.0.0.0/8`.
///
/// IPv4 addresses written as IPv6 (`::ffff:10.0.0.1`) mean the IPv4 ones, here and in what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    /// Whether the address lies in the block.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }

    /// The block as `ipnet` has it, for building lookup tables.
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(ip.to_canonical())));
        }
        let net: IpNet = text.parse().map_err(|_| {
            format!("`{text}` is not a block of addresses; expected such as `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.7`")
        })?;
        if net.trunc() != net {
            return Err(format!(
                "`{text}` has bits after its prefix; did you mean `{}`?",
                net.trunc()
            ));
        }
        Ok(Self(unmapped(net)))
    }
}

/// `::ffff:10.0.0.0/104` as `10.0.0.0/8`.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(ip), Some(prefix)) => Ipv4Net::new(ip, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

text_type!(Cidr, "a block of addresses such as `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.7`", {
    "description": "A block of IP addresses such as `10.0.0.0/8` or `2001:db8::/32`, or one address.",
    "examples": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"],
});

/// A name server: an IP address, with a port unless it is 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DnsServer(pub SocketAddr);

impl FromStr for DnsServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(SocketAddr::new(ip, 53)));
        }
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is not a name server; expected an address such as `192.0.2.53` or `[2001:db8::53]:5353`")
        })
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_type!(DnsServer, "the address of a name server such as `192.0.2.53` or `192.0.2.53:5353`", {
    "description": "The IP address of a name server, with a port unless it is 53.",
    "examples": ["192.0.2.53", "[2001:db8::53]:5353"],
});

/// Where a syslog daemon listens for datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogTarget {
    /// UDP to this address.
    Udp(SocketAddr),
    /// A Unix datagram socket.
    Unix(PathBuf),
}

impl FromStr for SyslogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a syslog address; expected such as `udp://127.0.0.1:514` or `unix:/dev/log`"
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(text, path).map(Self::Unix);
        }
        text.strip_prefix("udp://")
            .and_then(|address| address.parse().ok())
            .map(Self::Udp)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

text_type!(SyslogTarget, "a syslog address such as `udp://127.0.0.1:514` or `unix:/dev/log`", {
    "description": "Where a syslog daemon takes datagrams: `udp://` with an address and port, or `unix:` and a path.",
    "examples": ["udp://127.0.0.1:514", "unix:/dev/log"],
});

/// Permission bits of a file, written in octal and in quotes, such as `"0660"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileMode(pub u32);

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(mode)),
            _ => Err(format!(
                "`{text}` is not a file mode; expected three octal digits such as `\"0660\"`"
            )),
        }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

text_type!(FileMode, "a file mode in quotes such as `\"0660\"`", {
    "description": "Permission bits in octal, in quotes, such as `\"0660\"`.",
    "pattern": "^0?[0-7]{3}$",
    "examples": ["0660"],
});

/// How an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// The host of an endpoint: a name to resolve, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointHost {
    /// A DNS name, in lower case.
    Name(String),
    /// An IP address.
    Ip(IpAddr),
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// The address of an endpoint: `http://` or `https://`, a host and a port. No path, query or user name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Its name or address.
    pub host: EndpointHost,
    /// Its port: 80 or 443 when none was written.
    pub port: u16,
}

impl EndpointUrl {
    /// Host and port as a `Host` field has them: without the port if it is the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn default_port(&self) -> u16 {
        match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl FromStr for EndpointUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some((other, _)) => {
                return Err(format!(
                    "`{text}` has the scheme `{other}`; expected `http` or `https`"
                ));
            }
            None => return Err(format!("`{text}` has no scheme; write `http://{text}`")),
        };
        if rest.contains(['?', '#']) {
            return Err(format!(
                "`{text}` has a query; an endpoint is a scheme, a host and a port only"
            ));
        }
        if rest.contains('@') {
            return Err(format!(
                "`{text}` has a user name; an endpoint is a scheme, a host and a port only"
            ));
        }
        // A lone final slash is the empty path, which everybody writes now and then.
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') {
            return Err(format!(
                "`{text}` has a path; set one with `path` or `strip_prefix` in the route's `forward`"
            ));
        }
        let bracketed = authority.starts_with('[');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !bracketed || host.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let host = endpoint_host(host)
            .ok_or_else(|| format!("`{text}` has no legal host; expected a name or an address"))?;
        let url = Self {
            scheme,
            host,
            port: 0,
        };
        let port = match port {
            None => url.default_port(),
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(format!(
                        "`{text}` has the port `{port}`; expected a number from 1 to 65535"
                    ));
                }
            },
        };
        Ok(Self { port, ..url })
    }
}

fn endpoint_host(text: &str) -> Option<EndpointHost> {
    if let Some(inner) = text.strip_prefix('[') {
        return inner
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| EndpointHost::Ip(ip.into()));
    }
    if let Ok(ip) = text.parse::<std::net::Ipv4Addr>() {
        return Some(EndpointHost::Ip(ip.into()));
    }
    // Underscores are no legal host names but common as names of containers and services.
    let legal = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let all_numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let legal = name.len() <= 253 && !all_numeric && name.split('.').all(legal);
    legal.then(|| EndpointHost::Name(text.to_ascii_lowercase()))
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

text_type!(EndpointUrl, "the URL of an endpoint such as `http://10.0.0.1:8080`", {
    "description": "The URL of an endpoint: `http://` or `https://`, a name or address, and a port unless it is 80 or 443.",
    "pattern": "^https?://[^/?#@]+/?$",
    "examples": ["http://10.0.0.1:8080", "https://users.internal"],
});

#[cfg(test)]
mod tests;
