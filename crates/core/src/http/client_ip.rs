//! Who is really calling: the peer of the connection, or whoever trusted proxies say they speak for.
//!
//! Only a trusted peer is believed, and then only as far as the chain of trusted addresses goes: `X-Forwarded-For` is
//! read from the right, all its lines as one list, and the first address that is no trusted proxy is the client. What a
//! client wrote itself stands further left and is never reached. Anything that is no address ends the walk.
//! `Forwarded` (RFC 7239) is read the same way where it is in use; if both are sent, they must name the same client,
//! because a proxy that writes only one of them passes the other on from whoever sent it.

use crate::config::{Cidr, Forwarded};
use gatehouse_http1::{Headers, Known};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The most entries of a chain that are looked at, from the right.
pub const MAX_HOPS: usize = 32;

/// Who calls, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The client's address; an IPv4 address is never in its IPv6 form.
    pub ip: IpAddr,
    /// The peer is a trusted proxy: what it says about the request is believed, and added to rather than replaced.
    pub trusted_peer: bool,
}

/// Finds the client behind the peer.
pub fn resolve(peer: IpAddr, headers: &Headers, settings: &Forwarded) -> Client {
    let peer = peer.to_canonical();
    if !is_trusted(peer, &settings.trusted) {
        return Client {
            ip: peer,
            trusted_peer: false,
        };
    }
    let list = headers
        .contains(Known::XForwardedFor)
        .then(|| walk(peer, &x_forwarded_for(headers), &settings.trusted));
    let elements = (settings.rfc7239 && headers.contains(Known::Forwarded))
        .then(|| forwarded(headers).map_or(peer, |hops| walk(peer, &hops, &settings.trusted)));
    let ip = match (list, elements) {
        (Some(ip), None) | (None, Some(ip)) => ip,
        (Some(ip), Some(other)) if ip == other => ip,
        // Nobody is named, or two.
        _ => peer,
    };
    Client {
        ip,
        trusted_peer: true,
    }
}

/// The scheme the client used: what a trusted peer says, if it is one of HTTP's, else that of the connection.
pub fn scheme<'a>(connection: &'a str, headers: &Headers, client: Client) -> &'a str {
    if !client.trusted_peer {
        return connection;
    }
    match headers.list(Known::XForwardedProto).next() {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => "https",
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => "http",
        _ => connection,
    }
}

fn is_trusted(ip: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|block| block.contains(ip))
}

/// The last entries of a list; what is no address is kept as none.
#[derive(Default)]
struct Hops {
    ring: [Option<IpAddr>; MAX_HOPS],
    count: usize,
}

impl Hops {
    fn push(&mut self, ip: Option<IpAddr>) {
        // The remainder is below the length.
        self.ring[self.count % MAX_HOPS] = ip;
        self.count += 1;
    }

    fn newest_first(&self) -> impl Iterator<Item = Option<IpAddr>> {
        // As above.
        (self.count.saturating_sub(MAX_HOPS)..self.count)
            .rev()
            .map(|at| self.ring[at % MAX_HOPS])
    }
}

/// Goes from proxy to proxy as long as they are trusted; the last address that is known is the client.
fn walk(peer: IpAddr, hops: &Hops, trusted: &[Cidr]) -> IpAddr {
    let mut ip = peer;
    for hop in hops.newest_first() {
        let Some(hop) = hop else { break };
        ip = hop;
        if !is_trusted(ip, trusted) {
            break;
        }
    }
    ip
}

fn x_forwarded_for(headers: &Headers) -> Hops {
    let mut hops = Hops::default();
    for entry in headers.list(Known::XForwardedFor) {
        hops.push(address(entry));
    }
    hops
}

/// An address with or without a port, as proxies write them: `192.0.2.1`, `192.0.2.1:80`, `::1`, `[::1]`, `[::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let ip = match text.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => match text.parse::<SocketAddr>() {
            Ok(address) => address.ip(),
            Err(_) => text
                .strip_prefix('[')?
                .strip_suffix(']')?
                .parse::<Ipv6Addr>()
                .ok()?
                .into(),
        },
    };
    Some(ip.to_canonical())
}

/// The `for` of each element (RFC 7239 4). None if anything is malformed, for then it is open where elements end, and
/// with a quote that is never closed a client could swallow what the proxy added.
fn forwarded(headers: &Headers) -> Option<Hops> {
    let mut hops = Hops::default();
    for line in headers.all(Known::Forwarded) {
        let mut rest = line;
        loop {
            let (element, after) = element(rest)?;
            if let Some(node) = element {
                hops.push(address(&node));
            }
            match after.split_first() {
                None => break,
                Some((_, next)) => rest = next,
            }
        }
    }
    Some(hops)
}

/// The `for` of an element, if it has any pairs at all, and what follows the element.
type Element<'a> = (Option<Vec<u8>>, &'a [u8]);

/// Reads one element, up to a comma or the end.
fn element(line: &[u8]) -> Option<Element<'_>> {
    let mut node = None;
    let mut pairs = 0;
    let mut rest = line.trim_ascii_start();
    loop {
        if let Some(b';') = rest.first() {
            rest = rest.get(1..)?.trim_ascii_start();
            continue;
        }
        if rest.is_empty() || rest.starts_with(b",") {
            // An element without `for` is a hop that is not known.
            let found = (pairs > 0).then(|| node.unwrap_or_default());
            return Some((found, rest));
        }
        let equals = rest.iter().position(|&byte| !is_token_byte(byte))?;
        let (name, after) = rest.split_at(equals);
        let (value, after) = value(after.strip_prefix(b"=")?)?;
        if name.eq_ignore_ascii_case(b"for") {
            if node.is_some() {
                return None;
            }
            node = Some(value);
        }
        pairs += 1;
        rest = after.trim_ascii_start();
        if !matches!(rest.first(), None | Some(b';' | b',')) {
            return None;
        }
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let end = text
            .iter()
            .position(|&byte| !is_token_byte(byte))
            .unwrap_or(text.len());
        let (token, after) = text.split_at(end);
        return (!token.is_empty()).then(|| (token.to_vec(), after));
    };
    let mut value = Vec::new();
    loop {
        match rest {
            [b'"', after @ ..] => return Some((value, after)),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// RFC 9110 5.6.2; and `:`, `[`, `]`, which some proxies leave unquoted.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte)
}

#[cfg(test)]
mod tests;
