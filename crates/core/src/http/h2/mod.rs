//! Drives HTTP/2 on a client connection (RFC 9113): streams in, [`crate::proxy::handle`] for each, frames out.
//!
//! The `h2` library speaks the protocol. One task serves one connection and owns the futures of its requests
//! (`stream.rs`), so that they end with it. A turn of the task polls the connection and its requests by turns
//! until neither has anything to do (`signal.rs`), then writes what was gathered (`wire.rs`).

pub(crate) mod guard;
mod incoming;
mod outward;
mod piece;
mod signal;
mod stream;
mod switch;
mod wire;
mod write;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::Request;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::{Builder, Connection as Frames, SendResponse};
use h2::{Reason, RecvStream};

use crate::exchange::Connection;
use crate::io::{Buffer, Clock, Phase, Stream};
use crate::plan::ClientPlan;
use crate::telemetry::metrics::Http2Closed;
use crate::worker::Worker;

use guard::{Breach, Guard};
use piece::Piece;
use signal::Signal;
use stream::Shared;
use wire::Wire;

/// How often the connection and its requests are polled by turns before other tasks have theirs.
const ROUNDS: u32 = 8;
/// Bytes of a response that the library may hold for a stream.
const SEND_BUFFER: usize = 64 * 1024;
/// What a field counts beside its bytes in the size of a header list (RFC 9113 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Bytes of a frame's header (RFC 9113 4.1).
const HEADER: usize = 9;

/// A client's connection, ready to be served.
pub(crate) struct Client {
    connection: Rc<Connection>,
    stream: Stream,
    first: Option<Buffer>,
    clock: Rc<Clock>,
}

impl Client {
    /// A connection whose first bytes, if any, were read already.
    pub(crate) fn new(
        connection: Rc<Connection>,
        stream: Stream,
        first: Option<Buffer>,
        clock: Rc<Clock>,
    ) -> Self {
        Self {
            connection,
            stream,
            first,
            clock,
        }
    }

    /// Serves it until either side ends it.
    pub(crate) async fn serve(self, worker: Rc<Worker>) {
        let plan = worker.plan();
        let guard = Guard::new(&worker.timers, &plan.client.http2);
        let wire = Wire::new(&worker, self.stream, self.first, guard);
        let Some(frames) = handshake(&wire, &plan.client, &self.clock).await else {
            return;
        };
        let shared = Rc::new(Shared {
            worker: worker.clone(),
            connection: self.connection,
            wire: wire.clone(),
        });
        let times = Times {
            first: plan.client.timeouts.head,
            keep_alive: plan.client.timeouts.keep_alive,
            write_idle: plan.client.timeouts.write_idle,
            linger: plan.client.timeouts.linger,
        };
        let most = plan.client.limits.requests_per_connection;
        drop(plan);
        let begin = |request: Request<RecvStream>, respond| {
            let (parts, body) = request.into_parts();
            stream::serve(shared.clone(), parts, body, respond)
        };
        let mut driver = Driver {
            frames,
            requests: FuturesUnordered::new(),
            begin,
            signal: Signal::new(),
            shared: shared.clone(),
            clock: self.clock.clone(),
            times,
            accepted: 0,
            most,
            stage: Stage::Open,
            was_busy: false,
            sent: 0,
        };
        let lingers = poll_fn(|cx| driver.poll(cx)).await;
        drop(driver);
        if lingers {
            linger(&worker, &wire, &self.clock, times.linger).await;
        }
    }
}

