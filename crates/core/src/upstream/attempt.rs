//! One request to one endpoint: connect or reuse, send, read the head of the response.
//!
//! The request's body may still be on its way when the response begins; the response's body then
//! takes it along ([`super::body::Download`]). A connection goes back to the pool before the response
//! is written to the client, when the whole of it has arrived.

use std::sync::Arc;
use std::time::Instant;

use gatehouse_http1::{Decoder, Framing, Known, Method, Parsed, ResponseHead, encode};

use super::Upstream;
use super::body::{Download, Upload, protocol};
use super::dial::{Dialled, Offer, dial};
use super::endpoint::Endpoint;
use super::h2;
use super::lease::Lease;
use super::pool::PooledStream;
use super::switch;
use super::talk::Talk;
use crate::action::rewrite;
use crate::body::Body;
use crate::config::HostHeader;
use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure};
use crate::http::upgrade::Upgrade;
use crate::io::{Buffer, Intake, Sender, Stream};
use crate::telemetry::metrics::Closed;

/// What an attempt sends besides the request itself.
pub(crate) struct Outgoing<'a> {
    /// The `Host`.
    pub host: &'a HostHeader,
    /// True if the fields of [`crate::http::hop::Forwarding`] are still to be added.
    pub mark: bool,
    /// The prefix that was stripped.
    pub prefix: Option<&'a str>,
}

/// An attempt that failed.
pub(crate) struct Failed {
    pub failure: Failure,
    /// True if no endpoint has seen anything of the request and its body is back in the exchange: any
    /// request may then be tried elsewhere.
    pub unsent: bool,
}

/// Sends the exchange's request to `endpoint` and reads the head of its response.
///
/// A reused connection may turn out to have been closed just then. If no byte of a response came, the
/// request is sent once more on a new connection, provided that nothing of it left or that it is
/// idempotent and still at hand as a whole (RFC 9110 9.2.2, RFC 9112 9.3.1).
pub(crate) async fn send(
    ex: &mut Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    outgoing: &Outgoing<'_>,
) -> Result<Response, Failed> {
    let since = Instant::now();
    // Only HTTP/1.1 can be switched from.
    let mut stream = if upstream.transport.may_multiplex() && ex.upgrade.is_none() {
        match Box::pin(h2::send(ex, upstream, endpoint, outgoing, since)).await {
            h2::Sent::Done(result) => return result,
            h2::Sent::NotHttp2(stream) => stream,
        }
    } else {
        let is_tunnel = ex.upgrade.as_deref().is_some_and(Upgrade::is_plain_connect);
        match connect(ex, upstream, endpoint, is_tunnel).await {
            Ok(stream) if is_tunnel => return Ok(switch::open(ex, upstream, endpoint, stream, since)),
            Ok(stream) => stream,
            Err(failure) => {
                return Err(Failed {
                    failure,
                    unsent: true,
                });
            }
        }
    };
    let framing = request_framing(ex);
    let mut staged = ex.worker.spare_staging();
    encode_head(&mut staged, ex, endpoint, outgoing, framing);
    let mut upload = Upload {
        sender: Sender::new(staged, framing),
        body: std::mem::take(&mut ex.request.body),
    };
    if !upload.body.is_finished() && ex.request.head.headers.contains(Known::Expect) {
        upload.sender.allow_body(false);
    }
    loop {
        let reused = stream.is_reused();
        let mut lease = Lease::new(ex, upstream, endpoint, stream, since);
        ex.clock.leave();
        let mut talk = Talk::new(ex, upstream);
        let failure = match talk.heads(ex, &mut lease, &mut upload).await {
            Ok(parsed) => {
                let (head, buffer) = talk.into_parts(ex);
                if head.status == 101 {
                    return switch::respond(ex, upstream, lease, upload, head, buffer);
                }
                return respond(ex, upstream, lease, upload, head, &parsed, buffer);
            }
            Err(failure) => failure,
        };
        lease.spoil(Closed::Failed);
        drop(lease);
        let is_idempotent = ex.request.head.method.is_idempotent();
        let repeatable = upload.sender.is_unsent() || (is_idempotent && upload.sender.is_replayable());
        let broke = matches!(failure.code(), Code::UpstreamReset);
        if !(reused && broke && !talk.answered && repeatable) {
            ex.worker.keep_staging(upload.sender.into_staging());
            ex.request.body = upload.body;
            return Err(Failed {
                failure,
                unsent: false,
            });
        }
        upload.sender.rewind();
        upstream.stats.shard(ex.worker.index).retries.inc();
        stream = match connect(ex, upstream, endpoint, true).await {
            Ok(stream) => stream,
            Err(failure) => {
                return Err(Failed {
                    failure,
                    unsent: false,
                });
            }
        };
    }
}

