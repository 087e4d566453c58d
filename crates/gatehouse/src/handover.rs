//! The talk between a process and the one that takes its place: sockets go over, then `ready`, then `go`.
//!
//! The old process starts the new one with one end of a Unix socket pair as its standard input, which is a way to hand
//! over open files that needs no path, no rights and no `unsafe`. Each message is one packet of JSON; a listening
//! socket travels with the packet that describes it (`SCM_RIGHTS`). Until `go` the new process accepts nothing, and at
//! any failure before it the old one simply goes on. Fields and sockets that a process does not know are ignored, so
//! that versions can differ.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use gatehouse_core::config::Address;
use gatehouse_core::listen::handover::{Handed, Role, Socket};
use gatehouse_core::listen::socket::Bound;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, sockopt,
};
use serde::{Deserialize, Serialize};

/// Set for a process that is to take over from the one behind its standard input.
pub(crate) const TAKE_OVER: &str = "GATEHOUSE_TAKE_OVER";
/// The version of this talk. A process refuses another.
const VERSION: u32 = 1;
/// More than any message takes.
const PACKET: usize = 16 * 1024;
/// How long the old process may take for what it has at hand.
const PROMPT: Duration = Duration::from_secs(10);
/// How long a process that is ready waits to be let go; the old one kills it long before.
const GO: Duration = Duration::from_hours(1);

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum Message {
    /// From the old: what follows is in this version.
    Hello { version: u32 },
    /// From the old, with the socket itself.
    Socket(Description),
    /// From the old: that was all.
    End,
    /// From the new: it could serve.
    Ready,
    /// From the new: it cannot, and ends.
    Failed { why: String },
    /// From the old: it accepts no more. From here on the new one is on its own.
    Go,
}

/// A socket that comes with the message.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    role: Part,
    sort: Sort,
    name: String,
    address: Address,
    /// Whether the file of a Unix socket goes over as well.
    #[serde(default)]
    owns_file: bool,
    /// Whether a supervisor holds the socket open.
    #[serde(default)]
    held: bool,
    /// What the connection ids behind a relay are made with.
    #[serde(default)]
    key: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Listener,
    Admin,
    Upgrade,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Tcp,
    Unix,
    Udp,
    Relay,
    #[serde(other)]
    Unknown,
}

/// One end of the talk. Blocking: to be used where waiting harms nobody.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What the new process said at last.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It could serve.
    Ready,
    /// It cannot, and why.
    Failed(String),
    /// It has hung up: it ended, most likely.
    Gone,
    /// Nothing, for too long.
    Late,
}

/// Both ends: ours, and the standard input of the new process.
pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((Channel(ours), theirs))
}

/// The side of the old process.
impl Channel {
    /// Hands over sockets.
    pub(crate) fn offer(&self, sockets: &[Handed]) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Send, Some(PROMPT))?;
        self.send(&Message::Hello { version: VERSION }, None)?;
        for handed in sockets {
            let (description, socket) = describe(handed);
            self.send(&Message::Socket(description), Some(socket))?;
        }
        self.send(&Message::End, None)
    }

    /// Waits for what the new process has to say.
    pub(crate) fn answer(&self, until: Instant) -> Answer {
        loop {
            match self.receive(until) {
                Ok(Some((Message::Ready, _))) => return Answer::Ready,
                Ok(Some((Message::Failed { why }, _))) => return Answer::Failed(why),
                Ok(Some(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Answer::Late,
                Ok(None) | Err(_) => return Answer::Gone,
            }
        }
    }

    /// Lets the new process serve.
    pub(crate) fn go(&self) -> io::Result<()> {
        self.send(&Message::Go, None)
    }

    /// Ends the talk; who waits on it is woken.
    pub(crate) fn hang_up(&self) {
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }

    fn send(&self, message: &Message, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let sockets: Vec<_> = socket.into_iter().collect();
        if !sockets.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&sockets));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message and its socket. `None`: the other side has hung up.
    fn receive(&self, until: Instant) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut text = vec![0; PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(left))?;
        let received = loop {
            match rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut text)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                received => break received?,
            }
        };
        let socket = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        if received.bytes == 0 {
            return Ok(None);
        }
        text.truncate(received.bytes);
        Ok(Some((serde_json::from_slice(&text)?, socket)))
    }
}

/// The process that is to be replaced, seen from the one that takes its place.
#[derive(Debug)]
pub(crate) struct Predecessor(Channel);

impl Predecessor {
    /// Takes the sockets, if this process is to take over from another.
    pub(crate) fn meet() -> anyhow::Result<Option<(Self, Vec<Handed>)>> {
        if std::env::var_os(TAKE_OVER).is_none() {
            return Ok(None);
        }
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let this = Self(Channel(stdin.context("cannot take over: no standard input")?));
        let sockets = this
            .sockets()
            .with_context(|| format!("cannot take over, as `{TAKE_OVER}` says"))?;
        Ok(Some((this, sockets)))
    }

    fn sockets(&self) -> anyhow::Result<Vec<Handed>> {
        let until = Instant::now() + PROMPT;
        let mut sockets = Vec::new();
        loop {
            match self.0.receive(until).context("standard input")? {
                Some((Message::Hello { version }, _)) if version != VERSION => {
                    bail!("the running process hands over in version {version}, this one in {VERSION}");
                }
                Some((Message::Socket(description), Some(socket))) => {
                    sockets.extend(described(description, socket));
                }
                Some((Message::End, _)) => return Ok(sockets),
                Some(_) => {}
                None => bail!("the running process has hung up"),
            }
        }
    }

