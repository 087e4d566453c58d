//! Datagrams that belong to another process: after an upgrade one UDP socket serves the connections of several.
//!
//! Whoever was started last reads the socket. What comes for a connection of a process before it, which can be told
//! by the connection id, is passed on to that over a channel made when the socket was handed over. All of them write
//! to the socket themselves. What is passed on keeps its bounds and where it came from; what does not fit into the
//! channel is lost, as datagrams may be.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, EndpointConfig, UdpPoller};
use quinn_proto::HashedConnectionIdGenerator;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::ReadBuf;

/// Bytes of our connection ids (RFC 9000 5.1).
const ID: usize = 8;
/// More than a datagram and what is said of it take.
const MESSAGE: usize = 64 * 1024 + 256;

/// Names the connections of a process, on one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(pub u64);

impl Key {
    fn new() -> Self {
        Self(RandomState::new().hash_one("connection ids"))
    }

    /// Connection ids that this key knows again.
    pub fn endpoint(self) -> EndpointConfig {
        let mut config = EndpointConfig::default();
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(self.0)));
        config
    }

    fn made(self, id: [u8; ID]) -> bool {
        let id = ConnectionId::new(&id);
        HashedConnectionIdGenerator::from_key(self.0)
            .validate(&id)
            .is_ok()
    }
}

/// The connection id that a packet is for, if it may be one of ours (RFC 9000 17).
fn addressed_to(packet: &[u8]) -> Option<[u8; ID]> {
    let is_long = packet.first()? & 0x80 != 0;
    if !is_long {
        return packet.get(1..)?.first_chunk().copied();
    }
    let (length, rest) = packet.get(5..)?.split_first()?;
    (usize::from(*length) == ID).then(|| rest.first_chunk().copied())?
}

/// The way to a process that was here before, and still has connections.
#[derive(Debug)]
pub(crate) struct Former {
    key: Key,
    channel: UnixDatagram,
}

impl Former {
    /// From what was handed over.
    pub fn new(key: u64, channel: UnixDatagram) -> io::Result<Self> {
        channel.set_nonblocking(true)?;
        Ok(Self {
            key: Key(key),
            channel,
        })
    }
}

/// What is passed on between the processes of one socket.
pub(super) struct Relay {
    pub key: Key,
    has_formers: AtomicBool,
    formers: Mutex<Vec<Former>>,
    /// What a successor reads for us.
    inbox: Mutex<Option<UnixDatagram>>,
    /// True once the socket is the successor's to read.
    is_replaced: AtomicBool,
    waker: AtomicWaker,
}

