//! Sockets that are listened on already: from the process that this one replaces, or from a supervisor such as systemd.
//!
//! A listener of the document that has such a socket takes it instead of binding, so the queue of connections that wait
//! in it is not lost. What nobody takes is closed. How sockets travel between processes is the binary's business.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use socket2::SockRef;

use super::socket::{self, Bound, SocketFile};
use crate::config::Address;

#[cfg(test)]
mod tests;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A listener of the document.
    Listener,
    /// The admin listener.
    Admin,
    /// The socket of `gatehouse upgrade`.
    Upgrade,
}

/// A socket that may change hands.
#[derive(Debug)]
pub enum Socket {
    /// One that accepts connections.
    Stream(Bound),
    /// UDP, for QUIC.
    Udp(UdpSocket),
    /// The way to a process that has connections on such a socket.
    Relay {
        /// What its connection ids are made with.
        key: u64,
        /// Takes its datagrams.
        channel: UnixDatagram,
    },
}

/// A socket and what is known of it.
#[derive(Debug)]
pub struct Handed {
    /// What it is for. `None`: a supervisor's, for whoever has this name or address.
    pub role: Option<Role>,
    /// The name of its listener.
    pub name: String,
    /// Its address, as written in the document, which for port 0 is not where it listens.
    pub written: Address,
    /// The socket.
    pub socket: Socket,
    /// True if a supervisor holds it open as well: what waits in its queue is for whoever comes next.
    pub held: bool,
}

/// A socket that a listener took.
#[derive(Debug)]
pub struct Taken {
    /// The socket.
    pub bound: Bound,
    /// As in [`Handed::held`].
    pub held: bool,
}

impl Handed {
    /// A TCP socket that listens.
    pub fn tcp(role: Option<Role>, name: String, written: Address, listener: TcpListener) -> Self {
        Self {
            role,
            name,
            written,
            socket: Socket::Stream(Bound::Tcp(listener)),
            held: role.is_none(),
        }
    }

    /// A Unix socket that listens. `to_own`: once it is put to work, its file is removed at the end.
    pub fn unix(role: Option<Role>, name: String, path: &Path, listener: UnixListener, to_own: bool) -> Self {
        Self {
            role,
            name,
            written: Address::Unix(path.to_owned()),
            socket: Socket::Stream(Bound::Unix(listener, SocketFile::handed(path, to_own))),
            held: role.is_none(),
        }
    }

    /// True for a Unix socket whose file goes with it.
    pub fn owns_file(&self) -> bool {
        matches!(&self.socket, Socket::Stream(Bound::Unix(_, file)) if file.is_ours())
    }

    /// How well it fits; less is better.
    fn rank(&self, role: Role, name: &str, address: &Address) -> Option<u8> {
        let (same_name, same_address) = (self.name == name, self.written == *address);
        // Any two listeners may be at port 0: there only the name tells them apart.
        let tells = !matches!(address, Address::Tcp(tcp) if tcp.port() == 0);
        match self.role {
            Some(own) if own != role => None,
            _ if same_name && same_address => Some(0),
            _ if same_address && tells => Some(1),
            None if same_name => Some(2),
            _ => None,
        }
    }
}

/// The sockets a process was given and has not put to work yet. Dropping it closes them.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Handed>);

impl Inherited {
    /// These sockets.
    pub fn new(sockets: Vec<Handed>) -> Self {
        Self(sockets)
    }

    /// The socket for a listener, if there is one, with the options it would have got if it were new.
    pub fn take(
        &mut self,
        role: Role,
        name: &str,
        address: &Address,
        options: socket::Options,
    ) -> Option<io::Result<Taken>> {
        let same_sort = |handed: &Handed| {
            matches!(
                (&handed.socket, address),
                (Socket::Stream(Bound::Tcp(_)), Address::Tcp(_))
                    | (Socket::Stream(Bound::Unix(..)), Address::Unix(_))
            )
        };
        let Handed { socket, held, .. } = self.find(same_sort, role, name, address)?;
        match socket {
            Socket::Stream(bound) => Some(prepare(bound, options).map(|bound| Taken { bound, held })),
            Socket::Udp(_) | Socket::Relay { .. } => None,
        }
    }

    /// The UDP socket for a listener, if there is one.
    pub fn take_udp(&mut self, name: &str, address: &Address) -> Option<io::Result<UdpSocket>> {
        let is_udp = |handed: &Handed| matches!(handed.socket, Socket::Udp(_));
        match self.find(is_udp, Role::Listener, name, address)?.socket {
            Socket::Udp(socket) => Some(socket.set_nonblocking(true).map(|()| socket)),
            Socket::Stream(_) | Socket::Relay { .. } => None,
        }
    }

    /// The ways to those who have connections on the UDP socket of a listener, with the keys of their connection ids.
    pub fn take_relays(&mut self, name: &str, address: &Address) -> Vec<(u64, UnixDatagram)> {
        let is_relay = |handed: &Handed| matches!(handed.socket, Socket::Relay { .. });
        let mut relays = Vec::new();
        while let Some(handed) = self.find(is_relay, Role::Listener, name, address) {
            if let Socket::Relay { key, channel } = handed.socket {
                relays.push((key, channel));
            }
        }
        relays
    }

    fn find(
        &mut self,
        fits: impl Fn(&Handed) -> bool,
        role: Role,
        name: &str,
        address: &Address,
    ) -> Option<Handed> {
        let best = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, handed)| fits(handed))
            .filter_map(|(i, handed)| Some((handed.rank(role, name, address)?, i)))
            .min()?;
        Some(self.0.remove(best.1))
    }

    /// Names and addresses of the sockets that nobody took.
    pub fn left(&self) -> impl Iterator<Item = (&str, &Address)> {
        let own = |handed: &&Handed| !matches!(handed.socket, Socket::Relay { .. });
        self.0
            .iter()
            .filter(own)
            .map(|handed| (handed.name.as_str(), &handed.written))
    }
}

fn prepare(bound: Bound, options: socket::Options) -> io::Result<Bound> {
    let backlog = socket::backlog(options);
    match &bound {
        Bound::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            socket::set_options(&SockRef::from(listener))?;
            // Once more: that is how a new length of the queue is set.
            SockRef::from(listener).listen(backlog)?;
        }
        Bound::Unix(listener, file) => {
            listener.set_nonblocking(true)?;
            file.set_mode(options.unix_mode)?;
            SockRef::from(listener).listen(backlog)?;
        }
    }
    Ok(bound)
}
