//! A client's connection that leaves HTTP/1.1 behind: its 101, and the tunnel that follows.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use gatehouse_http1::encode;

use super::ClientIo;
use crate::exchange::{Exchange, Response};
use crate::http::upgrade;
use crate::tunnel::{self, End};

/// An exchange whose endpoint has switched protocols.
pub(super) struct Switched {
    ex: Box<Exchange>,
    head: Vec<u8>,
}

impl Switched {
    /// Writes the head of the 101 (200 for CONNECT), with what is still to be sent before it.
    pub(super) fn new(ex: Exchange, io: &ClientIo, response: Response) -> Box<Self> {
        let mut head = ex.worker.spare_staging();
        head.append(&mut io.interim.borrow_mut());
        encode::status_line(&mut head, response.head.status, response.head.reason());
        encode::fields(&mut head, &response.head.headers);
        ex.ids.write(&mut head, &response.head.headers);
        if response.head.status == 101 {
            let protocol = ex.upgrade.as_ref().map_or("", |upgrade| upgrade.protocol());
            upgrade::write_fields(&mut head, protocol);
        }
        head.extend_from_slice(b"\r\n");
        ex.worker.recycle_response(response.head);
        Box::new(Self {
            ex: Box::new(ex),
            head,
        })
    }

    /// Carries bytes until the tunnel ends, and the connection with it.
    pub(super) fn serve(self: Box<Self>, io: Rc<ClientIo>) -> impl Future<Output = ()> {
        let Self { ex, head } = *self;
        let first = io.leftover.borrow_mut().take();
        // In a place of its own: the future of the connection stays small.
        Box::pin(tunnel::run(ex, io, head, first))
    }
}

impl End for Rc<ClientIo> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow().poll_readable(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        self.stream.borrow_mut().poll_read(cx, space)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.borrow_mut().poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_shutdown(cx)
    }
}
