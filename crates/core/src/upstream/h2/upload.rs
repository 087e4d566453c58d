//! The body of a request on its way to an endpoint: never more of it than the endpoint has room for.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use gatehouse_http1::Headers;
use gatehouse_http1::Known;
use h2::SendStream;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::body::{Body, Source};
use crate::exchange::Exchange;
use crate::failure::Failure;

/// The largest piece handed over at once.
const PIECE: usize = 16 * 1024;
/// So much of a body is kept to be sent once more, should the endpoint refuse the request unread.
const KEPT: usize = 64 * 1024;

/// What is left of a request to send.
pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: Body,
    over: bool,
    /// True while the body waits for a `100 Continue`.
    held: bool,
    blocked: bool,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// True while `kept` has everything that was sent.
    whole: bool,
}

/// Why it could not be sent.
pub(super) enum Error {
    /// The body failed: its own failure.
    Source(Failure),
    /// The stream takes no more.
    Stream,
}

impl Upload {
    /// The body behind a head that was sent; `over` if the head was all.
    pub fn new(stream: SendStream<Bytes>, body: Body, over: bool, ex: &Exchange) -> Self {
        Self {
            stream,
            held: !over && ex.request.head.headers.contains(Known::Expect),
            body,
            over,
            blocked: false,
            kept: Vec::new(),
            kept_bytes: 0,
            whole: true,
        }
    }

    /// True when everything is out.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// True while the body is held back.
    pub fn is_held(&self) -> bool {
        self.held && !self.over
    }

    /// Lets the body go.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// True while the endpoint has no room.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Keeps nothing any more to be sent again: the endpoint has answered.
    pub fn forget(&mut self) {
        self.whole = false;
        self.kept = Vec::new();
    }

    /// Sends as far as it goes. Ready when all is out, or what may be. True: some of it moved.
    pub fn poll(&mut self, cx: &mut Context<'_>, moved: &mut bool) -> Poll<Result<(), Error>> {
        self.blocked = false;
        loop {
            if self.over || self.held {
                return Poll::Ready(Ok(()));
            }
            if !ready!(self.body.poll_more(cx)).map_err(Error::Source)? {
                return Poll::Ready(self.end());
            }
            let wanted = self.body.data().len().min(PIECE);
            self.stream.reserve_capacity(wanted);
            let room = match self.stream.capacity() {
                0 => match self.stream.poll_capacity(cx) {
                    Poll::Pending => {
                        self.blocked = true;
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Error::Stream)),
                },
                room => room,
            };
            let Some(piece) = self
                .body
                .data()
                .get(..wanted.min(room))
                .filter(|piece| !piece.is_empty())
            else {
                continue;
            };
            let piece = Bytes::copy_from_slice(piece);
            self.body.consume(piece.len());
            self.keep(&piece);
            let last = self.body.is_finished() && self.body.trailers().is_none();
            self.stream.send_data(piece, last).map_err(|_| Error::Stream)?;
            *moved = true;
            self.over = last;
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        let trailers = self
            .body
            .trailers()
            .map(trailers)
            .filter(|trailers| !trailers.is_empty());
        let sent = match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        };
        self.over = true;
        sent.map_err(|_| Error::Stream)
    }

    fn keep(&mut self, piece: &Bytes) {
        if !self.whole {
            return;
        }
        self.kept_bytes += piece.len();
        if self.kept_bytes > KEPT {
            return self.forget();
        }
        self.kept.push(piece.clone());
    }

    /// The body from where it is.
    pub fn into_rest(self) -> Body {
        self.body
    }

    /// Gives the body back as it was before anything was sent; false if that is not possible any more.
    pub fn put_back(self, to: &mut Body) -> bool {
        if self.kept.is_empty() || !self.whole {
            *to = self.body;
            return self.whole;
        }
        let mut pieces = self.kept;
        pieces.reverse();
        *to = Body::Source(Box::new(Again {
            pieces,
            rest: self.body,
        }));
        true
    }
}

/// The trailers that may be trailers (RFC 9110 6.5.1).
fn trailers(fields: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in fields.iter() {
        let name = HeaderName::from_bytes(field.name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
            // More than fit are not sent; a head has fewer by far.
            let _ = map.try_append(name, value);
        }
    }
    map
}

/// A body of which some was sent in vain: that again, then the rest.
struct Again {
    /// The next last.
    pieces: Vec<Bytes>,
    rest: Body,
}

impl Source for Again {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        if self.pieces.is_empty() {
            return self.rest.poll_more(cx);
        }
        Poll::Ready(Ok(true))
    }

    fn data(&self) -> &[u8] {
        match self.pieces.last() {
            Some(piece) => piece,
            None => self.rest.data(),
        }
    }

    fn consume(&mut self, n: usize) {
        let Some(piece) = self.pieces.last_mut() else {
            return self.rest.consume(n);
        };
        piece.advance(n.min(piece.len()));
        if piece.is_empty() {
            self.pieces.pop();
        }
    }

    fn exact_len(&self) -> Option<u64> {
        let again: usize = self.pieces.iter().map(Bytes::len).sum();
        self.rest.exact_len().map(|rest| rest + again as u64)
    }

    fn is_finished(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_finished()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.rest.trailers()
    }

    fn discard_arrived(&mut self) -> bool {
        self.pieces.clear();
        self.rest.discard_arrived()
    }

    fn set_limit(&mut self, limit: u64, setting: &'static str) {
        self.rest.set_limit(limit, setting);
    }

    fn awaits_go_ahead(&self) -> bool {
        self.rest.awaits_go_ahead()
    }
}
