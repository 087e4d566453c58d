//! Which fields may come after a body (RFC 9110 6.5.1).
//!
//! Trailers arrive when routing, authentication and framing are long decided. A field that would have had a say in
//! those is refused, as is one that a server could take for such a field.

use crate::known::Known as K;

/// Whether a trailer of this name is refused: framing, routing, authentication, hop-by-hop, request controls, and what
/// says how the content is to be read.
pub fn is_forbidden(known: Option<K>, name: &[u8]) -> bool {
    match known.or_else(|| K::lookalike(name)) {
        Some(known) => FORBIDDEN & known.bit() != 0,
        None => {
            FORBIDDEN_NAMES.iter().any(|forbidden| reads_as(name, forbidden))
                || name
                    .get(..CLAIMS.len())
                    .is_some_and(|start| reads_as(start, CLAIMS))
        }
    }
}

/// Whether a name is this one to a server that ignores case and takes `_` for `-`.
fn reads_as(name: &[u8], other: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() == other.len() && name.iter().zip(other).all(same)
}

/// The beginning of the family of names that say what a proxy knows of the client.
const CLAIMS: &[u8] = b"x-forwarded-";

/// What is not written into a message's end: forbidden trailers, and ids, which are the gateway's to give.
pub(crate) const UNWRITTEN: u64 = FORBIDDEN | K::XRequestId.bit() | K::XCorrelationId.bit();

/// The known names that may not be trailers, as a set of bits.
pub(crate) const FORBIDDEN: u64 = K::Host.bit()
    | K::ContentLength.bit()
    | K::TransferEncoding.bit()
    | K::Connection.bit()
    | K::KeepAlive.bit()
    | K::ProxyConnection.bit()
    | K::Te.bit()
    | K::Trailer.bit()
    | K::Upgrade.bit()
    | K::Http2Settings.bit()
    | K::Expect.bit()
    | K::MaxForwards.bit()
    | K::CacheControl.bit()
    | K::Range.bit()
    | K::IfNoneMatch.bit()
    | K::IfModifiedSince.bit()
    | K::ProxyAuthenticate.bit()
    | K::ProxyAuthorization.bit()
    | K::WwwAuthenticate.bit()
    | K::Authorization.bit()
    | K::Cookie.bit()
    | K::SetCookie.bit()
    | K::XApiKey.bit()
    | K::XForwardedFor.bit()
    | K::XForwardedHost.bit()
    | K::XForwardedProto.bit()
    | K::XForwardedPort.bit()
    | K::XForwardedPrefix.bit()
    | K::Forwarded.bit()
    | K::Via.bit()
    | K::XRealIp.bit()
    | K::Origin.bit()
    | K::Location.bit()
    | K::ContentType.bit()
    | K::ContentEncoding.bit()
    | K::ContentLocation.bit();

const FORBIDDEN_NAMES: [&[u8]; 8] = [
    b"client-cert",
    b"client-cert-chain",
    b"strict-transport-security",
    b"content-range",
    b"if-match",
    b"if-unmodified-since",
    b"if-range",
    b"authentication-info",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_about_a_message_is_no_trailer() {
        let refuses = |name: &str| is_forbidden(K::of(name.as_bytes()), name.as_bytes());
        for name in [
            "Content-Length",
            "host",
            "AUTHORIZATION",
            "x_forwarded_for",
            "Client-Cert",
            "client_cert_chain",
            "X-Forwarded-Client-Cert",
            "X_Forwarded-User",
            "Content-Range",
            "cookie",
        ] {
            assert!(refuses(name), "{name}");
        }
        for name in [
            "grpc-status",
            "Server-Timing",
            "ETag",
            "Digest",
            "x-checksum",
            "x_checksum",
        ] {
            assert!(!refuses(name), "{name}");
        }
    }
}
