//! The body of an endpoint's response, read as the client takes it.
//!
//! While it is read it also sends on what is left of the request's body: both directions of an
//! exchange flow at once, in one task.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gatehouse_http1::{BodyError, Headers};

use super::lease::Lease;
use crate::body::{Body, Source};
use crate::failure::{Code, Failure};
use crate::io::{Clock, Intake, Phase, Read, SendError, Sender};
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
                    lease.spoil(Closed::NotReusable);
                    self.intake.end().map_err(|e| {
                        Failure::new(Code::UpstreamReset)
                            .detail(format!("the response's body ended early: {e}"))
                    })?;
                    // Whoever cuts a TLS connection cannot forge its `close_notify` (RFC 9112 9.8).
                    if lease.stream().was_cut() {
                        return Poll::Ready(Err(Failure::new(Code::UpstreamReset)
                            .detail("the connection was cut, which the response's body ends with")));
                    }
                    break;
                }
                Poll::Ready(Err(error)) => {
                    lease.spoil(Closed::Failed);
                    return Poll::Ready(Err(Failure::new(Code::UpstreamReset).source(error)));
                }
                Poll::Pending => {
                    let failure = ready!(self.clock.wait(cx, Phase::UpstreamIdle, self.idle));
                    return Poll::Ready(Err(failure));
                }
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
}

/// An endpoint broke the rules of a body.
pub(super) fn protocol(error: &BodyError) -> Failure {
    Failure::new(Code::UpstreamProtocol).detail(format!("the response's body is malformed: {error}"))
}
