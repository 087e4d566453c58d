//! Drives HTTP/2 on a client connection (RFC 9113): streams in, [`crate::proxy::handle`] for each, frames out.
//!
//! `gatehouse-http2` speaks the protocol. One task serves one connection and owns the futures of its requests
//! (`stream.rs`, `tasks.rs`), so that they end with it. A turn of the task reads what has come and polls the requests
//! until nobody has anything to do, then writes what all of them have gathered.

mod incoming;
mod session;
mod stream;
mod switch;
mod tasks;
mod write;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gatehouse_http1::RequestHead;
use gatehouse_http2::{Breach, Connection as Frames, Event, Reason, Settings, Step};

use crate::exchange::Connection;
use crate::io::{Buffer, Clock, LARGE, Phase, Stream};
use crate::plan::ClientPlan;
use crate::telemetry::metrics::Http2Closed;
use crate::worker::Worker;

use session::Session;
use stream::Asked;
use tasks::{Seat, Tasks};

/// How often the connection and its requests are looked at by turns before other tasks have theirs.
const ROUNDS: u32 = 8;
/// How soon a request must follow the last for the memory of that to be used again. Longer pauses give it back.
const CLOSELY: Duration = Duration::from_millis(40);
/// Bytes read before the requests have their turn.
const GULP: usize = 256 * 1024;
/// Bytes to be written above which nothing more is read: the client does not take what it asks for.
const MOST_UNSENT: usize = 256 * 1024;
/// What a field counts beside its bytes in the size of a header list (RFC 9113 6.5.2).
const FIELD_OVERHEAD: usize = 32;

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
        let frames = Frames::new(settings(&plan.client), worker.now());
        let session = Session::new(worker.clone(), self.connection, frames);
        let times = Times {
            first: plan.client.timeouts.head,
            keep_alive: plan.client.timeouts.keep_alive,
            write_idle: plan.client.timeouts.write_idle,
            linger: plan.client.timeouts.linger,
        };
        let most = plan.client.limits.requests_per_connection;
        drop(plan);
        let begin = |seat| stream::serve(session.clone(), seat);
        let mut driver = Driver {
            stream: self.stream,
            input: self.first,
            tasks: Tasks::new(),
            begin,
            session: session.clone(),
            clock: self.clock.clone(),
            times,
            accepted: 0,
            most,
            stage: Stage::Open,
            was_busy: false,
            sent: 0,
            is_held_back: false,
        };
        let lingers = poll_fn(|cx| driver.poll(cx)).await;
        driver.tasks.clear();
        if lingers {
            linger(&worker, &mut driver.stream, &self.clock, times.linger).await;
        }
    }
}

/// How clients are served, as the protocol puts it.
fn settings(client: &ClientPlan) -> Settings {
    let http2 = &client.http2;
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).min(u32::MAX >> 1);
    // More than our own limits, by what the names of the pseudo-fields take: what is over those is refused with
    // an answer that says why.
    let list = client.head.bytes + FIELD_OVERHEAD * (client.head.fields + 8) + 1024;
    Settings {
        max_streams: http2.max_concurrent_streams,
        stream_window: narrow(http2.stream_window.get()),
        connection_window: narrow(http2.connection_window.get()),
        max_list: narrow(list as u64),
        head: client.head,
        max_resets: u64::from(http2.max_resets),
        max_control: u64::from(http2.max_control_frames),
        max_malformed: u64::from(http2.max_malformed),
    }
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

/// The task of a connection. `F` answers requests, `B` makes one of those.
struct Driver<F, B> {
    stream: Stream,
    /// What was read and is not a whole frame yet.
    input: Option<Buffer>,
    tasks: Tasks<F, Asked>,
    begin: B,
    session: Rc<Session>,
    clock: Rc<Clock>,
    times: Times,
    accepted: u64,
    most: u64,
    stage: Stage,
    /// True if a request was under way when the task last had nothing to do.
    was_busy: bool,
    /// What had been sent by then.
    sent: u64,
    /// Nothing is read until what was gathered has left.
    is_held_back: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client was told to begin no more requests.
    Leaving,
    /// It is over as soon as the last words are out.
    Over,
}

