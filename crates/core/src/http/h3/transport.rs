//! A quinn connection behind the traits of the h3 crate.
//!
//! Instead of h3-quinn, which panics when a stream is stopped while it is being read and does not tell what came as
//! early data. What arrives goes through [`Frames`]; what a stream leaves undone when it is dropped is reset with a
//! code that says why, where quinn would end it as if it were complete.

mod halves;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::stream::{self, Stream, StreamExt};
use gatehouse_http1::HeadLimits;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, StoppedError, VarInt};

use super::frames::{Fault, Frames};
pub(super) use halves::{Recv, Send};

type Accepting<T> = Pin<Box<dyn Stream<Item = Result<T, ConnectionError>>>>;
/// Ready when a stream need not be written any more.
pub(super) type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>;

/// A limit that a head ran into: setting, limit, what was found.
pub(super) type Exceeded = (&'static str, u64, u64);

/// What the transport and the driver of one connection share.
pub(super) struct Shared {
    pub conn: quinn::Connection,
    limits: HeadLimits,
    /// The largest section the h3 crate decodes, as it counts.
    room: usize,
    /// Of the requests that were accepted, what h3 does not tell.
    arrived: RefCell<VecDeque<Note>>,
    /// Requests from this stream on are rejected: what GOAWAY says.
    reject_from: Cell<Option<u64>>,
    next_id: Cell<u64>,
    /// Frames that are neither DATA nor HEADERS.
    other_frames: Cell<u64>,
}

/// Frames beside requests that a connection may send before its first request, and with each.
const OTHER_FRAMES: (u64, u64) = (64, 16);

impl Shared {
    pub fn new(conn: quinn::Connection, limits: HeadLimits, room: usize) -> Rc<Self> {
        Rc::new(Self {
            conn,
            limits,
            room,
            arrived: RefCell::default(),
            reject_from: Cell::new(None),
            next_id: Cell::new(0),
            other_frames: Cell::new(0),
        })
    }

    /// What is known of the request that was accepted first.
    pub fn next_note(&self) -> Option<Note> {
        self.arrived.borrow_mut().pop_front()
    }

    /// Rejects all requests that were not accepted yet (RFC 9114 5.2).
    pub fn reject_new(&self) {
        self.reject_from.set(Some(self.next_id.get()));
    }

    pub fn close(&self, code: Code) {
        self.conn.close(varint(code), b"");
    }

    fn fault(&self, fault: Fault) -> StreamErrorIncoming {
        self.close(match fault {
            Fault::Truncated => Code::H3_FRAME_ERROR,
            Fault::TooLarge => Code::H3_EXCESSIVE_LOAD,
        });
        lost(ConnectionError::LocallyClosed)
    }

    /// Counts frames that ask for nothing. Too many of them are an attack.
    fn count_others(&self, n: u64) -> Result<(), Fault> {
        let others = self.other_frames.get() + n;
        self.other_frames.set(others);
        let requests = self.next_id.get() / 4;
        if others > OTHER_FRAMES.0 + requests * OTHER_FRAMES.1 {
            return Err(Fault::TooLarge);
        }
        Ok(())
    }
}

/// What the transport knows of one request.
pub(super) struct Note {
    /// True if it came before the handshake was complete: it may be a replay (RFC 8470).
    pub early: bool,
    /// Ready when the client no longer wants the response, or has all of it.
    pub stopped: Stopped,
    pub request: Rc<Marks>,
}

/// Marks on one request, made on either side of the h3 crate.
pub(super) struct Marks {
    /// Why its head is malformed though h3 takes it.
    pub malformed: Cell<Option<&'static str>>,
    /// The protocol that an extended CONNECT asks for, which h3 does not get to see.
    pub protocol: Cell<Option<String>>,
    /// The limit its head ran into; h3 then answers 431.
    pub exceeded: Cell<Option<Exceeded>>,
    /// How the stream ends if it is dropped unfinished; none: as if finished.
    pub end: Cell<Option<Code>>,
}

/// The connection, as h3 sees it.
pub(super) struct Transport {
    shared: Rc<Shared>,
    requests: Accepting<(quinn::SendStream, quinn::RecvStream)>,
    others: Accepting<quinn::RecvStream>,
    opener: Opener,
}

impl Transport {
    pub fn new(shared: &Rc<Shared>) -> Self {
        let accept_bi = |conn: quinn::Connection| async { Some((conn.accept_bi().await, conn)) };
        let accept_uni = |conn: quinn::Connection| async { Some((conn.accept_uni().await, conn)) };
        Self {
            requests: Box::pin(stream::unfold(shared.conn.clone(), accept_bi)),
            others: Box::pin(stream::unfold(shared.conn.clone(), accept_uni)),
            opener: Opener::new(shared),
            shared: shared.clone(),
        }
    }
}

impl<B: Buf> quic::Connection<B> for Transport {
    type RecvStream = Recv;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv, ConnectionErrorIncoming>> {
        let accepted = ready!(self.others.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        Poll::Ready(match accepted {
            Ok(stream) => Ok(Recv::new(&self.shared, stream, Frames::of_unidirectional(), None)),
            Err(error) => Err(connection_error(error)),
        })
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi<B>, ConnectionErrorIncoming>> {
        loop {
            let accepted = ready!(self.requests.poll_next_unpin(cx));
            let (mut send, mut recv) = match accepted.unwrap_or(Err(ConnectionError::LocallyClosed)) {
                Ok(streams) => streams,
                Err(error) => return Poll::Ready(Err(connection_error(error))),
            };
            let id = u64::from(recv.id());
            if self.shared.reject_from.get().is_some_and(|first| id >= first) {
                let code = varint(Code::H3_REQUEST_REJECTED);
                let _ = (recv.stop(code), send.reset(code));
                continue;
            }
            self.shared.next_id.set(id + 4);
            let marks = Rc::new(Marks {
                malformed: Cell::new(None),
                protocol: Cell::default(),
                exceeded: Cell::new(None),
                // While its head is read, the crate itself says how it ends.
                end: Cell::new(None),
            });
            self.shared.arrived.borrow_mut().push_back(Note {
                early: recv.is_0rtt(),
                stopped: Box::pin(send.stopped()),
                request: marks.clone(),
            });
            let frames = Frames::of_request(self.shared.limits.bytes);
            return Poll::Ready(Ok(Bidi {
                recv: Recv::new(&self.shared, recv, frames, Some(marks.clone())),
                send: Send::new(send, Some(marks)),
            }));
        }
    }

    fn opener(&self) -> Opener {
        Opener::new(&self.shared)
    }
}

impl<B: Buf> quic::OpenStreams<B> for Transport {
    type BidiStream = Bidi<B>;
    type SendStream = Send<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.shared.conn.close(varint(code), reason);
    }
}

/// Opens streams towards the client.
pub(super) struct Opener {
    shared: Rc<Shared>,
    opening: Accepting<quinn::SendStream>,
}

impl Opener {
    fn new(shared: &Rc<Shared>) -> Self {
        let open = |conn: quinn::Connection| async { Some((conn.open_uni().await, conn)) };
        Self {
            shared: shared.clone(),
            opening: Box::pin(stream::unfold(shared.conn.clone(), open)),
        }
    }
}

impl<B: Buf> quic::OpenStreams<B> for Opener {
    type BidiStream = Bidi<B>;
    type SendStream = Send<B>;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        // A server begins no requests.
        Poll::Ready(Err(lost(ConnectionError::LocallyClosed)))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
        let opened = ready!(self.opening.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        Poll::Ready(opened.map(|stream| Send::new(stream, None)).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.shared.conn.close(varint(code), reason);
    }
}

/// Both directions of a request.
pub(super) struct Bidi<B: Buf> {
    send: Send<B>,
    recv: Recv,
}

impl<B: Buf> quic::BidiStream<B> for Bidi<B> {
    type SendStream = Send<B>;
    type RecvStream = Recv;

    fn split(self) -> (Send<B>, Recv) {
        (self.send, self.recv)
    }
}

impl<B: Buf> quic::RecvStream for Bidi<B> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl<B: Buf> quic::SendStream<B> for Bidi<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

fn varint(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

fn id(id: quinn::StreamId) -> StreamId {
    // Both are the same 62 bits.
    StreamId::try_from(u64::from(id)).unwrap_or_else(|_| unreachable!("a stream id has 62 bits"))
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into_inner(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn lost(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}
