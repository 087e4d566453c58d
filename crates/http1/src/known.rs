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

/// A name in lower case as numbers that can be compared at once: the first eight bytes, the last eight, and the eight
/// between if it is longer than both. Together with its length that is the whole name.
type Key = [u64; 3];

const KEYS: [Key; NAMES.len()] = keys();
const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;
const SEED: u64 = seed();
const TABLE: [u8; SLOTS] = match table(SEED) {
    Some(table) => table,
    None => [EMPTY; SLOTS],
};

impl Known {
    /// Every known name and its text in lower case; the place of each is its number.
    pub const ALL: &'static [(Self, &'static str)] = &NAMES;

    /// The id of `name`, in any case, if it is a known one.
    pub const fn of(name: &[u8]) -> Option<Self> {
        let Some(key) = key(name) else { return None };
        // `slot` is below `SLOTS` by its shift, and `EMPTY` lies beyond the end of `NAMES`.
        let id = TABLE[slot(key, name.len(), SEED)] as usize;
        if id >= NAMES.len() {
            return None;
        }
        let (known, text) = NAMES[id];
        let [first, last, between] = KEYS[id];
        if text.len() == name.len() && first == key[0] && last == key[1] && between == key[2] {
            Some(known)
        } else {
            None
        }
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

/// The key of a name of 2 to `LONGEST` bytes.
const fn key(name: &[u8]) -> Option<Key> {
    if name.len() > LONGEST {
        return None;
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let between = match name.split_at(8).1.first_chunk() {
            Some(between) if name.len() > 16 => lower(u64::from_le_bytes(*between)),
            _ => 0,
        };
        return Some([
            lower(u64::from_le_bytes(*first)),
            lower(u64::from_le_bytes(*last)),
            between,
        ]);
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return Some([lower(first as u64 | (last as u64) << 32), 0, 0]);
    }
    match *name {
        [first, second] => Some([lower(u64::from_le_bytes([first, second, 0, 0, 0, 0, 0, 0])), 0, 0]),
        [first, second, third] => Some([
            lower(u64::from_le_bytes([first, second, third, 0, 0, 0, 0, 0])),
            0,
            0,
        ]),
        _ => None,
    }
}

/// Eight bytes with ASCII capitals in lower case.
const fn lower(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let low = eight & (ONES * 0x7f);
    // The highest bit of a byte is set if the byte is at least `A`, and if it is beyond `Z`.
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let beyond_z = low + ONES * (0x7f - b'Z' as u64);
    let capitals = from_a & !beyond_z & !eight & (ONES * 0x80);
    eight | capitals >> 2
}

/// Where a name has its place in the table.
const fn slot([first, last, _]: Key, length: usize, seed: u64) -> usize {
    let mixed = first ^ last.rotate_left(23) ^ length as u64;
    // The nine highest bits.
    (mixed.wrapping_mul(seed) >> 55) as usize
}

const fn keys() -> [Key; NAMES.len()] {
    let mut keys = [[0; 3]; NAMES.len()];
    let mut id = 0;
    while id < NAMES.len() {
        let (known, name) = NAMES[id];
        assert!(
            known as usize == id && id < 64,
            "NAMES is in the order of the ids, which are bits of a u64"
        );
        assert!(
            name.len() >= 2 && name.len() <= LONGEST,
            "a key is for names of 2 to LONGEST bytes"
        );
        if let Some(key) = key(name.as_bytes()) {
            keys[id] = key;
        }
        id += 1;
    }
    keys
}

/// The first multiplier that gives every known name a place of its own; found by the compiler.
const fn seed() -> u64 {
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    while table(seed).is_none() {
        seed = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    }
    seed
}

const fn table(seed: u64) -> Option<[u8; SLOTS]> {
    let mut table = [EMPTY; SLOTS];
    let mut id = 0;
    while id < NAMES.len() {
        let (known, name) = NAMES[id];
        let slot = slot(KEYS[id], name.len(), seed);
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
                // Only a letter's case may differ, whatever bit is flipped.
                for flip in [0x80, 0x40, 0x20, 1] {
                    bits[at] ^= flip;
                    let is_same = bits.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(Known::of(&bits) == Some(known), is_same, "{bits:?}");
                    bits[at] ^= flip;
                }
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
