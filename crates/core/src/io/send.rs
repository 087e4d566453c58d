//! Writes one message, head and body, to a stream.
//!
//! Both directions use it: a request to an endpoint, a response to a client. The head and whatever
//! of the body is at hand leave in one write; later pieces leave as they come, from the buffer they
//! were read into. Nothing is read from the body while the last piece is unsent: that is the
//! back-pressure.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use gatehouse_http1::{Framing, encode};

use super::{Pipe, Stream, pipe};
use crate::body::Body;
use crate::failure::{Code, Failure};

/// Pieces up to this size are copied behind the staged bytes; larger ones go out with a vectored
/// write. A copy of 4 KiB costs less than a second run in the system call.
const COPY: usize = 4096;

/// Why a message could not be sent.
#[derive(Debug)]
pub enum SendError {
    /// The body failed: its own failure.
    Source(Failure),
    /// The stream failed.
    Sink(io::Error),
}

/// Where a message goes: a stream, or a connection that lends its stream for each write.
pub trait Sink {
    /// Writes some of the first run and then of the second.
    fn poll_write(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>>;
    /// Ready when everything written has left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// True if [`Sink::poll_drain`] works.
    fn takes_pipe(&self) -> bool {
        false
    }
    /// Moves some of what a pipe holds.
    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let _ = (cx, pipe);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl Sink for Stream {
    fn poll_write(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        match (first.is_empty(), second.is_empty()) {
            (_, true) => Self::poll_write(self, cx, first),
            (true, _) => Self::poll_write(self, cx, second),
            _ => self.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self, cx)
    }

    fn takes_pipe(&self) -> bool {
        Self::takes_pipe(self)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        Self::poll_drain(self, cx, pipe)
    }
}

/// A message on its way out.
pub struct Sender {
    /// The head, chunk framing and small pieces not yet written.
    staged: Vec<u8>,
    written: usize,
    framing: Framing,
    /// Bytes of the current piece that still go out after the staged ones.
    piece: usize,
    /// What holds the current piece instead of the body's buffer, while a long body needs no looking at.
    pipe: Option<Pipe>,
    /// False once a pipe was found not to work.
    may_pipe: bool,
    piece_end: PieceEnd,
    body_done: bool,
    /// False while an endpoint has yet to say `100 Continue`.
    may_send_body: bool,
    /// True if nothing of the body left but what is still staged, so that sending can start over.
    replayable: bool,
    /// True once a write was tried: from then on a piece is sent before the next is taken.
    started: bool,
    with_trailers: bool,
    head: u64,
    /// Bytes written in all.
    pub bytes: u64,
}

/// The most that goes through a pipe before others of the worker have their turn, in bytes.
const TURN: u64 = 4 * 1024 * 1024;

#[derive(Clone, Copy, PartialEq)]
enum PieceEnd {
    Nothing,
    Crlf,
}

impl Sender {
    /// A message whose encoded head is in `staged`.
    pub fn new(staged: Vec<u8>, framing: Framing) -> Self {
        Self {
            head: staged.len() as u64,
            with_trailers: true,
            staged,
            written: 0,
            framing,
            piece: 0,
            pipe: None,
            may_pipe: true,
            piece_end: PieceEnd::Nothing,
            body_done: matches!(framing, Framing::None | Framing::Length(0)),
            may_send_body: true,
            replayable: true,
            started: false,
            bytes: 0,
        }
    }

    /// Leaves out trailer fields: the receiver has not said that it takes them (RFC 9110 6.5.1).
    pub fn without_trailers(&mut self) {
        self.with_trailers = false;
    }

    /// Bytes written of the body, its framing included.
    pub fn body_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.head)
    }

    /// Holds the body back, or lets it go.
    pub fn allow_body(&mut self, allow: bool) {
        self.may_send_body = allow;
    }

    /// True while the body is held back.
    pub fn holds_body(&self) -> bool {
        !self.may_send_body && !self.body_done
    }

    /// True when everything is out.
    pub fn is_done(&self) -> bool {
        self.body_done && !self.is_blocked()
    }

    /// True when nothing of the message has reached the stream.
    pub fn is_unsent(&self) -> bool {
        self.bytes == 0
    }

    /// True when the whole message can be sent once more.
    pub fn is_replayable(&self) -> bool {
        self.replayable && (self.body_done || self.holds_body())
    }

    /// Starts over on another stream. Only for a replayable or an unsent message.
    pub fn rewind(&mut self) {
        self.written = 0;
        self.bytes = 0;
        self.started = false;
    }

    /// Gives the staging buffer back for reuse.
    pub fn into_staging(self) -> Vec<u8> {
        self.staged
    }

