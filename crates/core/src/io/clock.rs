//! What an exchange is waiting for, and for how long it may.
//!
//! One clock belongs to one task. Whoever finds nothing to do calls [`Clock::wait`] with the phase it
//! waits in; the clock arms the worker's coarse timer and turns an expiry into the right
//! [`Failure`]. Progress within a phase starts its time anew; being polled for another reason does not.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Pace;
use crate::failure::{Code, Failure};
use crate::telemetry::metrics::{self, Shard};
use crate::timer::{Deadline, Timers, Which};

/// A phase bounded only by the whole exchange.
const NO_BOUND: Duration = Duration::from_hours(24);

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// The next request on a kept-alive connection.
    KeepAlive,
    /// A request that follows the last closely.
    Follow,
    /// The end of a TLS handshake.
    Handshake,
    /// A last request on a connection that is to end.
    Leaving,
    /// The rest of a request's head.
    Head,
    /// More of a request's body.
    Body,
    /// Room to write to the client.
    Write,
    /// A connection to an endpoint.
    Connect,
    /// Room to write to an endpoint.
    UpstreamWrite,
    /// The head of an endpoint's response.
    FirstByte,
    /// An endpoint's `100 Continue`.
    Continue,
    /// More of an endpoint's body.
    UpstreamIdle,
    /// A policy that asked to wait.
    Policy,
    /// The client to take in our last words.
    Linger,
    /// Something to pass through a tunnel.
    Tunnel,
}

impl Phase {
    /// The phase as metrics name it.
    pub(crate) fn label(self) -> metrics::Phase {
        match self {
            Self::Idle | Self::KeepAlive | Self::Follow | Self::Leaving => metrics::Phase::KeepAlive,
            Self::Handshake => metrics::Phase::Handshake,
            Self::Head => metrics::Phase::ClientHead,
            Self::Body => metrics::Phase::ClientBody,
            Self::Write | Self::Linger => metrics::Phase::ClientWrite,
            Self::Connect => metrics::Phase::Connect,
            Self::FirstByte | Self::Continue => metrics::Phase::FirstByte,
            Self::UpstreamWrite | Self::UpstreamIdle | Self::Tunnel => metrics::Phase::UpstreamIdle,
            Self::Policy => metrics::Phase::Exchange,
        }
    }

    /// What to tell when this phase took too long.
    fn failure(self) -> Failure {
        match self {
            Self::Handshake => Failure::new(Code::ClientGone).detail("the handshake was not over in time"),
            Self::Head | Self::KeepAlive | Self::Follow | Self::Leaving | Self::Idle => {
                Failure::new(Code::RequestTimeout).safe_detail("the request's head did not arrive in time")
            }
            Self::Body => {
                Failure::new(Code::RequestTimeout).safe_detail("the request's body did not arrive in time")
            }
            Self::Write | Self::Linger => Failure::new(Code::ClientGone).detail("the client stopped reading"),
            Self::Connect => Failure::new(Code::ConnectFailed).detail("no connection in time"),
            Self::UpstreamWrite => {
                Failure::new(Code::UpstreamTimeout).detail("the endpoint stopped reading the request")
            }
            Self::FirstByte | Self::Continue => {
                Failure::new(Code::UpstreamTimeout).detail("no response head in time")
            }
            Self::UpstreamIdle => Failure::new(Code::UpstreamTimeout).detail("the response's body stalled"),
            Self::Tunnel => Failure::new(Code::UpstreamTimeout).detail("nothing passed through the tunnel"),
            Self::Policy => Failure::new(Code::DeadlineExceeded).detail("a policy took too long"),
        }
    }
}

/// Whose bound on the whole is the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// The client side's or the route's.
    Exchange,
    /// The upstream's.
    Upstream,
}

impl Total {
    fn label(self) -> metrics::Phase {
        match self {
            Self::Exchange => metrics::Phase::Exchange,
            Self::Upstream => metrics::Phase::UpstreamTotal,
        }
    }

    fn failure(self) -> Failure {
        match self {
            Self::Exchange => {
                Failure::new(Code::DeadlineExceeded).detail("the time for the whole exchange is over")
            }
            Self::Upstream => Failure::new(Code::UpstreamTimeout).detail("the time for the upstream is over"),
        }
    }
}

