//! Writes a response to an HTTP/3 client.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_http1::Method;
use h3::error::{Code as Http3Code, StreamError};
use h3::server::RequestStream;

use super::transport::{Marks, Send};
use crate::exchange::{ClientSide, Exchange, Response};
use crate::failure::{Code, Failure};
use crate::http::parts;
use crate::io::{Clock, Pace};

/// The sending half of a request.
pub(super) type Sender = RequestStream<Send<Bytes>, Bytes>;

/// Bytes of a body that leave as one frame. A client that takes longer for them than `write_idle` is too slow.
const FRAME: usize = 16 * 1024;

/// Writes `response` to its end; true if all of it left. A failure on the way is noted and resets the stream.
pub(super) async fn response(
    ex: &mut Exchange,
    sender: &mut Sender,
    client: &dyn ClientSide,
    marks: &Marks,
    mut response: Response,
) -> bool {
    let sent = send(ex, sender, client, &mut response).await;
    ex.worker.recycle_response(std::mem::take(&mut response.head));
    if let Err(failure) = sent {
        marks.end.set(Some(if failure.code() == Code::ClientGone {
            Http3Code::H3_REQUEST_CANCELLED
        } else {
            // RFC 9114 4.1: a response that is cut short must not look complete.
            Http3Code::H3_INTERNAL_ERROR
        }));
        ex.record.broke(&failure);
        return false;
    }
    true
}

async fn send(
    ex: &mut Exchange,
    sender: &mut Sender,
    client: &dyn ClientSide,
    response: &mut Response,
) -> Result<(), Failure> {
    let status = response.head.status;
    let without_body = ex.request.head.method == Method::Head || status == 204 || status == 304;
    let head = head(ex, response, without_body);
    let write_idle = ex.plan.client.timeouts.write_idle;
    let clock = ex.clock.clone();
    let mut pace = Pace::new(ex.plan.client.limits.min_rate, write_idle);
    timely(&clock, &mut pace, write_idle, sender.send_response(head)).await?;
    if !without_body {
        let body = &mut response.body;
        loop {
            let more = poll_fn(|cx| match body.poll_more(cx) {
                Poll::Ready(more) => Poll::Ready(more),
                // Nothing to write yet, and perhaps not for long: a client that left must not hold an endpoint.
                Poll::Pending => client
                    .poll_gone(cx)
                    .map(|()| Err(Failure::new(Code::ClientGone).detail("the client gave up the request"))),
            });
            if !more.await? {
                break;
            }
            let data = body.data();
            let piece = Bytes::copy_from_slice(data.get(..FRAME).unwrap_or(data));
            let n = piece.len();
            timely(&clock, &mut pace, write_idle, sender.send_data(piece)).await?;
            body.consume(n);
            clock.progress();
            ex.record.bytes_out += n as u64;
            pace.moved(ex.record.bytes_out, || clock.now()).map_err(|_| {
                Failure::new(Code::ClientGone).detail("the client reads slower than client.limits.min_rate")
            })?;
        }
        if let Some(trailers) = response.body.trailers() {
            let trailers = parts::trailers_out(trailers);
            timely(&clock, &mut pace, write_idle, sender.send_trailers(trailers)).await?;
        }
    }
    timely(&clock, &mut pace, write_idle, sender.finish()).await
}

/// Waits for room at the client, no longer than it may take.
pub(super) async fn timely<T>(
    clock: &Clock,
    pace: &mut Pace,
    after: Duration,
    work: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done.map_err(|error| Failure::new(Code::ClientGone).source(error))),
        Poll::Pending => clock.wait_to_write(cx, pace, after).map(Err),
    })
    .await
}

/// The response's head as h3 takes it.
fn head(ex: &Exchange, response: &Response, without_body: bool) -> http::Response<()> {
    let length = match response.body.exact_len() {
        Some(n) if !without_body => Some(n),
        // A response made here to HEAD says how long its body would be.
        unsent if without_body => response.declared_length.or(unsent.filter(|&n| n > 0)),
        _ => None,
    };
    let head = &response.head;
    parts::response(
        head.status,
        &head.headers,
        &ex.ids,
        length.filter(|_| head.status != 204),
    )
}
