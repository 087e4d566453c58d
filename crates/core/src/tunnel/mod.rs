//! What follows a switch of protocols: bytes in both directions until one side has enough, or we do.
//!
//! A tunnel belongs to the task of its client's connection and keeps its exchange, which is closed when the tunnel
//! ends. It does not look at the bytes, but for where frames of a WebSocket end, so that it can say goodbye between two
//! of them. A reload touches no tunnel whose route still stands; others, and all of them in a drain, end at moments
//! spread over `process.drain.timeout`, so that their clients do not all come back at once.

mod flow;
pub mod frames;

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::action::Action;
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::gateway::PlanRef;
use crate::io::{Buffer, Phase, Stream, Total};
use crate::telemetry::metrics::{TunnelEnd, UpstreamStats};
use crate::timer::Which;
use crate::upstream::Lease;
use crate::worker::Worker;
use flow::{Broken, Flow};

/// How long one direction may stay open in silence when the other has ended: frames need both.
const HALF_OPEN: Duration = Duration::from_secs(30);
/// The share of `process.drain.timeout` over which tunnels are ended; the rest is for their last words.
const SPREAD: f64 = 0.75;

/// What a route allows of tunnels.
#[derive(Debug, PartialEq)]
pub struct TunnelPlan {
    /// The protocols, in small letters.
    pub upgrades: Box<[Box<str>]>,
    /// How long nothing may pass in either direction.
    pub idle: Duration,
    /// How old one may get.
    pub max_age: Duration,
}

/// One end of a tunnel.
pub(crate) trait End {
    /// Ready when a read would not wait, as far as can be told.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Reads; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes some of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Ready when everything written has left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Says that nothing more comes.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl End for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_readable(self, cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_read(self, cx, space)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self, cx)
    }
}

/// The endpoint's end of a tunnel, right after its 101.
pub(crate) struct Far {
    pub lease: Lease,
    /// What came behind the 101.
    pub first: Option<Buffer>,
    pub stats: Arc<UpstreamStats>,
}

/// Tells the client that its wish is granted, in these bytes, and carries everything behind them until the end.
/// `first` is what the client has sent already.
pub(crate) async fn run(mut ex: Box<Exchange>, client: impl End, granted: Vec<u8>, first: Option<Buffer>) {
    ex.clock.end_total();
    // Invariant: whoever calls has seen the far end.
    let Some(mut tunnel) = Tunnel::new(&mut ex, client, first) else {
        return;
    };
    ex.record.switched(Instant::now());
    let mut left = Some((granted, 0));
    let outcome = poll_fn(|cx| {
        if let Some((granted, sent)) = &mut left {
            let done = ready!(tunnel.poll_grant(cx, &ex, granted, sent));
            // Not kept for the life of the tunnel.
            if let Some((granted, _)) = left.take() {
                ex.worker.keep_staging(granted);
            }
            if let Err(error) = done {
                return Poll::Ready(Outcome {
                    why: TunnelEnd::ClientBroke,
                    failure: Some(Failure::new(Code::ClientGone).source(error)),
                });
            }
        }
        tunnel.poll(cx, &ex)
    })
    .await;
    ex.clock.end_total();
    ex.record.bytes_in = tunnel.up.bytes;
    ex.record.bytes_out = tunnel.down.bytes;
    if let Some(failure) = outcome.failure {
        ex.record.broke(&failure);
    }
    tunnel.open.why = Some(outcome.why);
    drop(tunnel);
    ex.close();
}

/// Counts a tunnel while it is open, and why it ended.
struct Open {
    stats: Arc<UpstreamStats>,
    worker: Rc<Worker>,
    /// None if nobody gets to say: its task ended with the client's connection, or with the worker.
    why: Option<TunnelEnd>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let why = self.why.unwrap_or(if self.worker.is_draining() {
            TunnelEnd::Drain
        } else {
            TunnelEnd::ClientBroke
        });
        self.stats.shard(self.worker.index).tunnel_ended(why);
    }
}

/// How a tunnel ended.
struct Outcome {
    why: TunnelEnd,
    failure: Option<Failure>,
}

