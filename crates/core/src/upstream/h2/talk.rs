//! The part of an attempt in which heads cross: the request goes out, the response's head comes in.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gatehouse_http1::ResponseHead;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::Response;

use super::super::Upstream;
use super::connection::Lease;
use super::head;
use super::upload::{self, Upload};
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::http::hop;
use crate::io::Phase;
use crate::timer::Which;

/// The most interim responses an endpoint may send before its final one.
const MOST_INTERIM: u32 = 16;

/// One crossing of heads on one stream.
pub(super) struct Talk {
    response: ResponseFuture,
    pub(super) upload: Upload,
    interim: u32,
    /// True once the request is out as far as it may go.
    sent: bool,
    write_idle: Duration,
    first_byte: Duration,
    expect_continue: Duration,
    limits: gatehouse_http1::HeadLimits,
}

/// The head of a final response, and what comes behind it.
pub(super) struct Answer {
    pub response: Response<RecvStream>,
    /// Its `content-length`.
    pub declared: Option<u64>,
}

/// Why there is none.
pub(super) enum Error {
    /// What to tell.
    Failure(Failure),
    /// The stream or its connection failed.
    Stream(h2::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Talk {
    pub(super) fn new(upstream: &Upstream, response: ResponseFuture, upload: Upload) -> Self {
        Self {
            response,
            upload,
            interim: 0,
            sent: false,
            write_idle: upstream.timeouts.idle,
            first_byte: upstream.timeouts.first_byte,
            expect_continue: upstream.timeouts.expect_continue,
            limits: upstream.head,
        }
    }

    pub(super) async fn heads(&mut self, ex: &Exchange, lease: &Lease) -> Result<Answer, Error> {
        let response = poll_fn(|cx| {
            loop {
                if let Poll::Ready(Err(failure)) = self.poll_send(cx, ex) {
                    return Poll::Ready(Err(failure.into()));
                }
                match ready!(self.poll_head(cx, ex)) {
                    Ok(Some(response)) => return Poll::Ready(Ok(response)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        })
        .await?;
        lease.hear();
        ex.clock.progress();
        self.upload.forget();
        let declared = head::declared_length(response.headers())?;
        Ok(Answer { response, declared })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, ex: &Exchange) -> Poll<Result<(), Failure>> {
        if self.sent {
            return Poll::Ready(Ok(()));
        }
        let mut moved = false;
        let polled = self.upload.poll(cx, &mut moved);
        if moved {
            ex.clock.progress();
        }
        match polled {
            Poll::Pending if self.upload.is_blocked() => {
                ex.clock.wait(cx, Phase::UpstreamWrite, self.write_idle).map(Err)
            }
            Poll::Pending => Poll::Pending,
            // It may have answered before it stopped reading: what became of the stream says the response.
            Poll::Ready(Ok(()) | Err(upload::Error::Stream)) => {
                self.sent = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(upload::Error::Source(failure))) => Poll::Ready(Err(failure)),
        }
    }

    /// Ready with a final head, or with `None` when the sending side has something to do.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        ex: &Exchange,
    ) -> Poll<Result<Option<Response<RecvStream>>, Error>> {
        while let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            let interim = interim.map_err(Error::Stream)?;
            ex.clock.progress();
            if self.take_interim(ex, &interim)? {
                return Poll::Ready(Ok(None));
            }
        }
        match Pin::new(&mut self.response).poll(cx) {
            Poll::Ready(response) => Poll::Ready(response.map(Some).map_err(Error::Stream)),
            Poll::Pending => self
                .wait(cx, ex)
                .map(|waited| waited.map(|()| None).map_err(Error::Failure)),
        }
    }

    /// Passes an interim response on; true if it lets the body go.
    fn take_interim(&mut self, ex: &Exchange, interim: &Response<()>) -> Result<bool, Failure> {
        let status = interim.status().as_u16();
        self.interim += 1;
        if self.interim > MOST_INTERIM || status == 101 {
            return Err(head::malformed(format!("unwanted interim response {status}")));
        }
        if status != 100 {
            if let Some(client) = &ex.client_side {
                let mut head = ResponseHead::default();
                head.status = status;
                head::fields(interim.headers(), &self.limits, &mut head.headers)?;
                hop::clean_response(&mut head.headers);
                client.send_interim(&head);
            }
            return Ok(false);
        }
        Ok(self.release())
    }

    fn release(&mut self) -> bool {
        let held = self.upload.is_held();
        if held {
            self.upload.release();
            self.sent = false;
        }
        held
    }

    /// Ready when the sending side has something to do.
    fn wait(&mut self, cx: &mut Context<'_>, ex: &Exchange) -> Poll<Result<(), Failure>> {
        if !self.sent {
            return Poll::Pending;
        }
        if self.upload.is_held() {
            return match ready!(ex.clock.poll_phase(cx, Phase::Continue, self.expect_continue)) {
                // The endpoint says nothing: the client is told to go on all the same (RFC 9110 10.1.1).
                Which::Phase => {
                    self.release();
                    Poll::Ready(Ok(()))
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
}
