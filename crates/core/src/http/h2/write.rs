//! Writes a response to a stream, never more than the client has room for.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use gatehouse_http1::{Headers, Known, KnownSet, Method, is_forbidden_trailer};
use gatehouse_http2::{Fields, Reason};

use super::incoming::Side;
use crate::body::Body;
use crate::exchange::{ClientSide, Exchange, Response};
use crate::failure::{Code, Failure};
use crate::http::h1::takes_upload;
use crate::http::id::Ids;
use crate::io::Pace;

/// What a response never has (RFC 9113 8.2.2), and what is written anew.
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

/// Writes `response`.
pub(super) async fn response(ex: &mut Exchange, side: &Rc<Side>, mut response: Response) {
    let sent = send(ex, side, &mut response).await;
    if let Err(failure) = sent {
        // The client must not take what it has for the whole (RFC 9113 8.1).
        let reason = match failure.code() {
            Code::ClientGone => Reason::CANCEL,
            _ => Reason::INTERNAL_ERROR,
        };
        side.reset(reason);
        ex.record.broke(&failure);
    }
    ex.worker.recycle_response(std::mem::take(&mut response.head));
    // An upload that nobody reads any more ends with the stream, by a reset that says that there was no error.
}

async fn send(ex: &mut Exchange, side: &Rc<Side>, response: &mut Response) -> Result<(), Failure> {
    let status = response.head.status;
    let has_no_body = ex.request.head.method == Method::Head || status == 204 || status == 304;
    let at_hand = response.body.exact_len();
    let length = if has_no_body {
        // A response made here to HEAD says how long its body would be.
        let unsent = at_hand.filter(|&n| n > 0);
        response.declared_length.or(unsent).filter(|_| status != 204)
    } else {
        at_hand
    };
    let is_all = has_no_body || (response.body.is_finished() && response.body.trailers().is_none());
    // Nothing of the upload is wanted by anyone: it need not lie here until the response is out.
    if !takes_upload(response) {
        drop(std::mem::take(&mut ex.request.body));
    }
    begin(side, status, &response.head.headers, &ex.ids, length, is_all)?;
    if is_all {
        return Ok(());
    }
    let timeouts = &ex.plan.client.timeouts;
    let pace = Pace::new(ex.plan.client.limits.min_rate, timeouts.write_idle);
    let mut sending = Sending {
        pace,
        idle: timeouts.write_idle,
        sent: 0,
    };
    let done = poll_fn(|cx| sending.poll(cx, ex, side, &mut response.body)).await;
    ex.record.bytes_out = sending.sent;
    done
}

/// Writes the final head; it is all there is of the response, if it `is_all`.
pub(super) fn begin(
    side: &Side,
    status: u16,
    headers: &Headers,
    ids: &Ids,
    length: Option<u64>,
    is_all: bool,
) -> Result<(), Failure> {
    side.has_begun.set(true);
    let mut inner = side.session.inner.borrow_mut();
    let sent = inner.frames.head(side.key, status, is_all, |out| {
        fields(out, headers);
        if let Some(length) = length {
            out.add_length(length);
        }
        // Unless there is one of a policy's making.
        if !headers.contains(Known::XRequestId) {
            out.add_known(Known::XRequestId, ids.request.as_bytes());
        }
        if !headers.contains(Known::XCorrelationId) {
            out.add_known(Known::XCorrelationId, ids.correlation().as_bytes());
        }
    });
    if sent { Ok(()) } else { Err(left()) }
}

/// Writes the fields that are passed on.
pub(super) fn fields(out: &mut Fields<'_>, headers: &Headers) {
    for field in headers.iter() {
        if field.known.is_none_or(|known| !NOT_COPIED.contains(known)) {
            out.add(field);
        }
    }
}

/// A body on its way out.
struct Sending {
    pace: Pace,
    idle: Duration,
    /// Bytes given to the connection.
    sent: u64,
}

impl Sending {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ex: &Exchange,
        side: &Side,
        body: &mut Body,
    ) -> Poll<Result<(), Failure>> {
        loop {
            match body.poll_more(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(finish(side, body)),
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                // Nothing to write yet, and perhaps not for long: a client that left must not hold an endpoint.
                Poll::Pending => return side.poll_gone(cx).map(|()| Err(left())),
            }
            let room = match side.session.poll_room(cx, side.key) {
                Poll::Ready(Some(room)) => room,
                Poll::Ready(None) => return Poll::Ready(Err(left())),
                Poll::Pending => {
                    return ex.clock().wait_to_write(cx, &mut self.pace, self.idle).map(Err);
                }
            };
            let data = body.data();
            let n = data.len().min(room);
            // `n` is at most the length of the data.
            let sent = side.session.inner.borrow_mut().frames.send(side.key, &data[..n]);
            if !sent {
                return Poll::Ready(Err(left()));
            }
            body.consume(n);
            self.sent += n as u64;
            ex.clock().progress();
            if self.pace.moved(self.sent, || ex.clock().now()).is_err() {
                return Poll::Ready(Err(Failure::new(Code::ClientGone)
                    .detail("the client reads slower than client.limits.min_rate")));
            }
            if body.is_finished() && body.trailers().is_none() {
                return Poll::Ready(finish(side, body));
            }
        }
    }
}

/// Ends the stream, with trailers if there are any.
fn finish(side: &Side, body: &Body) -> Result<(), Failure> {
    let mut inner = side.session.inner.borrow_mut();
    let is_passed = |field: &gatehouse_http1::Field<'_>| !is_forbidden_trailer(field.known, field.name);
    let trailers = body
        .trailers()
        .filter(|trailers| trailers.iter().any(|field| is_passed(&field)));
    let sent = match trailers {
        Some(trailers) => inner.frames.trailers_out(side.key, |out| {
            trailers.iter().filter(is_passed).for_each(|field| out.add(field));
        }),
        None => inner.frames.finish(side.key),
    };
    if sent { Ok(()) } else { Err(left()) }
}

fn left() -> Failure {
    Failure::new(Code::ClientGone).detail("the client reset the stream")
}
