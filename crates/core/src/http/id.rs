//! Request and correlation ids: taken from those who may give them, else made here.
//!
//! A request id names one exchange with this gateway; a correlation id follows a whole chain of
//! calls. Both go upstream and back to the client. Generated ids are UUIDs of version 7 (RFC 9562
//! 5.7): sortable by time, unguessable enough to be unique, no secret.

use std::time::Instant;

use gatehouse_http1::{Headers, Known, KnownSet, encode};

use crate::config::Trust;
use crate::exchange::Exchange;
use crate::worker::Worker;

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
            bytes: BLANK,
        };
        let (first, second) = (hex(high >> 32), hex(high));
        let (third, fourth) = (hex(low >> 32), hex(low));
        id.bytes[0..8].copy_from_slice(&first);
        id.bytes[9..13].copy_from_slice(&second[..4]);
        id.bytes[14..18].copy_from_slice(&second[4..]);
        id.bytes[19..23].copy_from_slice(&third[..4]);
        id.bytes[24..28].copy_from_slice(&third[4..]);
        id.bytes[28..36].copy_from_slice(&fourth);
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

/// The bytes of a UUID's text.
const UUID: usize = 36;

/// The hyphens of a UUID's text (8-4-4-4-12) and nothing else.
const BLANK: [u8; LONGEST] = {
    let mut blank = [0; LONGEST];
    blank[8] = b'-';
    blank[13] = b'-';
    blank[18] = b'-';
    blank[23] = b'-';
    blank
};

/// The eight digits of the lower half of a number, all at once.
fn hex(number: u64) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    // Each digit into a byte of its own.
    let halves = (number & 0xffff_0000) << 16 | number & 0xffff;
    let quarters = (halves << 8 | halves) & 0x00ff_00ff_00ff_00ff;
    let digits = (quarters << 4 | quarters) & (ONES * 0x0f);
    // One for each digit above 9: adding 6 carries it into the high half of its byte.
    let letters = (digits + ONES * 6) >> 4 & ONES;
    (digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// The ids of one exchange.
#[derive(Clone, Default)]
pub struct Ids {
    /// Names this exchange.
    pub request: IdText,
    /// The correlation id where it is another: only a trusted client gives one.
    given: Option<Box<IdText>>,
}

/// The fields of ids; those that clients send are not passed on beside ours.
const FIELDS: KnownSet = KnownSet::of(&[Known::XRequestId, Known::XCorrelationId]);

/// Gives the exchange its ids.
pub(crate) fn assign(ex: &mut Exchange) {
    let trusted = match ex.plan.request_id {
        Trust::Never => false,
        Trust::TrustedProxies => ex.client.is_trusted_peer,
        Trust::Always => true,
    };
    let headers = &mut ex.request.head.headers;
    let mut given = None;
    ex.ids.given = None;
    if headers.contains_any(FIELDS) {
        if trusted {
            let read = |known| headers.get(known).and_then(IdText::given);
            given = read(Known::XRequestId);
            ex.ids.given = read(Known::XCorrelationId).map(Box::new);
        }
        headers.remove_any(FIELDS);
    }
    ex.ids.request = given.unwrap_or_else(|| fresh(&ex.worker, ex.record.started()));
}

/// A new UUID with this time in it.
pub(crate) fn fresh(worker: &Worker, at: Instant) -> IdText {
    let time = worker.unix_time(at);
    let millis = time.as_secs() * 1000 + u64::from(time.subsec_millis());
    IdText::uuid(millis, worker.random())
}

impl Ids {
    /// Names the chain of calls the exchange belongs to; the request id unless a trusted client gave one.
    pub fn correlation(&self) -> &IdText {
        self.given.as_deref().unwrap_or(&self.request)
    }

    /// Writes both into a head, unless `headers` has one of a policy's making.
    pub(crate) fn write(&self, out: &mut Vec<u8>, headers: &Headers) {
        if self.given.is_none()
            && !headers.contains_any(FIELDS)
            && let Ok(id) = self.request.as_bytes().try_into()
        {
            return encode::vouched_lines(out, &both_lines(id));
        }
        if !headers.contains(Known::XRequestId) {
            encode::vouched(out, "x-request-id: ", self.request.as_bytes());
        }
        if !headers.contains(Known::XCorrelationId) {
            encode::vouched(out, "x-correlation-id: ", self.correlation().as_bytes());
        }
    }
}

/// Both fields with one id that is a UUID, as in almost all messages: copies of known length.
fn both_lines(id: &[u8; UUID]) -> [u8; 108] {
    let mut lines = *b"x-request-id: ____________________________________\r\n\
        x-correlation-id: ____________________________________\r\n";
    lines[14..50].copy_from_slice(id);
    lines[70..106].copy_from_slice(id);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_version_7_in_its_usual_form() {
        let id = IdText::uuid(0x0123_4567_89ab, [u64::MAX, 0]);
        assert_eq!(id.as_str(), "01234567-89ab-7fff-8000-000000000000");
        let id = IdText::uuid(0xfedc_ba98_7654, [0xedc, 0x0123_4567_89ab_cdef]);
        assert_eq!(id.as_str(), "fedcba98-7654-7edc-8123-456789abcdef");
    }

    #[test]
    fn both_ids_are_written_alike_by_either_way() {
        let request = IdText::uuid(1, [2, 3]);
        let mut short = Vec::new();
        Ids { request, given: None }.write(&mut short, &Headers::new());
        let mut long = Vec::new();
        let given = Some(Box::new(request));
        Ids { request, given }.write(&mut long, &Headers::new());
        assert_eq!(short, long);
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
