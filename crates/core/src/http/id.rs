//! Request and correlation ids: taken from those who may give them, else made here.
//!
//! A request id names one exchange with this gateway; a correlation id follows a whole chain of
//! calls. Both go upstream and back to the client. Generated ids are UUIDs of version 7 (RFC 9562
//! 5.7): sortable by time, unguessable enough to be unique, no secret.

use gatehouse_http1::{Headers, Known, encode};

use crate::config::Trust;
use crate::exchange::Exchange;

/// The longest id taken from a client, in bytes.
const LONGEST: usize = 63;

/// An id as text, inline.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; LONGEST],
    len: u8,
}

impl Default for IdText {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST],
            len: 0,
        }
    }
}

impl IdText {
    /// An id someone else gave; `None` if it is empty, too long or has odd characters.
    pub fn given(value: &[u8]) -> Option<Self> {
        let good = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:+/=@".contains(b);
        if value.is_empty() || value.len() > LONGEST || !value.iter().all(good) {
            return None;
        }
        let mut id = Self::default();
        id.bytes[..value.len()].copy_from_slice(value);
        id.len = u8::try_from(value.len()).ok()?;
        Some(id)
    }

    /// A UUID of version 7 from a time and random bits.
    pub fn uuid(unix_millis: u64, random: [u64; 2]) -> Self {
        let high = (unix_millis << 16) | 0x7000 | (random[0] & 0x0fff);
        let low = (random[1] & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        let mut id = Self {
            len: 36,
            ..Self::default()
        };
        let [high, low] = [high.to_be_bytes(), low.to_be_bytes()];
        for (byte, at) in high.iter().chain(&low).zip(UUID_PLACES) {
            let pair = HEX_PAIRS[usize::from(*byte)];
            id.bytes[at] = pair[0];
            id.bytes[at + 1] = pair[1];
        }
        for at in [8, 13, 18, 23] {
            id.bytes[at] = b'-';
        }
        id
    }

    /// The id's bytes; all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Where the two digits of each byte of a UUID go: 8-4-4-4-12 with hyphens between.
const UUID_PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The two digits of every byte.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The ids of one exchange.
#[derive(Clone, Copy, Default)]
pub struct Ids {
    /// Names this exchange.
    pub request: IdText,
    /// Names the chain of calls it belongs to; the request id unless a trusted client gave one.
    pub correlation: IdText,
}

/// Gives the exchange its ids.
pub(crate) fn assign(ex: &mut Exchange) {
    let trusted = match ex.plan.request_id {
        Trust::Never => false,
        Trust::TrustedProxies => ex.client.is_trusted_peer,
        Trust::Always => true,
    };
    let headers = &mut ex.request.head.headers;
    let given = |known| headers.get(known).filter(|_| trusted).and_then(IdText::given);
    let (request, correlation) = (given(Known::XRequestId), given(Known::XCorrelationId));
    let request = request.unwrap_or_else(|| {
        let millis = ex.worker.unix_time(ex.record.started()).as_millis();
        IdText::uuid(u64::try_from(millis).unwrap_or(0), ex.worker.random())
    });
    // The encoders write the ids; what the client sent must not stand beside them.
    headers.remove(Known::XRequestId);
    headers.remove(Known::XCorrelationId);
    ex.ids = Ids {
        request,
        correlation: correlation.unwrap_or(request),
    };
}

impl Ids {
    /// Writes both into a head, unless `headers` has one of a policy's making.
    pub(crate) fn write(&self, out: &mut Vec<u8>, headers: &Headers) {
        if !headers.contains(Known::XRequestId) {
            encode::vouched(out, "x-request-id: ", self.request.as_bytes());
        }
        if !headers.contains(Known::XCorrelationId) {
            encode::vouched(out, "x-correlation-id: ", self.correlation.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_version_7_in_its_usual_form() {
        let id = IdText::uuid(0x0123_4567_89ab, [u64::MAX, 0]);
        assert_eq!(id.as_str(), "01234567-89ab-7fff-8000-000000000000");
    }

    #[test]
    fn given_ids_are_bounded_and_plain() {
        for (value, good) in [
            ("req_abc.1", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\u{e9}", false),
        ] {
            assert_eq!(IdText::given(value.as_bytes()).is_some(), good, "{value:?}");
        }
        assert!(IdText::given(&[b'a'; LONGEST]).is_some());
        assert!(IdText::given(&[b'a'; LONGEST + 1]).is_none());
    }
}
