//! A stream that becomes a tunnel (RFC 8441): its 200, and the client's end of what follows.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};

use super::incoming::Side;
use super::piece::Piece;
use crate::exchange::{Exchange, Response};
use crate::http::{parts, upgrade};
use crate::io::BufferPool;
use crate::tunnel::{self, End};

/// Grants the client's wish and carries bytes until the tunnel ends, and the stream with it.
pub(super) async fn serve(mut ex: Exchange, side: Rc<Side>, body: RecvStream, mut response: Response) {
    upgrade::grant(&mut ex, &mut response.head);
    let head = parts::response(response.head.status, &response.head.headers, &ex.ids, None);
    ex.worker.recycle_response(response.head);
    let begun = side.begin(head, false);
    let (Ok(()), Some(send)) = (&begun, side.take()) else {
        if let Err(failure) = begun {
            ex.record.broke(&failure);
        }
        return ex.close();
    };
    let client = Client {
        buffers: ex.worker.buffers.clone(),
        body,
        send,
        data: Bytes::new(),
        has_ended: false,
    };
    tunnel::run(Box::new(ex), client, Vec::new(), None).await;
}

/// The client's end of a tunnel.
struct Client {
    buffers: Rc<BufferPool>,
    body: RecvStream,
    send: SendStream<Piece>,
    /// What has arrived and was not read.
    data: Bytes,
    has_ended: bool,
}

impl End for Client {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.data.is_empty() && !self.has_ended {
            match ready!(self.body.poll_data(cx)) {
                Some(piece) => self.data = piece.map_err(io::Error::other)?,
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
        // The client gets room for more only now. It fails only for more than has arrived.
        let _ = self.body.flow_control().release_capacity(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len());
        let mut room = self.send.capacity();
        while room == 0 {
            room = match ready!(self.send.poll_capacity(cx)) {
                Some(room) => room.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
        }
        let mut buffer = self.buffers.small();
        let n = room.min(bytes.len()).min(buffer.space().len());
        if let (Some(space), Some(bytes)) = (buffer.space().get_mut(..n), bytes.get(..n)) {
            space.copy_from_slice(bytes);
        }
        buffer.filled(n);
        let sent = self.send.send_data(Piece::Lent(buffer), false);
        Poll::Ready(sent.map(|()| n).map_err(io::Error::other))
    }

    /// The connection's driver flushes at the end of each turn.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.send.send_data(Piece::Shared(Bytes::new()), true);
        Poll::Ready(sent.map_err(io::Error::other))
    }
}
