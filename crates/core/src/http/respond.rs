//! Failures become responses here and nowhere else; and the last touches on every response.

mod grpc;

use gatehouse_http1::Known;

use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure, Fault};
use crate::http::hop;

/// The response for a failure: `application/problem+json` (RFC 9457). The client gets the title, the
/// request id and safe details; the log gets the rest.
pub(crate) fn failure(ex: &mut Exchange, failure: &Failure) -> Response {
    ex.record.failed(failure);
    if let Some(exceeded) = failure.exceeded() {
        ex.worker.metrics.limit_hit(exceeded.setting);
    }
    // Maintenance is meant.
    if failure.fault() == Fault::Gateway && failure.code() != Code::Maintenance {
        tracing::error!(
            code = failure.code().name(),
            request_id = ex.ids.request.as_str(),
            route = ex.route().map(|route| &*route.name),
            detail = %failure.log_detail(),
            "exchange failed"
        );
    } else {
        tracing::debug!(
            code = failure.code().name(),
            request_id = ex.ids.request.as_str(),
            detail = %failure.log_detail(),
            "exchange failed"
        );
    }
    if let Some(content_type) = grpc::content_type(&ex.request.head) {
        return grpc::failure(failure, content_type);
    }
    let problem = failure.problem(ex.ids.request.as_str());
    let mut response = Response::new(failure.status()).with_body("application/problem+json", problem);
    let headers = response.headers_mut();
    headers.set(Known::CacheControl, b"no-store");
    add_fields(&mut response, failure);
    response
}

/// What every response for a failure has, whatever it looks like.
fn add_fields(response: &mut Response, failure: &Failure) {
    for (name, value) in failure.headers() {
        response
            .headers_mut()
            .append_name(name.as_bytes(), value.as_bytes());
    }
    response.close = failure.closes();
}

/// What a client gets that speaks HTTP where TLS is spoken: there is no exchange yet.
pub(crate) const HTTP_ON_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 53\r\nconnection: close\r\n\r\n\
    this port speaks TLS: use https:// instead of http://";

/// The last touches on every response: no field that belongs to another connection, and a date. The
/// encoders write the ids.
pub(crate) fn finish(ex: &mut Exchange, response: &mut Response) {
    let headers = &mut response.head.headers;
    hop::clean_response(headers);
    if !headers.contains(Known::Date) {
        hop::add_date(headers, ex.worker.http_date().as_bytes());
    }
    if let Some(vary) = ex.plan.vary.as_deref().filter(|_| ex.vary) {
        headers.append(Known::Vary, vary.as_bytes());
    }
    if let Some(edges) = &ex.plan.edges {
        edges.finish(ex, headers);
    }
    ex.record.status = response.head.status;
}
