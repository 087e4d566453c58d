//! Writes a response to an HTTP/1 client and decides what becomes of the connection.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use gatehouse_http1::{Framing, Method, Version, encode};

use super::{ClientIo, Next};
use crate::exchange::{ClientSide, Exchange, Response};
use crate::failure::{Code, Failure};
use crate::io::{Pace, Phase, Pipe, SendError, Sender, Sink, TooSlow};

/// Writes `response`. The connection may be kept only if `may_keep`.
pub(super) async fn response(
    ex: &mut Exchange,
    io: &ClientIo,
    mut response: Response,
    may_keep: bool,
    version: Version,
) -> Next {
    let unread = !io.body_read.get() && (takes_upload(&response) || !ex.request.body.discard_arrived());
    let framing = framing(ex, &response, version);
    // While the request is still being sent on, an error means that its rest is not wanted; any other
    // response may well depend on it.
    let stops_short = unread
        && if takes_upload(&response) {
            response.head.status >= 400
        } else {
            is_much(ex)
        };
    let keep = may_keep
        && !response.close
        && !stops_short
        && framing != Framing::UntilClose
        && !ex.worker.is_draining()
        && !ex.connection.listener.is_draining();

    let mut staged = ex.worker.spare_staging();
    staged.append(&mut io.interim.borrow_mut());
    encode_head(&mut staged, ex, &response, framing, keep, version);
    let mut sender = Sender::new(staged, framing);
    if !ex.accepts_trailers {
        sender.without_trailers();
    }
    let timeouts = &ex.plan.client.timeouts;
    let (write_idle, min_rate) = (timeouts.write_idle, ex.plan.client.limits.min_rate);
    let mut pace = Pace::new(min_rate, write_idle);

    let sent = poll_fn(|cx| {
        let before = sender.bytes;
        let polled = sender.poll(cx, &mut &*io, &mut response.body);
        if sender.bytes > before {
            ex.clock.progress();
            pace.moved(sender.bytes, || ex.clock.now()).map_err(too_slow)?;
        }
        match polled {
            Poll::Pending if sender.is_blocked() => wait_to_write(cx, ex, &mut pace, write_idle),
            // Nothing to write yet, and perhaps not for long: a client that left must not hold an endpoint.
            Poll::Pending => io
                .poll_gone(cx)
                .map(|()| Err(SendError::Sink(io::ErrorKind::ConnectionReset.into()))),
            Poll::Ready(result) => Poll::Ready(result),
        }
    })
    .await;

    ex.record.bytes_out = sender.body_bytes();
    ex.worker.keep_staging(sender.into_staging());
    ex.worker.recycle_response(response.head);
    drop(response.body);
    match sent {
        Ok(()) if keep && io.body_read.get() => Next::Wait,
        Ok(()) if io.body_read.get() => Next::Close,
        Ok(()) => settle(ex, io, keep).await,
        Err(error) => {
            let failure = match error {
                SendError::Source(failure) => failure,
                SendError::Sink(error) => Failure::new(Code::ClientGone).source(error),
            };
            ex.record.broke(&failure);
            if framing == Framing::UntilClose {
                // A plain end would say that this was all of it (RFC 9112 8).
                io.stream.borrow().break_off();
            }
            Next::Cut
        }
    }
}

fn wait_to_write(
    cx: &mut Context<'_>,
    ex: &Exchange,
    pace: &mut Pace,
    after: Duration,
) -> Poll<Result<(), SendError>> {
    ex.clock
        .wait_to_write(cx, pace, after)
        .map(|failure| Err(SendError::Source(failure)))
}

fn too_slow(_: TooSlow) -> SendError {
    SendError::Sink(io::Error::new(
        io::ErrorKind::TimedOut,
        "the client reads slower than client.limits.min_rate",
    ))
}

/// The client still has some of its request to send: a little of it is read, so that the connection
/// can be kept; else it is left to linger.
async fn settle(ex: &mut Exchange, io: &ClientIo, keep: bool) -> Next {
    if !keep || is_much(ex) {
        return Next::Linger;
    }
    let after = ex.plan.client.timeouts.linger;
    let body = &mut ex.request.body;
    let clock = &ex.clock;
    let rest = poll_fn(|cx| {
        loop {
            match body.poll_more(cx) {
                Poll::Ready(Ok(true)) => body.consume(body.data().len()),
                Poll::Ready(Ok(false)) => return Poll::Ready(true),
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => return clock.poll_phase(cx, Phase::Linger, after).map(|_| false),
            }
        }
    })
    .await;
    if rest && io.body_read.get() {
        Next::Wait
    } else {
        Next::Linger
    }
}

impl Sink for &ClientIo {
    /// Holds the stream only while it writes: the body that is being written may read from it.
    fn poll_write(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        Sink::poll_write(&mut *self.stream.borrow_mut(), cx, first, second)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_flush(cx)
    }

    fn takes_pipe(&self) -> bool {
        self.stream.borrow().takes_pipe()
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.stream.borrow().poll_drain(cx, pipe)
    }
}

/// Bytes of a request's body that are read after the response, so that the connection can be kept.
const LITTLE: u64 = 64 * 1024;

/// True if more is left of the request's body than is worth reading, or if the client has not begun to
/// send it and now need not.
fn is_much(ex: &Exchange) -> bool {
    let body = &ex.request.body;
    body.awaits_go_ahead() || body.exact_len().is_none_or(|n| n > LITTLE)
}

/// True if the response body itself still sends the request's body upstream.
pub(in crate::http) fn takes_upload(response: &Response) -> bool {
    matches!(&response.body, crate::body::Body::Source(source) if source.takes_upload())
}

/// Where the response will end (RFC 9112 6.3).
fn framing(ex: &Exchange, response: &Response, version: Version) -> Framing {
    let status = response.head.status;
    if ex.request.head.method == Method::Head || status == 204 || status == 304 {
        return Framing::None;
    }
    let has_trailers = ex.accepts_trailers && response.body.trailers().is_some();
    match response.body.exact_len().filter(|_| !has_trailers) {
        Some(n) => Framing::Length(n),
        None if version == Version::Http11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

fn encode_head(
    out: &mut Vec<u8>,
    ex: &Exchange,
    response: &Response,
    framing: Framing,
    keep: bool,
    version: Version,
) {
    let status = response.head.status;
    encode::status_line(out, status, response.head.reason());
    encode::fields(out, &response.head.headers);
    ex.ids.write(out, &response.head.headers);
    // A response made here to HEAD says how long its body would be.
    let unsent = response.body.exact_len().filter(|&n| n > 0);
    match (framing, response.declared_length.or(unsent)) {
        (Framing::None, Some(n)) if status != 204 => encode::framing(out, Framing::Length(n)),
        (framing, _) => encode::framing(out, framing),
    }
    if !keep {
        out.extend_from_slice(b"connection: close\r\n");
    } else if version == Version::Http10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
