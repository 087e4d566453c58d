//! The wheel under a clock that only moves when told to.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

const MS: Duration = Duration::from_millis(1);

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

thread_local! {
    static CLOCK: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn fake_clock() -> Instant {
    CLOCK.get().expect("the test sets its clock")
}

fn wheel() -> (Rc<Timers>, Instant) {
    let start = Instant::now();
    CLOCK.set(Some(start));
    (Timers::with_clock(TICK, start, fake_clock), start)
}

/// Advances tick by tick, as the ticker does, from `from` to `to` (offsets in milliseconds).
fn walk(timers: &Timers, start: Instant, from: u32, to: u32) {
    for ms in (from..=to).step_by(20) {
        CLOCK.set(Some(start + MS * ms));
        timers.advance(start + MS * ms);
    }
}

fn poll(deadline: &Deadline, bell: &Arc<Bell>) -> Poll<Which> {
    let waker = Waker::from(Arc::clone(bell));
    deadline.poll_expired(&mut Context::from_waker(&waker))
}

fn linked(timers: &Timers) -> usize {
    timers
        .entries
        .borrow()
        .iter()
        .filter(|entry| entry.slot.get() != NEVER)
        .count()
}

#[test]
fn fires_after_the_time_and_within_two_ticks() {
    for after in [0, 1, 19, 20, 21, 39, 40, 100, 999] {
        for offset in 0..20 {
            let (timers, start) = wheel();
            let deadline = timers.deadline();
            let bell = Arc::new(Bell::default());
            // Set at `offset` milliseconds into a tick, which the wheel does not know of.
            deadline.set(MS * after);
            assert!(poll(&deadline, &bell).is_pending());
            let mut fired = None;
            for tick in 1..200u32 {
                timers.advance(start + TICK * tick);
                if bell.rings() > 0 {
                    fired = Some(tick * 20);
                    break;
                }
            }
            let fired = fired.expect("fires");
            assert!(
                fired >= offset + after,
                "set at {offset} for {after}, fired at {fired}"
            );
            assert!(fired <= after + 40, "set for {after}, fired at {fired}");
            assert_eq!(poll(&deadline, &bell), Poll::Ready(Which::Phase));
        }
    }
}

#[test]
fn pushed_back_deadlines_meet_the_wheel_once_per_timeout() {
    let (timers, start) = wheel();
    let deadline = timers.deadline();
    let bell = Arc::new(Bell::default());
    deadline.set(Duration::from_secs(1));
    let first = timers.entries.borrow()[0].slot.get();
    assert!(poll(&deadline, &bell).is_pending());
    for ms in (0..960).step_by(20) {
        walk(&timers, start, ms, ms);
        deadline.set(Duration::from_secs(1));
        assert_eq!(timers.entries.borrow()[0].slot.get(), first, "the slot stays");
    }
    walk(&timers, start, 960, 1020);
    assert_eq!(bell.rings(), 0);
    let second = timers.entries.borrow()[0].slot.get();
    assert_eq!(
        second,
        timers.entries.borrow()[0].end(),
        "moved to where it now ends"
    );
    walk(&timers, start, 1040, 3000);
    assert_eq!(bell.rings(), 1);
}

#[test]
fn an_earlier_deadline_moves_the_entry_forward() {
    let (timers, start) = wheel();
    let deadline = timers.deadline();
    let bell = Arc::new(Bell::default());
    deadline.set(Duration::from_secs(75));
    deadline.set(MS * 100);
    assert!(poll(&deadline, &bell).is_pending());
    assert_eq!(linked(&timers), 1);
    walk(&timers, start, 0, 120);
    assert_eq!(bell.rings(), 1);
    assert_eq!(linked(&timers), 0);
}

#[test]
fn deadlines_beyond_the_wheel_are_moved_on() {
    let (timers, start) = wheel();
    let deadline = timers.deadline();
    let bell = Arc::new(Bell::default());
    deadline.set_total(Duration::from_hours(1));
    assert!(poll(&deadline, &bell).is_pending());
    walk(&timers, start, 0, 3_600_000);
    assert_eq!((bell.rings(), deadline.expired()), (0, None));
    walk(&timers, start, 3_600_020, 3_600_020);
    assert_eq!((bell.rings(), deadline.expired()), (1, Some(Which::Total)));
}

#[test]
fn endless_durations_never_fire_and_do_not_overflow() {
    let (timers, start) = wheel();
    let deadline = timers.deadline();
    deadline.set(Duration::MAX);
    deadline.set_total(Duration::from_secs(u64::MAX));
    walk(&timers, start, 0, 200_000);
    assert_eq!(deadline.expired(), None);
}

#[test]
fn says_which_limit_passed_first() {
    let (timers, start) = wheel();
    let deadline = timers.deadline();
    deadline.set_total(MS * 200);
    deadline.set(MS * 100);
    walk(&timers, start, 0, 120);
    assert_eq!(deadline.expired(), Some(Which::Phase));
    deadline.set(MS * 500);
    assert_eq!(deadline.expired(), None);
    walk(&timers, start, 140, 220);
    assert_eq!(deadline.expired(), Some(Which::Total));
    deadline.clear_total();
    assert_eq!(deadline.expired(), None);
    deadline.clear_phase();
    walk(&timers, start, 240, 5000);
    assert_eq!(deadline.expired(), None);
    assert_eq!(linked(&timers), 0);
}

#[test]
fn a_fired_deadline_can_be_armed_again() {
    let (timers, start) = wheel();
    let deadline = timers.deadline();
    let bell = Arc::new(Bell::default());
    deadline.set(MS * 20);
    assert!(poll(&deadline, &bell).is_pending());
    walk(&timers, start, 0, 100);
    assert_eq!(bell.rings(), 1);
    deadline.set(MS * 20);
    assert!(poll(&deadline, &bell).is_pending());
    walk(&timers, start, 120, 140);
    assert_eq!(bell.rings(), 2);
}

#[test]
fn many_share_a_slot_and_any_of_them_may_go() {
    let (timers, start) = wheel();
    let bell = Arc::new(Bell::default());
    let mut deadlines: Vec<_> = (0..10).map(|_| timers.deadline()).collect();
    for deadline in &deadlines {
        deadline.set(MS * 100);
        assert!(poll(deadline, &bell).is_pending());
    }
    // The first, one in the middle and the last of the list.
    for gone in [9, 4, 0] {
        deadlines.remove(gone);
    }
    assert_eq!(linked(&timers), 7);
    walk(&timers, start, 0, 200);
    assert_eq!(bell.rings(), 7);
}

#[test]
fn entries_are_reused_and_start_empty() {
    let (timers, start) = wheel();
    let bell = Arc::new(Bell::default());
    for round in 0..100 {
        let (a, b) = (timers.deadline(), timers.deadline());
        assert_eq!((a.expired(), b.expired()), (None, None));
        a.set(MS * 40);
        b.set_total(Duration::from_secs(9));
        assert!(poll(&a, &bell).is_pending());
        walk(&timers, start, round * 20, round * 20);
    }
    assert_eq!(timers.entries.borrow().len(), 2);
    walk(&timers, start, 2000, 20_000);
    assert_eq!(bell.rings(), 0, "dropped deadlines wake nobody");
}

#[test]
fn a_stalled_thread_does_not_shorten_what_was_set_meanwhile() {
    let (timers, start) = wheel();
    walk(&timers, start, 0, 1000);
    let deadline = timers.deadline();
    let older = timers.deadline();
    older.set(Duration::from_secs(2));
    walk(&timers, start, 1020, 1020);
    // Five seconds pass without a tick; near their end a task sets a limit.
    deadline.set(Duration::from_secs(1));
    timers.advance(start + Duration::from_secs(6));
    assert_eq!(older.expired(), Some(Which::Phase), "really passed");
    assert_eq!(deadline.expired(), None);
    timers.advance(start + Duration::from_millis(6980));
    assert_eq!(deadline.expired(), None);
    timers.advance(start + Duration::from_millis(7040));
    assert_eq!(deadline.expired(), Some(Which::Phase));
}

#[test]
fn a_gap_longer_than_the_wheel_fires_everything_due() {
    let (timers, start) = wheel();
    let bell = Arc::new(Bell::default());
    let deadlines: Vec<_> = (1..200).map(|_| timers.deadline()).collect();
    for (index, deadline) in deadlines.iter().enumerate() {
        deadline.set(Duration::from_secs(index as u64));
        assert!(poll(deadline, &bell).is_pending());
    }
    walk(&timers, start, 0, 20);
    timers.advance(start + Duration::from_secs(150));
    assert_eq!(
        bell.rings(),
        deadlines.iter().filter(|d| d.expired().is_some()).count()
    );
    assert_eq!(bell.rings(), 150);
    walk(&timers, start, 150_000, 200_000);
    assert_eq!(bell.rings(), 199);
}

#[test]
fn time_going_backwards_is_ignored() {
    let (timers, start) = wheel();
    walk(&timers, start, 0, 1000);
    timers.advance(start);
    assert_eq!(timers.now_tick(), 50);
}

#[test]
fn an_idle_ticker_sleeps_until_the_next_entry_and_is_stirred_by_use() {
    let (timers, start) = wheel();
    let ticker = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&ticker));
    let mut cx = Context::from_waker(&waker);
    let deadline = timers.deadline();
    deadline.set(Duration::from_secs(10));
    for tick in 1..=QUIET_TICKS {
        assert_eq!(timers.next_wakeup(), Some(start + TICK * tick));
        timers.advance(start + TICK * tick);
    }
    // Nothing new was set for a while: straight to the entry's slot.
    let end = start + Duration::from_secs(10) + TICK;
    assert_eq!(timers.next_wakeup(), Some(end));
    assert!(timers.poll_stirred(&mut cx).is_pending());

    // Five seconds in, a task wants a time limit: it counts from the real time.
    CLOCK.set(Some(start + Duration::from_secs(5)));
    let second = timers.deadline();
    second.set(MS * 100);
    assert_eq!(ticker.rings(), 1);
    assert!(timers.poll_stirred(&mut cx).is_ready());
    timers.advance(fake_clock());
    assert_eq!(timers.next_wakeup(), Some(start + Duration::from_secs(5) + TICK));
    walk(&timers, start, 5020, 5100);
    assert_eq!(second.expired(), None);
    walk(&timers, start, 5120, 5120);
    assert_eq!(second.expired(), Some(Which::Phase));
    walk(&timers, start, 5140, 10_020);
    assert_eq!(deadline.expired(), Some(Which::Phase));
}

