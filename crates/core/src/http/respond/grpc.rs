//! Failures as gRPC clients understand them: a response of HTTP status 200 without a body, whose head holds what else
//! stands in the trailers ("trailers-only"). Answers of endpoints pass through untouched.

use std::fmt::Write;

use gatehouse_http1::{Known, RequestHead};

use crate::exchange::Response;
use crate::failure::{Code, Failure};

/// Statuses of gRPC, by their names.
const CANCELLED: u8 = 1;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// The type of a gRPC request's body, such as `application/grpc+proto`; none for any other request.
pub(super) fn content_type(head: &RequestHead) -> Option<&[u8]> {
    const PREFIX: &[u8] = b"application/grpc";
    let content_type = head.headers.get(Known::ContentType)?;
    let (start, rest) = content_type.split_at_checked(PREFIX.len())?;
    // `application/grpc`, `application/grpc+proto`, `application/grpc-web; charset=…`
    let ends = matches!(rest.first(), None | Some(b'+' | b'-' | b';' | b' '));
    (start.eq_ignore_ascii_case(PREFIX) && ends).then_some(content_type)
}

/// The response for a failure: what the client may know of it as `grpc-status` and `grpc-message`.
pub(super) fn failure(failure: &Failure, content_type: &[u8]) -> Response {
    let mut response = Response::new(200);
    let mut message = failure.code().title().to_owned();
    if let Some(detail) = failure.client_detail() {
        let _ = write!(message, ": {detail}");
    }
    let headers = response.headers_mut();
    headers.set(Known::ContentType, content_type);
    headers.set_name(b"grpc-status", status(failure.code()).to_string().as_bytes());
    headers.set_name(b"grpc-message", escaped(&message).as_bytes());
    super::add_fields(&mut response, failure);
    response
}

/// The status of gRPC that says the same as a code.
fn status(code: Code) -> u8 {
    match code {
        Code::ClientGone => CANCELLED,
        Code::RequestTimeout | Code::UpstreamTimeout | Code::DeadlineExceeded => DEADLINE_EXCEEDED,
        Code::Forbidden => PERMISSION_DENIED,
        Code::HeaderTooLarge
        | Code::UriTooLong
        | Code::BodyTooLarge
        | Code::RateLimited
        | Code::QuotaExceeded => RESOURCE_EXHAUSTED,
        // What gRPC itself makes of a 404 and the like: there is no such method here.
        Code::RouteNotFound
        | Code::MethodNotAllowed
        | Code::NotImplemented
        | Code::VersionUnknown
        | Code::NotAcceptable => UNIMPLEMENTED,
        Code::Unauthenticated => UNAUTHENTICATED,
        Code::NoEndpoint
        | Code::CircuitOpen
        | Code::ConnectFailed
        | Code::TlsFailed
        | Code::UpstreamReset
        | Code::UpstreamUnresolved
        | Code::Overloaded
        | Code::Draining
        | Code::Maintenance => UNAVAILABLE,
        _ => INTERNAL,
    }
}

/// Percent-encoded as `grpc-message` is: anything but printable ASCII, and the sign itself.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_is_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc-web-text", true),
            ("application/grpc; a=b", true),
            ("application/grpcish", false),
            ("application/json", false),
            ("application/grp", false),
        ] {
            let mut head = RequestHead::default();
            head.headers.set(Known::ContentType, value.as_bytes());
            assert_eq!(content_type(&head).is_some(), expected, "{value}");
        }
    }

    #[test]
    fn messages_are_escaped() {
        assert_eq!(escaped("50% of é\n"), "50%25 of %C3%A9%0A");
    }

    #[test]
    fn every_failure_has_a_status() {
        for code in Code::ALL {
            assert!((1..=16).contains(&status(code)), "{}", code.name());
        }
    }
}
