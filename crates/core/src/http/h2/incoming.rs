//! The body of a request, read as it is asked for, and the client's side of its exchange.
//!
//! Flow control goes from end to end: the client gets room for more only once a piece was consumed
//! (RFC 9113 5.2), so a window is the most that lies here.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use gatehouse_http1::{Declared, Headers, ResponseHead};
use gatehouse_http2::{Closed, Key, Reason};

use super::session::{Arrived, Session};
use super::write;
use crate::body::Source;
use crate::exchange::ClientSide;
use crate::failure::{Code, Failure};
use crate::http::h1::{body_failure, too_slow};
use crate::http::reserved::Reserved;
use crate::io::{Clock, Pace, Phase};
use crate::plan::ClientPlan;

/// The client's side of one exchange. The stream is let go of with it.
pub(super) struct Side {
    pub session: Rc<Session>,
    pub key: Key,
    /// Body bytes taken from the client.
    pub body_bytes: Cell<u64>,
    /// The final head is out.
    pub has_begun: Cell<bool>,
}

impl Side {
    pub fn new(session: Rc<Session>, key: Key) -> Rc<Self> {
        Rc::new(Self {
            session,
            key,
            body_bytes: Cell::new(0),
            has_begun: Cell::new(false),
        })
    }

    /// Ends the stream at once (RFC 9113 5.4.2).
    pub fn reset(&self, reason: Reason) {
        self.session.reset(self.key, reason);
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.session.release(self.key);
    }
}

impl ClientSide for Side {
    fn send_interim(&self, head: &ResponseHead) {
        if !self.has_begun.get() {
            // A stream that is gone shows itself where it is waited for.
            let mut inner = self.session.inner.borrow_mut();
            inner.frames.head(self.key, head.status, false, |fields| {
                write::fields(fields, &head.headers);
            });
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.poll_gone(cx, self.key)
    }
}

/// The pieces of what the client sends on a stream.
pub(super) struct Pieces {
    pub side: Rc<Side>,
    current: Bytes,
    /// True once nothing follows what is at hand.
    pub ended: bool,
}

impl Pieces {
    pub fn new(side: Rc<Side>) -> Self {
        Self {
            side,
            current: Bytes::new(),
            ended: false,
        }
    }

    /// The bytes at hand.
    pub fn data(&self) -> &[u8] {
        &self.current
    }

    /// Takes `n` of the bytes at hand: the client gets room for as many.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.current.len());
        self.current.advance(n);
        if self.current.is_empty() {
            // Its memory is of use to others.
            self.current = Bytes::new();
        }
        self.side.session.consumed(self.side.key, n);
    }

    /// Ready with the length of another piece, now at hand, or at the end with the trailers if there are any.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(usize, Option<Headers>), Failure>> {
        let Side { session, key, .. } = &*self.side;
        Poll::Ready(match ready!(session.poll_arrived(cx, *key)) {
            Arrived::Bytes(bytes) => {
                let n = bytes.len();
                self.current = bytes.into();
                self.ended = session.has_all(*key);
                Ok((n, None))
            }
            Arrived::End(trailers) => {
                self.ended = true;
                let trailers = trailers.transpose();
                trailers
                    .map(|trailers| (0, trailers))
                    .map_err(|error| body_failure(&error))
            }
            Arrived::Closed(closed) => Err(gone(closed)),
        })
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.side.session.unwanted(self.side.key, self.current.len());
    }
}

/// One request body.
pub(super) struct Incoming {
    pieces: Pieces,
    clock: Rc<Clock>,
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
    /// Fields that may not be trailers either.
    reserved: Option<Arc<Reserved>>,
}

impl Incoming {
    pub fn new(side: Rc<Side>, clock: Rc<Clock>, declared: Declared, client: &ClientPlan) -> Self {
        Self {
            pieces: Pieces::new(side),
            clock,
            trailers: None,
            left: declared.length,
            expects_continue: declared.expect_continue,
            limit: client.limits.body,
            limit_setting: "client.limits.body",
            taken: 0,
            idle: client.timeouts.body_idle,
            pace: Pace::new(client.limits.min_rate, client.timeouts.body_idle),
            reserved: None,
        }
    }

    fn strip_trailers(&mut self) {
        if let (Some(reserved), Some(trailers)) = (&self.reserved, &mut self.trailers) {
            reserved.strip(trailers);
        }
    }

    fn arrived(&mut self, n: usize) -> Result<(), Failure> {
        self.clock.progress();
        self.taken += n as u64;
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
            if !self.pieces.data().is_empty() {
                return Poll::Ready(Ok(true));
            }
            if self.pieces.ended {
                return Poll::Ready(Ok(false));
            }
            if std::mem::take(&mut self.expects_continue) {
                let mut head = ResponseHead::default();
                head.status = 100;
                self.pieces.side.send_interim(&head);
            }
            match self.pieces.poll(cx)? {
                Poll::Ready((0, trailers)) => {
                    self.trailers = trailers.filter(|trailers| !trailers.is_empty());
                    self.strip_trailers();
                }
                Poll::Ready((n, _)) => self.arrived(n)?,
                Poll::Pending => {
                    self.pace.wait(self.clock.now());
                    return self.clock.wait(cx, Phase::Body, self.idle).map(Err);
                }
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.pieces.data()
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.pieces.data().len());
        self.pieces.consume(n);
        let side = &self.pieces.side;
        side.body_bytes.set(side.body_bytes.get() + n as u64);
        self.left = self.left.map(|left| left.saturating_sub(n as u64));
    }

    fn exact_len(&self) -> Option<u64> {
        if self.pieces.ended && self.trailers.is_none() {
            return Some(self.pieces.data().len() as u64);
        }
        self.left
    }

    fn is_finished(&self) -> bool {
        self.pieces.ended && self.pieces.data().is_empty()
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
fn gone(closed: Closed) -> Failure {
    match closed {
        Closed::ByUs(Reason::PROTOCOL_ERROR) => {
            Failure::new(Code::BadRequest).safe_detail("the body is not what the head declared")
        }
        Closed::ByUs(reason) | Closed::ByClient(reason) => {
            Failure::new(Code::ClientGone).detail(format!("the request ended early: {reason}"))
        }
    }
}