#[test]
fn with_nothing_waiting_the_ticker_sleeps_for_good() {
    let (timers, start) = wheel();
    for tick in 1..=QUIET_TICKS {
        timers.next_wakeup();
        timers.advance(start + TICK * tick);
    }
    assert_eq!(timers.next_wakeup(), None);
    CLOCK.set(Some(start + Duration::from_hours(1)));
    assert_eq!(timers.now_tick(), 180_000);
    assert_eq!(timers.now(), start + Duration::from_hours(1));
}

#[test]
fn within_gives_the_output_or_the_limit() {
    let (timers, start) = wheel();
    let deadline = timers.deadline();
    let mut cx = Context::from_waker(Waker::noop());
    deadline.set(MS * 100);
    assert_eq!(
        pin!(deadline.within(std::future::ready(7))).poll(&mut cx),
        Poll::Ready(Ok(7))
    );
    let mut waiting = pin!(deadline.within(std::future::pending::<()>()));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    walk(&timers, start, 0, 120);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(Err(Which::Phase)));
    // The work is looked at first: what is ready counts, however late.
    assert_eq!(
        pin!(deadline.within(std::future::ready(7))).poll(&mut cx),
        Poll::Ready(Ok(7))
    );
}

#[test]
fn the_ticker_drives_it_all() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("runtime");
    let local = tokio::task::LocalSet::new();
    let which = local.block_on(&runtime, async {
        let timers = Timers::new(MS, Instant::now());
        tokio::task::spawn_local(Rc::clone(&timers).run());
        let deadline = timers.deadline();
        deadline.set_total(MS * 5);
        deadline.passed().await
    });
    assert_eq!(which, Which::Total);
}

