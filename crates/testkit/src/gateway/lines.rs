//! The lines a child process writes, collected by a thread so that it never blocks on a full pipe.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The newest lines are kept; a gateway that says more than this in a test loses its oldest.
const KEPT: usize = 20_000;

#[derive(Default, Debug)]
struct State {
    lines: VecDeque<String>,
    ended: bool,
}

/// Lines so far. Clones are the same.
#[derive(Clone, Default, Debug)]
pub(super) struct Lines(Arc<(Mutex<State>, Condvar)>);

impl Lines {
    pub(super) fn collect(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let to = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line)
                    .trim_end_matches(['\r', '\n'])
                    .to_owned();
                line.clear();
                let mut state = to.0.0.lock().unwrap();
                if state.lines.len() == KEPT {
                    state.lines.pop_front();
                }
                state.lines.push_back(text);
                drop(state);
                to.0.1.notify_all();
            }
            to.0.0.lock().unwrap().ended = true;
            to.0.1.notify_all();
        });
        lines
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.iter().cloned().collect()
    }

    pub(super) fn tail(&self, n: usize) -> String {
        let all = self.all();
        all[all.len().saturating_sub(n)..].join("\n")
    }

    /// Whether such a line is there, now or within `limit`.
    pub(super) fn wait(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> bool {
        let state = self.0.0.lock().unwrap();
        let missing = |s: &mut State| !s.ended && !s.lines.iter().any(|l| wanted(l));
        let (state, _) = self.0.1.wait_timeout_while(state, limit, missing).unwrap();
        state.lines.iter().any(|l| wanted(l))
    }

    /// Waits for the end of the stream.
    pub(super) fn wait_end(&self, limit: Duration) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(state, limit, |s| !s.ended));
    }
}
