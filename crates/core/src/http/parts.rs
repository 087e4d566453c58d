//! Heads of HTTP/3: requests from the form of its library to ours, responses the other way.
//!
//! What a request must be is decided by `http1`, as for text; the library has refused what cannot be put
//! into its form at all. Values of a response share one piece of memory.

use ::http::{HeaderMap, HeaderName, HeaderValue, Response as Parts, StatusCode, request};
use bytes::Bytes;
use gatehouse_http1::{
    Assembly, BodyError, Declared, HeadError, HeadLimits, Headers, Known, KnownSet, Pseudo, RequestHead,
    Version, collect_trailers, encode, is_forbidden_trailer,
};

use crate::http::id::Ids;

/// What a response never has (RFC 9114 4.2), and what is written anew.
const NOT_COPIED: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::Te,
    Known::Host,
    Known::ContentLength,
]);

/// Takes a request's head into ours. That of an extended CONNECT, which names a protocol, becomes a GET.
pub(in crate::http) fn request(
    parts: &request::Parts,
    is_extended: bool,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Declared, HeadError> {
    let is_connect = parts.method == ::http::Method::CONNECT;
    if is_extended && !is_connect {
        return Err(HeadError::Malformed(":protocol without CONNECT"));
    }
    let pseudo = Pseudo {
        // What an endpoint of HTTP/1.1 is asked with for the same.
        method: if is_extended { "GET" } else { parts.method.as_str() },
        scheme: parts.uri.scheme_str(),
        authority: parts.uri.authority().map(::http::uri::Authority::as_str),
        path: parts.uri.path_and_query().map(::http::uri::PathAndQuery::as_str),
    };
    let mut assembly = Assembly::begin(head, limits, Version::Http3, &pseudo)?;
    for (name, value) in &parts.headers {
        assembly.field(name.as_str().as_bytes(), value.as_bytes())?;
    }
    let declared = assembly.end()?;
    if is_connect && declared.length.is_some() {
        return Err(HeadError::Malformed("CONNECT has no Content-Length"));
    }
    Ok(declared)
}

/// Takes trailers into our form, as strictly as those of a chunked body.
pub(in crate::http) fn trailers_in(map: &HeaderMap, limits: &HeadLimits) -> Result<Headers, BodyError> {
    let fields = map
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    collect_trailers(fields, limits)
}

/// The library's form of trailers, without those that may not be any.
pub(in crate::http) fn trailers_out(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for field in headers.iter() {
        if is_forbidden_trailer(field.known, field.name) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name),
            HeaderValue::from_bytes(field.value),
        ) {
            let _ = map.try_append(name, value);
        }
    }
    map
}

/// The library's form of an interim response.
pub(in crate::http) fn interim(status: u16, headers: &Headers) -> Parts<()> {
    build(status, headers, None, None)
}

/// The library's form of a response.
pub(in crate::http) fn response(status: u16, headers: &Headers, ids: &Ids, length: Option<u64>) -> Parts<()> {
    build(status, headers, Some(ids), length)
}

fn build(status: u16, headers: &Headers, ids: Option<&Ids>, length: Option<u64>) -> Parts<()> {
    let is_copied = |known: Option<Known>| known.is_none_or(|known| !NOT_COPIED.contains(known));
    let copied = || headers.iter().filter(|field| is_copied(field.known));
    let mut text = Vec::with_capacity(512);
    for field in copied() {
        text.extend_from_slice(field.value);
    }
    let fields_end = text.len();
    if let Some(length) = length {
        encode::decimal(&mut text, length);
    }
    let text = Bytes::from(text);

    let mut map = HeaderMap::with_capacity(headers.len() + 3);
    let mut at = 0;
    for field in copied() {
        let value = text.slice(at..at + field.value.len());
        at += field.value.len();
        let name = HeaderName::from_bytes(field.name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
            let _ = map.try_append(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(fields_end..))
        && length.is_some()
    {
        map.insert(::http::header::CONTENT_LENGTH, value);
    }
    if let Some(ids) = ids {
        add_ids(&mut map, ids, headers);
    }
    let mut parts = Parts::new(());
    *parts.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *parts.headers_mut() = map;
    parts
}

/// Both ids, unless there is one of a policy's making. They differ each time: the compression table is spared.
fn add_ids(map: &mut HeaderMap, ids: &Ids, headers: &Headers) {
    const REQUEST: HeaderName = HeaderName::from_static("x-request-id");
    const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
    let value = |id: &[u8]| {
        let mut value = HeaderValue::from_bytes(id).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let request = value(ids.request.as_bytes());
    let correlation = if std::ptr::eq(ids.correlation(), &raw const ids.request) {
        request.clone()
    } else {
        value(ids.correlation().as_bytes())
    };
    if let Some(request) = request.filter(|_| !headers.contains(Known::XRequestId)) {
        map.insert(REQUEST, request);
    }
    if let Some(correlation) = correlation.filter(|_| !headers.contains(Known::XCorrelationId)) {
        map.insert(CORRELATION, correlation);
    }
}
