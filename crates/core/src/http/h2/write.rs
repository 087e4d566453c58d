//! Writes a response to a stream, one piece at a time and never more than the client has room for.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_http1::Method;
use h2::{Reason, SendStream};

use super::incoming::{Outgoing, Side};
use super::piece::Piece;
use crate::body::Body;
use crate::exchange::{ClientSide, Exchange, Response};
use crate::failure::{Code, Failure};
use crate::http::h1::takes_upload;
use crate::http::parts;
use crate::io::Pace;

/// Bytes of a piece: what a frame of the usual size carries.
const PIECE: usize = 16 * 1024;

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
    let head = parts::response(status, &response.head.headers, &ex.ids, length);
    side.begin(head, is_all)?;
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

/// A body on its way out.
struct Sending {
    pace: Pace,
    idle: Duration,
    /// Bytes given to the library.
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
            let mut outgoing = side.outgoing.borrow_mut();
            let Outgoing::Body(stream) = &mut *outgoing else {
                return Poll::Ready(Err(left()));
            };
            let room = match room(cx, stream, wanted(body)) {
                Poll::Ready(Ok(room)) => room,
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => {
                    return ex.clock().wait_to_write(cx, &mut self.pace, self.idle).map(Err);
                }
            };
            let piece = take(ex, body, room);
            self.sent += bytes::Buf::remaining(&piece) as u64;
            let is_last = body.is_finished() && body.trailers().is_none();
            stream
                .send_data(piece, is_last)
                .map_err(|error| client_gone(&error))?;
            ex.clock().progress();
            if self.pace.moved(self.sent, || ex.clock().now()).is_err() {
                return Poll::Ready(Err(Failure::new(Code::ClientGone)
                    .detail("the client reads slower than client.limits.min_rate")));
            }
            if is_last {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// How much of a body should go out in one piece: all of it, if it can go without a copy.
fn wanted(body: &Body) -> usize {
    match body {
        Body::Buffered(buffer) => buffer.len(),
        body => body.data().len().min(PIECE),
    }
}

/// Ready with how much the client and the library have room for, at least one byte.
fn room(cx: &mut Context<'_>, stream: &mut SendStream<Piece>, wanted: usize) -> Poll<Result<usize, Failure>> {
    stream.reserve_capacity(wanted);
    let mut room = stream.capacity();
    while room == 0 {
        room = match ready!(stream.poll_capacity(cx)) {
            Some(Ok(room)) => room,
            Some(Err(error)) => return Poll::Ready(Err(client_gone(&error))),
            None => return Poll::Ready(Err(left())),
        };
    }
    Poll::Ready(Ok(room.min(wanted)))
}

/// Takes `n` bytes of what is at hand off a body; the buffer itself, if that is all of it.
fn take(ex: &Exchange, body: &mut Body, n: usize) -> Piece {
    match std::mem::take(body) {
        Body::Buffered(buffer) if buffer.len() <= n => return Piece::Lent(buffer),
        Body::Full(mut bytes) => {
            let piece = bytes.split_to(n.min(bytes.len()));
            *body = bytes.into();
            return Piece::Shared(piece);
        }
        other => *body = other,
    }
    let mut buffer = ex.worker.buffers.small();
    let data = body.data();
    let space = buffer.space();
    let n = n.min(data.len()).min(space.len());
    space[..n].copy_from_slice(&data[..n]);
    buffer.filled(n);
    body.consume(n);
    Piece::Lent(buffer)
}

/// Ends the stream, with trailers if there are any.
fn finish(side: &Side, body: &Body) -> Result<(), Failure> {
    let Outgoing::Body(stream) = &mut *side.outgoing.borrow_mut() else {
        return Ok(());
    };
    let trailers = body.trailers().map(parts::trailers_out);
    match trailers.filter(|trailers| !trailers.is_empty()) {
        Some(trailers) => stream.send_trailers(trailers),
        None => stream.send_data(Piece::Shared(Bytes::new()), true),
    }
    .map_err(|error| client_gone(&error))
}

fn left() -> Failure {
    Failure::new(Code::ClientGone).detail("the client reset the stream")
}

pub(super) fn client_gone(error: &h2::Error) -> Failure {
    Failure::new(Code::ClientGone).detail(format!("the stream ended: {error}"))
}
