//! What must hold for any bytes at all: the checks behind the fuzz targets in `fuzz/` and the tests of their seeds.
//!
//! Each function panics if its property does not hold. Not part of the interface of this crate.

use crate::byte;
use crate::chunked::{BodyError, Decoder};
use crate::framing::Framing;
use crate::head::request::{RequestHead, parse_request};
use crate::head::response::{RequestKind, ResponseHead, parse_response};
use crate::head::target::TargetForm;
use crate::head::{HeadError, HeadLimits, Parsed};
use crate::headers::{Field, Headers};
use crate::known::Known;
use crate::{encode, trailers};

/// Small, so that the fuzzer meets them.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 512,
    fields: 16,
    target: 128,
};

/// A request head: what is accepted is one strict head, and is accepted for its own bytes alone.
pub fn request_head(data: &[u8]) {
    let mut head = RequestHead::new();
    let result = parse_request(data, &LIMITS, &mut head);
    check_head(data, result, |bytes| {
        parse_request(bytes, &LIMITS, &mut RequestHead::new())
    });
    let Ok(Some(parsed)) = result else { return };
    check_fields(&head.headers);
    assert_ne!(parsed.framing, Framing::UntilClose);
    assert!(head.raw_target().len() <= LIMITS.target);
    assert!(head.raw_target().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(byte::is_token(head.method.as_str().as_bytes()));
    match head.form() {
        TargetForm::Authority => assert_eq!(head.path(), ""),
        _ => assert!(head.path().starts_with('/') || head.path() == "*"),
    }
    assert!(head.headers.all(Known::Host).count() <= 1);
}

/// A response head to any kind of request; the first byte chooses the kind.
pub fn response_head(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let to = [RequestKind::Other, RequestKind::Head, RequestKind::Connect][usize::from(kind % 3)];
    let mut head = ResponseHead::new();
    let result = parse_response(data, &LIMITS, to, &mut head);
    check_head(data, result, |bytes| {
        parse_response(bytes, &LIMITS, to, &mut ResponseHead::new())
    });
    let Ok(Some(parsed)) = result else { return };
    check_fields(&head.headers);
    assert!((100..=599).contains(&head.status) && byte::is_text(head.reason()));
    let has_no_body = head.status < 200 || matches!(head.status, 204 | 304) || to == RequestKind::Head;
    assert!(!has_no_body || parsed.framing == Framing::None);
    assert!(parsed.framing != Framing::UntilClose || !parsed.keep_alive);
}

/// A chunked body: decoding does not depend on how the bytes arrive (the first byte says how), and what is encoded is
/// decoded again.
pub fn chunked(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let step = usize::from(*step).max(1);
    let whole = decode(data, data.len().max(1));
    let parts = decode(data, step);
    assert_eq!(whole, parts);

    let mut wire = Vec::new();
    for chunk in data.chunks(step) {
        encode::chunk_start(&mut wire, chunk.len());
        wire.extend_from_slice(chunk);
        encode::chunk_end(&mut wire);
    }
    encode::last_chunk(&mut wire, None);
    let decoded = decode(&wire, step);
    assert_eq!(decoded, Ok(Some((data.to_vec(), wire.len(), Vec::new()))));
}

/// A request written anew from its parsed form means the same, and writing it once more changes nothing.
pub fn reserialise(data: &[u8]) {
    let mut head = RequestHead::new();
    let Ok(Some(parsed)) = parse_request(data, &LIMITS, &mut head) else {
        return;
    };
    if head.form() == TargetForm::Authority {
        return;
    }
    let wire = write(&head, parsed.framing);
    let mut again = RequestHead::new();
    let generous = HeadLimits {
        bytes: 4096,
        fields: 64,
        target: 4096,
    };
    let result = parse_request(&wire, &generous, &mut again);
    assert!(
        matches!(result, Ok(Some(_))),
        "{result:?} for {}",
        wire.escape_ascii()
    );
    let Ok(Some(reparsed)) = result else { return };
    assert_eq!((reparsed.len, reparsed.framing), (wire.len(), parsed.framing));
    assert_eq!(
        (&again.method, again.path(), again.query()),
        (&head.method, head.path(), head.query())
    );
    let kept = |field: &Field<'_>| field.known.is_none_or(|known| OWN & known.bit() == 0);
    assert!(
        head.headers
            .iter()
            .filter(kept)
            .eq(again.headers.iter().filter(kept))
    );
    assert_eq!(write(&again, reparsed.framing), wire);

    // The same with every line written apart instead of copied in runs.
    let mut edited = Headers::new();
    for field in head.headers.iter() {
        assert!(edited.append_name(field.name, field.value));
    }
    assert!(edited.iter().eq(head.headers.iter()));
}

const OWN: u64 = encode::OWN;

fn write(head: &RequestHead, framing: Framing) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request_line(&mut out, head);
    let host = if head.authority().is_empty() {
        "none"
    } else {
        head.authority()
    };
    encode::field(&mut out, b"Host", host.as_bytes());
    encode::fields(&mut out, &head.headers);
    encode::framing(&mut out, framing);
    out.extend_from_slice(b"\r\n");
    out
}

