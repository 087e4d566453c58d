//! Waiting for a condition with a deadline, for what cannot be waited on directly (another process's counters).
//!
//! Between two looks the thread parks for a moment, so that a waiting test leaves the machine to the gateway.

use std::time::{Duration, Instant};

/// How long any single wait may take before the test fails. Generous: machines under load are slow, not broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Looks until `look` finds something, at most [`PATIENCE`] long.
#[track_caller]
pub fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Looks until `holds` is true, at most [`PATIENCE`] long.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_some(what, || holds().then_some(()));
}

/// Waits for a thread of the test, at most [`PATIENCE`] long, and passes its panic on.
#[track_caller]
pub fn join<T>(what: &str, thread: std::thread::JoinHandle<T>) -> T {
    until(what, || thread.is_finished());
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
