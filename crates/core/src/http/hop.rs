//! What belongs to one hop and is taken off, and what a gateway adds: `X-Forwarded-*`, `Forwarded`, `Via`, `Date`.
//!
//! [`clean_request`] runs when a request comes in, before policies: then no client can name a field in `Connection`
//! that the gateway adds later (RFC 9110 7.6.1). [`Forwarding::apply`] runs once before the request is sent on. From
//! peers that are not trusted, everything that claims to be forwarded is replaced, not added to. A request without
//! such fields costs bit tests and the fields that are added.

use crate::config;
use gatehouse_http1::{Headers, Known, KnownSet, Version, encode};
use std::fmt::Write;
use std::net::IpAddr;

/// Fields that mean something to the next hop only. Framing fields are not here: the encoder never copies them.
const HOP_BY_HOP: [Known; 8] = [
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::ProxyAuthenticate,
    Known::ProxyAuthorization,
    Known::Trailer,
    Known::Upgrade,
    Known::Http2Settings,
];

const CLEANED: KnownSet = KnownSet::of(&HOP_BY_HOP);

/// The ids: the encoders write ours.
const IDS: KnownSet = KnownSet::of(&[Known::XRequestId, Known::XCorrelationId]);

/// What is taken off every response.
const CLEANED_RESPONSE: KnownSet = CLEANED.and(IDS).and(KnownSet::of(&[Known::Te]));

/// How often our own name may stand in `Via` before the request must be going in circles.
pub const MAX_LOOPS: usize = 10;

/// Takes off what belongs to the client's connection. `TE: trailers` stays if the upstream side can pass trailers on
/// (it then needs `TE` in its own `Connection`). Whoever handles upgrades reads `Upgrade` before.
pub fn clean_request(headers: &mut Headers, keep_te_trailers: bool) {
    if headers.contains(Known::Te) {
        let takes_trailers = headers
            .list(Known::Te)
            .any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
        if keep_te_trailers && takes_trailers {
            headers.set(Known::Te, b"trailers");
        } else {
            headers.remove(Known::Te);
        }
    }
    clean(headers, CLEANED);
}

/// Takes off what belongs to the upstream's connection, and ids, which are the gateway's to give.
pub fn clean_response(headers: &mut Headers) {
    clean(headers, CLEANED_RESPONSE);
}

fn clean(headers: &mut Headers, names: KnownSet) {
    if headers.contains(Known::Connection) && nominates(headers) {
        remove_nominated(headers);
    }
    headers.remove_any(names);
}

/// False if `Connection` says nothing but what almost all senders say, and so names no field.
fn nominates(headers: &Headers) -> bool {
    let is_usual =
        |value: &[u8]| value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close");
    !headers.all(Known::Connection).all(is_usual)
}

/// Removes the fields that `Connection` names, except those the gateway knows: those it handles itself, or they are for
/// the other end, and no sender may make a proxy drop `Host`, `Authorization` or `Content-Length`.
fn remove_nominated(headers: &mut Headers) {
    let is_nominated = |name: &&[u8]| Known::of(name).is_none() && !name.eq_ignore_ascii_case(b"close");
    let mut names: Vec<Vec<u8>> = headers
        .list(Known::Connection)
        .filter(is_nominated)
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    if names.is_empty() {
        return;
    }
    // Sorted, so that many names cost no more than many fields do.
    names.sort_unstable();
    headers
        .retain(|known, name, _| known.is_some() || names.binary_search(&name.to_ascii_lowercase()).is_err());
}

/// `Date` for a response that came without (RFC 9110 6.6.1); `now` is the time as it is written there.
pub fn add_date(headers: &mut Headers, now: &[u8]) {
    if !headers.contains(Known::Date) {
        headers.set(Known::Date, now);
    }
}

/// How requests are marked as forwarded; made once from the configuration.
#[derive(Debug, Clone)]
pub struct Forwarding {
    x_forwarded: bool,
    rfc7239: bool,
    via: Option<Via>,
}

#[derive(Debug, Clone)]
struct Via {
    name: String,
    /// The whole line for each version, in the order of `Version`.
    lines: [String; 4],
}

