//! The part of an attempt in which heads cross: the request goes out, the response's head comes in.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gatehouse_http1::{self as http1, HeadError, HeadLimits, Method, Parsed, RequestKind, ResponseHead};

use super::Upstream;
use super::body::Upload;
use super::lease::Lease;
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::http::hop;
use crate::http::upgrade::Upgrade;
use crate::io::{Buffer, Phase, SendError};
use crate::telemetry::metrics::Closed;
use crate::timer::Which;

/// The most interim responses an endpoint may send before its final one.
const MOST_INTERIM: u32 = 16;

/// One crossing of heads on one connection.
pub(super) struct Talk {
    kind: RequestKind,
    limits: HeadLimits,
    head: Box<ResponseHead>,
    buffer: Option<Buffer>,
    interim: u32,
    /// True once a byte of a response came.
    pub(super) answered: bool,
    /// True once the request is out as far as it may go.
    sent: bool,
    /// True once the endpoint was waited for: who is polled again has most likely something to read.
    waited: bool,
    broken: Option<io::Error>,
    write_idle: Duration,
    first_byte: Duration,
    expect_continue: Duration,
}

impl Talk {
    pub(super) fn new(ex: &Exchange, upstream: &Upstream) -> Self {
        let kind = if ex.request.head.method == Method::Head {
            RequestKind::Head
        } else {
            RequestKind::Other
        };
        Self {
            kind,
            limits: upstream.head,
            head: ex.worker.spare_response(),
            buffer: None,
            interim: 0,
            answered: false,
            sent: false,
            waited: false,
            broken: None,
            write_idle: upstream.timeouts.idle,
            first_byte: upstream.timeouts.first_byte,
            expect_continue: upstream.timeouts.expect_continue,
        }
    }

