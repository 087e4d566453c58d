//! Reads one body from a stream: the bytes at hand, where the body ends, and what follows it.

use std::io;
use std::task::{Context, Poll, ready};

use gatehouse_http1::{BodyError, Decoder, Headers};

use super::{Buffer, LARGE, Pipe, SMALL, Stream};

/// One body being read. Client and endpoint sides share it; each adds its own waits and failures.
pub struct Intake {
    buffer: Buffer,
    decoder: Decoder,
    /// Body bytes at the front of the buffer.
    ready: usize,
    /// Framing bytes behind them that go with them.
    after: usize,
    /// True if the last read filled the buffer: the body is a long one.
    filled: bool,
}

/// How a read went.
pub enum Read {
    /// Some bytes came.
    Bytes(usize),
    /// The stream ended.
    End,
}

impl Intake {
    /// A body whose first bytes, if any, are in `buffer`.
    pub fn new(buffer: Buffer, decoder: Decoder) -> Self {
        Self {
            buffer,
            decoder,
            ready: 0,
            after: 0,
            filled: false,
        }
    }

    /// Looks at what is in the buffer. True when there is data or the body has ended.
    pub fn decode(&mut self) -> Result<bool, BodyError> {
        if self.ready == 0 && !self.decoder.is_done() {
            let decoded = self.decoder.decode(self.buffer.data_mut())?;
            self.buffer.consume(decoded.data.start);
            self.ready = decoded.data.len();
            self.after = decoded.consumed - decoded.data.end;
            self.drop_framing();
        }
        Ok(self.ready > 0 || self.decoder.is_done())
    }

    /// Reads once from the stream. The buffer must have been decoded and emptied.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<Read>> {
        let long = self.filled || self.decoder.remaining_hint().is_some_and(|n| n > SMALL as u64);
        if long && self.buffer.capacity() < LARGE {
            self.buffer.grow(LARGE);
        }
        let space = self.buffer.space();
        let room = space.len();
        let n = ready!(stream.poll_read(cx, space))?;
        self.buffer.filled(n);
        self.filled = n == room;
        Poll::Ready(Ok(if n == 0 { Read::End } else { Read::Bytes(n) }))
    }

    /// A pipe for what is to come, if that is exactly `left` bytes and none of them is at hand.
    pub fn lend_pipe(&self, left: u64) -> Option<Pipe> {
        let fits = self.buffer.is_empty() && self.decoder.remaining_hint() == Some(left);
        fits.then(|| self.buffer.pool().pipe())?
    }

    /// Moves some of the body from the stream into a pipe lent by [`Intake::lend_pipe`], past the buffer.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<Read>> {
        let left = self.decoder.remaining_hint().unwrap_or_default();
        let n = ready!(stream.poll_fill(cx, pipe, left))?;
        self.decoder.pass(n as u64);
        Poll::Ready(Ok(if n == 0 { Read::End } else { Read::Bytes(n) }))
    }

    /// The stream ended: fine for a body that runs to the end, else it was cut short.
    pub fn end(&mut self) -> Result<(), BodyError> {
        self.decoder.finish()
    }

    /// The body bytes at hand.
    pub fn data(&self) -> &[u8] {
        self.buffer.part(0..self.ready)
    }

    /// Takes `n` of them.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.ready);
        self.buffer.consume(n);
        self.ready -= n;
        self.drop_framing();
    }

    fn drop_framing(&mut self) {
        if self.ready == 0 && self.after > 0 {
            self.buffer.consume(self.after);
            self.after = 0;
        }
    }

    /// True when all of the body was decoded and taken.
    pub fn is_finished(&self) -> bool {
        self.ready == 0 && self.decoder.is_done()
    }

    /// True when all of the body is decoded, though some of it may still be at hand.
    pub fn is_complete(&self) -> bool {
        self.decoder.is_done()
    }

    /// Bytes still to come or at hand, when the length was declared.
    pub fn exact_len(&self) -> Option<u64> {
        if self.decoder.is_done() {
            return Some(self.ready as u64);
        }
        self.decoder.remaining_hint().map(|n| n + self.ready as u64)
    }

    /// Trailer fields, once complete.
    pub fn trailers(&self) -> Option<&Headers> {
        self.decoder.trailers()
    }

    /// The same, to be changed.
    pub fn trailers_mut(&mut self) -> Option<&mut Headers> {
        self.decoder.trailers_mut()
    }

    /// Bytes behind the body: nothing, or the next message.
    pub fn surplus(&self) -> usize {
        self.buffer.len() - self.ready - self.after
    }

    /// The buffer, with the body's bytes taken out: what is left is the next message.
    pub fn into_surplus(mut self) -> Buffer {
        let n = self.ready + self.after;
        self.buffer.consume(n);
        self.buffer
    }

    /// The buffer holding exactly the body's remaining bytes. Only for a complete body without surplus.
    pub fn into_body(mut self) -> Buffer {
        self.buffer.truncate(self.ready);
        self.buffer
    }
}
