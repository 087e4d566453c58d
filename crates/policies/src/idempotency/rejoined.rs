//! A body of which the start was read already.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use gatehouse_core::body::{Body, Source};
use gatehouse_core::failure::Failure;
use gatehouse_http1::Headers;

/// A body of which the start was read already.
pub struct Rejoined {
    /// What was read.
    pub start: Bytes,
    /// What comes.
    pub rest: Body,
}

impl Source for Rejoined {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        if !self.start.is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.rest.poll_more(cx)
    }

    fn data(&self) -> &[u8] {
        if self.start.is_empty() {
            self.rest.data()
        } else {
            &self.start
        }
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
}