    /// Says that this process could serve, and waits until it is let.
    pub(crate) fn wait_for_go(&self) -> anyhow::Result<()> {
        let gone = "the running process has changed its mind";
        self.0.send(&Message::Ready, None).context(gone)?;
        loop {
            match self.0.receive(Instant::now() + GO).context(gone)? {
                Some((Message::Go, _)) => return Ok(()),
                Some(_) => {}
                None => bail!(gone),
            }
        }
    }

    /// Says why this process cannot serve. Fails if nobody listens any more.
    pub(crate) fn fail(&self, why: &str) -> io::Result<()> {
        // A character may take six bytes in JSON.
        let why = why.trim_end().chars().take(PACKET / 8).collect();
        self.0.send(&Message::Failed { why }, None)
    }
}

fn describe(handed: &Handed) -> (Description, BorrowedFd<'_>) {
    let (sort, socket) = match &handed.socket {
        Socket::Stream(Bound::Tcp(listener)) => (Sort::Tcp, listener.as_fd()),
        Socket::Stream(Bound::Unix(listener, _)) => (Sort::Unix, listener.as_fd()),
        Socket::Udp(socket) => (Sort::Udp, socket.as_fd()),
        Socket::Relay { channel, .. } => (Sort::Relay, channel.as_fd()),
    };
    let description = Description {
        role: match handed.role {
            Some(Role::Listener) => Part::Listener,
            Some(Role::Admin) => Part::Admin,
            Some(Role::Upgrade) => Part::Upgrade,
            None => Part::Unknown,
        },
        sort,
        name: handed.name.clone(),
        address: handed.written.clone(),
        owns_file: handed.owns_file(),
        held: handed.held,
        key: match handed.socket {
            Socket::Relay { key, .. } => key,
            _ => 0,
        },
    };
    (description, socket)
}

/// `None` for what a later version hands over and this one has no use for; it is closed.
fn described(description: Description, socket: OwnedFd) -> Option<Handed> {
    let Description {
        role,
        sort,
        name,
        address,
        owns_file,
        held,
        key,
    } = description;
    let role = Some(match role {
        Part::Listener => Role::Listener,
        Part::Admin => Role::Admin,
        Part::Upgrade => Role::Upgrade,
        Part::Unknown => return None,
    });
    let mut handed = match (sort, &address) {
        (Sort::Tcp, Address::Tcp(_)) => Handed::tcp(role, name, address, TcpListener::from(socket)),
        (Sort::Unix, Address::Unix(path)) => {
            Handed::unix(role, name, path, UnixListener::from(socket), owns_file)
        }
        (Sort::Udp, Address::Tcp(_)) => Handed {
            role,
            name,
            written: address,
            socket: Socket::Udp(UdpSocket::from(socket)),
            held,
        },
        (Sort::Relay, _) => Handed {
            role,
            name,
            written: address,
            socket: Socket::Relay {
                key,
                channel: UnixDatagram::from(socket),
            },
            held,
        },
        _ => return None,
    };
    handed.held = held;
    Some(handed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> Handed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp("127.0.0.1:80".parse().unwrap());
        Handed::tcp(Some(Role::Listener), name.to_owned(), address, listener)
    }

    #[test]
    fn the_same_sockets_arrive_with_their_names() {
        let (old, theirs) = pair().unwrap();
        let new = Predecessor(Channel(theirs));
        let sent = [socket("a"), socket("b")];
        old.offer(&sent).unwrap();
        let got = new.sockets().unwrap();
        for (sent, got) in sent.iter().zip(&got) {
            assert_eq!((&sent.name, &sent.written), (&got.name, &got.written));
            let real = |handed: &Handed| match &handed.socket {
                Socket::Stream(bound) => bound.address().unwrap(),
                _ => panic!("a stream"),
            };
            assert_eq!(real(sent), real(got));
        }
        assert_eq!(got.len(), 2);
        old.go().unwrap();
        new.wait_for_go().unwrap();
        assert_eq!(old.answer(Instant::now() + PROMPT), Answer::Ready);
    }

    #[test]
    fn a_failure_a_silence_and_an_end_are_told_apart() {
        let (old, theirs) = pair().unwrap();
        assert_eq!(
            old.answer(Instant::now() + Duration::from_millis(1)),
            Answer::Late
        );
        let new = Predecessor(Channel(theirs));
        new.fail("no such file").unwrap();
        assert_eq!(
            old.answer(Instant::now() + PROMPT),
            Answer::Failed("no such file".to_owned())
        );
        drop(new);
        assert_eq!(old.answer(Instant::now() + PROMPT), Answer::Gone);
    }

    #[test]
    fn another_version_is_refused_and_unknown_sockets_are_closed() {
        let (old, theirs) = pair().unwrap();
        let new = Predecessor(Channel(theirs));
        old.send(&Message::Hello { version: VERSION + 1 }, None).unwrap();
        assert!(new.sockets().unwrap_err().to_string().contains("in version 2"));

        let (old, theirs) = pair().unwrap();
        let new = Predecessor(Channel(theirs));
        let (mut description, _) = describe(&socket("a"));
        description.role = Part::Unknown;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        old.send(&Message::Socket(description), Some(listener.as_fd()))
            .unwrap();
        old.send(&Message::End, None).unwrap();
        assert!(new.sockets().unwrap().is_empty());
    }

    #[test]
    fn who_hangs_up_is_noticed() {
        let (old, theirs) = pair().unwrap();
        let new = Predecessor(Channel(theirs));
        old.hang_up();
        assert!(new.sockets().is_err());
        assert!(new.wait_for_go().is_err());
    }
}
