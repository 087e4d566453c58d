//! The end of a listener: connections that wait in its queue are accepted before it is closed.
//!
//! Closing a listening socket resets what waits in its queue, and what is still shaking hands: clients that believe they
//! are connected. So on Linux the socket first stops hearing of new clients (they knock again a second later, and are
//! refused), those in the middle of it get a moment, and only an empty queue is closed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::socket;
use super::tcp::{Socket, is_of_one_connection};
use crate::io::Stream;

/// How long handshakes under way may take to reach the queue: the way to a client and back.
const HANDSHAKES: Duration = Duration::from_millis(100);

/// Accepts what waits, and closes the socket.
pub(super) async fn empty(socket: Socket, place: impl Fn(Stream, Option<SocketAddr>)) -> io::Result<()> {
    match socket {
        Socket::Tcp(listener) => {
            // The reactor may not know yet that somebody waits; the socket itself does.
            let listener = listener.into_std()?;
            let deaf = ignore_new(&listener);
            let next = || {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                socket::accepted(&stream)?;
                TcpStream::from_std(stream).map(|stream| (Stream::Tcp(stream), Some(peer)))
            };
            accept_all(next, &place)?;
            if deaf {
                tokio::time::sleep(HANDSHAKES).await;
                accept_all(next, &place)?;
            }
            Ok(())
        }
        // Its file goes last, so that nobody else can listen there meanwhile.
        Socket::Unix(listener, _file) => {
            let listener = listener.into_std()?;
            let next = || {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream).map(|stream| (Stream::Unix(stream), None))
            };
            accept_all(next, &place)
        }
    }
}

fn accept_all(
    next: impl Fn() -> io::Result<(Stream, Option<SocketAddr>)>,
    place: &impl Fn(Stream, Option<SocketAddr>),
) -> io::Result<()> {
    loop {
        match next() {
            Ok((stream, peer)) => place(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Drops the first packet of new connections; those under way go on. False where that cannot be done.
#[cfg(target_os = "linux")]
fn ignore_new(listener: &std::net::TcpListener) -> bool {
    use socket2::{SockFilter, SockRef};
    // Classic BPF; on a listening socket it sees packets from their TCP header on.
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let filter = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&filter).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn ignore_new(_: &std::net::TcpListener) -> bool {
    false
}
