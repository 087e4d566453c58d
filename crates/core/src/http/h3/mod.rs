//! Drives HTTP/3 on a client connection: frames in, [`crate::proxy::handle`], frames out.
//!
//! The h3 crate speaks the protocol, quinn carries it; what neither bounds or looks at is in `frames.rs`,
//! `section.rs` and `transport.rs`. A connection has one task on one worker, which accepts its requests, and each
//! request has one of its own, which ends with it.

mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod incoming;
mod section;
mod stream;
mod switch;
mod transport;
mod write;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h3::error::{Code, ConnectionError};
use h3::server;
use tokio::task::JoinSet;

use self::stream::{Accepted, Ended};
use self::transport::{Shared, Transport};
use crate::exchange::Connection;
use crate::http::address::PeerLines;
use crate::io::{Clock, Phase};
use crate::listen::quic::{Door, tls_info};
use crate::worker::Worker;

/// What a request's stream may ask for while others wait.
type Driver = server::Connection<Transport, Bytes>;

/// A wait that only a drain or the end of a request ends.
const NO_BOUND: Duration = Duration::from_hours(24);
/// How long the last words of a connection are given to arrive, so that a client that was about to send knows that it
/// can do so elsewhere.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The time in which taken-back requests are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// A client's connection, ready to be served.
pub(crate) struct Client {
    /// What exchanges know of it.
    pub connection: Rc<Connection>,
    /// Where it came in.
    pub door: std::sync::Arc<Door>,
    /// The connection itself.
    pub quic: quinn::Connection,
}

/// What happens on a connection.
enum Event {
    Request(Box<Accepted>),
    /// The client has gone, or did what ends a connection.
    Gone,
    /// No more requests are wanted.
    Drain,
    /// Nothing was asked for too long, or all is said.
    Quiet,
    /// The client begins requests only to give them up.
    Abuse,
}

impl Client {
    /// Serves it until either side ends it.
    pub(crate) async fn serve(self, worker: Rc<Worker>) {
        let plan = worker.plan();
        let limits = plan.client.head;
        // The crate counts 32 bytes for each field, `client.limits.head` does not: what is too large is for us to say.
        let room = (limits.bytes + 32 * (limits.fields + 5)).min(LARGEST_SECTION);
        let shared = Shared::new(self.quic.clone(), limits, room);
        let clock = Clock::new(&worker.timers, worker.metrics.clone());
        let head_timeout = plan.client.timeouts.head;
        drop(plan);
        let mut builder = server::builder();
        builder.max_field_section_size(room as u64);
        // RFC 9220: whether a route allows it is for the route to say.
        builder.enable_extended_connect(true);
        // The crate forgets a frame of the client's when its own useless stream cannot be opened.
        builder.send_grease(false);
        let driver = {
            let mut building = pin!(builder.build(Transport::new(&shared)));
            poll_fn(|cx| match building.as_mut().poll(cx) {
                Poll::Ready(built) => Poll::Ready(built.ok()),
                Poll::Pending => clock.poll_phase(cx, Phase::Head, head_timeout).map(|_| None),
            })
            .await
        };
        let Some(driver) = driver else {
            return shared.close(Code::H3_GENERAL_PROTOCOL_ERROR);
        };
        let serving = Serving {
            client: self,
            worker,
            shared,
            clock,
            requests: JoinSet::new(),
            begun: 0,
            abuse: Abuse::default(),
            going: false,
        };
        serving.run(driver).await;
    }
}

/// The largest section the crate is to decode: beyond, its map of fields could be too small for them.
const LARGEST_SECTION: usize = 512 * 1024;

struct Serving {
    client: Client,
    worker: Rc<Worker>,
    shared: Rc<Shared>,
    clock: Clock,
    requests: JoinSet<Ended>,
    begun: u64,
    abuse: Abuse,
    /// True once the client was told that no more requests are wanted.
    going: bool,
}

