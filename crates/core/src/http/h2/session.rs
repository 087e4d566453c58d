//! What the requests of a connection share: the protocol's state, what has arrived for each, who waits for room.
//!
//! Requests run within the connection's task, so nobody ever finds it borrowed. What they write is gathered; the task
//! sends it at the end of its turn.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use gatehouse_http1::{BodyError, Headers};
use gatehouse_http2::{Closed, Connection as Frames, Key, Reason, Room};

use crate::exchange::Connection;
use crate::worker::Worker;

/// What has arrived for a request, and who waits for more.
#[derive(Default)]
pub(super) struct Mail {
    /// Bytes that nobody has taken: a window of them at most.
    bytes: Vec<u8>,
    /// Nothing comes behind them.
    has_all: bool,
    trailers: Option<Result<Headers, BodyError>>,
    /// Nobody will read it.
    is_unwanted: bool,
    /// True while it waits for room on the connection.
    awaits_room: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What there is of a body.
pub(super) enum Arrived {
    Bytes(Vec<u8>),
    /// The end, perhaps with trailers.
    End(Option<Result<Headers, BodyError>>),
    Closed(Closed),
}

/// The protocol's state and who waits for what.
pub(super) struct Inner {
    pub frames: Frames<Mail>,
    /// Those that wait for room on the connection, the first to wait first.
    waiting: VecDeque<Key>,
}

/// A connection, as its requests see it.
pub(super) struct Session {
    pub worker: Rc<Worker>,
    pub connection: Rc<Connection>,
    pub inner: RefCell<Inner>,
}

impl Session {
    pub fn new(worker: Rc<Worker>, connection: Rc<Connection>, frames: Frames<Mail>) -> Rc<Self> {
        Rc::new(Self {
            worker,
            connection,
            inner: RefCell::new(Inner {
                frames,
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Ready with what has arrived for a request.
    pub fn poll_arrived(&self, cx: &mut Context<'_>, key: Key) -> Poll<Arrived> {
        let mut inner = self.inner.borrow_mut();
        if let Some(closed) = inner.frames.closed(key) {
            return Poll::Ready(Arrived::Closed(closed));
        }
        let Some(mail) = inner.frames.data(key) else {
            return Poll::Ready(Arrived::End(None));
        };
        if !mail.bytes.is_empty() {
            return Poll::Ready(Arrived::Bytes(std::mem::take(&mut mail.bytes)));
        }
        if mail.has_all {
            return Poll::Ready(Arrived::End(mail.trailers.take()));
        }
        keep(&mut mail.reader, cx);
        Poll::Pending
    }

    /// True if all of a request has come and nothing of it is left but trailers.
    pub fn has_all(&self, key: Key) -> bool {
        let mut inner = self.inner.borrow_mut();
        let mail = inner.frames.data(key);
        mail.is_some_and(|mail| mail.has_all && mail.bytes.is_empty() && mail.trailers.is_none())
    }

    /// The client gets room for more of a request.
    pub fn consumed(&self, key: Key, n: usize) {
        self.inner.borrow_mut().frames.consumed(key, narrow(n));
    }

    /// Nobody wants the rest of a request, of which `n` bytes had been taken. It takes no room from others.
    pub fn unwanted(&self, key: Key, n: usize) {
        let mut inner = self.inner.borrow_mut();
        let Some(mail) = inner.frames.data(key) else {
            return;
        };
        mail.is_unwanted = true;
        let n = n + std::mem::take(&mut mail.bytes).len();
        inner.frames.discard(narrow(n));
    }

    /// Ready with how much may be sent of an answer, at least one byte; none if the stream has ended.
    pub fn poll_room(&self, cx: &mut Context<'_>, key: Key) -> Poll<Option<usize>> {
        let mut inner = self.inner.borrow_mut();
        let room = inner.frames.room(key);
        let awaits_room = match room {
            Room::Bytes(n) => return Poll::Ready(Some(n)),
            Room::Gone => return Poll::Ready(None),
            Room::OnStream => false,
            Room::OnConnection => true,
        };
        let Some(mail) = inner.frames.data(key) else {
            return Poll::Ready(None);
        };
        keep(&mut mail.writer, cx);
        if awaits_room && !std::mem::replace(&mut mail.awaits_room, true) {
            inner.waiting.push_back(key);
        }
        Poll::Pending
    }

    /// True if the stream has ended before its time.
    pub fn is_gone(&self, key: Key) -> bool {
        self.inner.borrow().frames.closed(key).is_some()
    }

    /// Ready when the stream has ended before its time.
    pub fn poll_gone(&self, cx: &mut Context<'_>, key: Key) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.frames.closed(key).is_some() {
            return Poll::Ready(());
        }
        if let Some(mail) = inner.frames.data(key) {
            keep(&mut mail.writer, cx);
        }
        Poll::Pending
    }

    /// Ends a stream at once.
    pub fn reset(&self, key: Key, reason: Reason) {
        self.inner.borrow_mut().frames.reset(key, reason);
    }

    /// Lets go of a stream.
    pub fn release(&self, key: Key) {
        let mut inner = self.inner.borrow_mut();
        if let Some(mail) = inner.frames.release(key) {
            inner.frames.discard(narrow(mail.bytes.len()));
        }
    }
}

impl Inner {
    /// Puts a piece of a body where its request finds it.
    pub fn deliver(&mut self, key: Key, data: &[u8], is_last: bool) {
        let Some(mail) = self.frames.data(key) else {
            return self.frames.discard(narrow(data.len()));
        };
        mail.has_all |= is_last;
        if mail.is_unwanted {
            return self.frames.discard(narrow(data.len()));
        }
        mail.bytes.extend_from_slice(data);
        wake(&mut mail.reader);
    }

    /// The end of a body that has trailers.
    pub fn deliver_trailers(&mut self, key: Key, trailers: Result<Headers, BodyError>) {
        if let Some(mail) = self.frames.data(key) {
            mail.has_all = true;
            mail.trailers = Some(trailers);
            wake(&mut mail.reader);
        }
    }

    /// Something happened to a stream that all who wait on it must see.
    pub fn stir(&mut self, key: Key) {
        if let Some(mail) = self.frames.data(key) {
            wake(&mut mail.reader);
            wake(&mut mail.writer);
        }
    }

    /// A stream has room for more.
    pub fn stir_writer(&mut self, key: Key) {
        if let Some(mail) = self.frames.data(key) {
            wake(&mut mail.writer);
        }
    }

    /// All streams may have room for more.
    pub fn stir_writers(&mut self) {
        self.frames.each(|mail| wake(&mut mail.writer));
    }

    /// Lets the one that has waited the longest for room on the connection have it. False if nobody waits, or there
    /// still is none.
    pub fn grant(&mut self) -> bool {
        while let Some(key) = self.waiting.pop_front() {
            let has_none = self.frames.room(key) == Room::OnConnection;
            let Some(mail) = self.frames.data(key).filter(|mail| mail.awaits_room) else {
                continue;
            };
            if has_none {
                self.waiting.push_front(key);
                return false;
            }
            mail.awaits_room = false;
            wake(&mut mail.writer);
            return true;
        }
        false
    }
}

fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    if place.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

fn wake(place: &mut Option<Waker>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}

/// Bytes within a window, which is less than 2^31.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
