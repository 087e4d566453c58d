//! The body of an endpoint's response, read as the client takes it.
//!
//! While it is read it also sends on what is left of the request's body: both directions of an
//! exchange flow at once, in one task.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gatehouse_http1::{BodyError, Headers};

use super::lease::Lease;
use crate::body::{Body, Source};
use crate::failure::{Code, Failure};
use crate::io::{Clock, Intake, Phase, Pipe, Read, SendError, Sender};
use crate::telemetry::metrics::Closed;

/// What is left of a request to send.
pub(super) struct Upload {
    pub sender: Sender,
    pub body: Body,
}

/// A response body on its way from an endpoint.
pub(super) struct Download {
    intake: Intake,
    lease: Option<Lease>,
    upload: Option<Upload>,
    clock: Rc<Clock>,
    idle: Duration,
}

impl Download {
    pub(super) fn new(
        intake: Intake,
        lease: Lease,
        upload: Option<Upload>,
        clock: Rc<Clock>,
        idle: Duration,
    ) -> Self {
        Self {
            intake,
            lease: Some(lease),
            upload,
            clock,
            idle,
        }
    }

    /// Sends on what there is of the request. Its failures are not the response's: an endpoint may
    /// well answer without reading everything (RFC 9112 9.5).
    fn drive_upload(&mut self, cx: &mut Context<'_>) {
        let (Some(upload), Some(lease)) = (&mut self.upload, &mut self.lease) else {
            return;
        };
        match upload.sender.poll(cx, lease.stream(), &mut upload.body) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                // Ready also while the body is held back for a `100 Continue` that can no longer come: the
                // endpoint still waits for it, and would take the next request for it.
                if !upload.sender.is_done() {
                    lease.spoil(Closed::NotReusable);
                }
                self.upload = None;
            }
            Poll::Ready(Err(SendError::Source(_) | SendError::Sink(_))) => {
                lease.spoil(Closed::Failed);
                self.upload = None;
            }
        }
    }

    /// The endpoint ended its stream: fine for a body that runs to the end, else it was cut short.
    fn ended(&mut self) -> Result<(), Failure> {
        if let Some(lease) = &mut self.lease {
            lease.spoil(Closed::NotReusable);
        }
        self.intake.end().map_err(|e| {
            Failure::new(Code::UpstreamReset).detail(format!("the response's body ended early: {e}"))
        })
    }

    fn broke(&mut self, error: io::Error) -> Failure {
        if let Some(lease) = &mut self.lease {
            lease.spoil(Closed::Failed);
        }
        Failure::new(Code::UpstreamReset).source(error)
    }

    fn stalls(&self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.clock.wait(cx, Phase::UpstreamIdle, self.idle)
    }

    fn finish(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.end_time();
            if self.upload.is_some() || self.intake.surplus() > 0 {
                lease.spoil(Closed::NotReusable);
            }
            lease.give_back();
        }
        self.upload = None;
    }
}

impl Source for Download {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        self.drive_upload(cx);
        loop {
            if self.intake.decode().map_err(|e| protocol(&e))? {
                break;
            }
            let Some(lease) = &mut self.lease else {
                return Poll::Ready(Ok(false));
            };
            match self.intake.poll_read(cx, lease.stream()) {
                Poll::Ready(Ok(Read::Bytes(_))) => self.clock.progress(),
                Poll::Ready(Ok(Read::End)) => {
                    self.ended()?;
                    // Whoever cuts a TLS connection cannot forge its `close_notify` (RFC 9112 9.8).
                    if self.lease.as_mut().is_some_and(|lease| lease.stream().was_cut()) {
                        return Poll::Ready(Err(Failure::new(Code::UpstreamReset)
                            .detail("the connection was cut, which the response's body ends with")));
                    }
                    break;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broke(error))),
                Poll::Pending => return self.stalls(cx).map(Err),
            }
        }
        if self.intake.is_complete() {
            self.finish();
        }
        Poll::Ready(Ok(!self.intake.data().is_empty()))
    }

    fn data(&self) -> &[u8] {
        self.intake.data()
    }

    fn consume(&mut self, n: usize) {
        self.intake.consume(n);
    }

    fn exact_len(&self) -> Option<u64> {
        self.intake.exact_len()
    }

    fn is_finished(&self) -> bool {
        self.intake.is_finished()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.intake.trailers()
    }

    fn takes_upload(&self) -> bool {
        self.upload.is_some()
    }

    fn lend_pipe(&self, left: u64) -> Option<Pipe> {
        self.lease.as_ref()?.raw_stream()?;
        self.intake.lend_pipe(left)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<usize, Failure>> {
        self.drive_upload(cx);
        let Some(stream) = self.lease.as_ref().and_then(Lease::raw_stream) else {
            return Poll::Ready(Ok(0));
        };
        Poll::Ready(match self.intake.poll_fill(cx, stream, pipe) {
            Poll::Ready(Ok(Read::Bytes(n))) => {
                self.clock.spliced(n);
                if self.intake.is_complete() {
                    self.finish();
                }
                Ok(n)
            }
            Poll::Ready(Ok(Read::End)) => self.ended().map(|()| 0),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(0),
            Poll::Ready(Err(error)) => Err(self.broke(error)),
            Poll::Pending => Err(ready!(self.stalls(cx))),
        })
    }
}

/// An endpoint broke the rules of a body.
pub(super) fn protocol(error: &BodyError) -> Failure {
    Failure::new(Code::UpstreamProtocol).detail(format!("the response's body is malformed: {error}"))
}
