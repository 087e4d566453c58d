//! A clock that a test sets, for processes that believe it: libfaketime, preloaded, reads it from a file.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::redis::clock_shifter;
use crate::temp::TempDir;

const DAY: u64 = 86_400;

/// A clock that goes on from noon of a day (UTC), and is set to later days.
#[derive(Debug)]
pub struct Clock {
    /// Seconds that noon of the first day is ahead of now.
    ahead: u64,
    directory: TempDir,
}

impl Clock {
    /// Noon of tomorrow.
    pub fn at_noon() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time after 1970");
        let clock = Self {
            ahead: DAY + DAY / 2 - now.as_secs() % DAY,
            directory: TempDir::new(),
        };
        clock.set(0);
        clock
    }

    /// Goes to so many days after the first.
    pub fn set(&self, days: u64) {
        // In one step, for nobody may read half a number.
        let text = format!("+{}\n", self.ahead + days * DAY);
        let file = self.directory.write("next", &text);
        std::fs::rename(file, self.directory.join("clock")).expect("to set the clock");
    }

    /// What a process needs in its environment. If `whole`, the clock that only counts goes with it.
    pub fn environment(&self, whole: bool) -> [(&'static str, String); 4] {
        let file = self.directory.join("clock").display().to_string();
        [
            ("LD_PRELOAD", clock_shifter()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", u8::from(!whole).to_string()),
        ]
    }
}
