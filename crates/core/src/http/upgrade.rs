//! Requests that want to switch to another protocol (RFC 9110 7.8), above all to WebSocket (RFC 6455).
//!
//! What a client asks for is read before its head is cleaned, held against what the route allows, and written anew for
//! the endpoint. The endpoint's answer is checked too: a 101 that does not fit is a failure, because the client would
//! take what follows for something that it is not. What comes behind a valid 101 is a [`crate::tunnel`].

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use gatehouse_http1::{Headers, Known, Method, RequestHead, ResponseHead, Version, encode};

use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::tunnel::{Far, TunnelPlan};

const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";
const VERSION: &[u8] = b"sec-websocket-version";
const PROTOCOL: &[u8] = b"sec-websocket-protocol";
const EXTENSIONS: &[u8] = b"sec-websocket-extensions";
/// What a server appends to a key before it hashes it (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What routes call the method.
const CONNECT: &str = "connect";
/// The protocol this module knows more about than the name.
pub const WEBSOCKET: &str = "websocket";

/// What a request asks for, and what has come of it.
pub(crate) struct Upgrade {
    /// As sent, in the client's order.
    asked: Vec<Box<str>>,
    /// True if `Connection` names `upgrade`: else the field is not for us.
    is_nominated: bool,
    /// True if it came as CONNECT, extended or not: then it is refused, or granted with a 2xx, and never ignored.
    is_connect: bool,
    /// The one the route allows, once it was asked.
    chosen: Option<Box<str>>,
    /// What that route says of tunnels.
    pub terms: Option<Arc<TunnelPlan>>,
    /// The endpoint's side, once that has switched.
    pub far: Option<Box<Far>>,
}

/// What a head asks for. Nothing if it is of HTTP/1.0, where the field means nothing (RFC 9110 7.8).
pub(crate) fn asked(head: &RequestHead) -> Option<Box<Upgrade>> {
    if head.version != Version::Http11 {
        return None;
    }
    let asked = head
        .headers
        .list(Known::Upgrade)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .map(Box::from)
        .collect();
    Some(Box::new(Upgrade {
        asked,
        is_nominated: head
            .headers
            .list(Known::Connection)
            .any(|option| option.eq_ignore_ascii_case(b"upgrade")),
        is_connect: false,
        chosen: None,
        terms: None,
        far: None,
    }))
}

/// What an extended CONNECT asks for (RFC 8441 4, RFC 9220 3).
///
/// Its head was read as that of a GET, which is what the endpoint gets: with a key of our making, since there is none
/// in these versions (RFC 8441 5.1).
pub(crate) fn extended(protocol: &str, headers: &mut Headers, random: [u64; 2]) -> Box<Upgrade> {
    if is_websocket(protocol) {
        let [first, second] = random.map(u64::to_be_bytes);
        headers.set_name(KEY, &base64(&[first, second].concat()));
    }
    asked_by_connect(protocol)
}

/// What CONNECT asks for (RFC 9110 9.3.6): bytes to and from an endpoint of the route, whatever they mean. Where the
/// client wants to go only helps to choose the route.
pub(crate) fn connect() -> Box<Upgrade> {
    asked_by_connect(CONNECT)
}

/// The failure where CONNECT is not served.
pub(crate) fn no_connect() -> Failure {
    let failure = Failure::new(Code::NotImplemented).safe_detail("CONNECT is not served here");
    failure.close(true)
}

fn asked_by_connect(protocol: &str) -> Box<Upgrade> {
    Box::new(Upgrade {
        asked: vec![protocol.into()],
        is_nominated: true,
        is_connect: true,
        chosen: None,
        terms: None,
        far: None,
    })
}

/// The answer to an extended CONNECT once its endpoint has switched: a 101 that is one no more (RFC 8441 5).
pub(crate) fn grant(ex: &mut Exchange, head: &mut ResponseHead) {
    head.status = 200;
    head.headers.remove_name(ACCEPT);
    ex.record.status = head.status;
}

