//! Listening sockets: TCP over IPv4 and IPv6, and Unix sockets.
//!
//! Options that connections inherit are set once on the listening socket, so that on Linux an accepted connection
//! costs no further system call. `[::]` serves IPv4 as well, whatever the system's default. A Unix socket's file
//! is replaced if nobody listens behind it, gets its mode before the first connection can come, and is removed when
//! the listener goes, unless a successor has replaced it.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::Address;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

#[cfg(test)]
mod tests;

/// Silence after which a peer is probed, the time between probes, and the probes it may leave unanswered. Finds
/// clients that vanished; those that are only slow are the business of the HTTP timeouts.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(10), 6);
/// How long sent bytes may stay unacknowledged. The same two minutes that keepalive takes, which it overrides.
const USER_TIMEOUT: Duration = Duration::from_mins(2);

/// How to listen.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections that may wait to be accepted; the system may have a lower bound (`net.core.somaxconn`).
    pub backlog: u32,
    /// Permissions of a Unix socket's file, such as `0o660`; `None` leaves them to the umask.
    pub unix_mode: Option<u32>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`: {reason}")]
pub struct BindError {
    /// The address in question.
    pub address: Address,
    /// What to do about it, if that is known.
    pub help: Option<&'static str>,
    reason: String,
    #[source]
    source: Option<io::Error>,
}

impl BindError {
    pub(super) fn new(address: &Address, source: io::Error) -> Self {
        let (reason, help) = match (source.kind(), address) {
            (ErrorKind::AddrInUse, Address::Tcp(tcp)) => (
                "address already in use".to_owned(),
                Some(if tcp.ip().is_unspecified() {
                    "another process or listener has this port; `[::]` takes it for IPv4 too. `ss -ltnp` shows who"
                } else {
                    "another process or listener has this port; `ss -ltnp` shows who"
                }),
            ),
            (ErrorKind::AddrInUse, Address::Unix(_)) => (
                "address already in use".to_owned(),
                Some("another process listens on this socket; stop it or choose another path"),
            ),
            (ErrorKind::PermissionDenied, Address::Tcp(tcp)) if tcp.port() < 1024 => (
                "permission denied".to_owned(),
                Some(
                    "ports below 1024 need CAP_NET_BIND_SERVICE; give it to the process or use a higher port",
                ),
            ),
            (ErrorKind::PermissionDenied, Address::Unix(_)) => (
                "permission denied".to_owned(),
                Some("the process must be allowed to write to the socket's directory"),
            ),
            (ErrorKind::AddrNotAvailable, _) => (
                "this machine has no such address".to_owned(),
                Some("use an address of this machine, or `0.0.0.0` or `[::]` for all of them"),
            ),
            (ErrorKind::NotFound, Address::Unix(_)) => (
                "no such directory".to_owned(),
                Some("create the socket's directory first"),
            ),
            _ => (source.to_string(), None),
        };
        Self {
            address: address.clone(),
            help,
            reason,
            source: Some(source),
        }
    }

    /// True if somebody else has the address, who may give it up.
    pub fn is_taken(&self) -> bool {
        let kind = self.source.as_ref().map(io::Error::kind);
        kind == Some(ErrorKind::AddrInUse)
    }

    fn refuse(address: &Address, reason: &str, help: &'static str) -> Self {
        Self {
            address: address.clone(),
            help: Some(help),
            reason: reason.to_owned(),
            source: None,
        }
    }
}

/// A socket that listens. Non-blocking; dropping the last one stops it.
#[derive(Debug)]
pub enum Bound {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket and its file.
    Unix(UnixListener, SocketFile),
}

impl Bound {
    /// Where it listens, with the port that was taken for port 0.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, file) => Ok(Address::Unix(file.0.path.clone())),
        }
    }

    /// Another handle of the same socket: it listens until both are dropped.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener, file) => Ok(Self::Unix(listener.try_clone()?, file.clone())),
        }
    }

    /// Leaves a Unix socket's file in place at the end, for a successor that was handed the socket.
    pub fn keep_file(&self) {
        if let Self::Unix(_, file) = self {
            file.0.kept.store(true, Ordering::Release);
        }
    }

    /// From now on the file of a Unix socket that was handed over is ours to remove.
    pub fn own_file(&self) {
        if let Self::Unix(_, file) = self
            && file.0.to_own
        {
            file.0.kept.store(false, Ordering::Release);
        }
    }
}

/// The file of a Unix socket. When the last handle is dropped it is removed, if it still is the one that was made.
#[derive(Debug, Clone)]
pub struct SocketFile(Arc<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Device and inode.
    id: Option<(u64, u64)>,
    /// Whether it stays at the end.
    kept: AtomicBool,
    /// Whether it belongs to us, now or once we have taken over.
    to_own: bool,
}

impl SocketFile {
    /// A file that we have made.
    fn ours(path: &Path) -> Self {
        Self::at(path, false, true)
    }

    /// The file of a socket that was handed to us. Nothing removes it before [`Bound::own_file`], and nothing ever if
    /// it is not `to_own`.
    pub(super) fn handed(path: &Path, to_own: bool) -> Self {
        Self::at(path, true, to_own)
    }

    fn at(path: &Path, kept: bool, to_own: bool) -> Self {
        Self(Arc::new(File {
            path: path.to_owned(),
            id: file_id(path),
            kept: AtomicBool::new(kept),
            to_own,
        }))
    }

    /// True if it will be removed at the end.
    pub(super) fn is_ours(&self) -> bool {
        self.0.id.is_some() && !self.0.kept.load(Ordering::Acquire)
    }

    /// Sets the permissions of the file, if it is ours to change.
    pub(super) fn set_mode(&self, mode: Option<u32>) -> io::Result<()> {
        match mode.filter(|_| self.0.to_own) {
            Some(mode) => fs::set_permissions(&self.0.path, fs::Permissions::from_mode(mode & 0o7777)),
            None => Ok(()),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.id.is_some() && !*self.kept.get_mut() && file_id(&self.path) == self.id {
            // Nothing can be done about a failure, and the next start copes with a stale file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds and listens.
pub fn bind(address: &Address, options: Options) -> Result<Bound, BindError> {
    match address {
        Address::Tcp(tcp) => bind_tcp(*tcp, options).map_err(|error| BindError::new(address, error)),
        Address::Unix(path) => bind_unix(address, path, options),
    }
}

fn bind_tcp(address: SocketAddr, options: Options) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restarted gateway have its port while connections of the old one still time out. Not SO_REUSEPORT:
    // with that, two gateways could share a port by mistake.
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    // TCP_DEFER_ACCEPT stays off: it would hide idle connections from the limits and the timeouts.
    set_options(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(options))?;
    Ok(Bound::Tcp(socket.into()))
}

fn bind_unix(address: &Address, path: &Path, options: Options) -> Result<Bound, BindError> {
    let io = |error| BindError::new(address, error);
    let name = SockAddr::unix(path).map_err(io)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(io)?;
    socket.set_nonblocking(true).map_err(io)?;
    match socket.bind(&name) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(address, path, &name)?;
            socket.bind(&name).map_err(io)?;
        }
        bound => bound.map_err(io)?,
    }
    // From here on an error removes the file again.
    let file = SocketFile::ours(path);
    // Before `listen`, which is what lets clients in.
    file.set_mode(options.unix_mode).map_err(io)?;
    socket.listen(backlog(options)).map_err(io)?;
    Ok(Bound::Unix(socket.into(), file))
}

/// Removes the socket file of a process that is gone; refuses anything else.
fn remove_stale(address: &Address, path: &Path, name: &SockAddr) -> Result<(), BindError> {
    let io = |error| BindError::new(address, error);
    if !fs::symlink_metadata(path).map_err(io)?.file_type().is_socket() {
        return Err(BindError::refuse(
            address,
            "the path exists and is not a socket",
            "remove the file or choose another path",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(io)?;
    // A listener with a full queue says "would block", and lives.
    probe.set_nonblocking(true).map_err(io)?;
    match probe.connect(name) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(io(error)),
        _ => Err(io(ErrorKind::AddrInUse.into())),
    }
}

/// Sets what an accepted TCP connection needs. On Linux it was inherited, and this does nothing.
pub fn accepted<S: std::os::fd::AsFd>(stream: &S) -> io::Result<()> {
    if cfg!(target_os = "linux") {
        return Ok(());
    }
    set_options(&SockRef::from(stream))
}

/// The options of connections: no delay of small writes, dead peers found. Buffer sizes stay with the system's
/// tuning, which a fixed size would turn off.
pub fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    let (idle, interval, retries) = KEEPALIVE;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(retries);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

pub(super) fn backlog(options: Options) -> i32 {
    i32::try_from(options.backlog.max(1)).unwrap_or(i32::MAX)
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata
        .file_type()
        .is_socket()
        .then(|| (metadata.dev(), metadata.ino()))
}