struct Tunnel<C> {
    client: C,
    lease: Lease,
    /// From the client to the endpoint.
    up: Flow,
    /// From the endpoint to the client.
    down: Flow,
    /// Whose turn it is: neither direction may starve the other.
    up_first: bool,
    /// Why it is ending: the first reason counts.
    why: Option<TunnelEnd>,
    failure: Option<Failure>,
    /// Why it will have to end, once the time has come.
    leaving: Option<TunnelEnd>,
    /// True once the rest must not take long.
    is_parting: bool,
    generation: u64,
    protocol: Box<str>,
    is_websocket: bool,
    idle: Duration,
    /// When it will be too old.
    until: Instant,
    open: Open,
}

impl<C: End> Tunnel<C> {
    fn new(ex: &mut Exchange, client: C, first: Option<Buffer>) -> Option<Box<Self>> {
        let mut upgrade = ex.upgrade.take()?;
        let (far, terms) = (upgrade.far.take()?, upgrade.terms.take()?);
        let is_websocket = upgrade.is_websocket();
        let buffers = &ex.worker.buffers;
        far.stats.shard(ex.worker.index).tunnel_opened();
        // Tunnels that began together, after a restart, need not end together.
        let age = terms.max_age.mul_f64(1.0 - fraction(ex) / 10.0);
        ex.clock.begin_total(Total::Exchange, age);
        Some(Box::new(Self {
            client,
            lease: far.lease,
            up: Flow::new(buffers, first, is_websocket),
            down: Flow::new(buffers, far.first, is_websocket),
            up_first: true,
            why: None,
            failure: None,
            leaving: None,
            is_parting: false,
            generation: generation(ex),
            protocol: upgrade.protocol().into(),
            is_websocket,
            idle: terms.idle,
            until: ex.clock.now() + age,
            open: Open {
                stats: far.stats,
                worker: ex.worker.clone(),
                why: None,
            },
        }))
    }

