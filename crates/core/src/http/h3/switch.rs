//! A stream that becomes a tunnel (RFC 9220, and CONNECT of RFC 9114 4.4): its 200, and the client's end of what follows.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::StreamError;

use super::incoming::Receiver;
use super::transport::Marks;
use super::write::{Sender, timely};
use crate::exchange::{Exchange, Response};
use crate::http::{parts, upgrade};
use crate::io::{Pace, SMALL};
use crate::tunnel::{self, End};

/// Grants the client's wish and carries bytes until the tunnel ends, and the stream with it.
pub(super) async fn serve(
    mut ex: Exchange,
    mut sender: Sender,
    receiver: Receiver,
    marks: Rc<Marks>,
    mut response: Response,
) {
    upgrade::grant(&mut ex, &mut response.head);
    let head = parts::response(response.head.status, &response.head.headers, &ex.ids, None);
    ex.worker.recycle_response(response.head);
    let (clock, patience) = (ex.clock.clone(), ex.plan.client.timeouts.write_idle);
    let mut pace = Pace::new(ex.plan.client.limits.min_rate, patience);
    if let Err(failure) = timely(&clock, &mut pace, patience, sender.send_response(head)).await {
        ex.record.broke(&failure);
        return ex.close();
    }
    let client = Client {
        receiver,
        sending: Sending::Idle(Box::new(sender)),
        marks,
        data: Bytes::new(),
        has_ended: false,
        has_finished: false,
    };
    tunnel::run(Box::new(ex), client, Vec::new(), None).await;
}

/// The client's end of a tunnel.
struct Client {
    receiver: Receiver,
    sending: Sending,
    marks: Rc<Marks>,
    /// What has arrived and was not read.
    data: Bytes,
    has_ended: bool,
    has_finished: bool,
}

type Sent = Pin<Box<dyn Future<Output = (Box<Sender>, Result<(), StreamError>)>>>;

/// The sending half, which the crate keeps to itself while something is on its way.
enum Sending {
    Idle(Box<Sender>),
    Busy(Sent),
    Gone,
}

impl Client {
    /// Ready with the sending half once nothing is on its way.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<Sender>>> {
        match std::mem::replace(&mut self.sending, Sending::Gone) {
            Sending::Idle(sender) => Poll::Ready(Ok(sender)),
            Sending::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Sending::Busy(mut sent) => match sent.as_mut().poll(cx) {
                Poll::Ready((sender, Ok(()))) => Poll::Ready(Ok(sender)),
                Poll::Ready((_, Err(error))) => Poll::Ready(Err(io::Error::other(error))),
                Poll::Pending => {
                    self.sending = Sending::Busy(sent);
                    Poll::Pending
                }
            },
        }
    }
}

impl End for Client {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.data.is_empty() && !self.has_ended {
            match ready!(self.receiver.poll_recv_data(cx)).map_err(io::Error::other)? {
                Some(mut piece) => self.data = piece.copy_to_bytes(piece.remaining()),
                None => self.has_ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(cx))?;
        let n = self.data.len().min(space.len());
        if let (Some(space), Some(data)) = (space.get_mut(..n), self.data.get(..n)) {
            space.copy_from_slice(data);
        }
        self.data.advance(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut sender = ready!(self.poll_idle(cx))?;
        let piece = Bytes::copy_from_slice(bytes.get(..SMALL).unwrap_or(bytes));
        let n = piece.len();
        let mut sent: Sent = Box::pin(async move {
            let sent = sender.send_data(piece).await;
            (sender, sent)
        });
        self.sending = match sent.as_mut().poll(cx) {
            Poll::Ready((sender, Ok(()))) => Sending::Idle(sender),
            Poll::Ready((_, Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
            Poll::Pending => Sending::Busy(sent),
        };
        Poll::Ready(Ok(n))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sending = Sending::Idle(ready!(self.poll_idle(cx))?);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_finished {
            let mut sender = ready!(self.poll_idle(cx))?;
            // All was said: what the client may still send is of no use, but no fault of its own.
            self.marks.end.set(None);
            self.has_finished = true;
            self.sending = Sending::Busy(Box::pin(async move {
                let sent = sender.finish().await;
                (sender, sent)
            }));
        }
        self.poll_flush(cx)
    }
}
