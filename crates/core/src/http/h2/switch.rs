//! A stream that becomes a tunnel (RFC 8441): its 200, and the client's end of what follows.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::incoming::{Pieces, Side};
use super::write;
use crate::exchange::{Exchange, Response};
use crate::http::upgrade;
use crate::tunnel::{self, End};

/// Grants the client's wish and carries bytes until the tunnel ends, and the stream with it.
pub(super) async fn serve(mut ex: Exchange, side: Rc<Side>, mut response: Response) {
    upgrade::grant(&mut ex, &mut response.head);
    let head = &response.head;
    let begun = write::begin(&side, head.status, &head.headers, &ex.ids, None, false);
    ex.worker.recycle_response(response.head);
    if let Err(failure) = begun {
        ex.record.broke(&failure);
        return ex.close();
    }
    // Who waits for the end of the stream is the tunnel now.
    ex.client_side = None;
    let client = Client(Pieces::new(side));
    tunnel::run(Box::new(ex), client, Vec::new(), None).await;
}

/// The client's end of a tunnel.
struct Client(Pieces);

impl End for Client {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.0.data().is_empty() && !self.0.ended {
            ready!(self.0.poll(cx)).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(cx))?;
        let data = self.0.data();
        let n = data.len().min(space.len());
        if let (Some(space), Some(data)) = (space.get_mut(..n), data.get(..n)) {
            space.copy_from_slice(data);
        }
        // The client gets room for more only now.
        self.0.consume(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Side { session, key, .. } = &*self.0.side;
        let Some(room) = ready!(session.poll_room(cx, *key)) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let n = bytes.len().min(room);
        let sent = bytes
            .get(..n)
            .is_some_and(|bytes| session.inner.borrow_mut().frames.send(*key, bytes));
        Poll::Ready(if sent {
            Ok(n)
        } else {
            Err(io::ErrorKind::ConnectionReset.into())
        })
    }

    /// The connection's driver flushes at the end of each turn.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Side { session, key, .. } = &*self.0.side;
        let ended = session.inner.borrow_mut().frames.finish(*key);
        Poll::Ready(if ended {
            Ok(())
        } else {
            Err(io::ErrorKind::ConnectionReset.into())
        })
    }
}
