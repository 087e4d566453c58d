//! A raw client: sends any bytes and says what came back, over TCP or a Unix socket.
//!
//! For what a well-behaved client would never do: broken framing, half-closed and slow connections, byte-wise heads.
//! Every read and write has a deadline, so a gateway that hangs fails the test instead of stopping it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::headers::latin1;
use crate::wait::PATIENCE;
use crate::wire::{Framing, Reader, Response};

/// A connected socket of any sort.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<crate::tls::Session>),
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(buffer),
            Self::Unix(s) => s.read(buffer),
            Self::Tls(s) => s.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.write(bytes),
            Self::Unix(s) => s.write(bytes),
            Self::Tls(s) => s.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(s) => s.flush(),
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}

impl Socket {
    /// Another handle of the same connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(s) => Self::Tcp(s.try_clone()?),
            Self::Unix(s) => Self::Unix(s.try_clone()?),
            // A session cannot be written from two places.
            Self::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.shutdown(how),
            Self::Unix(s) => s.shutdown(how),
            Self::Tls(s) => {
                s.conn.send_close_notify();
                s.flush()?;
                s.sock.shutdown(how)
            }
        }
    }
}

/// One connection to the gateway.
#[derive(Debug)]
pub struct Raw {
    pub reader: Reader<Socket>,
}

impl Raw {
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).unwrap_or_else(|e| panic!("connect to {to}: {e}"))
    }

    pub fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: Reader::new(Socket::Tcp(stream)),
        })
    }

    /// A connection whose system buffer takes about `bytes` before the sender must wait.
    #[track_caller]
    pub fn connect_with_window(to: SocketAddr, bytes: usize) -> Self {
        let open = || -> io::Result<TcpStream> {
            let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
            socket.set_recv_buffer_size(bytes)?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            let stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = open().unwrap_or_else(|e| panic!("connect to {to}: {e}"));
        Self {
            reader: Reader::new(Socket::Tcp(stream)),
        }
    }

    #[track_caller]
    pub fn unix(path: &Path) -> Self {
        let open = || -> io::Result<UnixStream> {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = open().unwrap_or_else(|e| panic!("connect to {}: {e}", path.display()));
        Self {
            reader: Reader::new(Socket::Unix(stream)),
        }
    }

    /// Sends all of it; the gateway must still be listening.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap_or_else(|e| panic!("send: {e}"));
        self
    }

    /// Sends all of it, or as much as the gateway takes before it closes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())?;
        self.reader.stream.flush()
    }

    /// A second handle for writing while another thread reads.
    #[track_caller]
    pub fn writer(&self) -> Socket {
        self.reader
            .stream
            .try_clone()
            .expect("a second handle of the socket")
    }

    /// A second handle of a TCP connection.
    #[track_caller]
    pub fn tcp(&self) -> TcpStream {
        match &self.reader.stream {
            Socket::Tcp(stream) => stream.try_clone().expect("a second handle of the socket"),
            Socket::Tls(session) => session.sock.try_clone().expect("a second handle of the socket"),
            Socket::Unix(_) => panic!("not a TCP connection"),
        }
    }

    /// Says that nothing more will be sent; reading goes on.
    #[track_caller]
    pub fn half_close(&mut self) -> &mut Self {
        self.reader.stream.shutdown(Shutdown::Write).expect("half-close");
        self
    }

    /// Ends the connection with a reset instead of an orderly end.
    pub fn reset(self) {
        if let Socket::Tcp(stream) = &self.reader.stream {
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// The next final response, complete; `method` decides whether it has a body.
    #[track_caller]
    pub fn response(&mut self, method: &str) -> Response {
        self.reader
            .read_response(method)
            .unwrap_or_else(|e| self.fail("a response", &e))
    }

    /// The next final response's head; its body is still to be read.
    #[track_caller]
    pub fn response_head(&mut self, method: &str) -> (Response, Framing) {
        self.reader
            .read_response_head(method)
            .unwrap_or_else(|e| self.fail("a response head", &e))
    }

    /// The next interim (1xx) response.
    #[track_caller]
    pub fn interim(&mut self, status: u16) {
        let head = self
            .reader
            .read_head()
            .unwrap_or_else(|e| self.fail("an interim response", &e));
        let start = head.expect("an interim response, not the end").start;
        assert!(
            start.starts_with(&format!("HTTP/1.1 {status} ")),
            "expected {status}, got {start}"
        );
    }

    /// The next chunk of a chunked body.
    #[track_caller]
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        self.reader
            .read_chunk()
            .unwrap_or_else(|e| self.fail("a chunk", &e))
    }

    /// Reads until these bytes went by and returns everything up to and with them.
    #[track_caller]
    pub fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut seen = Vec::new();
        while !seen.ends_with(end) {
            let byte = self
                .reader
                .read_some(1)
                .unwrap_or_else(|e| self.fail("more bytes", &e));
            assert!(
                !byte.is_empty(),
                "closed after {:?}, before {:?}",
                latin1(&seen),
                latin1(end)
            );
            seen.extend_from_slice(&byte);
        }
        seen
    }

    /// Everything up to the end of the connection; a reset is an end, too.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut seen = Vec::new();
        loop {
            match self.reader.read_some(usize::MAX) {
                Ok(piece) if piece.is_empty() => return seen,
                Ok(piece) => seen.extend_from_slice(&piece),
                Err(e) if is_reset(&e) => return seen,
                Err(e) => self.fail("the end", &e),
            }
        }
    }

    /// The gateway closes now, without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(
            rest.is_empty(),
            "expected the end of the connection, got {:?}",
            latin1(&rest)
        );
    }

    #[track_caller]
    fn fail(&self, wanted: &str, error: &io::Error) -> ! {
        panic!(
            "expected {wanted}: {error}; unread bytes: {:?}",
            latin1(self.reader.buffered())
        )
    }
}

/// Whether the peer ended the connection the hard way.
pub fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
    )
}
