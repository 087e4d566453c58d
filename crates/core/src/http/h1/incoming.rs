//! The body of a request, read from the client as it is asked for.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use gatehouse_http1::{BodyError, Decoder, Headers, Parsed, ResponseHead, encode};

use super::ClientIo;
use crate::body::Source;
use crate::exchange::ClientSide;
use crate::failure::{Code, Failure};
use crate::http::reserved::Reserved;
use crate::io::{Buffer, Clock, Intake, Pace, Phase, Pipe, Read, TooSlow};
use crate::plan::ClientPlan;

/// One request body. On drop it leaves what follows it to the connection.
pub(super) struct Incoming {
    io: Rc<ClientIo>,
    clock: Rc<Clock>,
    intake: Option<Intake>,
    /// The client waits for `100 Continue` before it sends (RFC 9110 10.1.1).
    expects_continue: bool,
    limit: u64,
    limit_setting: &'static str,
    taken: u64,
    idle: Duration,
    pace: Pace,
    failed: bool,
    /// Fields that may not be trailers either.
    reserved: Option<Arc<Reserved>>,
}

impl Incoming {
    pub(super) fn new(
        io: Rc<ClientIo>,
        clock: Rc<Clock>,
        buffer: Buffer,
        parsed: &Parsed,
        client: &ClientPlan,
    ) -> Self {
        Self {
            io,
            clock,
            expects_continue: parsed.expect_continue && buffer.is_empty(),
            intake: Some(Intake::new(buffer, Decoder::new(parsed.framing, &client.head))),
            limit: client.limits.body,
            limit_setting: "client.limits.body",
            taken: 0,
            idle: client.timeouts.body_idle,
            pace: Pace::new(client.limits.min_rate, client.timeouts.body_idle),
            failed: false,
            reserved: None,
        }
    }

    fn strip_trailers(&mut self) {
        if let Some(reserved) = &self.reserved
            && let Some(trailers) = self.intake.as_mut().and_then(Intake::trailers_mut)
        {
            reserved.strip(trailers);
        }
    }

    /// Bytes came: is the client as fast as it must be?
    fn moved(&mut self, n: usize) -> Result<(), Failure> {
        self.taken += n as u64;
        self.pace.moved(self.taken, || self.clock.now()).map_err(too_slow)
    }

