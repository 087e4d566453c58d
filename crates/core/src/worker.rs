//! One thread, one single-threaded runtime: its connections, pools, timers, buffers and counts.
//!
//! What workers share is `Send + Sync` and sits in [`Gateway`]; what is here belongs to one thread and
//! needs neither lock nor atomic. Slow or rare work runs on the background runtime, never here.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gatehouse_http1::{RequestHead, ResponseHead};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::exchange::Slots;
use crate::gateway::{Gateway, PlanRef};
use crate::http::date::HttpDate;
use crate::io::BufferPool;
use crate::listen::handshake::Handshakes;
#[cfg(feature = "http3")]
use crate::listen::quic;
use crate::listen::tcp::{Accepted, Acceptor};
use crate::telemetry::access::{AccessBuffer, Clock, Stamp};
use crate::telemetry::metrics::Shard;
use crate::timer::{TICK, Timers};
use crate::upstream::h2;
use crate::upstream::pool::Pools;

/// How often a worker looks after what idles.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Spare heads and staging buffers kept; more are freed at once.
const SPARE: usize = 256;
/// Staging buffers larger than this are not kept.
const SPARE_BYTES: usize = 32 * 1024;
/// Connections on their way from the accepting worker to this one.
const HANDOVER: usize = 4096;

/// What a worker is told.
pub(crate) enum Command {
    /// Accept connections for a listener until it is closed.
    Accept(Acceptor),
    /// Serve this connection.
    Serve(Accepted),
    /// Take HTTP/3 connections for a listener until its door is closed.
    #[cfg(feature = "http3")]
    AcceptQuic(quic::Acceptor),
    /// Make this HTTP/3 connection, and serve it.
    #[cfg(feature = "http3")]
    Arrive(Box<quic::Arriving>),
    /// Something every connection should look at has changed: a drain, a closed listener.
    Stir,
    /// Say that you turn.
    Answer(oneshot::Sender<()>),
    /// Nothing is left to do.
    Stop,
}

/// How others reach a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    commands: mpsc::Sender<Command>,
}

impl WorkerHandle {
    /// Hands something over; gives it back when the worker has too much to do already.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command) => command,
        })
    }

    /// Hands over something that must arrive.
    pub async fn tell(&self, command: Command) {
        // A worker that is gone needs to be told nothing.
        let _ = self.commands.send(command).await;
    }

    /// Waits until the worker has come to what it was told last. False when it is gone.
    pub async fn turns(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Answer(answer)).await;
        answered.await.is_ok()
    }
}

/// A worker's own things.
pub struct Worker {
    /// Its number, below the number of workers.
    pub index: usize,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) peers: Rc<[WorkerHandle]>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) buffers: Rc<BufferPool>,
    pub(crate) pools: Pools,
    pub(crate) multiplexed: h2::Pools,
    pub(crate) handshakes: Handshakes,
    pub(crate) metrics: Arc<Shard>,
    pub(crate) access: RefCell<AccessBuffer>,
    stamps: RefCell<Clock>,
    plan: RefCell<(u64, PlanRef)>,
    cells: RefCell<Vec<Rc<Cell<u64>>>>,
    requests: RefCell<Vec<RequestHead>>,
    #[allow(clippy::vec_box, reason = "responses keep the boxes")]
    responses: RefCell<Vec<Box<ResponseHead>>>,
    staging: RefCell<Vec<Vec<u8>>>,
    slots: RefCell<Vec<Slots>>,
    random: Cell<[u64; 2]>,
    /// An instant and the time of day it was.
    epoch: Cell<(Instant, Duration)>,
    /// The last tick that somebody asked the time in.
    moment: Cell<Moment>,
    date: Cell<HttpDate>,
}