    /// Sends as far as it goes; ready when everything (or, while the body is held back, the head) is out.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        body: &mut Body,
    ) -> Poll<Result<(), SendError>> {
        let turn = self.bytes.saturating_add(TURN);
        loop {
            if self.wants_piece() {
                if self.bytes > turn && self.pipe.is_some() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let taken = if self.started && self.takes_pipe(sink, body) {
                    self.fill_pipe(cx, body)
                } else {
                    self.next_piece(cx, body)
                };
                match taken {
                    Poll::Ready(result) => result.map_err(SendError::Source)?,
                    Poll::Pending if self.written == self.staged.len() => {
                        // What is out must leave while the body has no more.
                        let _ = sink.poll_flush(cx).map_err(SendError::Sink)?;
                        return Poll::Pending;
                    }
                    Poll::Pending => {}
                }
            }
            if self.written == self.staged.len() && self.piece == 0 {
                if self.body_done || !self.may_send_body {
                    return sink.poll_flush(cx).map_err(SendError::Sink);
                }
                continue;
            }
            ready!(self.poll_write(cx, sink, body)).map_err(SendError::Sink)?;
        }
    }

    /// Takes the next piece of the body: small ones into the staging buffer.
    fn next_piece(&mut self, cx: &mut Context<'_>, body: &mut Body) -> Poll<Result<(), Failure>> {
        let more = ready!(body.poll_more(cx))?;
        self.forget_written();
        if !more {
            return Poll::Ready(self.end(body));
        }
        let n = match &mut self.framing {
            Framing::Length(left) => {
                let n = body.data().len();
                let Some(rest) = left.checked_sub(n as u64) else {
                    return Poll::Ready(Err(
                        Failure::new(Code::Internal).detail("a body is longer than declared")
                    ));
                };
                *left = rest;
                n
            }
            Framing::Chunked => {
                let n = body.data().len();
                encode::chunk_start(&mut self.staged, n);
                self.piece_end = PieceEnd::Crlf;
                n
            }
            Framing::None | Framing::UntilClose => body.data().len(),
        };
        if n <= COPY {
            self.staged.extend_from_slice(body.data());
            body.consume(n);
            self.end_piece();
            if matches!(self.framing, Framing::Length(0)) || body.is_finished() {
                return Poll::Ready(self.end(body));
            }
        } else {
            self.piece = n;
            self.replayable = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What was written before the piece that was taken just now is gone for good.
    fn forget_written(&mut self) {
        if self.written == self.staged.len() && self.written > 0 {
            self.staged.clear();
            self.written = 0;
            self.replayable = false;
        }
    }

    /// True if the next piece goes through a pipe: the body is a long one and so is what is left of it. The
    /// first piece never does, so that it leaves with the head.
    fn takes_pipe(&mut self, sink: &impl Sink, body: &Body) -> bool {
        match self.framing {
            _ if self.pipe.is_some() => true,
            Framing::Length(left) if left >= pipe::LEAST && self.may_pipe && sink.takes_pipe() => {
                self.pipe = body.lend_pipe(left);
                self.pipe.is_some()
            }
            _ => false,
        }
    }

    /// Takes the next piece of the body into the pipe.
    fn fill_pipe(&mut self, cx: &mut Context<'_>, body: &mut Body) -> Poll<Result<(), Failure>> {
        let (Some(pipe), Framing::Length(left)) = (&mut self.pipe, &mut self.framing) else {
            return Poll::Ready(Ok(()));
        };
        let filled = body.poll_fill(cx, pipe);
        if !matches!(filled, Poll::Ready(Ok(1..))) {
            // An empty pipe is of use to others meanwhile.
            self.pipe = None;
        }
        let n = ready!(filled)?;
        if n == 0 {
            self.may_pipe = false;
            return Poll::Ready(Ok(()));
        }
        // The body has said that exactly so much is left of it.
        *left = left.saturating_sub(n as u64);
        let ended = *left == 0;
        self.forget_written();
        self.replayable = false;
        self.piece = n;
        Poll::Ready(if ended { self.end(body) } else { Ok(()) })
    }

    /// True when the next piece of the body may be taken: before the first write, so that it leaves
    /// with the head, and then whenever everything taken is out.
    fn wants_piece(&self) -> bool {
        let at_hand = self.piece > 0 || (self.started && self.written < self.staged.len());
        !at_hand && !self.body_done && self.may_send_body
    }

    /// True while bytes wait for room in the stream (and not for the body).
    pub fn is_blocked(&self) -> bool {
        self.piece > 0 || self.written < self.staged.len()
    }

    fn end_piece(&mut self) {
        if self.piece_end == PieceEnd::Crlf {
            encode::chunk_end(&mut self.staged);
            self.piece_end = PieceEnd::Nothing;
        }
    }

    fn end(&mut self, body: &Body) -> Result<(), Failure> {
        match self.framing {
            Framing::Length(left) if left > 0 => {
                return Err(Failure::new(Code::Internal).detail("a body is shorter than declared"));
            }
            Framing::Chunked => {
                encode::last_chunk(&mut self.staged, body.trailers().filter(|_| self.with_trailers));
            }
            _ => {}
        }
        self.body_done = true;
        Ok(())
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        body: &mut Body,
    ) -> Poll<io::Result<()>> {
        self.started = true;
        if self.piece > 0
            && let Some(pipe) = &mut self.pipe
        {
            let n = ready!(sink.poll_drain(cx, pipe))?;
            self.piece = self.piece.saturating_sub(n);
            self.bytes += n as u64;
            let ended = self.piece == 0 && self.body_done;
            self.pipe.take_if(|_| ended);
            return some_of_it(n);
        }
        let staged = &self.staged[self.written..];
        let piece = &body.data()[..self.piece];
        let n = ready!(sink.poll_write(cx, staged, piece))?;
        ready!(some_of_it(n))?;
        self.bytes += n as u64;
        let of_staged = n.min(staged.len());
        self.written += of_staged;
        let of_piece = n - of_staged;
        if of_piece > 0 {
            body.consume(of_piece);
            self.piece -= of_piece;
            if self.piece == 0 {
                if self.written == self.staged.len() {
                    self.staged.clear();
                    self.written = 0;
                }
                self.end_piece();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream that takes nothing and does not say that it would block is of no use.
fn some_of_it(n: usize) -> Poll<io::Result<()>> {
    Poll::Ready(if n == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(())
    })
}