    /// Sends what is left of the head of the 101.
    fn poll_grant(
        &mut self,
        cx: &mut Context<'_>,
        ex: &Exchange,
        head: &[u8],
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        loop {
            let done = match head.get(*sent..).filter(|rest| !rest.is_empty()) {
                Some(rest) => self.client.poll_write(cx, rest),
                None => self.client.poll_flush(cx).map_ok(|()| 0),
            };
            match done? {
                Poll::Ready(0) if *sent == head.len() => return Poll::Ready(Ok(())),
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => *sent += n,
                Poll::Pending => {
                    return ex
                        .clock
                        .wait(cx, Phase::Write, ex.plan.client.timeouts.write_idle)
                        .map(|_| Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, ex: &Exchange) -> Poll<Outcome> {
        self.look_around(ex);
        loop {
            if let Some(outcome) = self.poll_flows(cx, ex) {
                return Poll::Ready(outcome);
            }
            let one_ended = self.is_websocket && (self.up.is_ending() || self.down.is_ending());
            let idle = match () {
                () if self.is_parting => ex.plan.client.timeouts.linger,
                () if one_ended => self.idle.min(HALF_OPEN),
                () => self.idle,
            };
            let Poll::Ready(which) = ex.clock.poll_phase(cx, Phase::Tunnel, idle) else {
                return Poll::Pending;
            };
            let why = match which {
                Which::Phase => TunnelEnd::Idle,
                Which::Total => self.leaving.unwrap_or(TunnelEnd::MaxAge),
            };
            self.why.get_or_insert(why);
            if self.is_parting || one_ended && which == Which::Phase {
                return Poll::Ready(self.outcome());
            }
            self.part(ex);
        }
    }

    /// Moves what can be moved. Some when nothing more will.
    fn poll_flows(&mut self, cx: &mut Context<'_>, ex: &Exchange) -> Option<Outcome> {
        let mut moved = false;
        self.up_first = !self.up_first;
        let mut turns = [self.up_first, !self.up_first].into_iter();
        while let Some(up) = turns.next() {
            let was_open = !(self.up.is_ending() || self.down.is_ending());
            let far = self.lease.stream();
            let polled = if up {
                self.up.poll(cx, &mut self.client, far, &mut moved)
            } else {
                self.down.poll(cx, far, &mut self.client, &mut moved)
            };
            if was_open && self.up.is_ending() {
                self.why.get_or_insert(TunnelEnd::Client);
            } else if was_open && self.down.is_ending() {
                self.why.get_or_insert(TunnelEnd::Endpoint);
            }
            if let Poll::Ready(Err(broken)) = polled {
                self.broke(ex, broken, up);
                turns = [true, false].into_iter();
            }
        }
        if moved && !self.is_parting {
            ex.clock.progress();
        }
        (self.up.is_over() && self.down.is_over()).then(|| self.outcome())
    }

    fn outcome(&mut self) -> Outcome {
        Outcome {
            why: self.why.unwrap_or(TunnelEnd::Client),
            failure: self.failure.take(),
        }
    }

    /// One end is dead. What it said before still reaches the other, which is then told in good order: a reset could
    /// make it lose what it has not read yet.
    fn broke(&mut self, ex: &Exchange, broken: Broken, from_client: bool) {
        let (is_client, is_read, error) = match broken {
            Broken::From(error) => (from_client, true, error),
            Broken::To(error) => (!from_client, false, error),
        };
        let (toward, from, why, code) = if is_client {
            (
                &mut self.down,
                &mut self.up,
                TunnelEnd::ClientBroke,
                Code::ClientGone,
            )
        } else {
            (
                &mut self.up,
                &mut self.down,
                TunnelEnd::EndpointBroke,
                Code::UpstreamReset,
            )
        };
        toward.sink();
        if is_read {
            from.end();
        }
        // Once the end has been agreed on, how a connection goes is of no interest.
        if self.why.is_none() {
            self.why = Some(why);
            self.failure = Some(Failure::new(code).source(error));
        }
        self.linger(ex);
    }

    /// The rest must not take long.
    fn linger(&mut self, ex: &Exchange) {
        if !std::mem::replace(&mut self.is_parting, true) {
            ex.clock.leave();
            ex.clock
                .begin_total(Total::Exchange, ex.plan.client.timeouts.linger);
        }
    }

    /// Ends it politely, within `client.timeouts.linger`.
    fn part(&mut self, ex: &Exchange) {
        let [random, _] = ex.worker.random();
        let [a, b, c, d, ..] = random.to_be_bytes();
        self.down.part(None);
        self.up.part(Some([a, b, c, d]));
        self.linger(ex);
    }

    /// Sees whether the gateway wants it to end: soon in a drain, or when a new plan has no place for it.
    fn look_around(&mut self, ex: &Exchange) {
        if self.is_parting {
            return;
        }
        if ex.worker.is_draining() || ex.connection.listener.is_draining() {
            if self.leaving != Some(TunnelEnd::Drain) {
                self.leave(ex, TunnelEnd::Drain);
            }
            return;
        }
        let generation = ex.worker.gateway.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        match (stands(ex, &self.protocol), self.leaving) {
            (false, None) => self.leave(ex, TunnelEnd::Removed),
            (true, Some(_)) => {
                // It is back.
                self.leaving = None;
                let left = self.until.saturating_duration_since(ex.clock.now());
                ex.clock.begin_total(Total::Exchange, left);
            }
            _ => {}
        }
    }

    /// Ends it at some moment of the time that a drain may take.
    fn leave(&mut self, ex: &Exchange, why: TunnelEnd) {
        self.leaving = Some(why);
        let left = self.until.saturating_duration_since(ex.clock.now());
        let after = ex.worker.plan().drain.mul_f64(SPREAD * fraction(ex));
        ex.clock.begin_total(Total::Exchange, after.min(left));
    }
}

/// Which plan an exchange runs under; 0 if it is not the newest.
fn generation(ex: &Exchange) -> u64 {
    let newest = ex.worker.gateway.generation();
    if ex.worker.plan().is_same(&ex.plan) {
        newest
    } else {
        0
    }
}

/// True if the plan of now still has the route of an exchange, with the same upstream and protocol.
fn stands(ex: &Exchange, protocol: &str) -> bool {
    let now: PlanRef = ex.worker.plan();
    let upstream = ex.record.upstream.and_then(|index| ex.plan.upstreams.get(index));
    let (Some(route), Some(upstream)) = (ex.route(), upstream) else {
        return false;
    };
    let Some(Action::Forward(forward)) = now.route_named(&route.name).map(|route| &route.action) else {
        return false;
    };
    let is_same = |index: usize| {
        now.upstreams
            .get(index)
            .is_some_and(|other| other.name == upstream.name)
    };
    forward.targets.indices().iter().copied().any(is_same)
        && forward
            .tunnel
            .upgrades
            .iter()
            .any(|known| known.eq_ignore_ascii_case(protocol))
}

/// A random number from 0 to 1.
#[allow(clippy::cast_precision_loss, reason = "32 bits are enough to spread by")]
fn fraction(ex: &Exchange) -> f64 {
    let [random, _] = ex.worker.random();
    (random >> 32) as f64 / f64::from(u32::MAX)
}