/// Starts a thread for each worker.
pub(crate) fn start(
    gateway: &Arc<Gateway>,
    buffers: Vec<AccessBuffer>,
) -> io::Result<(Vec<WorkerHandle>, Vec<JoinHandle<()>>)> {
    let (handles, inboxes): (Vec<_>, Vec<_>) = buffers
        .iter()
        .map(|_| {
            let (commands, inbox) = mpsc::channel(HANDOVER);
            (WorkerHandle { commands }, inbox)
        })
        .unzip();
    let mut threads = Vec::with_capacity(handles.len());
    for (index, (inbox, access)) in inboxes.into_iter().zip(buffers).enumerate() {
        let gateway = gateway.clone();
        let peers = handles.clone();
        // Built here so that a failure is told to whoever starts us.
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_io()
                    .enable_time()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => runtime.block_on(run(Worker::new(index, gateway, peers, access), inbox)),
                    Err(error) => tracing::error!(worker = index, %error, "worker cannot start"),
                }
            })?;
        threads.push(thread);
    }
    Ok((handles, threads))
}

async fn run(worker: Worker, mut inbox: mpsc::Receiver<Command>) {
    let worker = Rc::new(worker);
    let ticking = tokio::task::spawn_local(worker.timers.clone().run());
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut flushing = tokio::time::interval(worker.plan().access_flush);
    flushing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Accept(acceptor)) => { tokio::task::spawn_local(acceptor.run(worker.clone())); }
                Some(Command::Serve(accepted)) => accepted.serve(&worker),
                #[cfg(feature = "http3")]
                Some(Command::AcceptQuic(acceptor)) => { tokio::task::spawn_local(acceptor.run(worker.clone())); }
                #[cfg(feature = "http3")]
                Some(Command::Arrive(arriving)) => arriving.serve(&worker),
                Some(Command::Stir) => worker.timers.wake_all(),
                Some(Command::Answer(who)) => { let _ = who.send(()); }
                Some(Command::Stop) | None => break,
            },
            _ = flushing.tick() => worker.access.borrow_mut().flush(),
            _ = housekeeping.tick() => {
                worker.look_after();
                let flush = worker.plan().access_flush;
                if flushing.period() != flush {
                    flushing = tokio::time::interval(flush);
                    flushing.set_missed_tick_behavior(MissedTickBehavior::Delay);
                }
            }
        }
    }
    worker.access.borrow_mut().flush();
    ticking.abort();
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        gateway: Arc<Gateway>,
        peers: Vec<WorkerHandle>,
        access: AccessBuffer,
    ) -> Self {
        let seed = RandomState::new();
        let generation = gateway.generation();
        Self {
            index,
            peers: peers.into(),
            timers: Timers::new(TICK, Instant::now()),
            buffers: Rc::default(),
            pools: Pools::default(),
            multiplexed: h2::Pools::default(),
            handshakes: Handshakes::default(),
            metrics: gateway.telemetry().metrics.shard(index),
            access: RefCell::new(access),
            stamps: RefCell::default(),
            plan: RefCell::new((generation, PlanRef::new(gateway.plan(), index))),
            cells: RefCell::default(),
            requests: RefCell::default(),
            responses: RefCell::default(),
            staging: RefCell::default(),
            slots: RefCell::default(),
            random: Cell::new([seed.hash_one(1_u64) | 1, seed.hash_one(2_u64)]),
            epoch: Cell::new(epoch()),
            moment: Cell::new(Moment::never()),
            date: Cell::new(HttpDate::default()),
            gateway,
        }
    }

    /// The plan of this moment.
    pub(crate) fn plan(&self) -> PlanRef {
        let generation = self.gateway.generation();
        let mut held = self.plan.borrow_mut();
        if held.0 != generation {
            *held = (generation, PlanRef::new(self.gateway.plan(), self.index));
        }
        held.1.clone()
    }

    /// True from the start of a drain.
    pub(crate) fn is_draining(&self) -> bool {
        self.gateway.is_draining()
    }

    /// Notes connections that a drain has cut before its very end.
    #[cfg(feature = "http3")]
    pub(crate) fn note_cut(&self, connections: usize) {
        self.gateway.note_cut(connections);
    }

    /// The time, up to a tick behind; costs nothing.
    pub(crate) fn now(&self) -> Instant {
        self.moment().instant
    }

    /// The time of day, in seconds since 1970; up to a tick behind.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.moment().unix_seconds
    }

    /// What time it is, reckoned once in a tick.
    fn moment(&self) -> Moment {
        let tick = self.timers.now_tick();
        let last = self.moment.get();
        if last.tick == tick {
            return last;
        }
        let instant = self.timers.now();
        let moment = Moment {
            tick,
            instant,
            unix_seconds: self.unix_time(instant).as_secs(),
        };
        self.moment.set(moment);
        moment
    }

    /// The time of day of an instant, since 1970.
    pub(crate) fn unix_time(&self, at: Instant) -> Duration {
        let (instant, time) = self.epoch.get();
        time + at.saturating_duration_since(instant)
    }

    /// The `Date` of now (RFC 9110 6.6.1), made once a second.
    pub(crate) fn http_date(&self) -> HttpDate {
        let mut date = self.date.get();
        date.update(self.unix_seconds());
        self.date.set(date);
        date
    }

    /// 128 random bits, good for ids and spreading, not for secrets (xoroshiro128+).
    pub(crate) fn random(&self) -> [u64; 2] {
        let step = || {
            let [s0, s1] = self.random.get();
            let mixed = s1 ^ s0;
            self.random
                .set([s0.rotate_left(24) ^ mixed ^ (mixed << 16), mixed.rotate_left(37)]);
            s0.wrapping_add(s1)
        };
        [step(), step()]
    }

    /// The time of an instant as the access log writes it.
    pub(crate) fn stamp(&self, at: Instant) -> Stamp {
        self.stamps.borrow_mut().stamp(UNIX_EPOCH + self.unix_time(at))
    }

    /// A zeroed cell for a time measured elsewhere.
    pub(crate) fn spare_cell(&self) -> Rc<Cell<u64>> {
        self.cells.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn recycle_cell(&self, cell: Rc<Cell<u64>>) {
        // One that a response still holds will be written to: it is not spare.
        if Rc::strong_count(&cell) == 1 {
            cell.set(0);
            keep(&self.cells, cell);
        }
    }

    pub(crate) fn spare_request(&self) -> RequestHead {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn recycle_request(&self, head: RequestHead) {
        keep(&self.requests, head);
    }

    pub(crate) fn spare_response(&self) -> Box<ResponseHead> {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn recycle_response(&self, head: Box<ResponseHead>) {
        keep(&self.responses, head);
    }

    /// Room for what policies keep.
    pub(crate) fn spare_slots(&self) -> Slots {
        self.slots
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(4))
    }

    pub(crate) fn recycle_slots(&self, mut slots: Slots) {
        slots.clear();
        keep(&self.slots, slots);
    }

    /// An empty buffer to encode heads into.
    pub(crate) fn spare_staging(&self) -> Vec<u8> {
        self.staging
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(2048))
    }

    pub(crate) fn keep_staging(&self, mut staging: Vec<u8>) {
        if staging.capacity() <= SPARE_BYTES {
            staging.clear();
            keep(&self.staging, staging);
        }
    }

    /// Once a second: closes what idled too long, frees what is not needed, lets go of an old plan.
    fn look_after(&self) {
        self.epoch.set(epoch());
        self.moment.set(Moment::never());
        self.pools.sweep(self.now());
        self.multiplexed.sweep(self.now());
        self.buffers.trim();
        let _ = self.plan();
    }
}

/// The time in one tick.
#[derive(Clone, Copy)]
struct Moment {
    tick: u64,
    instant: Instant,
    unix_seconds: u64,
}

impl Moment {
    /// One that is not now.
    fn never() -> Self {
        Self {
            tick: u64::MAX,
            instant: Instant::now(),
            unix_seconds: 0,
        }
    }
}

fn epoch() -> (Instant, Duration) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), time)
}

fn keep<T>(spare: &RefCell<Vec<T>>, value: T) {
    let mut spare = spare.borrow_mut();
    if spare.len() < SPARE {
        spare.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn a_worker_that_hangs_or_is_gone_does_not_turn() {
        let (commands, inbox) = mpsc::channel(1);
        let worker = WorkerHandle { commands };
        let mut cx = Context::from_waker(Waker::noop());
        let mut turns = pin!(worker.turns());
        // Nobody looks at what it is told.
        assert!(turns.as_mut().poll(&mut cx).is_pending());
        drop(inbox);
        assert_eq!(turns.poll(&mut cx), std::task::Poll::Ready(false));
    }
}