impl<F, B> Driver<F, B>
where
    F: Future<Output = Infallible>,
    B: Fn(Rc<Seat<Asked>>) -> F,
{
    /// One turn. Ready when the connection is over, with true if the client may still be sending.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.tasks.begin_turn(cx.waker());
        let over = self.turn(cx);
        self.tasks.end_turn();
        over
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let waker = self.tasks.connection.clone();
        let mut of_connection = Context::from_waker(&waker);
        self.lend_memory();
        let mut is_done = false;
        for _ in 0..ROUNDS {
            if self.tasks.take_connection() && !self.receive(&mut of_connection) {
                return Poll::Ready(false);
            }
            if self.tasks.poll() || self.must_change() {
                continue;
            }
            // Everybody has had a turn: now what they have gathered leaves together.
            match self.flush(&mut of_connection) {
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(())) if self.is_over() => return Poll::Ready(true),
                _ => {}
            }
            if !self.session.inner.borrow_mut().grant() {
                is_done = true;
                break;
            }
        }
        if !is_done {
            // There is more to do, or something that has not left: the worker's other tasks come first.
            self.tasks.connection.wake_by_ref();
        }
        self.count_refused();
        self.wait(cx)
    }

    /// Reads and takes in what has come. False if the client has left.
    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_held_back = self.session.inner.borrow().frames.unsent().len() > MOST_UNSENT;
        if self.stage == Stage::Over || self.is_held_back {
            return true;
        }
        let worker = &self.session.worker;
        let mut head = worker.spare_request();
        let mut input = self.input.take().unwrap_or_else(|| worker.buffers.small());
        let mut taken = 0;
        let is_open = loop {
            match self.take_in(&mut input, &mut head) {
                Ok(needed) if needed > input.capacity() => input.grow(LARGE),
                Ok(_) => {}
                Err(breach) => {
                    self.expel(breach);
                    break true;
                }
            }
            if taken > GULP {
                self.tasks.connection.wake_by_ref();
                break true;
            }
            match self.stream.poll_read(cx, input.space()) {
                Poll::Ready(Ok(n @ 1..)) => {
                    input.filled(n);
                    taken += n;
                }
                Poll::Ready(_) => break false,
                Poll::Pending => break true,
            }
        };
        self.session.worker.recycle_request(head);
        // An idle connection keeps none.
        self.input = Some(input).filter(|input| !input.is_empty());
        is_open
    }

    /// Takes in all whole frames at hand. Tells how many bytes there must be for another.
    fn take_in(&mut self, input: &mut Buffer, head: &mut RequestHead) -> Result<usize, Breach> {
        let worker = &self.session.worker;
        let now = worker.now();
        let mut at = 0;
        let done = loop {
            let mut inner = self.session.inner.borrow_mut();
            // `at` is at most what is there.
            let bytes = &input.data()[at..];
            let (n, event) = match inner.frames.receive(bytes, now, head) {
                Ok(Step::Took(n, event)) => (n, event),
                Ok(Step::Needs(needed)) => break Ok(needed),
                Err(breach) => break Err(breach),
            };
            match event {
                Event::Nothing => {}
                Event::Request(opening) => {
                    drop(inner);
                    self.accepted += 1;
                    let head = std::mem::replace(head, worker.spare_request());
                    self.tasks.push(Asked { head, opening }, &self.begin);
                }
                Event::Data { key, data, is_last } => {
                    let data = bytes.get(data).unwrap_or_default();
                    inner.deliver(key, data, is_last);
                }
                Event::Trailers { key, trailers } => inner.deliver_trailers(key, trailers),
                Event::Closed(key) => inner.stir(key),
                Event::Room(key) => inner.stir_writer(key),
                Event::RoomOnAll => inner.stir_writers(),
            }
            at += n;
        };
        input.consume(at);
        done
    }

    /// Sends what was gathered. Ready when all of it has left.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.session.inner.borrow_mut();
        let frames = &mut inner.frames;
        while !frames.unsent().is_empty() {
            let n = ready!(self.stream.poll_write(cx, frames.unsent()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            frames.sent(n);
        }
        if std::mem::take(&mut self.is_held_back) {
            self.tasks.connection.wake_by_ref();
        }
        // An idle connection keeps no memory for it; the next that writes takes it over.
        if self.tasks.is_empty()
            && let Some(memory) = frames.give_back()
        {
            self.session.worker.keep_staging(memory);
        }
        self.stream.poll_flush(cx)
    }

    fn lend_memory(&self) {
        let mut inner = self.session.inner.borrow_mut();
        if inner.frames.needs_memory() {
            inner.frames.lend(self.session.worker.spare_staging());
        }
    }

    /// True once nothing more will come of it. What is to be said of that was sent.
    fn is_over(&mut self) -> bool {
        if self.stage == Stage::Over {
            return self.session.inner.borrow().frames.unsent().is_empty();
        }
        let mut inner = self.session.inner.borrow_mut();
        if inner.frames.is_over() {
            inner.frames.end(Reason::NO_ERROR);
            self.stage = Stage::Over;
            if inner.frames.unsent().is_empty() {
                return true;
            }
            // Once more around, to send it.
            self.tasks.connection.wake_by_ref();
        }
        false
    }

    /// Tells the client to go, if it must. True if that is new.
    fn must_change(&mut self) -> bool {
        let (worker, connection) = (&self.session.worker, &self.session.connection);
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
        self.session.inner.borrow_mut().frames.leave();
        self.tasks.connection.wake_by_ref();
        true
    }

    /// Ends everything. True if that is new.
    fn expel(&mut self, breach: Breach) -> bool {
        if self.stage == Stage::Over {
            return false;
        }
        self.stage = Stage::Over;
        self.count(breach);
        self.session.inner.borrow_mut().frames.fail(breach);
        self.tasks.clear();
        self.tasks.connection.wake_by_ref();
        true
    }

    fn count_refused(&self) {
        for _ in 0..self.session.inner.borrow_mut().frames.take_refused() {
            let setting = "client.http2.max_concurrent_streams";
            self.session.worker.metrics.limit_hit(setting);
        }
    }

    /// Nothing to do: waits no longer than it may. Ready when it has.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let is_busy = !self.tasks.is_empty();
        let inner = self.session.inner.borrow();
        let has_unsent = self.stage != Stage::Open && !inner.frames.unsent().is_empty();
        let is_amid_frame = self.input.is_some() || inner.frames.is_amid_head();
        let sent = inner.frames.total_sent();
        drop(inner);
        // Requests have clocks of their own; this one then only tells of a drain. Pings begin nothing anew.
        if is_busy || self.was_busy || (has_unsent && sent != self.sent) {
            self.clock.progress();
        }
        (self.was_busy, self.sent) = (is_busy, sent);
        let times = &self.times;
        let (phase, after) = match self.stage {
            _ if is_busy => (Phase::KeepAlive, times.keep_alive),
            _ if self.tasks.has_memory() => (Phase::Follow, CLOSELY),
            Stage::Open if self.accepted == 0 || is_amid_frame => (Phase::Head, times.first),
            Stage::Open => (Phase::KeepAlive, times.keep_alive),
            Stage::Leaving if has_unsent => (Phase::Write, times.write_idle),
            Stage::Leaving | Stage::Over => (Phase::Linger, times.linger),
        };
        if self.clock.poll_phase(cx, phase, after).is_pending() {
            return Poll::Pending;
        }
        if phase == Phase::Follow {
            self.tasks.clear();
        } else if !is_busy {
            if self.stage != Stage::Open {
                return Poll::Ready(false);
            }
            if phase == Phase::Head {
                self.session.worker.metrics.timed_out(phase.label());
            }
            self.leave();
        }
        // Another turn waits anew.
        self.clock.progress();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn count(&self, breach: Breach) {
        let (why, setting) = match breach {
            Breach::Resets => (Http2Closed::Resets, Some("client.http2.max_resets")),
            Breach::Control => (
                Http2Closed::ControlFrames,
                Some("client.http2.max_control_frames"),
            ),
            Breach::Malformed => (Http2Closed::Malformed, Some("client.http2.max_malformed")),
            Breach::Head => (Http2Closed::Calm, Some("client.limits.head")),
            Breach::FrameSize => (Http2Closed::FrameSize, None),
            Breach::FlowControl => (Http2Closed::FlowControl, None),
            Breach::Compression => (Http2Closed::Compression, None),
            Breach::StreamClosed => (Http2Closed::StreamClosed, None),
            Breach::Protocol => (Http2Closed::Protocol, None),
        };
        let metrics = &self.session.worker.metrics;
        metrics.http2_closed(why);
        if let Some(setting) = setting {
            metrics.limit_hit(setting);
        }
        tracing::debug!(why = why.name(), "connection of HTTP/2 closed");
    }
}

/// Ends our direction, and reads what the client still sends, for a while, so that our last frames are not lost to a
/// reset.
async fn linger(worker: &Worker, stream: &mut Stream, clock: &Clock, after: Duration) {
    const MOST: usize = 1024 * 1024;
    let mut buffer = worker.buffers.small();
    let (mut taken, mut has_ended) = (0, false);
    clock.begin_total(crate::io::Total::Exchange, after);
    poll_fn(|cx| {
        has_ended = has_ended || stream.poll_shutdown(cx).is_ready();
        loop {
            match stream.poll_read(cx, buffer.space()) {
                Poll::Ready(Ok(n @ 1..)) if taken < MOST => taken += n,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return clock.poll_phase(cx, Phase::Linger, after).map(|_| ()),
            }
        }
    })
    .await;
}