/// Exchanges prefaces. `None`: there was none, or not in time.
async fn handshake(wire: &Wire, client: &ClientPlan, clock: &Clock) -> Option<Frames<Wire, Piece>> {
    let settings = &client.http2;
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX >> 1);
    // More than our own limits, by what the names of the pseudo-fields take: what is over those is refused with
    // an answer that says why. Far beyond, the library ends the request or the connection.
    let list = client.head.bytes + FIELD_OVERHEAD * (client.head.fields + 8) + 1024;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_concurrent_streams)
        .initial_window_size(narrow(settings.stream_window.get()))
        .initial_connection_window_size(narrow(settings.connection_window.get()))
        .max_header_list_size(narrow(list as u64))
        // As many as the guard lets through: it is the one that counts, and says so.
        .max_pending_accept_reset_streams(settings.max_resets as usize)
        // The library would count over the whole life of a connection; `outward.rs` does it by windows.
        .max_local_error_reset_streams(None)
        .max_send_buffer_size(SEND_BUFFER)
        // What small pieces of data may take beside the data itself, while nobody reads them: a tunnel is full of them.
        .data_frame_budget(2 * usize::try_from(settings.connection_window.get()).unwrap_or(usize::MAX >> 1))
        // RFC 8441: whether a route allows it is for the route to say.
        .enable_connect_protocol();
    let mut handshake = pin!(builder.handshake::<_, Piece>(wire.clone()));
    poll_fn(|cx| {
        let done = handshake.as_mut().poll(cx).map(Result::ok);
        if let Poll::Ready(Err(_)) = wire.flush(cx) {
            return Poll::Ready(None);
        }
        match done {
            Poll::Pending => clock
                .poll_phase(cx, Phase::Head, client.timeouts.head)
                .map(|_| None),
            done @ Poll::Ready(_) => done,
        }
    })
    .await
}

/// How long a connection may do nothing.
#[derive(Clone, Copy)]
struct Times {
    /// Before its first request.
    first: Duration,
    /// Between requests.
    keep_alive: Duration,
    /// While the client takes nothing of what is left to send.
    write_idle: Duration,
    /// After its end was announced.
    linger: Duration,
}

/// The task of a connection. `F` is a request being answered, `B` begins one.
struct Driver<F, B> {
    frames: Frames<Wire, Piece>,
    requests: FuturesUnordered<F>,
    begin: B,
    signal: Signal,
    shared: Rc<Shared>,
    clock: Rc<Clock>,
    times: Times,
    accepted: u64,
    most: u64,
    stage: Stage,
    /// True if a request was under way when the task last had nothing to do.
    was_busy: bool,
    /// What had been sent by then.
    sent: u64,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client was told to begin no more requests.
    Leaving,
    /// The client did too much of something: nothing of it is served any more.
    Expelled,
}

