//! A coarse timer wheel for one worker: timeouts that cost a few plain writes instead of a runtime timer each.
//!
//! Every task (a client connection, an HTTP/2 stream) has one [`Deadline`] with two limits, the current phase
//! and the whole exchange. Arming writes a number; the wheel itself is touched only when the new deadline is
//! *earlier* than the slot where the entry already waits. A slot that comes up looks at each entry's real
//! deadline and moves the entry on if it was pushed back meanwhile, so a busy keep-alive connection meets the
//! wheel about once per its shortest timeout. The lists are intrusive (indices in the entries), hence nothing
//! is ever stale and nothing is allocated once the entry exists.
//!
//! A timeout never fires early, and at most two ticks late. Single threaded on purpose: `Rc`, `Cell`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The tick of a production wheel.
pub const TICK: Duration = Duration::from_millis(20);

/// Slots of the wheel, a power of two. Deadlines further away wait in the last slot and are moved on from
/// there: with [`TICK`], one touch for each 82 seconds.
const SLOTS: u64 = 4096;
/// No deadline, or not in the wheel.
const NEVER: u64 = u64::MAX;
/// No entry: the end of a list.
const NIL: u32 = u32::MAX;
/// Ticks without a new deadline after which the ticker sleeps until the next slot that has entries.
const QUIET_TICKS: u32 = 16;

/// Which limit of a [`Deadline`] ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The limit of the current phase, see [`Deadline::set`].
    Phase,
    /// The limit of the whole exchange, see [`Deadline::set_total`].
    Total,
}

/// One limit: when it ends, and when it was set.
struct Limit {
    /// The first tick at which the limit has passed; [`NEVER`] when there is none.
    end: Cell<u64>,
    /// The coarse time when the limit was set; needed to correct it after a stall.
    set_at: Cell<u64>,
}

impl Limit {
    const fn new() -> Self {
        Self {
            end: Cell::new(NEVER),
            set_at: Cell::new(0),
        }
    }
}

/// What the wheel knows of one deadline. Unused entries form a list through `next`.
struct Entry {
    phase: Limit,
    total: Limit,
    /// The tick whose slot holds this entry; [`NEVER`] when no slot does.
    slot: Cell<u64>,
    next: Cell<u32>,
    previous: Cell<u32>,
    waker: Cell<Option<Waker>>,
}

impl Entry {
    fn new() -> Self {
        Self {
            phase: Limit::new(),
            total: Limit::new(),
            slot: Cell::new(NEVER),
            next: Cell::new(NIL),
            previous: Cell::new(NIL),
            waker: Cell::new(None),
        }
    }

    fn end(&self) -> u64 {
        self.phase.end.get().min(self.total.end.get())
    }
}

/// The wheel of one worker. [`Timers::run`] drives it.
pub struct Timers {
    start: Instant,
    tick_nanos: u64,
    clock: fn() -> Instant,
    /// Coarse time in whole ticks since `start`; at most one tick behind while the ticker runs.
    now: Cell<u64>,
    /// The last tick whose slot was emptied.
    cursor: Cell<u64>,
    /// First entry of each slot.
    slots: Box<[Cell<u32>]>,
    /// Grows only; an index in a `Deadline` or a list is therefore always valid.
    entries: RefCell<Vec<Entry>>,
    /// First unused entry.
    free: Cell<u32>,
    /// The ticker sleeps past the next tick, so `now` cannot be trusted.
    dozing: Cell<bool>,
    /// A deadline was set since the ticker last looked.
    used: Cell<bool>,
    quiet: Cell<u32>,
    ticker: Cell<Option<Waker>>,
}

impl Timers {
    /// A wheel whose time begins at `start`. `tick` is its resolution, at least one microsecond.
    pub fn new(tick: Duration, start: Instant) -> Rc<Self> {
        Self::with_clock(tick, start, Instant::now)
    }

    fn with_clock(tick: Duration, start: Instant, clock: fn() -> Instant) -> Rc<Self> {
        Rc::new(Self {
            start,
            tick_nanos: nanos(tick).max(1000),
            clock,
            now: Cell::new(0),
            cursor: Cell::new(0),
            slots: (0..SLOTS).map(|_| Cell::new(NIL)).collect(),
            entries: RefCell::new(Vec::new()),
            free: Cell::new(NIL),
            dozing: Cell::new(false),
            used: Cell::new(false),
            quiet: Cell::new(0),
            ticker: Cell::new(None),
        })
    }

    /// Coarse time in ticks since the start, at most one tick behind the clock. Costs no system call.
    pub fn now_tick(&self) -> u64 {
        if self.dozing.get() {
            self.rouse();
        }
        self.now.get()
    }

    /// Coarse time, at most one tick behind the clock. For ages and idle times that need no better.
    pub fn now(&self) -> Instant {
        self.instant(self.now_tick()).unwrap_or(self.start)
    }