/// True if a CONNECT was answered as if it were granted, though no endpoint has switched: what follows would
/// be taken for the other protocol.
pub(crate) fn is_false_grant(ex: &Exchange, status: u16) -> bool {
    let asked = ex.upgrade.as_ref();
    asked.is_some_and(|upgrade| upgrade.is_connect && upgrade.far.is_none()) && (200..300).contains(&status)
}

/// Holds what the request asks for against what its route allows.
///
/// An upgrade to another version of HTTP or to TLS is ignored, as is one that `Connection` does not name: the request is
/// then an ordinary one (RFC 9110 7.8). Any other that the route does not allow is refused.
pub(crate) fn admit(ex: &mut Exchange, allowed: &Arc<TunnelPlan>) -> Result<(), Failure> {
    let Some(upgrade) = &mut ex.upgrade else {
        return Ok(());
    };
    let is_plain_connect = upgrade.is_connect && upgrade.asked.iter().all(|name| &**name == CONNECT);
    let is_allowed = |name: &&str| {
        let mut allowed = allowed.upgrades.iter();
        // The word is for the method: nobody gets there by a field.
        (is_plain_connect || !name.eq_ignore_ascii_case(CONNECT))
            && allowed.any(|known| known.eq_ignore_ascii_case(name))
    };
    let chosen = upgrade.asked.iter().map(|name| &**name).find(is_allowed);
    let Some(chosen) = chosen.map(Box::from) else {
        let is_ignored = !upgrade.is_connect
            && (!upgrade.is_nominated || upgrade.asked.iter().all(|name| is_of_transport(name)));
        ex.upgrade = None;
        return if is_plain_connect {
            Err(no_connect())
        } else if is_ignored {
            Ok(())
        } else {
            Err(Failure::new(Code::UpgradeRefused).close(true))
        };
    };
    let is_websocket = is_websocket(&chosen);
    if !upgrade.is_nominated {
        if is_websocket {
            return Err(bad("`Upgrade: websocket` without `Connection: Upgrade`"));
        }
        ex.upgrade = None;
        return Ok(());
    }
    upgrade.chosen = Some(chosen);
    upgrade.terms = Some(allowed.clone());
    if !ex.request.body.is_finished() {
        return Err(bad("a request for an upgrade has no body"));
    }
    if is_websocket {
        handshake(&ex.request.head)?;
    }
    Ok(())
}

/// True for what a client may ask for without needing it: another version of HTTP, or TLS.
pub(crate) fn is_of_transport(name: &str) -> bool {
    let name = name.split('/').next().unwrap_or(name);
    ["h2", "h2c", "h3", "http", "tls"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn is_websocket(name: &str) -> bool {
    name.eq_ignore_ascii_case(WEBSOCKET)
}

/// A client's opening handshake (RFC 6455 4.2.1).
fn handshake(head: &RequestHead) -> Result<(), Failure> {
    if head.method != Method::Get {
        return Err(bad("a WebSocket begins with GET"));
    }
    match the_only(&head.headers, VERSION) {
        Some(b"13") => {}
        None => return Err(bad("a WebSocket needs one `Sec-WebSocket-Version`")),
        Some(_) => {
            // The field tells the client what to ask for (RFC 6455 4.4).
            return Err(bad("only version 13 of WebSocket is known").header("sec-websocket-version", "13"));
        }
    }
    match the_only(&head.headers, KEY) {
        Some(key) if is_key(key) => Ok(()),
        _ => Err(bad(
            "a WebSocket needs one `Sec-WebSocket-Key` of 16 bytes in base64",
        )),
    }
}

/// Whatever comes behind such a head is not the next request.
fn bad(what: &'static str) -> Failure {
    Failure::new(Code::BadRequest).safe_detail(what).close(true)
}

/// The value of a field that stands in a head exactly once.
fn the_only<'h>(headers: &'h Headers, name: &'static [u8]) -> Option<&'h [u8]> {
    let mut found = headers.find_all(name);
    found.next().filter(|_| found.next().is_none())
}

/// The elements of a list that may be spread over several lines.
fn elements<'h>(headers: &'h Headers, name: &'static [u8]) -> impl Iterator<Item = &'h [u8]> {
    headers
        .find_all(name)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// 16 bytes in base64: 22 digits and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key.split_last_chunk::<2>(), Some((digits, b"==")) if digits.len() == 22 && digits.iter().all(is_digit))
}

/// What a server that understood a key answers with (RFC 6455 4.2.2).
fn accept_of(key: &[u8]) -> Vec<u8> {
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()).as_ref())
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .zip([16, 8, 0])
            .fold(0_u32, |bits, (byte, shift)| bits | u32::from(*byte) << shift);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS[(bits >> shift & 63) as usize];
            out.push(if place <= chunk.len() { digit } else { b'=' });
        }
    }
    out
}

