//! What systemd and the like are told and give: readiness, the main process, the watchdog, sockets.
//!
//! All of it is plain protocol over environment variables; where there is no such supervisor nothing happens.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use gatehouse_core::config::Address;
use gatehouse_core::listen::handover::Handed;
use gatehouse_core::server::Pulse;
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

/// How long a supervisor that does not read may hold us up.
const PATIENCE: Duration = Duration::from_secs(1);

/// What there is to tell. The words are those of `sd_notify(3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It serves; or a reload is over.
    Ready,
    /// A reload begins; [`News::Ready`] ends it.
    Reloading,
    /// It is about to end.
    Stopping,
    /// Another process is the main one from now on.
    MainPid(u32),
    /// It is alive.
    Alive,
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1\n"),
            Self::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
                write!(f, "RELOADING=1\nMONOTONIC_USEC={micros}\n")
            }
            Self::Stopping => f.write_str("STOPPING=1\n"),
            Self::MainPid(pid) => writeln!(f, "MAINPID={pid}"),
            Self::Alive => f.write_str("WATCHDOG=1\n"),
        }
    }
}

/// Tells the supervisor, if there is one. Waits for it a moment, not for ever as the usual libraries do.
pub(crate) fn notify(news: News) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
        && let Err(error) = send(&socket, news)
    {
        tracing::warn!(?news, %error, "the supervisor cannot be told");
    }
}

fn send(socket: &OsStr, news: News) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    from.set_write_timeout(Some(PATIENCE))?;
    from.send_to_addr(news.to_string().as_bytes(), &address)
        .map(|_| ())
}

#[cfg(target_os = "linux")]
fn abstract_name(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The sockets that a supervisor listens on for us. To be asked first of all, while there is one thread.
pub(crate) fn sockets() -> Vec<Handed> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default().to_owned();
        if let Ok(Some(listener)) = given.take_tcp_listener(index) {
            if let Ok(address) = listener.local_addr() {
                sockets.push(Handed::tcp(None, name, Address::Tcp(address), listener));
            }
        } else if let Ok(Some(listener)) = given.take_unix_listener(index) {
            let address = listener.local_addr().ok();
            let path = address.as_ref().and_then(|address| address.as_pathname());
            // A name without a path, so that the socket can be found by its own name at least.
            let path = path.unwrap_or(Path::new("")).to_owned();
            sockets.push(Handed::unix(None, name, &path, listener, false));
        } else {
            // There is no log yet.
            eprintln!(
                "warning: the socket `{name}` from the supervisor is neither TCP nor a Unix stream; ignored"
            );
        }
    }
    sockets
}

/// Keeps telling the supervisor that we are alive, for as long as all workers turn. Ends when dropped.
pub(crate) struct Watchdog(Option<JoinHandle<()>>);

impl Watchdog {
    /// Begins, if the supervisor has asked for it.
    pub(crate) fn start(pulse: Pulse) -> Self {
        let task = watchdog_interval().map(|within| tokio::spawn(watch(pulse, within)));
        Self(task)
    }
}

/// How often the supervisor wants to hear from this process, if it does.
fn watchdog_interval() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_meant = std::env::var_os("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
    number("WATCHDOG_USEC")
        .filter(|micros| is_meant && *micros > 0)
        .map(Duration::from_micros)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn watch(pulse: Pulse, within: Duration) {
    // Twice in the time leaves room for one that comes late.
    let mut ticks = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A worker that hangs never answers, and then nothing is said any more.
        if !pulse.beat().await {
            return tracing::error!("a worker is gone; the supervisor's watchdog is no longer fed");
        }
        notify(News::Alive);
    }
}
