//! Says which part of a connection has something to do: the connection itself, or its requests.
//!
//! Both run in one task. What either does mostly wakes the other, so a wake during a turn only raises a flag
//! that the turn looks at before it ends; the task is woken for what happens outside of its turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// The flags of one task.
#[derive(Default)]
struct Flags {
    task: AtomicWaker,
    in_turn: AtomicBool,
    connection: AtomicBool,
    requests: AtomicBool,
}

impl Flags {
    fn raise(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::SeqCst);
        if !self.in_turn.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

struct OfConnection(Arc<Flags>);
struct OfRequests(Arc<Flags>);

impl Wake for OfConnection {
    fn wake(self: Arc<Self>) {
        self.0.raise(&self.0.connection);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.raise(&self.0.connection);
    }
}

impl Wake for OfRequests {
    fn wake(self: Arc<Self>) {
        self.0.raise(&self.0.requests);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.raise(&self.0.requests);
    }
}

/// The flags and the wakers that raise them.
pub(super) struct Signal {
    flags: Arc<Flags>,
    /// Wakes the connection.
    pub connection: Waker,
    /// Wakes its requests.
    pub requests: Waker,
}

impl Signal {
    /// Both have something to do.
    pub fn new() -> Self {
        let flags = Arc::new(Flags::default());
        flags.connection.store(true, Ordering::SeqCst);
        Self {
            connection: Arc::new(OfConnection(flags.clone())).into(),
            requests: Arc::new(OfRequests(flags.clone())).into(),
            flags,
        }
    }

    /// A turn of the task begins.
    pub fn begin_turn(&self, task: &Waker) {
        self.flags.task.register(task);
        self.flags.in_turn.store(true, Ordering::SeqCst);
    }

    /// The turn ends. If something was raised and not looked at, another follows.
    pub fn end_turn(&self) {
        self.flags.in_turn.store(false, Ordering::SeqCst);
        if self.flags.connection.load(Ordering::SeqCst) || self.flags.requests.load(Ordering::SeqCst) {
            self.flags.task.wake();
        }
    }

    /// True if the connection has something to do; asked once.
    pub fn take_connection(&self) -> bool {
        self.flags.connection.swap(false, Ordering::SeqCst)
    }

    /// True if a request has something to do; asked once.
    pub fn take_requests(&self) -> bool {
        self.flags.requests.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

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
        let signal = Signal::new();
        signal.begin_turn(&woken.clone().into());
        assert!(signal.take_connection() && !signal.take_requests());
        signal.requests.wake_by_ref();
        assert!(signal.take_requests() && count() == 0);
        signal.end_turn();
        assert_eq!(count(), 0);
        signal.connection.wake_by_ref();
        assert_eq!(count(), 1);
        signal.begin_turn(&woken.clone().into());
        signal.end_turn();
        assert_eq!(count(), 2, "it was not looked at");
    }
}
