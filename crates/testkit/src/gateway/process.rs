//! A process of ours, or one that a process of ours has started and left behind.
//!
//! An upgraded gateway is the child of the gateway before, which ends. So that its end can be waited for, the process of
//! the tests adopts orphans.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

/// Makes orphans of our descendants our children.
pub(super) fn adopt_orphans() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// The process that a file names.
pub(super) fn named_in(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[derive(Debug)]
pub(super) enum Process {
    /// Started by us.
    First(Child),
    /// Started by another; the status once it is known.
    Later(u32, Option<ExitStatus>),
}

impl Process {
    pub(super) fn later(pid: u32) -> Self {
        Self::Later(pid, None)
    }

    pub(super) fn id(&self) -> u32 {
        match self {
            Self::First(child) => child.id(),
            Self::Later(pid, _) => *pid,
        }
    }

    /// How it ended, if it has.
    pub(super) fn try_wait(&mut self) -> Option<ExitStatus> {
        match self {
            Self::First(child) => child.try_wait().expect("its status"),
            Self::Later(pid, status) => {
                if status.is_none() {
                    // Not ours yet while the process that started it is there.
                    let waited = waitpid(as_pid(*pid), WaitOptions::NOHANG).ok().flatten();
                    *status = waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
                }
                *status
            }
        }
    }

    /// Kills and reaps it.
    pub(super) fn end(&mut self) {
        match self {
            Self::First(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Later(pid, None) => {
                if let Some(pid) = as_pid(*pid) {
                    let _ = kill_process(pid, Signal::KILL);
                    let _ = waitpid(Some(pid), WaitOptions::empty());
                }
            }
            Self::Later(..) => {}
        }
    }
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