impl Upgrade {
    /// Writes the fields that ask the endpoint, in our own words.
    pub fn write(&self, out: &mut Vec<u8>) {
        if let Some(chosen) = &self.chosen {
            write_fields(out, chosen);
        }
    }

    /// True if no endpoint is asked: its connection is the tunnel.
    pub fn is_plain_connect(&self) -> bool {
        self.is_connect && self.protocol() == CONNECT
    }

    /// True once an endpoint is at the other end.
    pub fn is_granted(&self) -> bool {
        self.far.is_some()
    }

    /// True if an endpoint was asked to switch.
    pub fn is_asked(&self) -> bool {
        self.chosen.is_some()
    }

    /// True if what follows are the frames of WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.chosen.as_deref().is_some_and(is_websocket)
    }

    /// The protocol switched to.
    pub fn protocol(&self) -> &str {
        self.chosen.as_deref().unwrap_or_default()
    }

    /// Whether an endpoint's 101 answers what was asked (RFC 9110 7.8, RFC 6455 4.1); else what is wrong with it.
    pub fn check(&self, request: &Headers, answer: &Headers) -> Result<(), &'static str> {
        if !answer
            .list(Known::Connection)
            .any(|option| option.eq_ignore_ascii_case(b"upgrade"))
        {
            return Err("the 101 has no `Connection: Upgrade`");
        }
        let mut named = answer.list(Known::Upgrade);
        let fits = named
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(self.protocol().as_bytes()));
        if !fits || named.next().is_some() {
            return Err("the 101 names another protocol than was asked for");
        }
        if !self.is_websocket() {
            return Ok(());
        }
        let expected = the_only(request, KEY).map(accept_of);
        if expected.is_none() || the_only(answer, ACCEPT) != expected.as_deref() {
            return Err("the 101 has not the `Sec-WebSocket-Accept` that the key asks for");
        }
        // What bytes behind a switch mean depends on the extensions (RFC 6455 9.1), so none may come from nowhere.
        let name = |element: &[u8]| {
            element
                .split(|b| *b == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii()
                .to_vec()
        };
        let is_offered = |one: &[u8]| {
            elements(request, EXTENSIONS).any(|offered| name(offered).eq_ignore_ascii_case(&name(one)))
        };
        if !elements(answer, EXTENSIONS).all(is_offered) {
            return Err("the 101 names an extension that was not offered");
        }
        let mut protocols = answer.find_all(PROTOCOL);
        match protocols.next() {
            None => Ok(()),
            Some(one) if protocols.next().is_none() && elements(request, PROTOCOL).any(|o| o == one) => {
                Ok(())
            }
            Some(_) => Err("the 101 names a subprotocol that was not offered"),
        }
    }
}

/// The fields of a switch, in both directions.
pub(crate) fn write_fields(out: &mut Vec<u8>, protocol: &str) {
    out.extend_from_slice(b"connection: Upgrade\r\n");
    encode::field(out, b"upgrade", protocol.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert_eq!(
            accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        for (bytes, text) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn keys_have_one_shape() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for key in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25jZ!==",
            "AdGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn other_versions_of_http_are_told_apart() {
        for name in ["h2c", "H2C", "HTTP/2.0", "TLS/1.2", "h2"] {
            assert!(is_of_transport(name), "{name}");
        }
        for name in ["websocket", "tcp", "httpx", "connect-udp"] {
            assert!(!is_of_transport(name), "{name}");
        }
    }
}