/// A pooled connection, unless `fresh`; else a new one.
async fn connect(
    ex: &Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    fresh: bool,
) -> Result<Box<PooledStream>, Failure> {
    let worker = &ex.worker;
    if !fresh && let Some(stream) = worker.pools.take(endpoint.id, worker.now()) {
        upstream.stats.shard(worker.index).reused.inc();
        return Ok(stream);
    }
    let (Dialled::Http1(stream) | Dialled::Http2(stream)) =
        dial(ex, upstream, endpoint, Offer::Http1).await?;
    Ok(pooled(ex, upstream, endpoint, stream))
}

/// A new connection as the pool keeps it.
pub(super) fn pooled(
    ex: &Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    stream: Stream,
) -> Box<PooledStream> {
    let worker = &ex.worker;
    PooledStream::new(
        stream,
        worker.now(),
        endpoint,
        upstream.stats.clone(),
        worker.index,
    )
}

/// Where the request's body will end, in our own framing.
pub(super) fn request_framing(ex: &Exchange) -> Framing {
    match (&ex.request.body, ex.request.body.exact_len()) {
        // A method that usually has a body gets `content-length: 0` (RFC 9110 8.6).
        (Body::Empty, _) if matches!(ex.request.head.method, Method::Post | Method::Put | Method::Patch) => {
            Framing::Length(0)
        }
        (Body::Empty, _) => Framing::None,
        (_, Some(n)) => Framing::Length(n),
        (_, None) => Framing::Chunked,
    }
}

fn encode_head(
    out: &mut Vec<u8>,
    ex: &Exchange,
    endpoint: &Endpoint,
    outgoing: &Outgoing<'_>,
    framing: Framing,
) {
    let head = &ex.request.head;
    encode::request_line(out, head);
    // Both are checked: the client's by the parser, the others with the document.
    let host = rewrite::host(outgoing.host, head.authority(), &endpoint.authority);
    encode::vouched(out, "host: ", host.as_bytes());
    encode_fields(out, ex, outgoing);
    encode::framing(out, framing);
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields of a request but those of its host and framing, a line for each.
pub(super) fn encode_fields(out: &mut Vec<u8>, ex: &Exchange, outgoing: &Outgoing<'_>) {
    let head = &ex.request.head;
    encode::fields(out, &head.headers);
    ex.ids.write(out, &head.headers);
    if outgoing.mark {
        let prefix = outgoing.prefix;
        let (fields, lines) = (&ex.plan.forwarded.fields, ex.connection.lines.as_bytes());
        fields.write(out, head.version, lines, head.authority(), prefix);
    }
    if let Some(upgrade) = &ex.upgrade {
        upgrade.write(out);
    }
}

/// Makes the response: its body complete in memory if all of it has arrived, else to be streamed.
fn respond(
    ex: &mut Exchange,
    upstream: &Upstream,
    mut lease: Lease,
    upload: Upload,
    head: Box<ResponseHead>,
    parsed: &Parsed,
    buffer: Buffer,
) -> Result<Response, Failed> {
    lease.learn(&head, parsed);
    let mut intake = Intake::new(buffer, Decoder::new(parsed.framing, &upstream.head));
    if let Err(error) = intake.decode() {
        return Err(Failed {
            failure: protocol(&error),
            unsent: false,
        });
    }
    let sent = upload.sender.is_done();
    // A final answer to a request whose body is held back: the body will not be sent, and the endpoint,
    // which still waits for it, would take the next request for it.
    let unasked = upload.sender.holds_body();
    let whole = intake.is_complete() && intake.trailers().is_none();
    let body = if whole {
        if intake.surplus() > 0 || !sent {
            lease.spoil(Closed::NotReusable);
        }
        lease.end_time();
        lease.give_back();
        ex.request.body = upload.body;
        ex.worker.keep_staging(upload.sender.into_staging());
        if intake.data().is_empty() {
            Body::Empty
        } else {
            Body::Buffered(intake.into_body())
        }
    } else {
        let upload = if sent || unasked {
            if unasked {
                lease.spoil(Closed::NotReusable);
                ex.request.body = upload.body;
            }
            ex.worker.keep_staging(upload.sender.into_staging());
            None
        } else {
            ex.clock.go_duplex();
            Some(upload)
        };
        Body::Source(Box::new(Download::new(
            intake,
            lease,
            upload,
            ex.clock.clone(),
            upstream.timeouts.idle,
        )))
    };
    Ok(Response {
        head,
        body,
        declared_length: parsed.declared_length,
        close: false,
    })
}