    fn stalls(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.pace.wait(self.clock.now());
        self.clock.wait(cx, Phase::Body, self.idle).map(|f| f.close(true))
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        loop {
            let Some(intake) = &mut self.intake else {
                return Poll::Ready(Ok(false));
            };
            if intake.decode().map_err(|e| body_failure(&e))? {
                return Poll::Ready(Ok(!intake.data().is_empty()));
            }
            if std::mem::take(&mut self.expects_continue) {
                let mut head = ResponseHead::default();
                head.status = 100;
                self.io.send_interim(&head);
            }
            let read = intake.poll_read(cx, &mut self.io.stream.borrow_mut());
            match read {
                Poll::Ready(Ok(Read::Bytes(n))) => {
                    self.clock.progress();
                    self.moved(n)?;
                }
                Poll::Ready(Ok(Read::End)) => {
                    return Poll::Ready(intake.end().map(|()| false).map_err(|_| cut_short()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(gone(error))),
                Poll::Pending => return self.stalls(cx).map(Err),
            }
        }
    }
}

impl Source for Incoming {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        let more = std::task::ready!(self.poll_arrived(cx));
        self.failed |= more.is_err();
        self.strip_trailers();
        if matches!(more, Ok(false)) {
            self.io.body_read.set(true);
        }
        // Counted when it arrives, so that a body without a declared length is bounded too.
        if let Some(intake) = &self.intake {
            let seen = self.io.body_bytes.get() + intake.data().len() as u64;
            if seen > self.limit {
                self.failed = true;
                let failure =
                    Failure::new(Code::BodyTooLarge).limit(self.limit_setting, self.limit, Some(seen));
                return Poll::Ready(Err(failure.close(true)));
            }
        }
        Poll::Ready(more)
    }

    fn data(&self) -> &[u8] {
        self.intake.as_ref().map_or(&[], Intake::data)
    }

    fn consume(&mut self, n: usize) {
        self.io.body_bytes.set(self.io.body_bytes.get() + n as u64);
        if let Some(intake) = &mut self.intake {
            intake.consume(n);
            if intake.is_finished() {
                self.io.body_read.set(true);
            }
        }
    }

    fn exact_len(&self) -> Option<u64> {
        self.intake.as_ref().and_then(Intake::exact_len)
    }

    fn is_finished(&self) -> bool {
        self.intake.as_ref().is_none_or(Intake::is_finished)
    }

    fn trailers(&self) -> Option<&Headers> {
        self.intake.as_ref().and_then(Intake::trailers)
    }

    fn set_limit(&mut self, limit: u64, setting: &'static str) {
        self.limit = limit;
        self.limit_setting = setting;
    }

    fn reserve(&mut self, reserved: &Arc<Reserved>) {
        self.reserved = Some(reserved.clone());
        self.strip_trailers();
    }

    fn awaits_go_ahead(&self) -> bool {
        self.expects_continue
    }

    /// Not for more than the limit allows, which the reading side refuses.
    fn lend_pipe(&self, left: u64) -> Option<Pipe> {
        let within = self.io.body_bytes.get().saturating_add(left) <= self.limit;
        if !within || self.failed || self.expects_continue || !self.io.stream.borrow().takes_pipe() {
            return None;
        }
        self.intake.as_ref()?.lend_pipe(left)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<usize, Failure>> {
        let Some(intake) = &mut self.intake else {
            return Poll::Ready(Ok(0));
        };
        let filled = intake.poll_fill(cx, &self.io.stream.borrow(), pipe);
        let filled = match filled {
            Poll::Ready(Ok(Read::Bytes(n))) => {
                self.clock.spliced(n);
                self.io.body_bytes.set(self.io.body_bytes.get() + n as u64);
                self.io.body_read.set(intake.is_finished());
                self.moved(n).map(|()| n)
            }
            Poll::Ready(Ok(Read::End)) => Err(cut_short()),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(0),
            Poll::Ready(Err(error)) => Err(gone(error)),
            Poll::Pending => Err(std::task::ready!(self.stalls(cx))),
        };
        self.failed |= filled.is_err();
        Poll::Ready(filled)
    }

    fn discard_arrived(&mut self) -> bool {
        let Some(intake) = &mut self.intake else {
            return true;
        };
        if self.failed || self.expects_continue {
            return false;
        }
        loop {
            match intake.decode() {
                Ok(true) if !intake.data().is_empty() => {
                    let n = intake.data().len();
                    self.io.body_bytes.set(self.io.body_bytes.get() + n as u64);
                    intake.consume(n);
                }
                Ok(true) => {
                    self.io.body_read.set(true);
                    return true;
                }
                Ok(false) | Err(_) => return false,
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let finished = !self.failed && self.discard_arrived();
        self.io.body_read.set(finished);
        if let Some(intake) = self.intake.take().filter(|_| finished) {
            let rest = intake.into_surplus();
            *self.io.leftover.borrow_mut() = super::next_request(rest);
        }
    }
}

impl ClientSide for ClientIo {
    fn send_interim(&self, head: &ResponseHead) {
        if self.is_http10.get() {
            return;
        }
        let mut interim = self.interim.borrow_mut();
        encode::status_line(&mut interim, head.status, head.reason());
        encode::fields(&mut interim, &head.headers);
        interim.extend_from_slice(b"\r\n");
        // As much as the socket takes now; the rest goes out in front of the final response.
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(Ok(n)) = self.stream.borrow_mut().poll_write(&mut cx, &interim) {
            interim.drain(..n);
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.watches.get() || self.stream.borrow().poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        // The next request, or the end of the client's direction: both say that it still listens.
        self.watches.set(false);
        match self.stream.borrow_mut().poll_peek(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

pub(in crate::http) fn too_slow(slow: TooSlow) -> Failure {
    Failure::new(Code::RequestTimeout)
        .limit("client.limits.min_rate", slow.rate, Some(slow.measured))
        .close(true)
}

fn cut_short() -> Failure {
    Failure::new(Code::BadRequest)
        .safe_detail("the body was cut short")
        .close(true)
}

fn gone(error: io::Error) -> Failure {
    Failure::new(Code::ClientGone).source(error).close(true)
}

pub(in crate::http) fn body_failure(error: &BodyError) -> Failure {
    let text = match error {
        BodyError::BadChunk(what) | BodyError::BadTrailer(what) => *what,
        BodyError::TrailersTooLarge => "the trailer section is too large",
        BodyError::Truncated => "the body was cut short",
    };
    Failure::new(Code::BadRequest).safe_detail(text).close(true)
}
