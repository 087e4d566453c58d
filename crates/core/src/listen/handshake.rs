//! The TLS handshake of a connection that was accepted.
//!
//! Handshakes are what costs a worker most at a time: a signature and an exchange of keys. So on one worker they take
//! turns: after each step everything else that is ready comes first, then the next handshake. How many may be under way
//! is bounded, and so is the time of each. A client that says nothing yet counts for its time only.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::ServerConnection;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::{Accept, TlsStream};

use super::ListenerState;
use super::admission::Client;
use crate::http::respond;
use crate::io::{Buffer, Clock, Phase, Stream, Tls};
use crate::telemetry::metrics::{Shaken, Unshaken};
use crate::tls::server::ServerTls;
use crate::tls::{TlsInfo, certificate};
use crate::worker::Worker;

/// What a client is told that comes when there are handshakes enough: the alert `internal_error` (RFC 8446 6), in a
/// record of its own.
const BUSY: &[u8] = &[21, 3, 3, 0, 2, 2, 80];
/// Bytes read from a client that is being sent away, so that it reads why.
const MOST_UNREAD: usize = 64 * 1024;

/// Once half of the places are taken, no client gets more than this part of all of them: a few that never finish must
/// not keep everybody else out.
const SHARE: u32 = 16;
/// So many a client may have in any case.
const FEW: u32 = 8;

/// True if a client that has `own` handshakes under way gets no more, when there are `count` in all and may be `most`.
pub(super) fn has_its_share(most: u32, count: u32, own: u32) -> bool {
    is_scarce(most, count) && own >= (most / SHARE).max(FEW)
}

/// True if so many handshakes are under way that places are shared out.
pub(super) fn is_scarce(most: u32, count: u32) -> bool {
    count >= most / 2
}

/// The handshakes of one worker.
pub(crate) struct Handshakes {
    under_way: Rc<RefCell<HashMap<Client, u32>>>,
    count: Rc<Cell<u32>>,
    /// One place, first come first served.
    turn: Semaphore,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            under_way: Rc::default(),
            count: Rc::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Handshakes {
    fn begin(&self, most: u32, client: Client) -> Option<UnderWay> {
        let count = self.count.get();
        let mut under_way = self.under_way.borrow_mut();
        let own = under_way.get(&client).copied().unwrap_or(0);
        if count >= most || has_its_share(most, count, own) {
            return None;
        }
        under_way.insert(client, own + 1);
        self.count.set(count + 1);
        Some(UnderWay {
            by_client: self.under_way.clone(),
            count: self.count.clone(),
            client,
        })
    }
}

/// Counts a handshake while it lives.
struct UnderWay {
    by_client: Rc<RefCell<HashMap<Client, u32>>>,
    count: Rc<Cell<u32>>,
    client: Client,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        let mut under_way = self.by_client.borrow_mut();
        if let Entry::Occupied(mut own) = under_way.entry(self.client) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Why there is no session, and the connection if there are last words for it.
struct Failed {
    why: Unshaken,
    farewell: Option<(TcpStream, &'static [u8])>,
}

impl From<Unshaken> for Failed {
    fn from(why: Unshaken) -> Self {
        Self { why, farewell: None }
    }
}

/// Makes a TLS session of a connection whose first bytes, if any, were read already. `None`: there is none, which was
/// counted.
pub(super) async fn shake(
    worker: &Worker,
    listener: &ListenerState,
    tls: &ServerTls,
    peer: IpAddr,
    stream: Stream,
    first: Option<Buffer>,
) -> Option<(Stream, Box<TlsInfo>)> {
    // The document has TLS on no other.
    let Stream::Tcp(tcp) = stream else { return None };
    let clock = Clock::new(&worker.timers, worker.metrics.clone());
    let after = worker.plan().client.timeouts.handshake;
    let failed = match session(worker, tls, peer, tcp, first, Wait { clock: &clock, after }).await {
        Ok((session, info)) => {
            let how = Shaken {
                is_tls13: info.version == "TLSv1.3",
                resumed: info.resumed,
            };
            listener.stats.shaken(worker.index, how);
            return Some((Stream::Tls(Box::new(Tls::new(session))), info));
        }
        Err(failed) => failed,
    };
    listener.stats.unshaken(worker.index, failed.why);
    if failed.why == Unshaken::Timeout {
        worker.metrics.timed_out(Phase::Handshake.label());
    }
    if let Some((tcp, words)) = failed.farewell {
        let linger = worker.plan().client.timeouts.linger;
        let clock = Clock::new(&worker.timers, worker.metrics.clone());
        part(
            worker,
            tcp,
            words,
            Wait {
                clock: &clock,
                after: linger,
            },
        )
        .await;
    }
    None
}

async fn session(
    worker: &Worker,
    tls: &ServerTls,
    peer: IpAddr,
    tcp: TcpStream,
    first: Option<Buffer>,
    wait: Wait<'_>,
) -> Result<(TlsStream<TcpStream>, Box<TlsInfo>), Failed> {
    let byte = match &first {
        Some(buffer) => buffer.data().first().copied(),
        None => wait.bound(first_byte(&tcp)).await?,
    };
    match byte {
        None => return Err(Unshaken::Gone.into()),
        // A method of HTTP. A record of TLS begins with a number below 32.
        Some(byte) if byte.is_ascii_uppercase() => {
            return Err(Failed {
                why: Unshaken::Plain,
                farewell: Some((tcp, respond::HTTP_ON_TLS)),
            });
        }
        Some(_) => {}
    }
    let most = worker.plan().client.limits.handshakes;
    let Some(under_way) = worker.handshakes.begin(most, peer.into()) else {
        worker.metrics.limit_hit("client.limits.handshakes");
        return Err(Failed {
            why: Unshaken::TooMany,
            farewell: Some((tcp, BUSY)),
        });
    };
    let acceptor = TlsAcceptor::from(tls.accept_config());
    let accepting = acceptor.accept_with(tcp, |session| feed(session, first));
    let session = in_turns(&worker.handshakes.turn, accepting, wait).await?;
    drop(under_way);
    let session = session.map_err(|error| why(&error, tls))?;
    let state = session.get_ref().1;
    let info = Box::new(TlsInfo::of(state, state.server_name()));
    // A ticket vouches for a certificate as it was.
    if let Some(client) = &info.client
        && client.not_after < certificate::unix(SystemTime::now())
    {
        return Err(Unshaken::BadCertificate.into());
    }
    Ok((session, info))
}

/// The first byte, left where it is; none if there is not going to be one.
async fn first_byte(tcp: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    let read = poll_fn(|cx| tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte))).await;
    let [byte] = byte;
    read.is_ok_and(|n| n > 0).then_some(byte)
}

/// Hands over what was read with a PROXY header. What is wrong with it shows itself in the handshake.
fn feed(session: &mut ServerConnection, first: Option<Buffer>) {
    let Some(buffer) = first else { return };
    let mut bytes = buffer.data();
    while !bytes.is_empty() && session.read_tls(&mut bytes).is_ok_and(|n| n > 0) {
        if session.process_new_packets().is_err() {
            return;
        }
    }
}

/// Drives a handshake, one step at each of its turns.
async fn in_turns(
    turns: &Semaphore,
    mut accepting: Accept<TcpStream>,
    wait: Wait<'_>,
) -> Result<io::Result<TlsStream<TcpStream>>, Unshaken> {
    loop {
        let turn = wait.bound(turns.acquire()).await?;
        let step = poll_fn(|cx| Poll::Ready(Pin::new(&mut accepting).poll(cx))).await;
        if let Poll::Ready(done) = step {
            return Ok(done);
        }
        // Comes back after everything that is ready, and after a look at the sockets.
        tokio::task::yield_now().await;
        drop(turn);
        let idle = poll_fn(|cx| match &accepting.get_ref() {
            Some(tcp) if tcp.poll_read_ready(cx).is_ready() => Poll::Ready(None),
            // Nothing to read: this only sends on what did not fit into the socket.
            _ => Pin::new(&mut accepting).poll(cx).map(Some),
        });
        if let Some(done) = wait.bound(idle).await? {
            return Ok(done);
        }
    }
}

/// The time of a handshake, or of a parting.
#[derive(Clone, Copy)]
struct Wait<'a> {
    clock: &'a Clock,
    after: Duration,
}

