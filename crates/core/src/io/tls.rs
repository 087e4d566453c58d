//! A TLS connection after its handshake, on either side, read and written like any other stream.
//!
//! What differs from TCP stays in here: bytes may be at hand though the socket is silent (records that came with the
//! last ones), and bytes taken for writing may still lie in the session (`poll_flush` moves them on).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// An established TLS session over TCP.
#[derive(Debug)]
pub struct Tls {
    stream: TlsStream<TcpStream>,
    /// True if decrypted bytes wait in the session.
    at_hand: bool,
    /// True if encrypted bytes wait in the session for room in the socket.
    unflushed: bool,
    /// True if the other side left without a `close_notify`.
    cut: bool,
}

impl Tls {
    /// A session whose handshake is over.
    pub fn new(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        let mut tls = Self {
            stream: stream.into(),
            at_hand: false,
            unflushed: false,
            cut: false,
        };
        tls.look();
        tls
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().0
    }

    /// What was agreed on: protocol, certificates, name.
    pub fn session(&self) -> &rustls::CommonState {
        self.stream.get_ref().1
    }

    /// True if the stream ended without the other side saying so: it may be a part of what was sent.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// Learns whether decrypted bytes wait. An error shows itself at the next read.
    fn look(&mut self) {
        let state = match &mut self.stream {
            TlsStream::Client(stream) => stream.get_mut().1.process_new_packets(),
            TlsStream::Server(stream) => stream.get_mut().1.process_new_packets(),
        };
        self.at_hand = state.map_or(true, |state| state.plaintext_bytes_to_read() > 0);
    }

    /// Reads into `space`; `Ok(0)` is the end. A peer that leaves without saying so ends the stream like any other:
    /// who needs to tell a cut from an end knows the length.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = target.remaining();
        let done = match ready!(Pin::new(&mut self.stream).poll_read(cx, target)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut = true;
                Ok(())
            }
            done => done,
        };
        // Only a read that found no room can have left something.
        if self.at_hand || target.remaining() == 0 && room > 0 {
            self.look();
        }
        Poll::Ready(done)
    }

    /// Ready when a read would not wait, or when the socket has something that may turn out to be no data.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.at_hand {
            return Poll::Ready(Ok(()));
        }
        self.tcp().poll_read_ready(cx)
    }

    /// How many bytes a read would give, without taking them; 0 is the end.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_fill_buf(cx))?.len();
        self.at_hand = n > 0;
        Poll::Ready(Ok(n))
    }

    /// Takes some of `runs` into the session, once what it holds has left, and sends as far as it goes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, runs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let n = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, runs))?;
        self.unflushed = true;
        // What does not fit into the socket leaves with the next call: the bytes are taken either way.
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(n)),
        }
    }

    /// Ready when nothing waits in the session.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes, if there is room for it in the socket.
    pub fn farewell(&mut self) {
        match &mut self.stream {
            TlsStream::Client(stream) => {
                let (tcp, session) = stream.get_mut();
                session.send_close_notify();
                while session.wants_write() && session.write_tls(&mut AtOnce(tcp)).is_ok() {}
            }
            TlsStream::Server(stream) => {
                let (tcp, session) = stream.get_mut();
                session.send_close_notify();
                while session.wants_write() && session.write_tls(&mut AtOnce(tcp)).is_ok() {}
            }
        }
    }

    /// Says that nothing more comes, and ends our direction.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Writes what the socket takes without waiting.
struct AtOnce<'a>(&'a TcpStream);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
