//! Background work that lives exactly as long as the state it serves.
//!
//! The state holds the [`Task`]; what the two share is behind an `Arc` of its own. A task that held an `Arc`
//! of the state itself would keep it, and so itself, alive for ever.

use std::future::Future;

use tokio::{runtime::Handle, task::JoinHandle};

/// Work on the background runtime, ended when this is dropped.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Starts the work on that runtime: never a worker's, which is for requests only.
    pub fn spawn(on: &Handle, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Task(on.spawn(work))
    }

    /// Whether the work has ended, by itself or by a panic.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::States;
    use std::{
        future::pending,
        sync::{Arc, Weak},
    };
    use tokio::{runtime::Builder, sync::oneshot};

    struct Refreshed {
        shared: Arc<String>,
        _task: Task,
    }

    #[test]
    fn the_task_ends_with_its_state() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let states = States::new();
        let (ended, end) = oneshot::channel::<()>();
        let state = states.adopt("keys", "", || {
            let shared = Arc::new(String::from("contents"));
            let held = Arc::clone(&shared);
            let work = async move {
                let _held = (held, ended);
                pending::<()>().await;
            };
            Refreshed {
                shared,
                _task: Task::spawn(runtime.handle(), work),
            }
        });
        let shared: Weak<String> = Arc::downgrade(&state.shared);
        runtime.block_on(tokio::task::yield_now());
        drop(state);
        assert!(
            runtime.block_on(end).is_err(),
            "its sender was dropped with the work"
        );
        assert!(shared.upgrade().is_none());
    }
}