    /// A new deadline with no limits. One for each task.
    pub fn deadline(self: &Rc<Self>) -> Deadline {
        let reused = self.free.get();
        let entry = if reused == NIL {
            let mut entries = self.entries.borrow_mut();
            entries.push(Entry::new());
            u32::try_from(entries.len() - 1).unwrap_or(NIL - 1)
        } else {
            self.free
                .set(self.entries.borrow()[reused as usize].next.replace(NIL));
            reused
        };
        Deadline {
            timers: Rc::clone(self),
            entry,
        }
    }

    /// Moves time on and wakes the tasks whose deadline has passed. Time that goes backwards is ignored.
    pub fn advance(&self, now: Instant) {
        let target = self.tick_of(now);
        let before = self.now.get();
        if target > before {
            if target > before + 1 && !self.dozing.get() {
                self.forgive_stall(before, target - before - 1);
            }
            self.now.set(target);
        }
        self.dozing.set(false);
        let now = self.now.get();
        // After a gap longer than the wheel every slot is visited once.
        let mut cursor = self.cursor.get().max(now.saturating_sub(SLOTS));
        while cursor < now {
            cursor += 1;
            self.cursor.set(cursor);
            self.empty_slot(cursor, now);
        }
    }

    /// When [`Timers::advance`] must be called next: at the next tick while deadlines are being set, later on
    /// an idle worker, `None` if nothing waits at all. From a later wake-up the ticker must be called back when
    /// [`Timers::poll_stirred`] says so.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let now = self.now.get();
        if self.used.replace(false) {
            self.quiet.set(0);
        } else {
            self.quiet.set(self.quiet.get().saturating_add(1));
        }
        if self.quiet.get() < QUIET_TICKS {
            return self.instant(now + 1);
        }
        let occupied = (now + 1..now + SLOTS).find(|tick| self.slot(*tick).get() != NIL);
        self.dozing.set(occupied != Some(now + 1));
        self.instant(occupied?)
    }

    /// Ready when somebody needed the time while the ticker slept past the next tick.
    pub fn poll_stirred(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.used.get() && self.quiet.get() >= QUIET_TICKS {
            return Poll::Ready(());
        }
        keep_waker(&self.ticker, cx);
        Poll::Pending
    }

    /// Drives the wheel for ever: the worker spawns this as a local task.
    pub async fn run(self: Rc<Self>) {
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let wakeup = self.next_wakeup();
            if let Some(at) = wakeup {
                sleep.as_mut().reset(at.into());
            }
            poll_fn(|cx| match self.poll_stirred(cx) {
                Poll::Pending if wakeup.is_some() => sleep.as_mut().poll(cx),
                other => other,
            })
            .await;
            self.advance((self.clock)());
        }
    }

    /// Wakes every task that waits with a deadline, for each to look again at what it waits for.
    pub fn wake_all(&self) {
        let wakers: Vec<_> = self
            .entries
            .borrow()
            .iter()
            .filter_map(|entry| entry.waker.take())
            .collect();
        // Outside of the borrow: waking may run other code of the task.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Reads the clock because the ticker is asleep, and wakes it.
    #[cold]
    fn rouse(&self) {
        self.dozing.set(false);
        self.used.set(true);
        self.now.set(self.tick_of((self.clock)()).max(self.now.get()));
        if let Some(ticker) = self.ticker.take() {
            ticker.wake();
        }
    }

    /// The ticker came late (the thread was busy or stopped): limits set since the last tick counted from a
    /// time that lay too far back, and would end too early.
    #[cold]
    fn forgive_stall(&self, before: u64, late: u64) {
        for entry in self.entries.borrow().iter() {
            for limit in [&entry.phase, &entry.total] {
                if limit.end.get() != NEVER && limit.set_at.get() == before {
                    limit.end.set(limit.end.get().saturating_add(late));
                }
            }
        }
    }

    /// Takes every entry out of a slot that came up: wakes those that are due and moves on the others.
    fn empty_slot(&self, tick: u64, now: u64) {
        loop {
            // Borrowed anew each time: waking runs foreign code.
            let due = {
                let entries = self.entries.borrow();
                let index = self.slot(tick).get();
                let Some(entry) = entries.get(index as usize) else {
                    return;
                };
                self.unlink(&entries, index, entry);
                let end = entry.end();
                if end > now && end != NEVER {
                    self.link(&entries, index, entry, end);
                }
                if end <= now { entry.waker.take() } else { None }
            };
            if let Some(waker) = due {
                waker.wake();
            }
        }
    }

    /// Puts an entry that is in no slot into the slot of tick `end`, or into the last one if that is too far.
    fn link(&self, entries: &[Entry], index: u32, entry: &Entry, end: u64) {
        let cursor = self.cursor.get();
        let tick = end.clamp(cursor + 1, cursor + SLOTS - 1);
        let head = self.slot(tick).replace(index);
        entry.slot.set(tick);
        entry.previous.set(NIL);
        entry.next.set(head);
        if let Some(second) = entries.get(head as usize) {
            second.previous.set(index);
        }
    }

    /// Takes an entry out of its slot.
    fn unlink(&self, entries: &[Entry], index: u32, entry: &Entry) {
        let slot = self.slot(entry.slot.replace(NEVER));
        let (previous, next) = (entry.previous.replace(NIL), entry.next.replace(NIL));
        if slot.get() == index {
            slot.set(next);
        }
        if let Some(entry) = entries.get(previous as usize) {
            entry.next.set(next);
        }
        if let Some(entry) = entries.get(next as usize) {
            entry.previous.set(previous);
        }
    }

    fn slot(&self, tick: u64) -> &Cell<u32> {
        // The remainder is below SLOTS, the length of the list.
        &self.slots[(tick % SLOTS) as usize]
    }

    fn tick_of(&self, time: Instant) -> u64 {
        nanos(time.saturating_duration_since(self.start)) / self.tick_nanos
    }

    fn instant(&self, tick: u64) -> Option<Instant> {
        self.start
            .checked_add(Duration::from_nanos(tick.saturating_mul(self.tick_nanos)))
    }
}