impl Via {
    const START: &str = "via: ";

    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            lines: ["1.0", "1.1", "2", "3"].map(|version| format!("{}{version} {name}\r\n", Self::START)),
        }
    }

    /// The whole line for a message that came in this version.
    fn line(&self, version: Version) -> &str {
        &self.lines[version as usize]
    }

    fn value(&self, version: Version) -> &str {
        // Lines are longer than what is taken off.
        let line = self.line(version);
        line.get(Self::START.len()..line.len() - 2).unwrap_or_default()
    }
}

/// Fields that are merged with those that are added.
const MERGED: KnownSet = KnownSet::of(&[
    Known::Via,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedProto,
    Known::XForwardedPort,
    Known::XForwardedPrefix,
    Known::Forwarded,
    Known::XRealIp,
]);

/// One request on its way through.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The address of the peer, formatted once for the connection.
    pub peer: &'a [u8],
    /// The peer is a trusted proxy (see `client_ip`).
    pub trusted_peer: bool,
    /// The authority the request was for, as sent.
    pub host: &'a str,
    /// `http` or `https`: what the client's connection is.
    pub scheme: &'a str,
    /// The port of our listener; empty if it has none.
    pub port: &'a [u8],
    /// What was stripped from the path.
    pub prefix: Option<&'a str>,
    /// The version the request came in.
    pub version: Version,
}

/// The request has passed here too often (RFC 9110 7.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request has come through `{MAX_LOOPS}` times already: it is forwarded in circles")]
pub struct Loop;

impl Forwarding {
    /// Takes the settings.
    pub fn new(settings: &config::Forwarded) -> Self {
        let via = settings.via.as_deref().map(Via::new);
        Self {
            x_forwarded: settings.x_forwarded,
            rfc7239: settings.rfc7239,
            via,
        }
    }

    /// True if the request brings nothing that the new fields must be merged with: they can then be written straight
    /// into its encoded head by [`Forwarding::write`], which is what happens to almost all requests.
    pub fn is_plain(&self, headers: &Headers) -> bool {
        !self.rfc7239 && !headers.contains_any(MERGED) && !has_other_claims(headers)
    }

    /// Writes what [`Forwarding::apply`] would add to a request for which [`Forwarding::is_plain`] holds. `lines` are
    /// those of its connection.
    pub fn write(&self, out: &mut Vec<u8>, version: Version, lines: &[u8], host: &str, prefix: Option<&str>) {
        if let Some(via) = &self.via {
            encode::vouched_lines(out, via.line(version).as_bytes());
        }
        if !self.x_forwarded {
            return;
        }
        encode::vouched_lines(out, lines);
        if !host.is_empty() {
            encode::vouched(out, "x-forwarded-host: ", host.as_bytes());
        }
        if let Some(prefix) = prefix {
            encode::vouched(out, "x-forwarded-prefix: ", prefix.as_bytes());
        }
    }

    /// Writes the fields that tell the upstream about the client and its request.
    ///
    /// # Errors
    /// [`Loop`] when our name stands in `Via` more than [`MAX_LOOPS`] times.
    pub fn apply(&self, headers: &mut Headers, hop: &Hop<'_>) -> Result<(), Loop> {
        if let Some(via) = &self.via {
            if headers.contains(Known::Via) && passes(headers, &via.name) > MAX_LOOPS {
                return Err(Loop);
            }
            headers.append(Known::Via, via.value(hop.version).as_bytes());
        }
        if !hop.trusted_peer {
            remove_claims(headers);
        }
        // Whoever ends TLS says whose certificate it saw, and that is us (RFC 9440 3).
        if headers.iter().any(|field| claims_certificate(field.name)) {
            headers.retain(|_, name, _| !claims_certificate(name));
        }
        if self.x_forwarded {
            x_forwarded(headers, hop);
        }
        if self.rfc7239 {
            forwarded(headers, hop);
        }
        Ok(())
    }
}

/// How often a name has received the message, by `Via`.
fn passes(headers: &Headers, name: &str) -> usize {
    let is_ours = |element: &&[u8]| {
        let mut words = element
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        words
            .nth(1)
            .is_some_and(|receiver| receiver.eq_ignore_ascii_case(name.as_bytes()))
    };
    headers.list(Known::Via).filter(is_ours).count()
}

