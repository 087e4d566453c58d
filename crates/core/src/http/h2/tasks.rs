//! The requests of a connection as futures within its one task, and who of them has something to do.
//!
//! A wake during a turn of the task only notes whom it is for: the turn looks there before it ends. The task is woken for
//! what happens outside of its turns.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// What has something to do.
#[derive(Default)]
struct Flags {
    task: AtomicWaker,
    in_turn: AtomicBool,
    connection: AtomicBool,
    /// Places of requests, each once.
    requests: Mutex<Vec<usize>>,
}

impl Flags {
    fn raised(&self) {
        if !self.in_turn.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

struct OfConnection(Arc<Flags>);

impl Wake for OfConnection {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.connection.store(true, Ordering::SeqCst);
        self.0.raised();
    }
}

struct OfRequest {
    flags: Arc<Flags>,
    place: usize,
    is_noted: AtomicBool,
}

impl Wake for OfRequest {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_noted.swap(true, Ordering::SeqCst) {
            let requests = self.flags.requests.lock();
            requests.unwrap_or_else(PoisonError::into_inner).push(self.place);
            self.flags.raised();
        }
    }
}

/// Where a future finds the requests that it answers, one after the other.
pub(super) struct Seat<R> {
    next: Cell<Option<R>>,
    is_taken: Cell<bool>,
}

impl<R> Seat<R> {
    /// The next request, once there is one. Whoever waits for it is free for another.
    pub async fn next(&self) -> R {
        poll_fn(|_| {
            let next = self.next.take();
            self.is_taken.set(next.is_some());
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Where requests are answered by one future, which never ends: a new one for each would have to be moved to its place,
/// thousands of bytes of memory that are seldom in any cache. The waker may at worst poll the next request for nothing.
struct Place<F, R> {
    future: Pin<Box<F>>,
    seat: Rc<Seat<R>>,
    of: Arc<OfRequest>,
    waker: Waker,
}

/// The futures that answer requests `R`, and the wakers that note them.
pub(super) struct Tasks<F, R> {
    flags: Arc<Flags>,
    /// Wakes the connection.
    pub connection: Waker,
    places: Vec<Place<F, R>>,
    free: Vec<usize>,
    /// Those to be polled next; kept for its memory.
    noted: Vec<usize>,
}

impl<F: Future<Output = Infallible>, R> Tasks<F, R> {
    /// No requests; the connection has something to do.
    pub fn new() -> Self {
        let flags = Arc::new(Flags::default());
        flags.connection.store(true, Ordering::SeqCst);
        Self {
            connection: Arc::new(OfConnection(flags.clone())).into(),
            flags,
            places: Vec::new(),
            free: Vec::new(),
            noted: Vec::new(),
        }
    }

    /// A turn of the task begins.
    pub fn begin_turn(&self, task: &Waker) {
        self.flags.task.register(task);
        self.flags.in_turn.store(true, Ordering::SeqCst);
    }

    /// The turn ends. If something was noted and not looked at, another follows.
    pub fn end_turn(&self) {
        self.flags.in_turn.store(false, Ordering::SeqCst);
        if self.flags.connection.load(Ordering::SeqCst) || self.has_noted() {
            self.flags.task.wake();
        }
    }

    /// True if the connection has something to do; asked once.
    pub fn take_connection(&self) -> bool {
        self.flags.connection.swap(false, Ordering::SeqCst)
    }

    fn has_noted(&self) -> bool {
        let requests = self.flags.requests.lock();
        !requests.unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// True if it keeps memory for requests.
    pub fn has_memory(&self) -> bool {
        !self.places.is_empty()
    }

    /// True if there are no requests.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Takes a request in; it is polled with the others. `begin` makes the future that answers what comes to a seat, if
    /// there is none that is free.
    pub fn push(&mut self, request: R, begin: impl FnOnce(Rc<Seat<R>>) -> F) {
        let at = self.free.pop().unwrap_or_else(|| {
            let of = Arc::new(OfRequest {
                flags: self.flags.clone(),
                place: self.places.len(),
                is_noted: AtomicBool::new(false),
            });
            let seat = Rc::new(Seat {
                next: Cell::new(None),
                is_taken: Cell::new(false),
            });
            self.places.push(Place {
                future: Box::pin(begin(seat.clone())),
                seat,
                waker: of.clone().into(),
                of,
            });
            self.places.len() - 1
        });
        // A place that was free, or the last one.
        let place = &self.places[at];
        place.seat.next.set(Some(request));
        place.seat.is_taken.set(true);
        place.waker.wake_by_ref();
    }

    /// Polls the requests that have something to do. False if none has.
    pub fn poll(&mut self) -> bool {
        let mut noted = std::mem::take(&mut self.noted);
        let requests = self.flags.requests.lock();
        std::mem::swap(&mut noted, &mut requests.unwrap_or_else(PoisonError::into_inner));
        let had_some = !noted.is_empty();
        for at in noted.drain(..) {
            // There may be fewer places than there were.
            let Some(place) = self.places.get_mut(at) else {
                continue;
            };
            place.of.is_noted.store(false, Ordering::SeqCst);
            if !place.seat.is_taken.get() {
                continue;
            }
            let mut cx = Context::from_waker(&place.waker);
            // Never ready.
            let _ = place.future.as_mut().poll(&mut cx);
            if !place.seat.is_taken.get() {
                self.free.push(at);
            }
        }
        self.noted = noted;
        had_some
    }

    /// Ends all requests, and keeps nothing for others.
    pub fn clear(&mut self) {
        self.places = Vec::new();
        self.free = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::sync::atomic::AtomicUsize;

    type Work = Pin<Box<dyn Future<Output = ()>>>;

    async fn one_by_one(seat: Rc<Seat<Work>>) -> Infallible {
        loop {
            seat.next().await.await;
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_within_a_turn_wake_nobody_unless_they_are_left() {
        let woken = Arc::new(Woken::default());
        let count = || woken.0.load(Ordering::SeqCst);
        let mut tasks = Tasks::new();
        tasks.begin_turn(&woken.clone().into());
        assert!(tasks.take_connection() && !tasks.take_connection());
        tasks.push(Box::pin(pending()) as Work, one_by_one);
        assert!(tasks.poll() && !tasks.poll() && count() == 0);
        tasks.end_turn();
        assert_eq!(count(), 0);
        tasks.connection.wake_by_ref();
        assert_eq!(count(), 1);
        tasks.begin_turn(&woken.clone().into());
        tasks.end_turn();
        assert_eq!(count(), 2, "it was not looked at");
    }

    #[test]
    fn only_those_that_were_woken_are_polled() {
        let (polls, last) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
        let mut tasks = Tasks::new();
        for _ in 0..3 {
            let (polls, last) = (polls.clone(), last.clone());
            let work = poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                last.set(Some(cx.waker().clone()));
                if polls.get() > 3 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            tasks.push(Box::pin(work) as Work, one_by_one);
        }
        assert!(tasks.poll() && polls.get() == 3);
        let waker = last.take().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert!(tasks.poll() && polls.get() == 4 && !tasks.is_empty());
        // One that is over is not polled again, and the next takes its place.
        waker.wake();
        assert!(tasks.poll() && polls.get() == 4);
        let begun = Rc::new(Cell::new(false));
        let seen = begun.clone();
        tasks.push(Box::pin(async move { seen.set(true) }) as Work, one_by_one);
        assert!(tasks.places.len() == 3 && tasks.poll() && begun.get());
        assert!(!tasks.poll() && tasks.free.len() == 1);
    }
}
