//! Tells when a file of the configuration has changed.
//!
//! The folders are watched, not the files: editors write a new file and rename it over the old one, and
//! Kubernetes swaps a symbolic link (`..data`) beside it; a watch on the file itself would go with it.
//! A folder sees much that is none of our business, so after a moment of quiet the files are compared
//! with what they were, and only a difference is told. Where watching does not work (some network file
//! systems, no watches left), a configuration is still read again on SIGHUP.

mod fingerprint;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use fingerprint::Fingerprint;

/// Files are compared when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(150);

/// And after this long at the latest, in a folder that is never quiet.
const LONGEST: Duration = Duration::from_secs(1);

/// Symbolic links followed from one path; more are a loop.
const LINKS: usize = 40;

/// Watches files until it is dropped.
pub(crate) struct Watch {
    commands: Sender<Command>,
}

/// What wakes the thread.
enum Command {
    /// Something happened in a watched folder.
    Event,
    /// Watch these from now on; this is how they look.
    Files(Vec<(PathBuf, Fingerprint)>),
    Stop,
}

impl Watch {
    /// Starts to watch `files`. A path may name a folder: then YAML and JSON files that come or go in it
    /// count (for `include` patterns). `changed` gets `()` after a change; one waiting is as good as
    /// several, so a channel of capacity 1 will do.
    ///
    /// # Errors
    /// When the system gives no watcher or no thread.
    pub(crate) fn start(files: Vec<PathBuf>, changed: mpsc::Sender<()>) -> anyhow::Result<Self> {
        let (commands, inbox) = channel();
        let events = commands.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reads are reported too, our own among them. An error may hide a change: look.
            if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
                // When this fails the thread is gone, and with it the need.
                let _ = events.send(Command::Event);
            }
        })
        .context("cannot watch files")?;
        let mut watched = Watched {
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            watcher,
            changed,
        };
        watched.set(looked_at(files));
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watched.run(&inbox))?;
        Ok(Self { commands })
    }

    /// Watches `files` in place of what was watched so far. A change since a file was last looked at is
    /// still told, so one written while it was being loaded is not missed.
    pub(crate) fn set(&self, files: Vec<PathBuf>) {
        // Looked at here and now: once this returns no change is missed, whenever the thread gets to it. It lives as
        // long as `self`.
        let _ = self.commands.send(Command::Files(looked_at(files)));
    }
}

fn looked_at(files: Vec<PathBuf>) -> Vec<(PathBuf, Fingerprint)> {
    let files = files.into_iter();
    files
        .map(|file| {
            let now = Fingerprint::of(&file);
            (file, now)
        })
        .collect()
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
    }
}

/// Owned by the thread.
struct Watched {
    files: BTreeMap<PathBuf, Fingerprint>,
    folders: BTreeSet<PathBuf>,
    watcher: RecommendedWatcher,
    changed: mpsc::Sender<()>,
}

impl Watched {
    fn run(mut self, inbox: &Receiver<Command>) {
        // When the first and the last of the events came that were not looked into yet.
        let mut events: Option<(Instant, Instant)> = None;
        loop {
            let command = match events {
                None => inbox.recv().map_err(RecvTimeoutError::from),
                Some((first, last)) => {
                    inbox.recv_timeout(due(first, last).saturating_duration_since(Instant::now()))
                }
            };
            match command {
                Ok(Command::Event) => {
                    let now = Instant::now();
                    events = Some((events.map_or(now, |(first, _)| first), now));
                }
                Ok(Command::Files(files)) => {
                    self.set(files);
                    self.look();
                }
                Err(RecvTimeoutError::Timeout) => {
                    events = None;
                    self.look();
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn set(&mut self, files: Vec<(PathBuf, Fingerprint)>) {
        let mut before = std::mem::take(&mut self.files);
        for (file, now) in files {
            let seen = before.remove(&file).unwrap_or(now);
            self.files.insert(file, seen);
        }
        self.watch_folders();
    }

    /// Compares the files with what they were, and tells a difference.
    fn look(&mut self) {
        let mut differs = false;
        for (file, seen) in &mut self.files {
            let now = Fingerprint::of(file);
            if now != *seen {
                *seen = now;
                differs = true;
            }
        }
        if differs {
            // A link may lead elsewhere now.
            self.watch_folders();
            // Full: one is waiting already. Closed: nobody wants to know.
            let _ = self.changed.try_send(());
        }
    }

    fn watch_folders(&mut self) {
        let wanted: BTreeSet<PathBuf> = self.files.keys().flat_map(|file| folders_of(file)).collect();
        for gone in self.folders.difference(&wanted) {
            // An error says that the folder does not exist any more.
            let _ = self.watcher.unwatch(gone);
        }
        for folder in &wanted {
            // Known folders as well: the name may stand for a new folder by now.
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "cannot watch a folder for changes");
            }
        }
        self.folders = wanted;
    }
}

/// When to look, given when the first and the last event came.
fn due(first: Instant, last: Instant) -> Instant {
    (last + QUIET).min(first + LONGEST)
}

/// The folders in which something happens when what `path` stands for is replaced: its own, and for each
/// symbolic link on the way, the folder of the link and those of what it points to.
fn folders_of(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut todo = vec![path.to_owned()];
    for _ in 0..LINKS {
        let Some(path) = todo.pop() else { break };
        // Fails for an empty path only.
        let Ok(path) = std::path::absolute(path) else {
            continue;
        };
        if path.is_dir() {
            folders.insert(path.clone());
        }
        folders.extend(path.parent().map(Path::to_owned));
        for part in path.ancestors() {
            let (Ok(target), Some(folder)) = (part.read_link(), part.parent()) else {
                continue;
            };
            folders.insert(folder.to_owned());
            let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
            let resolved = folder.join(target);
            // Joining an empty path would add a slash, and a file has nothing below it.
            todo.push(if rest.as_os_str().is_empty() {
                resolved
            } else {
                resolved.join(rest)
            });
            break;
        }
    }
    folders
}

#[cfg(test)]
mod tests;
