//! The body of a request, read as it is asked for, and the client's side of its exchange.
//!
//! Flow control goes from end to end: the client gets room for more only once a piece was consumed
//! (RFC 9113 5.2), so a window is the most that lies here.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::Response;
use bytes::{Buf, Bytes};
use gatehouse_http1::{Declared, HeadLimits, Headers, ResponseHead};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::piece::Piece;
use super::write::client_gone;
use crate::body::Source;
use crate::exchange::ClientSide;
use crate::failure::{Code, Failure};
use crate::http::h1::{body_failure, too_slow};
use crate::http::parts;
use crate::http::reserved::Reserved;
use crate::io::{Clock, Pace, Phase};
use crate::plan::ClientPlan;

/// What can be sent on a stream.
pub(super) enum Outgoing {
    /// A head, interim or final.
    Head(SendResponse<Piece>),
    /// What follows the final head.
    Body(SendStream<Piece>),
    /// Nothing: another has taken it over.
    Taken,
}

/// The client's side of one exchange.
pub(super) struct Side {
    pub outgoing: RefCell<Outgoing>,
    /// Body bytes taken from the client.
    pub body_bytes: Cell<u64>,
}

impl Side {
    pub fn new(respond: SendResponse<Piece>) -> Rc<Self> {
        Rc::new(Self {
            outgoing: RefCell::new(Outgoing::Head(respond)),
            body_bytes: Cell::new(0),
        })
    }

    /// Sends the head of the response; all of it, if it `ends` the stream.
    pub fn begin(&self, head: Response<()>, ends: bool) -> Result<(), Failure> {
        let mut outgoing = self.outgoing.borrow_mut();
        let Outgoing::Head(respond) = &mut *outgoing else {
            return Err(Failure::new(Code::Internal).detail("the response began already"));
        };
        let sent = respond.send_response(head, ends);
        *outgoing = Outgoing::Body(sent.map_err(|error| client_gone(&error))?);
        Ok(())
    }

    /// Ends the stream at once (RFC 9113 5.4.2).
    pub fn reset(&self, reason: Reason) {
        match &mut *self.outgoing.borrow_mut() {
            Outgoing::Head(respond) => respond.send_reset(reason),
            Outgoing::Body(stream) => stream.send_reset(reason),
            Outgoing::Taken => {}
        }
    }

    /// What follows the final head, for whoever goes on from here.
    pub fn take(&self) -> Option<SendStream<Piece>> {
        match std::mem::replace(&mut *self.outgoing.borrow_mut(), Outgoing::Taken) {
            Outgoing::Body(stream) => Some(stream),
            Outgoing::Head(_) | Outgoing::Taken => None,
        }
    }
}

impl ClientSide for Side {
    fn send_interim(&self, head: &ResponseHead) {
        if let Outgoing::Head(respond) = &mut *self.outgoing.borrow_mut() {
            // A stream that is gone shows itself where it is waited for.
            let _ = respond.send_informational(parts::interim(head.status, &head.headers));
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.outgoing.borrow_mut() {
            Outgoing::Head(respond) => respond.poll_reset(cx).map(|_| ()),
            Outgoing::Body(stream) => stream.poll_reset(cx).map(|_| ()),
            Outgoing::Taken => Poll::Pending,
        }
    }
}

/// One request body.
pub(super) struct Incoming {
    stream: RecvStream,
    side: Rc<Side>,
    clock: Rc<Clock>,
    data: Bytes,
    /// True once nothing follows `data`.
    ended: bool,
    trailers: Option<Headers>,
    /// What is left of the declared length.
    left: Option<u64>,
    /// The client waits for `100 Continue` before it sends (RFC 9110 10.1.1).
    expects_continue: bool,
    limit: u64,
    limit_setting: &'static str,
    taken: u64,
    idle: Duration,
    pace: Pace,
    head: HeadLimits,
    /// Fields that may not be trailers either.
    reserved: Option<Arc<Reserved>>,
}

impl Incoming {
    pub fn new(
        stream: RecvStream,
        side: Rc<Side>,
        clock: Rc<Clock>,
        declared: Declared,
        client: &ClientPlan,
    ) -> Self {
        Self {
            stream,
            side,
            clock,
            data: Bytes::new(),
            ended: false,
            trailers: None,
            left: declared.length,
            expects_continue: declared.expect_continue,
            limit: client.limits.body,
            limit_setting: "client.limits.body",
            taken: 0,
            idle: client.timeouts.body_idle,
            pace: Pace::new(client.limits.min_rate, client.timeouts.body_idle),
            head: client.head,
            reserved: None,
        }
    }

    /// Ready with a piece or, at the end, with none.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        if let Some(piece) = ready!(self.stream.poll_data(cx)) {
            return Poll::Ready(piece.map(Some).map_err(|error| gone(&error)));
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(map)) => {
                let trailers = parts::trailers_in(&map, &self.head).map_err(|error| body_failure(&error))?;
                self.trailers = (!trailers.is_empty()).then_some(trailers);
                self.strip_trailers();
                Poll::Ready(Ok(None))
            }
            Ok(None) => Poll::Ready(Ok(None)),
            Err(error) => Poll::Ready(Err(gone(&error))),
        }
    }

    fn strip_trailers(&mut self) {
        if let (Some(reserved), Some(trailers)) = (&self.reserved, &mut self.trailers) {
            reserved.strip(trailers);
        }
    }

    fn arrived(&mut self, piece: Bytes) -> Result<(), Failure> {
        self.clock.progress();
        self.taken += piece.len() as u64;
        self.data = piece;
        // Counted when it arrives, so that a body without a declared length is bounded too.
        if self.taken > self.limit {
            return Err(Failure::new(Code::BodyTooLarge).limit(
                self.limit_setting,
                self.limit,
                Some(self.taken),
            ));
        }
        self.pace.moved(self.taken, || self.clock.now()).map_err(too_slow)
    }
}

impl Source for Incoming {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        loop {
            if !self.data.is_empty() {
                return Poll::Ready(Ok(true));
            }
            if self.ended {
                return Poll::Ready(Ok(false));
            }
            if std::mem::take(&mut self.expects_continue) {
                let mut head = ResponseHead::default();
                head.status = 100;
                self.side.send_interim(&head);
            }
            match self.poll_piece(cx) {
                Poll::Ready(Ok(Some(piece))) => {
                    self.arrived(piece)?;
                    self.ended = self.stream.is_end_stream();
                }
                Poll::Ready(Ok(None)) => self.ended = true,
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => {
                    self.pace.wait(self.clock.now());
                    return self.clock.wait(cx, Phase::Body, self.idle).map(Err);
                }
            }
        }
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.data.len());
        self.data.advance(n);
        self.side.body_bytes.set(self.side.body_bytes.get() + n as u64);
        self.left = self.left.map(|left| left.saturating_sub(n as u64));
        // It fails only for more than has arrived.
        let _ = self.stream.flow_control().release_capacity(n);
    }

    fn exact_len(&self) -> Option<u64> {
        if self.ended && self.trailers.is_none() {
            return Some(self.data.len() as u64);
        }
        self.left
    }

    fn is_finished(&self) -> bool {
        self.ended && self.data.is_empty()
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

/// A stream that ended before its request did: the client's doing, or a body that is not what was declared.
fn gone(error: &h2::Error) -> Failure {
    if error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR) {
        return Failure::new(Code::BadRequest).safe_detail("the body is not what the head declared");
    }
    Failure::new(Code::ClientGone).detail(format!("the request ended early: {error}"))
}