impl Serving {
    async fn run(mut self, mut driver: Driver) {
        let mut known = self.client.quic.remote_address();
        let mut connection = self.client.connection.clone();
        loop {
            match self.next(&mut driver).await {
                Event::Request(accepted) => {
                    let address = self.client.quic.remote_address();
                    if address != known {
                        known = address;
                        connection = moved(&connection, address, &self.client.quic);
                    }
                    self.begun += 1;
                    let serving = stream::serve(self.worker.clone(), connection.clone(), *accepted);
                    self.requests.spawn_local(serving);
                }
                Event::Drain => {
                    self.going = true;
                    // What h3 calls the last one is the first that is not taken.
                    self.shared.reject_new();
                    if !self.say_goaway(&mut driver).await {
                        return;
                    }
                }
                Event::Quiet => return self.shared.close(Code::H3_NO_ERROR),
                Event::Abuse => {
                    self.worker.metrics.limit_hit("client.http3.max_resets");
                    return self.shared.close(Code::H3_EXCESSIVE_LOAD);
                }
                Event::Gone => return,
            }
        }
    }

    /// Tells the client which requests are still answered. False if it does not listen.
    async fn say_goaway(&self, driver: &mut Driver) -> bool {
        let patience = self.worker.plan().client.timeouts.write_idle;
        let mut saying = pin!(driver.shutdown(1));
        poll_fn(|cx| match saying.as_mut().poll(cx) {
            Poll::Ready(said) => Poll::Ready(said.is_ok()),
            Poll::Pending => self.clock.poll_phase(cx, Phase::Write, patience).map(|_| false),
        })
        .await
    }

    async fn next(&mut self, driver: &mut Driver) -> Event {
        let plan = self.worker.plan();
        let (keep_alive, head) = (plan.client.timeouts.keep_alive, plan.client.timeouts.head);
        let most = plan.client.limits.requests_per_connection;
        let max_resets = plan.client.http3.max_resets;
        drop(plan);
        let mut accepting = pin!(driver.accept());
        poll_fn(|cx| {
            while let Poll::Ready(Some(ended)) = self.requests.poll_join_next(cx) {
                let given_up = matches!(ended, Ok(Ended::GivenUp));
                if given_up && self.abuse.add(self.clock.now(), max_resets) {
                    return Poll::Ready(Event::Abuse);
                }
            }
            match accepting.as_mut().poll(cx) {
                Poll::Ready(Ok(Some(resolver))) => {
                    return Poll::Ready(match self.shared.next_note() {
                        Some(note) => Event::Request(Box::new(Accepted { resolver, note })),
                        None => Event::Gone,
                    });
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(Event::Quiet),
                Poll::Ready(Err(error)) => return Poll::Ready(lost(&error)),
                Poll::Pending => {}
            }
            let is_draining = self.worker.is_draining() || self.client.door.is_closed();
            if !self.going && (is_draining || self.begun >= most) {
                return Poll::Ready(Event::Drain);
            }
            let (phase, after) = match (self.requests.is_empty(), self.going) {
                (false, _) => (Phase::Idle, NO_BOUND),
                (true, true) => (Phase::Linger, LAST_WORDS),
                (true, false) if self.begun == 0 => (Phase::Head, head),
                (true, false) => (Phase::KeepAlive, keep_alive),
            };
            self.clock.poll_phase(cx, phase, after).map(|_| Event::Quiet)
        })
        .await
    }
}

fn lost(error: &ConnectionError) -> Event {
    tracing::debug!(%error, "HTTP/3 connection ended");
    Event::Gone
}

/// The connection as it is known after the client has moved to another address: its requests come from there.
fn moved(connection: &Connection, address: SocketAddr, quic: &quinn::Connection) -> Rc<Connection> {
    let ip = address.ip().to_canonical();
    let port = connection.lines.port().parse().unwrap_or(0);
    Rc::new(Connection {
        listener: connection.listener.clone(),
        peer: ip,
        peer_port: address.port(),
        lines: PeerLines::new(ip, connection.scheme, port),
        scheme: connection.scheme,
        // A certificate that was shown at the beginning goes with the keys, not with the address.
        tls: Some(Box::new(tls_info(quic))),
        requests: connection.requests.clone(),
        _open: None,
    })
}

/// Counts requests that were given up, by windows of time.
#[derive(Default)]
struct Abuse {
    since: Option<Instant>,
    count: u32,
}

impl Abuse {
    /// Counts one; true if there are more than `most` in this window.
    fn add(&mut self, now: Instant, most: u32) -> bool {
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW)
        {
            self.since = Some(now);
            self.count = 0;
        }
        self.count += 1;
        self.count > most
    }
}
