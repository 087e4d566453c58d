//! The body of a request, taken from its frames as it is asked for.
//!
//! What is not asked for stays in the transport, whose flow control then stops the client.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use gatehouse_http1::{BodyError, HeadLimits, Headers, ResponseHead};
use h3::error::{Code as Http3Code, StreamError};
use h3::server::RequestStream;

use super::transport::{Marks, Recv};
use crate::body::Source;
use crate::exchange::ClientSide;
use crate::failure::{Code, Failure};
use crate::http::h1::{body_failure, too_slow};
use crate::http::parts;
use crate::http::reserved::Reserved;
use crate::io::{Clock, Pace, Phase};
use crate::plan::ClientPlan;

/// The receiving half of a request.
pub(super) type Receiver = RequestStream<Recv, Bytes>;

/// What is counted of a body while others hold it.
#[derive(Default)]
pub(super) struct Taken {
    /// Bytes taken.
    pub bytes: Cell<u64>,
    /// True once the end was reached.
    pub ended: Cell<bool>,
}

/// One request body.
pub(super) struct Incoming {
    receiver: Receiver,
    marks: Rc<Marks>,
    clock: Rc<Clock>,
    client: Rc<dyn ClientSide>,
    taken: Rc<Taken>,
    /// The piece at hand.
    piece: Bytes,
    /// Bytes that must still come, if they were declared.
    declared: Option<u64>,
    state: State,
    trailers: Option<Headers>,
    expects_continue: bool,
    head_limits: HeadLimits,
    limit: u64,
    limit_setting: &'static str,
    arrived: u64,
    idle: Duration,
    pace: Pace,
    /// Fields that may not be trailers either.
    reserved: Option<Arc<Reserved>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
    Failed,
}

/// What a body is made of.
pub(super) struct Parts {
    pub receiver: Receiver,
    pub marks: Rc<Marks>,
    pub clock: Rc<Clock>,
    pub client: Rc<dyn ClientSide>,
    pub taken: Rc<Taken>,
    pub declared: Option<u64>,
    pub expects_continue: bool,
}

impl Incoming {
    pub fn new(parts: Parts, settings: &ClientPlan) -> Self {
        let Parts {
            receiver,
            marks,
            clock,
            client,
            taken,
            declared,
            expects_continue,
        } = parts;
        Self {
            receiver,
            marks,
            clock,
            client,
            taken,
            piece: Bytes::new(),
            declared,
            state: State::Data,
            trailers: None,
            expects_continue,
            head_limits: settings.head,
            limit: settings.limits.body,
            limit_setting: "client.limits.body",
            arrived: 0,
            idle: settings.timeouts.body_idle,
            pace: Pace::new(settings.limits.min_rate, settings.timeouts.body_idle),
            reserved: None,
        }
    }

    /// Ready with what has come of the body: true for a piece of it, false for its end.
    pub fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        loop {
            if !self.piece.is_empty() {
                return Poll::Ready(Ok(true));
            }
            match self.state {
                State::Ended => return Poll::Ready(Ok(false)),
                State::Failed => {
                    return Poll::Ready(Err(Failure::new(Code::ClientGone).detail("the body has failed")));
                }
                State::Data => {
                    let data = match ready!(self.receiver.poll_recv_data(cx)) {
                        Ok(data) => data.map(|mut data| data.copy_to_bytes(data.remaining())),
                        Err(error) => return Poll::Ready(Err(stream_failure(error))),
                    };
                    match data {
                        Some(piece) => self.take_in(piece)?,
                        None => self.state = State::Trailers,
                    }
                }
                State::Trailers => {
                    let trailers = match ready!(self.receiver.poll_recv_trailers(cx)) {
                        Ok(trailers) => trailers,
                        Err(error) => return Poll::Ready(Err(stream_failure(error))),
                    };
                    self.end(trailers.as_ref())?;
                }
            }
        }
    }

    fn take_in(&mut self, piece: Bytes) -> Result<(), Failure> {
        let n = piece.len() as u64;
        if let Some(left) = &mut self.declared {
            *left = left.checked_sub(n).ok_or_else(|| {
                self.marks
                    .malformed("the body is longer than Content-Length says")
            })?;
        }
        self.clock.progress();
        self.arrived += n;
        self.piece = piece;
        // Counted when it arrives, so that a body without a declared length is bounded too.
        if self.arrived > self.limit {
            return Err(Failure::new(Code::BodyTooLarge).limit(
                self.limit_setting,
                self.limit,
                Some(self.arrived),
            ));
        }
        self.pace
            .moved(self.arrived, || self.clock.now())
            .map_err(too_slow)
    }

    fn strip_trailers(&mut self) {
        if let (Some(reserved), Some(trailers)) = (&self.reserved, &mut self.trailers) {
            reserved.strip(trailers);
        }
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Failure> {
        if self.declared.is_some_and(|left| left > 0) {
            return Err(self
                .marks
                .malformed("the body is shorter than Content-Length says"));
        }
        if let Some(why) = self.marks.malformed.get() {
            return Err(self.marks.malformed(why));
        }
        if let Some(trailers) = trailers {
            let collected =
                parts::trailers_in(trailers, &self.head_limits).map_err(|error| body_failure(&error))?;
            self.trailers = Some(collected);
            self.strip_trailers();
        }
        self.state = State::Ended;
        self.taken.ended.set(true);
        Ok(())
    }
}

impl Marks {
    /// The failure for a malformed message, which also ends the stream as one (RFC 9114 4.1.2).
    pub fn malformed(&self, why: &'static str) -> Failure {
        self.end.set(Some(Http3Code::H3_MESSAGE_ERROR));
        body_failure(&BodyError::BadChunk(why))
    }
}

/// What the end of a stream means for its request.
fn stream_failure(error: StreamError) -> Failure {
    match error {
        StreamError::HeaderTooBig { .. } => body_failure(&BodyError::TrailersTooLarge),
        other => Failure::new(Code::ClientGone).source(other),
    }
}

impl Source for Incoming {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        let arrived = match self.poll_arrived(cx) {
            Poll::Pending => {
                if std::mem::take(&mut self.expects_continue) {
                    let mut head = ResponseHead::default();
                    head.status = 100;
                    self.client.send_interim(&head);
                }
                self.pace.wait(self.clock.now());
                ready!(self.clock.wait(cx, Phase::Body, self.idle).map(Err))
            }
            Poll::Ready(arrived) => arrived,
        };
        if arrived.is_err() {
            self.state = State::Failed;
            self.piece.clear();
        }
        Poll::Ready(arrived)
    }

    fn data(&self) -> &[u8] {
        &self.piece
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.piece.len());
        self.piece.advance(n);
        self.taken.bytes.set(self.taken.bytes.get() + n as u64);
    }

    fn exact_len(&self) -> Option<u64> {
        match self.state {
            State::Ended => Some(self.piece.len() as u64),
            _ => self.declared.map(|left| left + self.piece.len() as u64),
        }
    }

    fn is_finished(&self) -> bool {
        self.state == State::Ended && self.piece.is_empty()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_ref()
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
}
