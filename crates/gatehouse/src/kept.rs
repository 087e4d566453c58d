//! What is kept of the configuration that runs, to compare it with the next; and when one that had to wait is tried
//! again.

use std::path::PathBuf;
use std::time::Duration;

use gatehouse_core::config::{Address, Config, LogFormat, NamedFiles, Process, Size};
use gatehouse_core::plan::diff::Outline;
use tokio::time::Instant;

use crate::document::Document;

/// The pause before a configuration is tried again, at first.
const FIRST: Duration = Duration::from_secs(1);
/// It doubles each time, up to this.
const LONGEST: Duration = Duration::from_secs(30);

/// What is kept of the document that runs.
pub(crate) struct Kept {
    pub(crate) hash: String,
    /// The files that the document names.
    pub(crate) files: NamedFiles,
    pub(crate) outline: Outline,
    pub(crate) process: Process,
    /// As the document has it now.
    fixed: Fixed,
    /// As it was at the start, and is until the process ends.
    started: Fixed,
}

impl Kept {
    /// Of a document that is to run.
    pub(crate) fn of(document: &Document) -> Self {
        let config = &document.config;
        Self {
            hash: document.hash.clone(),
            files: NamedFiles::default(),
            outline: Outline::of(config),
            process: config.process.clone(),
            fixed: Fixed::of(config),
            started: Fixed::of(config),
        }
    }

    /// Once it is compiled: what it names was read then.
    pub(crate) fn take_files(&mut self, document: Document) {
        self.files = document.reader.into_files();
        self.outline = std::mem::take(&mut self.outline).with_files(&self.files);
    }

    /// Another document runs from now on. Says what of it takes force only after a restart, once for each change.
    pub(crate) fn give_way(&mut self, new: Self) {
        for (setting, how) in changes(&self.started, &self.fixed, &new.fixed) {
            match how {
                Change::Waits => tracing::warn!(setting, "the change takes force after a restart"),
                Change::Undone => tracing::info!(setting, "the setting is again the one that runs"),
            }
        }
        let started = std::mem::take(&mut self.started);
        *self = Self { started, ..new };
    }
}

/// What is read at the start only.
#[derive(Debug, Clone, Default)]
struct Fixed {
    workers: Option<u16>,
    log_format: LogFormat,
    admin: Option<Address>,
    upgrade_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    access_buffer: Option<Size>,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let process = &config.process;
        Self {
            workers: process.workers,
            log_format: process.log.format,
            admin: config.admin.address.clone(),
            upgrade_socket: process.upgrade.socket.clone(),
            pid_file: process.pid_file.clone(),
            access_buffer: Some(config.access_log.buffer),
        }
    }

    fn differences(&self, other: &Self) -> [(&'static str, bool); 6] {
        [
            ("process.workers", self.workers != other.workers),
            ("process.log.format", self.log_format != other.log_format),
            ("admin.address", self.admin != other.admin),
            (
                "process.upgrade.socket",
                self.upgrade_socket != other.upgrade_socket,
            ),
            ("process.pid_file", self.pid_file != other.pid_file),
            ("access_log.buffer", self.access_buffer != other.access_buffer),
        ]
    }
}

/// What a change of a setting means that is read at the start only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Something else runs until there is a restart.
    Waits,
    /// It is what it was at the start.
    Undone,
}

/// The settings that are not what they were before.
fn changes(started: &Fixed, old: &Fixed, new: &Fixed) -> Vec<(&'static str, Change)> {
    let changed = old.differences(new).into_iter();
    let waits = started.differences(new);
    let both = changed.zip(waits).filter(|((_, changed), _)| *changed);
    both.map(|((setting, _), (_, waits))| (setting, if waits { Change::Waits } else { Change::Undone }))
        .collect()
}

/// Until a configuration is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    length: Duration,
    end: Instant,
}

impl Pause {
    /// Begins now, and is longer than the one before.
    pub(crate) fn after(before: Option<Self>) -> Self {
        let length = before.map_or(FIRST, |before| (before.length * 2).min(LONGEST));
        let end = Instant::now() + length;
        Self { length, end }
    }

    /// Waits until it is over; for ever if there is none.
    pub(crate) async fn over(pause: Option<&Self>) {
        match pause {
            Some(pause) => tokio::time::sleep_until(pause.end).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(workers: u16) -> Fixed {
        Fixed {
            workers: Some(workers),
            ..Fixed::default()
        }
    }

    #[test]
    fn a_change_is_told_once_and_so_is_its_end() {
        let told = |started, old, new| changes(&workers(started), &workers(old), &workers(new));
        assert_eq!(told(1, 1, 2), [("process.workers", Change::Waits)]);
        assert_eq!(told(1, 2, 2), []);
        assert_eq!(told(1, 2, 3), [("process.workers", Change::Waits)]);
        assert_eq!(told(1, 2, 1), [("process.workers", Change::Undone)]);
    }

    #[test]
    fn pauses_get_longer_up_to_a_bound() {
        let mut pause = Pause::after(None);
        assert_eq!(pause.length, FIRST);
        for _ in 0..10 {
            pause = Pause::after(Some(pause));
        }
        assert_eq!(pause.length, LONGEST);
    }
}