/// The deadlines of one task: the current phase and the whole exchange.
pub struct Clock {
    metrics: Arc<Shard>,
    deadline: Deadline,
    phase: Cell<Phase>,
    moved: Cell<bool>,
    duplex: Cell<bool>,
    total: Cell<Total>,
}

impl Clock {
    /// A clock on the worker's timers; expiries are counted in `metrics`.
    pub fn new(timers: &Rc<Timers>, metrics: Arc<Shard>) -> Self {
        Self {
            metrics,
            deadline: timers.deadline(),
            phase: Cell::new(Phase::Idle),
            moved: Cell::new(false),
            duplex: Cell::new(false),
            total: Cell::new(Total::Exchange),
        }
    }

    /// Bounds everything from now until [`Clock::end_total`].
    pub fn begin_total(&self, of: Total, after: Duration) {
        self.total.set(of);
        self.deadline.set_total(after);
    }

    /// What is left of the bound on the whole, if there is one.
    pub fn total_left(&self) -> Option<Duration> {
        self.deadline.total_left()
    }

    /// Lifts the bound on the whole.
    pub fn end_total(&self) {
        self.deadline.clear_total();
        self.duplex.set(false);
        self.leave();
    }

    /// Both directions flow from here on: one phase covers every wait, and progress in either
    /// direction begins it anew. Ends with the exchange.
    pub fn go_duplex(&self) {
        self.duplex.set(true);
    }

    /// Ends the current phase without beginning another.
    pub fn leave(&self) {
        self.deadline.clear_phase();
        self.phase.set(Phase::Idle);
    }

    /// Something moved: the current phase's time starts anew at the next wait.
    pub fn progress(&self) {
        self.moved.set(true);
    }

    /// As [`Clock::progress`]: so many bytes of a body went through a pipe.
    pub fn spliced(&self, n: usize) {
        self.moved.set(true);
        self.metrics.spliced.add(n as u64);
    }

    /// Called when nothing can be done now. Ready with the failure if `phase` has lasted longer than
    /// `after` since it began or last moved; else the task is woken when it has.
    pub fn wait(&self, cx: &mut Context<'_>, phase: Phase, after: Duration) -> Poll<Failure> {
        self.poll_phase(cx, phase, after).map(|which| {
            let (label, failure) = match which {
                Which::Total => (self.total.get().label(), self.total.get().failure()),
                Which::Phase => (phase.label(), phase.failure()),
            };
            self.metrics.timed_out(label);
            failure
        })
    }

    /// As [`Clock::wait`], for the client to read. What moves in the other direction is no excuse for a client that
    /// reads nothing.
    pub(crate) fn wait_to_write(
        &self,
        cx: &mut Context<'_>,
        pace: &mut Pace,
        after: Duration,
    ) -> Poll<Failure> {
        if pace.wait(self.now()) {
            self.metrics.timed_out(Phase::Write.label());
            return Poll::Ready(Phase::Write.failure());
        }
        self.wait(cx, Phase::Write, after)
    }

    /// As [`Clock::wait`], telling only which bound was hit.
    pub fn poll_phase(&self, cx: &mut Context<'_>, phase: Phase, after: Duration) -> Poll<Which> {
        let phase = if self.duplex.get() {
            Phase::UpstreamIdle
        } else {
            phase
        };
        if self.phase.get() != phase || self.moved.get() {
            self.phase.set(phase);
            self.moved.set(false);
            self.deadline.set(after);
        }
        self.deadline.poll_expired(cx)
    }

    /// Waits for something that knows no clock, as long as the whole exchange may take.
    pub async fn within_total<F: Future>(&self, work: F) -> Result<F::Output, Failure> {
        let mut work = pin!(work);
        self.leave();
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            // What waits by this clock itself, such as for the client's body, has a bound of its own.
            Poll::Pending if !matches!(self.phase.get(), Phase::Idle | Phase::Policy) => Poll::Pending,
            Poll::Pending => self.wait(cx, Phase::Policy, NO_BOUND).map(Err),
        })
        .await
    }

    /// The worker's coarse time.
    pub fn now(&self) -> Instant {
        self.deadline.timers().now()
    }
}