impl Wait<'_> {
    /// Waits no longer than there is time.
    async fn bound<F: Future>(self, work: F) -> Result<F::Output, Unshaken> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }

    fn poll(self, cx: &mut Context<'_>) -> Poll<Unshaken> {
        let expired = self.clock.poll_phase(cx, Phase::Handshake, self.after);
        expired.map(|_| Unshaken::Timeout)
    }
}

/// Says the last words and reads what the client still sends: otherwise the system resets the connection, and the
/// client never reads them.
async fn part(worker: &Worker, mut tcp: TcpStream, words: &'static [u8], wait: Wait<'_>) {
    // They fit into an empty socket. A client that leaves earlier is as well.
    if tcp.try_write(words).is_err() {
        return;
    }
    let shut = poll_fn(|cx| Pin::new(&mut tcp).poll_shutdown(cx));
    if !matches!(wait.bound(shut).await, Ok(Ok(()))) {
        return;
    }
    let mut buffer = worker.buffers.small();
    let mut stream = Stream::Tcp(tcp);
    let mut read = 0;
    while read < MOST_UNREAD {
        match wait
            .bound(poll_fn(|cx| stream.poll_read(cx, buffer.space())))
            .await
        {
            Ok(Ok(n)) if n > 0 => read += n,
            _ => return,
        }
    }
}

/// What a failed handshake is counted as.
fn why(error: &io::Error, tls: &ServerTls) -> Unshaken {
    use rustls::Error as E;
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<E>()) else {
        return Unshaken::Gone;
    };
    match error {
        E::NoCertificatesPresented => Unshaken::NoCertificate,
        E::InvalidCertificate(_) | E::InvalidCertRevocationList(_) => Unshaken::BadCertificate,
        E::AlertReceived(_) => Unshaken::Alert,
        // No certificate was chosen: none has the name, or none of its keys suits the client.
        E::General(_) if tls.is_strict() => Unshaken::Name,
        E::General(_) | E::PeerIncompatible(_) | E::NoApplicationProtocol => Unshaken::NothingInCommon,
        _ => Unshaken::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_few_clients_do_not_take_all_places() {
        let handshakes = Handshakes::default();
        let client = |n: u8| Client::from(IpAddr::from(Ipv4Addr::new(10, 0, 0, n)));
        let mut kept: Vec<_> = (0..64).map_while(|_| handshakes.begin(64, client(1))).collect();
        assert_eq!(kept.len(), 32, "half of them, while nobody else asks");
        kept.extend((0..64).map_while(|_| handshakes.begin(64, client(2))));
        assert_eq!(kept.len(), 40, "then its share");
        kept.extend((3..).map_while(|n| handshakes.begin(64, client(n))));
        assert_eq!(kept.len(), 64, "and others have the rest");
        drop(kept);
        assert!(handshakes.under_way.borrow().is_empty() && handshakes.count.get() == 0);
    }
}