/// What holds of every head, whether accepted, refused or incomplete.
fn check_head(
    data: &[u8],
    result: Result<Option<Parsed>, HeadError>,
    mut parse: impl FnMut(&[u8]) -> Result<Option<Parsed>, HeadError>,
) {
    let longer = [data, b"\r\n\r\n"].concat();
    match result {
        Ok(Some(parsed)) => {
            assert!(parsed.len <= data.len() && parsed.len <= LIMITS.bytes + 2);
            check_lines(&data[..parsed.len]);
            // Nothing beyond the head matters, and no less is enough.
            assert_eq!(parse(&data[..parsed.len]), result);
            assert_eq!(parse(&longer), result);
            for len in 0..parsed.len {
                assert_eq!(parse(&data[..len]), Ok(None), "at {len}");
            }
        }
        Ok(None) => assert!(data.len() < LIMITS.bytes + 2),
        Err(_) => assert!(parse(&longer).is_err(), "refused and then not"),
    }
}

/// Lines end in CR LF, CR and LF are nowhere else, nor other control bytes but HTAB; the last line is empty.
fn check_lines(head: &[u8]) {
    assert!(head.ends_with(b"\r\n\r\n"));
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(head.get(at + 1), Some(&b'\n')),
            b'\n' => assert!(at > 0 && head[at - 1] == b'\r'),
            _ => assert!(byte == b'\t' || !byte.is_ascii_control()),
        }
    }
}

fn check_fields(headers: &Headers) {
    assert!(headers.len() <= LIMITS.fields && headers.iter().count() == headers.len());
    for field in headers.iter() {
        assert!(byte::is_token(field.name) && byte::is_text(field.value));
        assert_eq!(byte::trim(field.value), field.value);
        assert_eq!(field.known, Known::of(field.name));
        assert_eq!(headers.find(field.name), headers.find_all(field.name).next());
        if let Some(known) = field.known {
            assert!(field.name.eq_ignore_ascii_case(known.as_str().as_bytes()));
            assert!(headers.contains(known) && headers.all(known).eq(headers.find_all(field.name)));
        }
    }
    // Never both, never twice.
    let (lengths, codings) = (
        headers.all(Known::ContentLength),
        headers.all(Known::TransferEncoding),
    );
    assert!(lengths.count() + codings.count() <= 1);
}

type Body = (Vec<u8>, usize, Vec<(Vec<u8>, Vec<u8>)>);

/// The body, the bytes it took and the trailers, of a chunked body that arrives in steps; none if it is incomplete.
fn decode(wire: &[u8], step: usize) -> Result<Option<Body>, BodyError> {
    let mut decoder = Decoder::new(Framing::Chunked, &LIMITS);
    let (mut body, mut consumed) = (Vec::new(), 0);
    for part in wire.chunks(step) {
        let mut buf = part.to_vec();
        let decoded = decoder.decode(&mut buf)?;
        assert!(decoded.data.end <= decoded.consumed && decoded.consumed <= buf.len());
        assert!(
            decoded.done || decoded.consumed == buf.len(),
            "nothing is left behind"
        );
        body.extend_from_slice(&buf[decoded.data]);
        consumed += decoded.consumed;
        if decoded.done {
            let fields = decoder.trailers().into_iter().flat_map(Headers::iter);
            let fields = fields.inspect(|field| assert!(!trailers::is_forbidden(field.known, field.name)));
            let trailers = fields
                .map(|field| (field.name.to_vec(), field.value.to_vec()))
                .collect();
            return Ok(Some((body, consumed, trailers)));
        }
    }
    Ok(None)
}