    /// Sends the request, and reads up to the end of the response's final head.
    pub(super) async fn heads(
        &mut self,
        ex: &Exchange,
        lease: &mut Lease,
        upload: &mut Upload,
    ) -> Result<Parsed, Failure> {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(Err(failure)) = self.poll_send(cx, ex, lease, upload) {
                    return Poll::Ready(Err(failure));
                }
                match ready!(self.poll_head(cx, ex, lease, upload)) {
                    Ok(Some(parsed)) => return Poll::Ready(Ok(parsed)),
                    Ok(None) => {}
                    Err(failure) => return Poll::Ready(Err(failure)),
                }
            }
        })
        .await
    }

    /// The head that came, and what came behind it.
    pub(super) fn into_parts(self, ex: &Exchange) -> (Box<ResponseHead>, Buffer) {
        let buffer = self.buffer.unwrap_or_else(|| ex.worker.buffers.small());
        (self.head, buffer)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        ex: &Exchange,
        lease: &mut Lease,
        upload: &mut Upload,
    ) -> Poll<Result<(), Failure>> {
        if self.sent {
            return Poll::Ready(Ok(()));
        }
        let before = upload.sender.bytes;
        let polled = upload.sender.poll(cx, lease.stream(), &mut upload.body);
        if upload.sender.bytes > before {
            ex.clock.progress();
        }
        match polled {
            Poll::Pending if upload.sender.is_blocked() => {
                ex.clock.wait(cx, Phase::UpstreamWrite, self.write_idle).map(Err)
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.sent = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(SendError::Source(failure))) => Poll::Ready(Err(failure)),
            Poll::Ready(Err(SendError::Sink(error))) => {
                // It may have answered before it closed: read on.
                self.broken = Some(error);
                self.sent = true;
                lease.spoil(Closed::Failed);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Ready with a final head, or with `None` when the sending side has something to do.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        ex: &Exchange,
        lease: &mut Lease,
        upload: &mut Upload,
    ) -> Poll<Result<Option<Parsed>, Failure>> {
        loop {
            if let Some(parsed) = self.parse(ex)? {
                let status = self.head.status;
                let switches = status == 101 && ex.upgrade.as_deref().is_some_and(Upgrade::is_asked);
                if status >= 200 || switches {
                    return Poll::Ready(Ok(Some(parsed)));
                }
                self.interim += 1;
                if self.interim > MOST_INTERIM || status == 101 {
                    let what = format!("unwanted interim response {status}");
                    return Poll::Ready(Err(Failure::new(Code::UpstreamProtocol).detail(what)));
                }
                if status != 100 {
                    if let Some(client) = &ex.client_side {
                        hop::clean_response(&mut self.head.headers);
                        client.send_interim(&self.head);
                    }
                } else if upload.sender.holds_body() {
                    self.release_body(upload);
                    return Poll::Ready(Ok(None));
                }
                continue;
            }
            // Nothing is to be expected yet, and no buffer is held while waiting.
            if !self.waited && self.buffer.is_none() && lease.stream().poll_readable(cx).is_pending() {
                self.waited = true;
                return self.wait(cx, ex, upload);
            }
            let buffer = self.buffer.get_or_insert_with(|| ex.worker.buffers.small());
            match lease.stream().poll_read(cx, buffer.space()) {
                Poll::Pending => {
                    self.buffer = self.buffer.take().filter(|buffer| !buffer.is_empty());
                    return self.wait(cx, ex, upload);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.reset(None))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.reset(Some(error)))),
                Poll::Ready(Ok(n)) => {
                    self.answered = true;
                    buffer.filled(n);
                    ex.clock.progress();
                }
            }
        }
    }

    fn release_body(&mut self, upload: &mut Upload) {
        upload.sender.allow_body(true);
        self.sent = false;
    }

    fn wait(
        &mut self,
        cx: &mut Context<'_>,
        ex: &Exchange,
        upload: &mut Upload,
    ) -> Poll<Result<Option<Parsed>, Failure>> {
        if !self.sent {
            return Poll::Pending;
        }
        if upload.sender.holds_body() {
            return match ready!(ex.clock.poll_phase(cx, Phase::Continue, self.expect_continue)) {
                // The endpoint says nothing: the client is told to go on all the same (RFC 9110 10.1.1).
                Which::Phase => {
                    self.release_body(upload);
                    Poll::Ready(Ok(None))
                }
                Which::Total => ex.clock.wait(cx, Phase::FirstByte, self.first_byte).map(Err),
            };
        }
        if let Some(client) = &ex.client_side
            && client.poll_gone(cx).is_ready()
        {
            return Poll::Ready(Err(Failure::new(Code::ClientGone)
                .detail("the client left before the answer")
                .close(true)));
        }
        ex.clock.wait(cx, Phase::FirstByte, self.first_byte).map(Err)
    }

    fn parse(&mut self, ex: &Exchange) -> Result<Option<Parsed>, Failure> {
        let Some(buffer) = self.buffer.as_mut().filter(|b| !b.is_empty()) else {
            return Ok(None);
        };
        match http1::parse_response(buffer.data(), &self.limits, self.kind, &mut self.head) {
            Ok(Some(parsed)) => {
                buffer.consume(parsed.len);
                Ok(Some(parsed))
            }
            Ok(None) => {
                if buffer.len() == buffer.capacity() {
                    buffer.grow((buffer.capacity() * 2).min(self.limits.bytes + crate::io::SMALL));
                }
                Ok(None)
            }
            Err(error) => {
                if let Some(setting) = limit_of(&error) {
                    ex.worker.metrics.limit_hit(setting);
                }
                Err(Failure::new(Code::UpstreamProtocol)
                    .detail(format!("the response's head is malformed: {error}")))
            }
        }
    }

    fn reset(&mut self, error: Option<io::Error>) -> Failure {
        let failure = Failure::new(Code::UpstreamReset).detail("the connection ended before a response");
        match self.broken.take().or(error) {
            Some(error) => failure.source(error),
            None => failure,
        }
    }
}

/// The setting that an error is about, if it is a bound.
fn limit_of(error: &HeadError) -> Option<&'static str> {
    match error {
        HeadError::HeadTooLarge { .. } => Some("upstreams.*.limits.head"),
        HeadError::TooManyFields { .. } => Some("upstreams.*.limits.fields"),
        _ => None,
    }
}