impl<F, B> Driver<F, B>
where
    F: Future<Output = ()>,
    B: Fn(Request<RecvStream>, SendResponse<Piece>) -> F,
{
    /// One turn. Ready when the connection is over, with true if the client may still be sending.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.signal.begin_turn(cx.waker());
        let over = self.turn(cx);
        self.signal.end_turn();
        over
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        for _ in 0..ROUNDS {
            let (connection, mut requests) = (self.signal.take_connection(), self.signal.take_requests());
            if connection && let Poll::Ready(over) = self.poll_frames(&mut requests) {
                return Poll::Ready(over);
            }
            if requests {
                let waker = self.signal.requests.clone();
                let mut cx = Context::from_waker(&waker);
                while let Poll::Ready(Some(())) = self.requests.poll_next_unpin(&mut cx) {}
            } else if !connection && !self.must_change() {
                break;
            }
        }
        let waker = self.signal.connection.clone();
        if let Poll::Ready(Err(_)) = self.shared.wire.flush(&mut Context::from_waker(&waker)) {
            return Poll::Ready(false);
        }
        self.count_refused();
        self.wait(cx)
    }

    /// Takes in what has come; `began` becomes true if a request did.
    fn poll_frames(&mut self, began: &mut bool) -> Poll<bool> {
        let waker = self.signal.connection.clone();
        let mut cx = Context::from_waker(&waker);
        loop {
            match self.frames.poll_accept(&mut cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.accepted += 1;
                    *began = true;
                    self.requests.push((self.begin)(request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(self.failed(&error)),
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Tells the client to go, if it must. True if that is new.
    fn must_change(&mut self) -> bool {
        if let Some(breach) = self.shared.wire.breach() {
            return self.expel(breach);
        }
        let (worker, connection) = (&self.shared.worker, &self.shared.connection);
        let must = worker.is_draining() || connection.listener.is_draining() || self.accepted >= self.most;
        must && self.leave()
    }

    /// Announces the end: requests under way are finished, and the client is told not to begin others
    /// (RFC 9113 6.8). True if that is new.
    fn leave(&mut self) -> bool {
        if self.stage != Stage::Open {
            return false;
        }
        self.stage = Stage::Leaving;
        self.frames.graceful_shutdown();
        self.signal.connection.wake_by_ref();
        true
    }

    /// Ends everything. True if that is new.
    fn expel(&mut self, breach: Breach) -> bool {
        if self.stage == Stage::Expelled {
            return false;
        }
        self.stage = Stage::Expelled;
        self.count(breach.why(), breach.setting());
        self.requests.clear();
        self.frames.abrupt_shutdown(breach.reason());
        self.signal.connection.wake_by_ref();
        true
    }

    fn count_refused(&self) {
        for _ in 0..self.shared.wire.take_refused() {
            let setting = "client.http2.max_concurrent_streams";
            self.shared.worker.metrics.limit_hit(setting);
        }
    }

    /// Nothing to do: waits no longer than it may. Ready when it has.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let is_busy = !self.requests.is_empty();
        let has_unsent = self.stage == Stage::Leaving && self.frames.has_streams();
        let sent = self.shared.wire.sent();
        // Requests have clocks of their own; this one then only tells of a drain. Pings begin nothing anew.
        if is_busy || self.was_busy || (has_unsent && sent != self.sent) {
            self.clock.progress();
        }
        (self.was_busy, self.sent) = (is_busy, sent);
        let times = &self.times;
        let (phase, after) = match self.stage {
            _ if is_busy => (Phase::KeepAlive, times.keep_alive),
            Stage::Open if self.accepted == 0 || self.shared.wire.is_amid_frame() => {
                (Phase::Head, times.first)
            }
            Stage::Open => (Phase::KeepAlive, times.keep_alive),
            Stage::Leaving if has_unsent => (Phase::Write, times.write_idle),
            Stage::Leaving | Stage::Expelled => (Phase::Linger, times.linger),
        };
        if self.clock.poll_phase(cx, phase, after).is_pending() {
            return Poll::Pending;
        }
        if !is_busy {
            if self.stage != Stage::Open {
                return Poll::Ready(false);
            }
            if phase == Phase::Head {
                self.shared.worker.metrics.timed_out(phase.label());
            }
            self.leave();
        }
        // Another turn waits anew.
        self.clock.progress();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The connection broke. True if the client may still be sending.
    fn failed(&self, error: &h2::Error) -> bool {
        if !error.is_library() {
            return false;
        }
        let setting = match error.reason() {
            // The library says which of its bounds it was in words only.
            Some(Reason::ENHANCE_YOUR_CALM) => Some("client.http2"),
            _ => None,
        };
        self.count(guard::why(error.reason()), setting);
        true
    }

    fn count(&self, why: Http2Closed, setting: Option<&'static str>) {
        let metrics = &self.shared.worker.metrics;
        metrics.http2_closed(why);
        if let Some(setting) = setting {
            metrics.limit_hit(setting);
        }
        tracing::debug!(why = why.name(), "connection of HTTP/2 closed");
    }
}

/// Reads what the client still sends, for a while, so that our last frames are not lost to a reset.
async fn linger(worker: &Worker, wire: &Wire, clock: &Clock, after: Duration) {
    const MOST: usize = 1024 * 1024;
    let mut buffer = worker.buffers.small();
    let mut taken = 0;
    clock.begin_total(crate::io::Total::Exchange, after);
    poll_fn(|cx| {
        loop {
            match wire.poll_discard(cx, &mut buffer) {
                Poll::Ready(n) if n > 0 && taken < MOST => taken += n,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return clock.poll_phase(cx, Phase::Linger, after).map(|_| ()),
            }
        }
    })
    .await;
}

/// The length of the payload of a frame with this header.
fn length([a, b, c, ..]: &[u8; HEADER]) -> usize {
    usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)
}

/// The stream of a frame with this header.
fn stream_id([.., a, b, c, d]: &[u8; HEADER]) -> u32 {
    u32::from_be_bytes([a & 0x7f, *b, *c, *d])
}
