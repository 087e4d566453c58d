//! A connection's two directions, whatever carries them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::{Pipe, Tls};
use crate::config::Address;

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP, in the clear.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP, on either side.
    Tls(Box<Tls>),
}

impl Stream {
    /// Connects to an address. No timeout of its own: the caller's [`super::Clock`] bounds it.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    /// The address it was accepted on; none for a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(stream) => stream.tcp().local_addr().ok(),
        }
    }

    /// The number of its file descriptor.
    pub fn descriptor(&self) -> u32 {
        let number = match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.tcp().as_raw_fd(),
        };
        // An open one is never negative.
        u32::try_from(number).unwrap_or(0)
    }

    /// Reads into `space`; `Ok(0)` is the end of the stream.
    ///
    /// Goes through `poll_read`, not `try_read`: tokio then remembers a short read and spares the
    /// next call that would only say "would block".
    pub fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut target = ReadBuf::new(space);
        let done = match self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, &mut target),
            Self::Unix(s) => Pin::new(s).poll_read(cx, &mut target),
            Self::Tls(s) => s.poll_read(cx, &mut target),
        };
        done.map_ok(|()| target.filled().len())
    }

    /// Writes some of `bytes`.
    ///
    /// A socket most often has room: `try_write` costs less than `poll_write`, which prepares for waiting.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => match s.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pin::new(s).poll_write(cx, bytes),
                done => Poll::Ready(done),
            },
            Self::Unix(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Tls(s) => s.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    /// Writes some of several runs with one system call.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_write_vectored(cx, runs),
            Self::Unix(s) => Pin::new(s).poll_write_vectored(cx, runs),
            Self::Tls(s) => s.poll_write(cx, runs),
        }
    }

    /// Ready when a read would not wait. Costs no system call.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => s.poll_read_ready(cx),
            Self::Unix(s) => s.poll_read_ready(cx),
            Self::Tls(s) => s.poll_readable(cx),
        }
    }

    /// Looks whether there is something to read, or an error. A Unix socket is always silent.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => s.poll_peek(cx, &mut ReadBuf::new(&mut [0; 1])),
            Self::Unix(_) => Poll::Pending,
            Self::Tls(s) => s.poll_peek(cx),
        }
    }

    /// True if bytes lie in the system's buffer, whatever the reactor knows. Costs a system call.
    pub fn has_unread(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match self {
            Self::Tcp(stream) => SockRef::from(&*stream).peek(&mut byte),
            Self::Unix(stream) => SockRef::from(&*stream).peek(&mut byte),
            Self::Tls(stream) => {
                return stream
                    .poll_peek(&mut Context::from_waker(Waker::noop()))
                    .is_ready();
            }
        };
        peeked.is_ok()
    }

    /// True if an idle connection can still be used: the other side neither closed it nor sent
    /// anything unasked. Free of system calls unless the reactor reported an event.
    pub fn is_idle_and_open(&mut self) -> bool {
        if let Self::Tcp(stream) = self {
            // Without a system call while the reactor has seen nothing; and only a read can tell more.
            let read = stream.try_read(&mut [0; 1]);
            return matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        }
        let mut cx = Context::from_waker(Waker::noop());
        if self.poll_readable(&mut cx).is_pending() {
            return true;
        }
        // The reactor keeps "ready" after a read that filled its buffer; only a read can tell.
        self.poll_read(&mut cx, &mut [0; 1]).is_pending()
    }

    /// True if the stream ended in a way that may have cut off what was still to come. Only TLS can tell.
    pub fn was_cut(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.was_cut())
    }

    /// Ready when everything written has left for the system; at once for what is not encrypted.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(s) => s.poll_flush(cx),
        }
    }

    /// Makes the end of the connection, which is to follow, a reset: for a message that is cut short and would
    /// otherwise look whole. What the system has not sent yet is lost. A Unix socket knows no reset.
    pub fn break_off(&self) {
        let tcp = match self {
            Self::Tcp(s) => s,
            Self::Tls(s) => s.tcp(),
            Self::Unix(_) => return,
        };
        // If it fails the connection is gone already.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }

    /// Says that nothing more comes, as far as that can be done at once. For TLS only: without it the other side
    /// cannot tell an end from a cut (RFC 8446 6.1). In the clear the end of the connection says it.
    pub fn farewell(&mut self) {
        if let Self::Tls(s) = self {
            s.farewell();
        }
    }

    /// True if bytes can go through a [`Pipe`] to or from it: nothing is encrypted on the way.
    pub fn takes_pipe(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    /// Moves at most `most` bytes into an empty pipe; `Ok(0)` is the end of the stream. An error of kind
    /// `Unsupported` says that nothing moved and that the stream must be read instead.
    pub fn poll_fill(&self, cx: &mut Context<'_>, pipe: &mut Pipe, most: u64) -> Poll<io::Result<usize>> {
        loop {
            // Within `try_io`, so that the reactor learns that nothing is left.
            let moved = match self {
                Self::Tcp(s) => s.try_io(Interest::READABLE, || pipe.fill(s, most)),
                Self::Unix(s) => s.try_io(Interest::READABLE, || pipe.fill(s, most)),
                Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            if !would_block(&moved) {
                return Poll::Ready(moved);
            }
            ready!(self.poll_readable(cx))?;
        }
    }

    /// Moves some of what is in a pipe, which must hold something, out to the other side.
    pub fn poll_drain(&self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        loop {
            let moved = match self {
                Self::Tcp(s) => s.try_io(Interest::WRITABLE, || pipe.drain(s)),
                Self::Unix(s) => s.try_io(Interest::WRITABLE, || pipe.drain(s)),
                Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            if !would_block(&moved) {
                return Poll::Ready(moved);
            }
            ready!(match self {
                Self::Tcp(s) => s.poll_write_ready(cx),
                Self::Unix(s) => s.poll_write_ready(cx),
                Self::Tls(_) => Poll::Ready(Ok(())),
            })?;
        }
    }

    /// Ends our direction; the other side may go on sending.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => s.poll_shutdown(cx),
        }
    }
}

fn would_block(moved: &io::Result<usize>) -> bool {
    matches!(moved, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

// For the libraries that bring their own protocol, such as h2.
impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, target),
            Self::Unix(s) => Pin::new(s).poll_read(cx, target),
            Self::Tls(s) => s.poll_read(cx, target),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(&mut self, cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write_vectored(&mut self, cx, runs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(&mut self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(&mut self, cx)
    }
}