impl Relay {
    pub fn new(formers: Vec<Former>) -> Arc<Self> {
        Arc::new(Self {
            key: Key::new(),
            has_formers: AtomicBool::new(!formers.is_empty()),
            formers: Mutex::new(formers),
            inbox: Mutex::default(),
            is_replaced: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// Ways to this process and to those before it, with their keys, for a successor.
    pub fn hand_over(&self) -> io::Result<Vec<(u64, UnixDatagram)>> {
        // Datagrams with an order and, unlike those of Unix, with more than ten in the queue.
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        *lock(&self.inbox) = Some(ours.into());
        self.waker.wake();
        let mut ways = vec![(self.key.0, theirs.into())];
        for former in &*lock(&self.formers) {
            ways.push((former.key.0, former.channel.try_clone()?));
        }
        Ok(ways)
    }

    /// Leaves the socket to the successor that was last handed it.
    pub fn leave(&self) {
        self.is_replaced.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Passes on what is not ours, and closes the gaps. False if nothing is left.
    fn sort(&self, bytes: &mut [u8], meta: &mut RecvMeta) -> bool {
        if !self.has_formers.load(Ordering::Acquire) || meta.stride == 0 {
            return true;
        }
        let mut formers = lock(&self.formers);
        let owner = |formers: &[Former], packet: &[u8]| {
            let id = addressed_to(packet)?;
            formers.iter().position(|former| former.key.made(id))
        };
        let (mut kept, mut at) = (0, 0);
        while at < meta.len {
            let end_of = |at: usize| (at + meta.stride).min(meta.len);
            let packet = |at: usize| bytes.get(at..end_of(at)).unwrap_or_default();
            let former = owner(&formers, packet(at));
            // Those of one owner that follow each other go together, as they came.
            let mut end = end_of(at);
            while end < meta.len && owner(&formers, packet(end)) == former {
                end = end_of(end);
            }
            let packet = bytes.get(at..end).unwrap_or_default();
            if let Some(found) = former {
                let is_gone = formers
                    .get(found)
                    .is_some_and(|former| pass_on(&former.channel, meta, packet));
                if is_gone {
                    formers.swap_remove(found);
                    self.has_formers.store(!formers.is_empty(), Ordering::Release);
                }
            } else {
                bytes.copy_within(at..end, kept);
                kept += end - at;
            }
            at = end;
        }
        meta.len = kept;
        kept > 0
    }
}

/// Sends packets with what is known of them. True if nobody is there any more.
fn pass_on(channel: &UnixDatagram, meta: &RecvMeta, packets: &[u8]) -> bool {
    let about = About {
        addr: meta.addr,
        stride: meta.stride,
        ecn: meta.ecn,
        dst_ip: meta.dst_ip,
    };
    let mut message = about.to_string().into_bytes();
    message.extend_from_slice(packets);
    // A full channel loses it.
    channel
        .send(&message)
        .is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
}

/// What is known of packets, as a line before them.
#[derive(Debug, PartialEq, Eq)]
struct About {
    addr: SocketAddr,
    /// Bytes of each but the last, which may be shorter.
    stride: usize,
    ecn: Option<EcnCodepoint>,
    dst_ip: Option<IpAddr>,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ecn = self.ecn.map_or(0, |ecn| ecn as u8);
        write!(f, "{} {} {ecn} ", self.addr, self.stride)?;
        match self.dst_ip {
            Some(ip) => writeln!(f, "{ip}"),
            None => writeln!(f, "-"),
        }
    }
}

impl FromStr for About {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or(());
        Ok(Self {
            addr: word()?.parse().map_err(drop)?,
            stride: word()?.parse().map_err(drop)?,
            ecn: EcnCodepoint::from_bits(word()?.parse().map_err(drop)?),
            dst_ip: word()?.parse().ok(),
        })
    }
}

/// The socket of a listener as quinn sees it: what comes is ours.
pub(super) struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    relay: Arc<Relay>,
    /// The inbox, once it is watched.
    inbox: Mutex<Option<tokio::net::UnixDatagram>>,
}

impl Socket {
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, relay: Arc<Relay>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            relay,
            inbox: Mutex::default(),
        })
    }

    /// What a successor has read for us.
    fn poll_inbox(&self, cx: &mut Context<'_>, bytes: &mut [u8], meta: &mut RecvMeta) -> Poll<bool> {
        let mut inbox = lock(&self.inbox);
        if let Some(new) = lock(&self.relay.inbox).take() {
            // It was made non-blocking; this is a task of the runtime that drives it.
            *inbox = tokio::net::UnixDatagram::from_std(new).ok();
        }
        let Some(channel) = &*inbox else {
            return Poll::Pending;
        };
        let mut message = vec![0; MESSAGE];
        loop {
            let mut space = ReadBuf::new(&mut message);
            let read = ready!(channel.poll_recv(cx, &mut space));
            let message = space.filled();
            if read.is_err() || message.is_empty() {
                // The successor, and whoever came after it, has gone.
                *inbox = None;
                return Poll::Pending;
            }
            let Some(end) = message.iter().position(|b| *b == b'\n') else {
                continue;
            };
            let (line, packet) = message.split_at(end);
            let packet = packet.get(1..).unwrap_or_default();
            let about = std::str::from_utf8(line)
                .ok()
                .and_then(|line| line.parse::<About>().ok());
            let (Some(about), Some(space)) = (about, bytes.get_mut(..packet.len())) else {
                continue;
            };
            space.copy_from_slice(packet);
            *meta = RecvMeta {
                addr: about.addr,
                len: packet.len(),
                stride: about.stride,
                ecn: about.ecn,
                dst_ip: about.dst_ip,
            };
            return Poll::Ready(true);
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.relay.waker.register(cx.waker());
        if let (Some(bytes), Some(meta)) = (bufs.first_mut(), metas.first_mut())
            && self.poll_inbox(cx, bytes, meta).is_ready()
        {
            return Poll::Ready(Ok(1));
        }
        if self.relay.is_replaced.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        loop {
            let read = ready!(self.inner.poll_recv(cx, bufs, metas))?;
            let mut kept = 0;
            for at in 0..read {
                let (Some(bytes), Some(meta)) = (bufs.get_mut(at), metas.get_mut(at)) else {
                    break;
                };
                if self.relay.sort(bytes, meta) {
                    bufs.swap(at, kept);
                    metas.swap(at, kept);
                    kept += 1;
                }
            }
            if kept > 0 {
                return Poll::Ready(Ok(kept));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these is whole after any panic: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(key: Key) -> Vec<u8> {
        HashedConnectionIdGenerator::from_key(key.0)
            .generate_cid()
            .to_vec()
    }

    fn short(key: Key) -> Vec<u8> {
        [vec![0x40], id_of(key), vec![7; 30]].concat()
    }

    fn long(key: Key) -> Vec<u8> {
        [vec![0xe0, 0, 0, 0, 1, 8], id_of(key), vec![0, 7, 7]].concat()
    }

    #[test]
    fn packets_know_where_they_belong() {
        let (ours, others) = (Key::new(), Key::new());
        for packet in [short(ours), long(ours)] {
            let id = addressed_to(&packet).unwrap();
            assert!(ours.made(id) && !others.made(id));
        }
        for packet in [
            &[][..],
            &[0x40, 1, 2],
            &[0xc0, 0, 0, 0, 1, 4, 1, 2, 3, 4],
            &[0xc0, 0, 0],
        ] {
            assert!(addressed_to(packet).is_none(), "{packet:?}");
        }
    }

    #[test]
    fn what_is_known_of_a_packet_arrives() {
        for (addr, ecn, dst_ip) in [
            ("10.0.0.1:443", None, None),
            ("[2001:db8::1]:443", Some(EcnCodepoint::Ce), Some("::1")),
            ("127.0.0.1:1", Some(EcnCodepoint::Ect0), Some("127.0.0.1")),
        ] {
            let about = About {
                addr: addr.parse().unwrap(),
                stride: 1200,
                ecn,
                dst_ip: dst_ip.map(|ip| ip.parse().unwrap()),
            };
            assert_eq!(about.to_string().trim_end().parse(), Ok(about));
        }
        for line in [
            "",
            "10.0.0.1:443",
            "10.0.0.1 1200 0 -",
            "10.0.0.1:443 1200 x -",
            "10.0.0.1:443 x 0 -",
        ] {
            assert_eq!(line.parse::<About>(), Err(()));
        }
    }

    #[test]
    fn others_packets_are_taken_out_of_a_batch_and_passed_on() {
        let old = Relay::new(Vec::new());
        let ways = old.hand_over().unwrap();
        let formers = ways
            .into_iter()
            .map(|(key, channel)| Former::new(key, channel).unwrap());
        let new = Relay::new(formers.collect());
        let [mine, theirs] = [short(new.key), short(old.key)];
        let mut batch = [&mine[..], &theirs, &theirs, &mine].concat();
        let mut meta = RecvMeta {
            len: batch.len(),
            stride: mine.len(),
            ..RecvMeta::default()
        };
        assert!(new.sort(&mut batch, &mut meta));
        assert_eq!(&batch[..meta.len], [&mine[..], &mine].concat());
        let inbox = lock(&old.inbox).take().unwrap();
        let mut message = [0; 200];
        let n = inbox.recv(&mut message).unwrap();
        assert!(
            message[..n].ends_with(&[&theirs[..], &theirs].concat()),
            "both at once"
        );
        assert!(inbox.recv(&mut message).is_err(), "nothing more");
        // Once the old process has gone its packets are nobody's.
        drop(inbox);
        let mut batch = theirs.clone();
        (meta.len, meta.stride) = (batch.len(), batch.len());
        assert!(!new.sort(&mut batch, &mut meta));
        assert!(!new.has_formers.load(Ordering::Acquire));
    }
}