/// Removes what only a trusted proxy may say. The known fields that are written next are left to be replaced there.
fn remove_claims(headers: &mut Headers) {
    const CLAIMS: [Known; 7] = [
        Known::XForwardedFor,
        Known::XForwardedHost,
        Known::XForwardedProto,
        Known::XForwardedPort,
        Known::XForwardedPrefix,
        Known::Forwarded,
        Known::XRealIp,
    ];
    for known in CLAIMS {
        headers.remove(known);
    }
    if has_other_claims(headers) {
        headers.retain(|known, name, _| !is_other_claim(known, name));
    }
}

/// There are more of this family (-User, -Server, -Client-Cert, ...), and applications that believe them; some of them
/// read `_` as `-`.
fn is_other_claim(known: Option<Known>, name: &[u8]) -> bool {
    const START: &[u8] = b"x-forwarded-";
    known.is_none()
        && name.get(..START.len()).is_some_and(|start| {
            let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
            start.iter().zip(START).all(same)
        })
        // Whether those that imitate known names may pass is for `client.underscores` to say.
        && Known::lookalike(name).is_none()
}

fn has_other_claims(headers: &Headers) -> bool {
    headers.iter().any(|field| {
        is_other_claim(field.known, field.name) || (field.known.is_none() && claims_certificate(field.name))
    })
}

/// True for the fields that tell of a client's certificate, also as applications read them that take `_` for `-`.
fn claims_certificate(name: &[u8]) -> bool {
    let known: &[u8] = match name.len() {
        11 => b"client-cert",
        17 => b"client-cert-chain",
        23 => b"x-forwarded-client-cert",
        _ => return false,
    };
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.iter().zip(known).all(same)
}

/// The list grows by the peer; what else a trusted peer said about the client's request stays.
fn x_forwarded(headers: &mut Headers, hop: &Hop<'_>) {
    append_to_list(headers, Known::XForwardedFor, hop.peer);
    for (known, value) in [
        (Known::XForwardedHost, hop.host.as_bytes()),
        (Known::XForwardedProto, hop.scheme.as_bytes()),
        (Known::XForwardedPort, hop.port),
    ] {
        if !value.is_empty() && !headers.contains(known) {
            headers.append(known, value);
        }
    }
    if let Some(prefix) = hop.prefix {
        // Prefixes nest: the one stripped before us stands outside of ours.
        let outer = headers.get(Known::XForwardedPrefix).unwrap_or_default();
        let outer = outer.strip_suffix(b"/").unwrap_or(outer);
        let whole = [outer, prefix.as_bytes()].concat();
        headers.set(Known::XForwardedPrefix, &whole);
    }
}

/// One element for this hop (RFC 7239 4).
fn forwarded(headers: &mut Headers, hop: &Hop<'_>) {
    let mut element = String::with_capacity(64);
    element.push_str("for=");
    match std::str::from_utf8(hop.peer)
        .unwrap_or_default()
        .parse::<IpAddr>()
    {
        Ok(IpAddr::V4(ip)) => push(&mut element, ip),
        Ok(IpAddr::V6(ip)) => push(&mut element, format_args!("\"[{ip}]\"")),
        Err(_) => element.push_str("unknown"),
    }
    if !hop.host.is_empty() {
        element.push_str(";host=");
        push_value(&mut element, hop.host);
    }
    element.push_str(";proto=");
    push_value(&mut element, hop.scheme);
    append_to_list(headers, Known::Forwarded, element.as_bytes());
}

fn push(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

/// A token as it is, anything else as a quoted string.
fn push_value(out: &mut String, value: &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_token) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for char in value.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

/// Adds an element, and makes one line of the list: many applications read the first line only.
fn append_to_list(headers: &mut Headers, known: Known, element: &[u8]) {
    if !headers.contains(known) {
        headers.append(known, element);
        return;
    }
    let mut list = Vec::with_capacity(64);
    for line in headers.all(known).filter(|line| !line.is_empty()) {
        list.extend_from_slice(line);
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element);
    headers.set(known, &list);
}

#[cfg(test)]
mod tests;