/// The time limits of one task: one for the phase it is in, one for the whole. Freed on drop.
pub struct Deadline {
    timers: Rc<Timers>,
    entry: u32,
}

impl Deadline {
    /// Starts the limit of a phase anew: it passes `after` from now. Replaces the phase's previous limit.
    pub fn set(&self, after: Duration) {
        self.arm(|entry| &entry.phase, after);
    }

    /// Starts the limit of the whole anew.
    pub fn set_total(&self, after: Duration) {
        self.arm(|entry| &entry.total, after);
    }

    /// Takes the phase's limit away.
    pub fn clear_phase(&self) {
        self.with(|_, entry| entry.phase.end.set(NEVER));
    }

    /// Takes the limit of the whole away.
    pub fn clear_total(&self) {
        self.with(|_, entry| entry.total.end.set(NEVER));
    }

    /// What is left until the limit of the whole, to the tick; none if there is no such limit.
    pub fn total_left(&self) -> Option<Duration> {
        let now = self.timers.now_tick();
        let end = self.with(|_, entry| entry.total.end.get());
        let ticks = (end != NEVER).then(|| end.saturating_sub(now))?;
        Some(Duration::from_nanos(ticks.saturating_mul(self.timers.tick_nanos)))
    }

    /// The limit that has passed, the earlier if both have.
    pub fn expired(&self) -> Option<Which> {
        let now = self.timers.now.get();
        self.with(|_, entry| {
            let (phase, total) = (entry.phase.end.get(), entry.total.end.get());
            (phase.min(total) <= now).then_some(if phase < total { Which::Phase } else { Which::Total })
        })
    }

    /// Ready when a limit has passed; else the task is woken when one does.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Which> {
        if let Some(which) = self.expired() {
            return Poll::Ready(which);
        }
        self.with(|_, entry| keep_waker(&entry.waker, cx));
        Poll::Pending
    }

    /// Waits until a limit passes; for ever if there is none.
    pub async fn passed(&self) -> Which {
        poll_fn(|cx| self.poll_expired(cx)).await
    }

    /// Runs `future` to its end, or until a limit passes. A future that is ready is never cut off.
    pub async fn within<F: Future>(&self, future: F) -> Result<F::Output, Which> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_expired(cx).map(Err),
        })
        .await
    }

    /// The wheel this deadline belongs to.
    pub fn timers(&self) -> &Rc<Timers> {
        &self.timers
    }

    fn arm(&self, limit: fn(&Entry) -> &Limit, after: Duration) {
        let timers = &*self.timers;
        let now = timers.now_tick();
        timers.used.set(true);
        // The coarse time may be a tick behind; one more tick keeps the promise never to be early.
        let ticks = nanos(after).div_ceil(timers.tick_nanos).saturating_add(1);
        let end = now.saturating_add(ticks).min(NEVER - 1);
        self.with(|entries, entry| {
            let limit = limit(entry);
            limit.set_at.set(now);
            limit.end.set(end);
            if end < entry.slot.get() {
                if entry.slot.get() != NEVER {
                    timers.unlink(entries, self.entry, entry);
                }
                timers.link(entries, self.entry, entry, end);
            }
        });
    }

    fn with<R>(&self, f: impl FnOnce(&[Entry], &Entry) -> R) -> R {
        let entries = self.timers.entries.borrow();
        // The list never shrinks, so the index of a live deadline is valid.
        f(&entries, &entries[self.entry as usize])
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let waker = self.with(|entries, entry| {
            if entry.slot.get() != NEVER {
                self.timers.unlink(entries, self.entry, entry);
            }
            entry.phase.end.set(NEVER);
            entry.total.end.set(NEVER);
            entry.next.set(self.timers.free.replace(self.entry));
            entry.waker.take()
        });
        // Outside of the borrow: dropping a waker may drop a task.
        drop(waker);
    }
}

impl std::fmt::Debug for Deadline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deadline")
            .field("expired", &self.expired())
            .finish_non_exhaustive()
    }
}

/// Remembers the current task's waker; clones it only when another one is there.
fn keep_waker(cell: &Cell<Option<Waker>>, cx: &Context<'_>) {
    let kept = cell.take().filter(|waker| waker.will_wake(cx.waker()));
    cell.set(Some(kept.unwrap_or_else(|| cx.waker().clone())));
}

fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}
