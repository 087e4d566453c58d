//! The field names the gateway itself looks at, as small ids.
//!
//! A name met on the wire is interned by one hash and one comparison, whatever its case. There are at most 64, so that
//! one `u64` says which of them a message carries.

/// A field name the gateway itself looks at.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    Upgrade,
    Expect,
    ProxyAuthenticate,
    ProxyAuthorization,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XForwardedPort,
    XForwardedPrefix,
    Forwarded,
    Via,
    XRealIp,
    XRequestId,
    XCorrelationId,
    UserAgent,
    Cookie,
    SetCookie,
    Accept,
    AcceptEncoding,
    Authorization,
    Date,
    Server,
    ContentType,
    ContentEncoding,
    ContentLocation,
    CacheControl,
    Location,
    RetryAfter,
    Vary,
    Allow,
    Origin,
    Referer,
    Range,
    IfNoneMatch,
    IfModifiedSince,
    Etag,
    LastModified,
    Age,
    WwwAuthenticate,
    Traceparent,
    Tracestate,
    XApiKey,
    AltSvc,
    Http2Settings,
    MaxForwards,
    GrpcTimeout,
}

use Known as K;

/// Every known name with its id, in the order of the ids.
const NAMES: [(Known, &str); 54] = [
    (K::Host, "host"),
    (K::ContentLength, "content-length"),
    (K::TransferEncoding, "transfer-encoding"),
    (K::Connection, "connection"),
    (K::KeepAlive, "keep-alive"),
    (K::ProxyConnection, "proxy-connection"),
    (K::Te, "te"),
    (K::Trailer, "trailer"),
    (K::Upgrade, "upgrade"),
    (K::Expect, "expect"),
    (K::ProxyAuthenticate, "proxy-authenticate"),
    (K::ProxyAuthorization, "proxy-authorization"),
    (K::XForwardedFor, "x-forwarded-for"),
    (K::XForwardedHost, "x-forwarded-host"),
    (K::XForwardedProto, "x-forwarded-proto"),
    (K::XForwardedPort, "x-forwarded-port"),
    (K::XForwardedPrefix, "x-forwarded-prefix"),
    (K::Forwarded, "forwarded"),
    (K::Via, "via"),
    (K::XRealIp, "x-real-ip"),
    (K::XRequestId, "x-request-id"),
    (K::XCorrelationId, "x-correlation-id"),
    (K::UserAgent, "user-agent"),
    (K::Cookie, "cookie"),
    (K::SetCookie, "set-cookie"),
    (K::Accept, "accept"),
    (K::AcceptEncoding, "accept-encoding"),
    (K::Authorization, "authorization"),
    (K::Date, "date"),
    (K::Server, "server"),
    (K::ContentType, "content-type"),
    (K::ContentEncoding, "content-encoding"),
    (K::ContentLocation, "content-location"),
    (K::CacheControl, "cache-control"),
    (K::Location, "location"),
    (K::RetryAfter, "retry-after"),
    (K::Vary, "vary"),
    (K::Allow, "allow"),
    (K::Origin, "origin"),
    (K::Referer, "referer"),
    (K::Range, "range"),
    (K::IfNoneMatch, "if-none-match"),
    (K::IfModifiedSince, "if-modified-since"),
    (K::Etag, "etag"),
    (K::LastModified, "last-modified"),
    (K::Age, "age"),
    (K::WwwAuthenticate, "www-authenticate"),
    (K::Traceparent, "traceparent"),
    (K::Tracestate, "tracestate"),
    (K::XApiKey, "x-api-key"),
    (K::AltSvc, "alt-svc"),
    (K::Http2Settings, "http2-settings"),
    (K::MaxForwards, "max-forwards"),
    (K::GrpcTimeout, "grpc-timeout"),
];

/// The longest known name, in bytes.
const LONGEST: usize = 19;
const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;
const SEED: u32 = seed();
const TABLE: [u8; SLOTS] = match table(SEED) {
    Some(table) => table,
    None => [EMPTY; SLOTS],
};

