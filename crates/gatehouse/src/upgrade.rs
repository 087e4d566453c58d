//! Replaces the running binary: starts the new one, hands it the sockets, waits until it could serve.
//!
//! One attempt at a time, and none by itself: a binary that crashes is tried again only when somebody asks again. An
//! attempt that fails leaves nothing behind, neither a process nor a change.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse_core::listen::handover::Handed;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::handover::{self, Answer, Channel, TAKE_OVER};

/// How long a process that has hung up may take to end by itself, so that its exit status can be told.
const FAREWELL: Duration = Duration::from_secs(2);

/// The file that this process runs, as it was called: a link is followed again when the next one starts. To be asked at
/// the start, before it is replaced.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let running = std::env::current_exe()?;
    let is_it = |path: &Path| path.canonicalize().is_ok_and(|real| real == running);
    if called.components().count() > 1 {
        return std::path::absolute(called);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(&called))
        .find(|path| is_it(path));
    Ok(found.unwrap_or(running))
}

/// An attempt under way. Dropping it does not end it: see [`Attempt::abandon`].
pub(crate) struct Attempt {
    channel: Arc<Channel>,
    task: JoinHandle<Result<u32, String>>,
}

/// A process that is ready to take our place.
pub(crate) struct Successor {
    pub(crate) pid: u32,
    channel: Arc<Channel>,
}

impl Successor {
    /// Lets it serve; from now on we must not accept.
    pub(crate) fn go(&self) -> io::Result<()> {
        self.channel.go()
    }
}

impl Attempt {
    /// Starts `program` with our own arguments and offers it the sockets.
    pub(crate) fn begin(program: PathBuf, sockets: Vec<Handed>, patience: Duration) -> io::Result<Self> {
        let (channel, theirs) = handover::pair()?;
        let channel = Arc::new(channel);
        let ours = channel.clone();
        let task = spawn_blocking(move || replace(&program, &ours, theirs, &sockets, patience));
        Ok(Self { channel, task })
    }

    /// Waits for the end: a process that is ready, or why there is none.
    pub(crate) async fn outcome(&mut self) -> Result<Successor, String> {
        let pid = (&mut self.task).await.map_err(|error| error.to_string())??;
        Ok(Successor {
            pid,
            channel: self.channel.clone(),
        })
    }

    /// Ends it; the new process is killed.
    pub(crate) async fn abandon(self) {
        self.channel.hang_up();
        let _ = self.task.await;
    }
}

fn replace(
    program: &Path,
    channel: &Channel,
    theirs: OwnedFd,
    sockets: &[Handed],
    patience: Duration,
) -> Result<u32, String> {
    let until = Instant::now() + patience;
    let mut child =
        start(program, theirs).map_err(|error| format!("cannot start `{}`: {error}", program.display()))?;
    // A process that does not listen is found out by its answer, or the lack of it.
    let offered = channel.offer(sockets);
    let why = match channel.answer(until) {
        Answer::Ready => return Ok(child.id()),
        Answer::Failed(why) => why,
        Answer::Late => format!("the new process was not ready within {patience:?}"),
        Answer::Gone => match (ended(&mut child), offered) {
            (Some(status), _) => format!("the new process ended before it was ready ({status})"),
            (None, Err(error)) => format!("the new process does not take the sockets: {error}"),
            (None, Ok(())) => "the new process has hung up".to_owned(),
        },
    };
    kill(&mut child);
    Err(why)
}

fn start(program: &Path, channel: OwnedFd) -> io::Result<Child> {
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(TAKE_OVER, "1")
        // Both were for this process alone; the new one would think that they are not for it.
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_FDNAMES")
        .stdin(Stdio::from(channel))
        // A Ctrl-C that ends the old process must not end the new one as well.
        .process_group(0)
        .spawn()
}

/// How it ended, if it does so by itself.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + FAREWELL;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Ends it and whatever it has started.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}
