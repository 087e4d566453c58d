//! The body of an endpoint's response, read as the client takes it.
//!
//! The endpoint is given room for more only when what it sent was taken, so a slow client slows the endpoint and nothing
//! piles up here. While it is read it also sends on what is left of the request's body.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use gatehouse_http1::{HeadLimits, Headers};
use h2::RecvStream;

use super::super::Upstream;
use super::connection::Lease;
use super::head;
use super::upload::{self, Upload};
use crate::body::Source;
use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::io::{Clock, Phase};

/// A response body on its way from an endpoint.
pub(super) struct Download {
    stream: RecvStream,
    /// The bytes at hand.
    piece: Bytes,
    /// Bytes still to come or at hand, if the length was declared.
    left: Option<u64>,
    trailers: Option<Headers>,
    ended: bool,
    upload: Option<Upload>,
    lease: Option<Lease>,
    limits: HeadLimits,
    clock: Rc<Clock>,
    idle: Duration,
}

impl Download {
    pub(super) fn new(
        ex: &Exchange,
        upstream: &Upstream,
        stream: RecvStream,
        declared: Option<u64>,
        lease: Lease,
        upload: Option<Upload>,
    ) -> Self {
        Self {
            stream,
            piece: Bytes::new(),
            left: declared,
            trailers: None,
            ended: false,
            upload,
            lease: Some(lease),
            limits: upstream.head,
            clock: ex.clock.clone(),
            idle: upstream.timeouts.idle,
        }
    }

    /// Sends on what there is of the request. An endpoint may well answer without reading everything; but a request
    /// that breaks off must not look complete, so its failure ends the response too.
    fn drive_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        let mut moved = false;
        let polled = upload.poll(cx, &mut moved);
        if moved {
            self.clock.progress();
        }
        match polled {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(()) | Err(upload::Error::Stream)) => {
                // Held back for a `100 Continue` that can no longer come: it is not wanted.
                self.upload = None;
                Ok(())
            }
            Poll::Ready(Err(upload::Error::Source(failure))) => {
                self.upload = None;
                Err(failure)
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let trailers = match self.stream.poll_trailers(cx) {
            Poll::Ready(trailers) => trailers.map_err(|error| super::failed(&error))?,
            Poll::Pending => return self.clock.wait(cx, Phase::UpstreamIdle, self.idle).map(Err),
        };
        if let Some(trailers) = trailers {
            let mut fields = Headers::new();
            head::fields(&trailers, &self.limits, &mut fields)?;
            self.trailers = Some(fields);
        }
        self.ended = true;
        // The stream is over for us, though some of the request may be left: the endpoint has no use for it.
        self.upload = None;
        if let Some(mut lease) = self.lease.take() {
            lease.end_time();
        }
        Poll::Ready(Ok(()))
    }
}

impl Source for Download {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        self.drive_upload(cx)?;
        loop {
            if !self.piece.is_empty() || self.ended {
                return Poll::Ready(Ok(!self.piece.is_empty()));
            }
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    self.clock.progress();
                    if let Some(lease) = &self.lease {
                        lease.hear();
                    }
                    self.piece = piece;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(super::failed(&error))),
                Poll::Ready(None) => ready!(self.poll_end(cx))?,
                Poll::Pending => {
                    let failure = ready!(self.clock.wait(cx, Phase::UpstreamIdle, self.idle));
                    return Poll::Ready(Err(failure));
                }
            }
        }
    }

    fn data(&self) -> &[u8] {
        &self.piece
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.piece.len());
        self.piece.advance(n);
        self.left = self.left.map(|left| left.saturating_sub(n as u64));
        // Fails only once the stream is over, when nobody needs room any more.
        let _ = self.stream.flow_control().release_capacity(n);
    }

    fn exact_len(&self) -> Option<u64> {
        if self.ended {
            return Some(self.piece.len() as u64);
        }
        self.left
    }

    fn is_finished(&self) -> bool {
        self.ended && self.piece.is_empty()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_ref()
    }

    fn takes_upload(&self) -> bool {
        self.upload.is_some()
    }
}
