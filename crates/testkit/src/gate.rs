//! Gates and feeds: how a test decides when a backend goes on.
//!
//! A backend that must be slow waits at a [`Gate`]; one that streams sends what the test pushes into a [`Feed`].
//! Nothing here depends on how fast the machine is.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a backend waits before it gives up; far above [`crate::wait::PATIENCE`], so that the test fails first.
const LIMIT: Duration = Duration::from_mins(1);

/// Closed until opened, then open for good. Clones are the same gate.
#[derive(Clone, Default, Debug)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        let (open, changed) = &*self.0;
        *open.lock().unwrap() = true;
        changed.notify_all();
    }

    /// Waits until the gate is open; false if that took longer than a test may take.
    pub fn wait(&self) -> bool {
        let (open, changed) = &*self.0;
        let guard = open.lock().unwrap();
        let (guard, _) = changed.wait_timeout_while(guard, LIMIT, |open| !*open).unwrap();
        *guard
    }
}

#[derive(Default, Debug)]
struct Pushed {
    items: std::collections::VecDeque<Vec<u8>>,
    ended: bool,
}

/// Pieces the test pushes and a backend sends, one by one. Clones are the same feed.
#[derive(Clone, Default, Debug)]
pub struct Feed(Arc<(Mutex<Pushed>, Condvar)>);

impl Feed {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the backend send this piece.
    pub fn push(&self, piece: impl AsRef<[u8]>) {
        self.0.0.lock().unwrap().items.push_back(piece.as_ref().to_vec());
        self.0.1.notify_all();
    }

    /// Lets the backend end its body.
    pub fn end(&self) {
        self.0.0.lock().unwrap().ended = true;
        self.0.1.notify_all();
    }

    /// The next piece, waiting for it; `None` after the end.
    pub fn next(&self) -> Option<Vec<u8>> {
        let guard = self.0.0.lock().unwrap();
        let empty = |p: &mut Pushed| p.items.is_empty() && !p.ended;
        let (mut guard, _) = self.0.1.wait_timeout_while(guard, LIMIT, empty).unwrap();
        guard.items.pop_front()
    }
}