/// Random use, against a list that is searched in full each tick.
#[test]
fn agrees_with_a_plain_list() {
    let (timers, start) = wheel();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) % below
    };
    // Deadline, its bell, and the tick it must ring at.
    let fresh = || (timers.deadline(), Arc::new(Bell::default()), NEVER);
    let mut list: Vec<_> = (0..40).map(|_| fresh()).collect();
    let mut now = 0;
    for _ in 0..30_000 {
        let at = usize::try_from(random(40)).expect("small");
        let (deadline, bell, due) = &mut list[at];
        match random(6) {
            0 | 1 => {
                let ms = if random(10) == 0 {
                    random(200_000)
                } else {
                    random(400)
                };
                deadline.set(Duration::from_millis(ms));
                *due = now + ms.div_ceil(20) + 1;
                assert!(poll(deadline, bell).is_pending());
            }
            2 => {
                deadline.clear_phase();
                *due = NEVER;
            }
            3 if random(8) == 0 => list[at] = fresh(),
            _ => {
                now += 1;
                CLOCK.set(Some(start + TICK * u32::try_from(now).expect("short")));
                let before: Vec<_> = list.iter().map(|(_, bell, _)| bell.rings()).collect();
                timers.advance(fake_clock());
                for ((deadline, bell, due), before) in list.iter_mut().zip(before) {
                    let rang = bell.rings() > before;
                    assert_eq!(rang, *due <= now, "due at {due}, now {now}");
                    assert_eq!(deadline.expired().is_some(), *due <= now);
                    if rang {
                        deadline.clear_phase();
                        *due = NEVER;
                    }
                }
            }
        }
    }
    assert_eq!(timers.entries.borrow().len(), 41, "all but one at a time reused");
}
