//! A body: nothing, a piece of memory, or a source that gives it bit by bit.
//!
//! A body is read by asking for more ([`Body::poll_more`]), looking at what is there
//! ([`Body::data`]) and taking it ([`Body::consume`]): bytes go from the buffer they were read into
//! straight to where they are written. Nothing is read ahead, so a slow reader slows the source.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use gatehouse_http1::Headers;

use crate::failure::Failure;
use crate::http::reserved::Reserved;
use crate::io::{Buffer, Pipe};

/// Something that gives a body bit by bit: a client, an endpoint, or a wrapper around another body.
///
/// Sources watch over their own waits: an endless wait ends with a failure.
pub trait Source {
    /// Ready with true when [`Source::data`] has bytes, with false at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>>;
    /// The bytes at hand.
    fn data(&self) -> &[u8];
    /// Takes `n` of the bytes at hand.
    fn consume(&mut self, n: usize);
    /// The exact number of bytes still to come, if it is known.
    fn exact_len(&self) -> Option<u64>;
    /// True when the end was reached and nothing is at hand.
    fn is_finished(&self) -> bool;
    /// The trailer fields, once the end was reached.
    fn trailers(&self) -> Option<&Headers> {
        None
    }
    /// Takes in and drops what has already arrived; true if that was all of it.
    fn discard_arrived(&mut self) -> bool {
        self.is_finished()
    }
    /// Bounds the bytes it may give in all; `setting` names the bound.
    fn set_limit(&mut self, limit: u64, setting: &'static str) {
        let _ = (limit, setting);
    }
    /// Takes off reserved fields from the trailers, whenever they come.
    fn reserve(&mut self, reserved: &Arc<Reserved>) {
        let _ = reserved;
    }
    /// True if the sender waits to be told to go on: asking for more tells it.
    fn awaits_go_ahead(&self) -> bool {
        false
    }
    /// A pipe, if all of the `left` bytes to come may go through one without being looked at: a raw stream
    /// that gives exactly so many, none of them at hand.
    fn lend_pipe(&self, left: u64) -> Option<Pipe> {
        let _ = left;
        None
    }
    /// Moves bytes into the empty pipe it lent, and tells how many: they count as given and taken. `Ok(0)`
    /// says that it does not work and that the body must be read ([`Source::poll_more`]) instead.
    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<usize, Failure>> {
        let _ = (cx, pipe);
        Poll::Ready(Ok(0))
    }
    /// True if reading this body also sends the rest of a request's body on.
    fn takes_upload(&self) -> bool {
        false
    }
}

/// The body of a request or a response.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// A piece of shared memory.
    Full(Bytes),
    /// What an endpoint sent, all of it, in the buffer it was read into.
    Buffered(Buffer),
    /// A source that gives it bit by bit.
    Source(Box<dyn Source>),
}

impl Body {
    /// Ready with true when [`Body::data`] has bytes, with false at the end.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        match self {
            Self::Empty => Poll::Ready(Ok(false)),
            Self::Full(bytes) => Poll::Ready(Ok(!bytes.is_empty())),
            Self::Buffered(buffer) => Poll::Ready(Ok(!buffer.is_empty())),
            Self::Source(source) => source.poll_more(cx),
        }
    }

    /// The bytes at hand.
    pub fn data(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Full(bytes) => bytes,
            Self::Buffered(buffer) => buffer.data(),
            Self::Source(source) => source.data(),
        }
    }

    /// Takes `n` of the bytes at hand.
    pub fn consume(&mut self, n: usize) {
        match self {
            Self::Empty => {}
            Self::Full(bytes) => bytes.advance(n.min(bytes.len())),
            Self::Buffered(buffer) => buffer.consume(n),
            Self::Source(source) => source.consume(n),
        }
    }

    /// The exact number of bytes still to come, if it is known.
    pub fn exact_len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Buffered(buffer) => Some(buffer.len() as u64),
            Self::Source(source) => source.exact_len(),
        }
    }

    /// True when the end was reached and nothing is at hand.
    pub fn is_finished(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Buffered(buffer) => buffer.is_empty(),
            Self::Source(source) => source.is_finished(),
        }
    }

    /// True if the sender waits to be told to go on: asking for more tells it.
    pub fn awaits_go_ahead(&self) -> bool {
        matches!(self, Self::Source(source) if source.awaits_go_ahead())
    }

    /// As [`Source::lend_pipe`].
    pub fn lend_pipe(&self, left: u64) -> Option<Pipe> {
        match self {
            Self::Source(source) => source.lend_pipe(left),
            _ => None,
        }
    }

    /// As [`Source::poll_fill`].
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<usize, Failure>> {
        match self {
            Self::Source(source) => source.poll_fill(cx, pipe),
            _ => Poll::Ready(Ok(0)),
        }
    }

    /// The trailer fields, once the end was reached.
    pub fn trailers(&self) -> Option<&Headers> {
        match self {
            Self::Source(source) => source.trailers(),
            _ => None,
        }
    }

    /// As [`Source::reserve`].
    pub fn reserve(&mut self, reserved: &Arc<Reserved>) {
        if let Self::Source(source) = self {
            source.reserve(reserved);
        }
    }

    /// Bounds the bytes a source may give in all; `setting` names the bound.
    pub fn set_limit(&mut self, limit: u64, setting: &'static str) {
        if let Self::Source(source) = self {
            source.set_limit(limit, setting);
        }
    }

    /// Takes in and drops what has already arrived; true if that was all of it.
    pub fn discard_arrived(&mut self) -> bool {
        match self {
            Self::Source(source) => source.discard_arrived(),
            _ => true,
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(bytes.into())
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(bytes)
        }
    }
}
