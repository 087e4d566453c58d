//! What policies ask of a request's body: a bound, its beginning, or all of it at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use gatehouse_http1::Headers;

use crate::body::{Body, Source};
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::http::reserved::Reserved;
use crate::http::screen;

impl Exchange {
    /// Bounds the request's body, in bytes, below what the route allows; `setting` names the bound.
    ///
    /// # Errors
    /// `body_too_large`, if its length is known and more.
    pub fn limit_body(&mut self, limit: u64, setting: &'static str) -> Result<(), Failure> {
        let own = self.plan().client.limits.body;
        let outer = self.route().and_then(|route| route.max_body).unwrap_or(own);
        let tightest = self.body_limit.map_or(outer, |(known, _)| known.min(outer));
        if self.route().is_some() && limit >= tightest {
            return Ok(());
        }
        if self.body_limit.is_some_and(|(known, _)| known <= limit) {
            return Ok(());
        }
        self.body_limit = Some((limit, setting));
        screen::bound_body(self, limit, setting)
    }

    /// Reads the request's body whole and leaves it there, to be read again. Trailer fields are lost.
    ///
    /// # Errors
    /// `body_too_large` beyond `limit` bytes, which `setting` sets; what fails while it arrives.
    pub async fn buffer_body(&mut self, limit: u64, setting: &'static str) -> Result<Bytes, Failure> {
        let too_large = |measured| {
            Failure::new(Code::BodyTooLarge)
                .limit(setting, limit, measured)
                .close(true)
        };
        let body = &mut self.request.body;
        let declared = body.exact_len();
        if let Some(length) = declared.filter(|length| *length > limit) {
            return Err(too_large(Some(length)));
        }
        if let Body::Full(bytes) = body {
            return Ok(bytes.clone());
        }
        let mut whole = Vec::with_capacity(declared.map_or(0, |length| usize::try_from(length).unwrap_or(0)));
        let outcome = loop {
            match poll_fn(|cx| body.poll_more(cx)).await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(failure) => break Err(failure),
            }
            let data = body.data();
            if (whole.len() + data.len()) as u64 > limit {
                break Err(too_large(None));
            }
            whole.extend_from_slice(data);
            let taken = data.len();
            body.consume(taken);
        };
        // The wait for the body is over: what follows is not to be cut by its bound.
        self.clock.leave();
        outcome?;
        let whole = Bytes::from(whole);
        self.request.body = whole.clone().into();
        Ok(whole)
    }

    /// Reads the first `limit` bytes of the request's body, or all if it has no more, and leaves the body as it was.
    /// True: that is all of it.
    ///
    /// # Errors
    /// What fails while it arrives.
    pub async fn peek_body(&mut self, limit: usize) -> Result<(Bytes, bool), Failure> {
        let body = &mut self.request.body;
        if let Body::Full(bytes) = body {
            return Ok((bytes.slice(..limit.min(bytes.len())), bytes.len() <= limit));
        }
        let mut start = Vec::new();
        let outcome = loop {
            match poll_fn(|cx| body.poll_more(cx)).await {
                Ok(false) => break Ok(true),
                Ok(true) if start.len() >= limit => break Ok(false),
                Ok(true) => {}
                Err(failure) => break Err(failure),
            }
            let data = body.data();
            let taken = data.len().min(limit - start.len());
            start.extend(data.iter().take(taken));
            body.consume(taken);
        };
        self.clock.leave();
        let (is_whole, start) = (outcome?, Bytes::from(start));
        let rest = std::mem::take(&mut self.request.body);
        self.request.body = if rest.is_finished() && rest.trailers().is_none() {
            start.clone().into()
        } else {
            Body::Source(Box::new(Begun {
                start: start.clone(),
                rest,
            }))
        };
        Ok((start, is_whole))
    }
}

/// A body of which the start was read before.
struct Begun {
    start: Bytes,
    rest: Body,
}

impl Source for Begun {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        if self.start.is_empty() {
            return self.rest.poll_more(cx);
        }
        Poll::Ready(Ok(true))
    }

    fn data(&self) -> &[u8] {
        if self.start.is_empty() {
            return self.rest.data();
        }
        &self.start
    }

    fn consume(&mut self, n: usize) {
        if self.start.is_empty() {
            self.rest.consume(n);
        } else {
            self.start.advance(n.min(self.start.len()));
        }
    }

    fn exact_len(&self) -> Option<u64> {
        Some(self.rest.exact_len()? + self.start.len() as u64)
    }

    fn is_finished(&self) -> bool {
        self.start.is_empty() && self.rest.is_finished()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.rest.trailers()
    }

    fn discard_arrived(&mut self) -> bool {
        self.start.clear();
        self.rest.discard_arrived()
    }

    // The bytes at the start were counted when they came in: the rest still counts them.
    fn set_limit(&mut self, limit: u64, setting: &'static str) {
        self.rest.set_limit(limit, setting);
    }

    fn reserve(&mut self, reserved: &Arc<Reserved>) {
        self.rest.reserve(reserved);
    }
}