impl Known {
    /// The id of `name`, in any case, if it is a known one.
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.len() < 2 {
            return None;
        }
        // `slot` is below `SLOTS` by its mask, and `EMPTY` lies beyond the end of `NAMES`.
        let &(known, text) = NAMES.get(usize::from(TABLE[slot(name, SEED)]))?;
        name.eq_ignore_ascii_case(text.as_bytes()).then_some(known)
    }

    /// The known name that `name` would be taken for by a server that reads `_` as `-` (CGI and its heirs).
    pub fn lookalike(name: &[u8]) -> Option<Self> {
        let mut plain = [0; LONGEST];
        let plain = plain.get_mut(..name.len())?;
        if !name.contains(&b'_') {
            return None;
        }
        for (to, &from) in plain.iter_mut().zip(name) {
            *to = if from == b'_' { b'-' } else { from };
        }
        Self::of(plain)
    }

    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The known name with this id.
    pub(crate) fn from_id(id: u8) -> Option<Self> {
        NAMES.get(usize::from(id)).map(|&(known, _)| known)
    }

    /// This name's bit in a set of names.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Where a name of at least two bytes has its place: from its length and three of its bytes, case folded. No two known
/// names agree in all of these.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a longer name may share a place; the comparison tells"
)]
const fn slot(name: &[u8], seed: u32) -> usize {
    let length = name.len();
    let (first, inner, last) = (
        name[0] | 0x20,
        name[length.saturating_sub(4)] | 0x20,
        name[length - 1] | 0x20,
    );
    let key = u32::from_le_bytes([first, inner, last, length as u8]);
    (key.wrapping_mul(seed) >> 23) as usize & (SLOTS - 1)
}

/// The first multiplier that gives every known name a place of its own; found by the compiler.
const fn seed() -> u32 {
    let mut seed = 0x9e37_79b1u32;
    while table(seed).is_none() {
        seed = seed.wrapping_add(0x6a09_e66a);
    }
    seed
}

const fn table(seed: u32) -> Option<[u8; SLOTS]> {
    let mut table = [EMPTY; SLOTS];
    let mut id = 0;
    while id < NAMES.len() {
        let (known, name) = NAMES[id];
        assert!(known as usize == id, "NAMES is in the order of the ids");
        assert!(name.len() >= 2 && name.len() <= LONGEST && NAMES.len() <= 64);
        let slot = slot(name.as_bytes(), seed);
        if table[slot] != EMPTY {
            return None;
        }
        table[slot] = known as u8;
        id += 1;
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_in_any_case() {
        for (known, name) in NAMES {
            assert_eq!(Known::of(name.as_bytes()), Some(known));
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), Some(known));
            assert_eq!(known.as_str(), name);
            assert_eq!(Known::from_id(known as u8), Some(known));
            let mut bits: Vec<u8> = name.into();
            for at in 0..bits.len() {
                // Folding by `| 0x20` in the hash must not make other bytes equal in the comparison.
                bits[at] ^= 0x80;
                assert_eq!(Known::of(&bits), None);
                bits[at] ^= 0x80;
            }
        }
        for other in [
            &b""[..],
            b"x",
            b"hosts",
            b"hos",
            b"x-forwarded-for2",
            b"content_length",
            &[b'a'; 300],
        ] {
            assert_eq!(Known::of(other), None);
        }
    }

    #[test]
    fn a_lookalike_differs_only_in_underscores() {
        assert_eq!(Known::lookalike(b"Content_Length"), Some(Known::ContentLength));
        assert_eq!(Known::lookalike(b"x_forwarded-For"), Some(Known::XForwardedFor));
        for other in [
            &b"content-length"[..],
            b"x_custom",
            b"_",
            b"",
            b"a_name_longer_than_every_known_name",
        ] {
            assert_eq!(Known::lookalike(other), None);
        }
    }
}
