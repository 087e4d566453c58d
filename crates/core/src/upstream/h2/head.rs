//! Heads: ours to what HTTP/2 carries, and what it carries to ours.
//!
//! Much is checked below already (RFC 9113 8.2, 8.3: pseudo-fields, names in lower case, fields of a connection,
//! a length against the frames); here is what remains of the rules for HTTP/1.1.

use std::sync::Arc;

use gatehouse_http1::{Framing, HeadLimits, Headers, Method, ResponseHead};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Request, response};

use super::super::attempt::{Outgoing, encode_fields};
use super::super::endpoint::Endpoint;
use crate::action::rewrite;
use crate::config::types;
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};

/// The request's head as it is sent. Its fields are written as for HTTP/1.1, so that one place decides what is sent,
/// and then taken apart.
pub(super) fn request(
    ex: &Exchange,
    endpoint: &Arc<Endpoint>,
    outgoing: &Outgoing<'_>,
    framing: Framing,
) -> Result<Request<()>, Failure> {
    let head = &ex.request.head;
    let host = rewrite::host(outgoing.host, head.authority(), &endpoint.authority);
    let unfit =
        |what| Failure::new(Code::BadRequest).safe_detail(format!("the {what} cannot be sent in HTTP/2"));
    let mut target =
        String::with_capacity(head.path().len() + head.query().map_or(0, |query| query.len() + 1));
    target.push_str(if head.path().is_empty() { "/" } else { head.path() });
    if let Some(query) = head.query() {
        target.push('?');
        target.push_str(query);
    }
    let scheme = match endpoint.url().scheme {
        types::Scheme::Http => Scheme::HTTP,
        types::Scheme::Https => Scheme::HTTPS,
    };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(Authority::try_from(host).map_err(|_| unfit("host"))?)
        .path_and_query(PathAndQuery::try_from(target).map_err(|_| unfit("target"))?)
        .build()
        .map_err(|_| unfit("target"))?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.method_mut() = method(&head.method).ok_or_else(|| unfit("method"))?;
    let mut lines = ex.worker.spare_staging();
    encode_fields(&mut lines, ex, outgoing);
    let fields = request.headers_mut();
    let complete = take_apart(&lines, fields);
    ex.worker.keep_staging(lines);
    if !complete {
        return Err(unfit("head"));
    }
    if ex.accepts_trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Framing::Length(length) = framing {
        fields.insert(CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

fn method(method: &Method) -> Option<http::Method> {
    Some(match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Delete => http::Method::DELETE,
        other => http::Method::from_bytes(other.as_str().as_bytes()).ok()?,
    })
}

/// Makes fields of lines; false if one is none.
fn take_apart(lines: &[u8], fields: &mut HeaderMap) -> bool {
    let mut rest = lines;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let field = || {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = line.split_at_checked(colon)?;
            let value = value.strip_prefix(b": ")?.strip_suffix(b"\r")?;
            Some((
                HeaderName::from_bytes(name).ok()?,
                HeaderValue::from_bytes(value).ok()?,
            ))
        };
        let added = field().is_some_and(|(name, value)| fields.try_append(name, value).is_ok());
        if !added {
            return false;
        }
    }
    true
}

/// Takes over the head of a final response, if it keeps the rules.
pub(super) fn response(
    parts: &response::Parts,
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<(), Failure> {
    head.clear();
    head.status = parts.status.as_u16();
    if !(200..600).contains(&head.status) {
        return Err(malformed(format!("the status code is {}", head.status)));
    }
    fields(&parts.headers, limits, &mut head.headers)
}

/// The length that a head declares; it is there once or not at all, as with HTTP/1.1.
pub(super) fn declared_length(fields: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut all = fields.get_all(CONTENT_LENGTH).iter();
    let Some(first) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(malformed("content-length is repeated"));
    }
    let digits = first
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(malformed("content-length is no number")),
    }
}

/// Takes over fields of a head or of trailers.
pub(super) fn fields(from: &HeaderMap, limits: &HeadLimits, to: &mut Headers) -> Result<(), Failure> {
    if from.len() > limits.fields {
        return Err(malformed(format!("more than {} fields", limits.fields)));
    }
    for (name, value) in from {
        if !to.append_name(name.as_str().as_bytes(), value.as_bytes()) {
            return Err(malformed(format!("a field is called `{name}`")));
        }
    }
    Ok(())
}

/// The endpoint broke the rules of a head.
pub(super) fn malformed(what: impl std::fmt::Display) -> Failure {
    Failure::new(Code::UpstreamProtocol).detail(format!("the response's head is malformed: {what}"))
}
