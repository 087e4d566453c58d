//! The places lines are written to: a stream, a file that may be rotated, a syslog.
//!
//! Blocking on purpose: it is called by the writer thread only.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, ErrorKind, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{Clock, Output};

/// An open output.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout(Torn),
    File(LogFile),
    Syslog(Syslog),
}

/// How a write ended: how many lines were not written, and why.
pub(super) struct Outcome {
    pub(super) lost: u64,
    pub(super) result: io::Result<()>,
}

impl Sink {
    pub(super) fn open(output: &Output) -> io::Result<Self> {
        Ok(match output {
            Output::Stdout => Sink::Stdout(Torn(false)),
            Output::File(path) => Sink::File(LogFile::open(path)?),
            Output::SyslogUdp(address) => Sink::Syslog(Syslog::new(Server::Udp(*address))),
            Output::SyslogUnix(path) => Sink::Syslog(Syslog::new(Server::Unix(path.clone()))),
        })
    }

    /// Opens anew what has a name in the file system.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match self {
            Sink::Stdout(_) => Ok(()),
            Sink::File(file) => file.reopen(),
            Sink::Syslog(syslog) => {
                syslog.socket = None;
                Ok(())
            }
        }
    }

    /// Notices, at most once a second, that a file was moved away or removed, and opens the new one.
    pub(super) fn follow(&mut self, now: Instant) -> io::Result<()> {
        match self {
            Sink::File(file) if now.duration_since(file.looked) >= LOOK => {
                file.looked = now;
                if file.is_current() { Ok(()) } else { file.reopen() }
            }
            _ => Ok(()),
        }
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> Outcome {
        match self {
            Sink::Stdout(torn) => torn.write(&mut io::stdout().lock(), lines),
            Sink::File(file) => file.torn.write(&mut file.file, lines),
            Sink::Syslog(syslog) => syslog.write(lines),
        }
    }
}

const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode, which tell whether the path still leads here.
    identity: (u64, u64),
    looked: Instant,
    torn: Torn,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let (file, identity) = open(path)?;
        Ok(LogFile {
            path: path.to_owned(),
            file,
            identity,
            looked: Instant::now(),
            torn: Torn(false),
        })
    }

    fn is_current(&self) -> bool {
        self.path
            .metadata()
            .is_ok_and(|found| identity(&found) == self.identity)
    }

    /// On failure the old file stays in use: better a line in the wrong file than none.
    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.identity) = open(&self.path)?;
        self.torn = Torn(false);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    // Lines hold addresses of people: not for everybody to read.
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    let identity = identity(&file.metadata()?);
    Ok((file, identity))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether an error left half a line behind; the next write then begins with a line feed.
#[derive(Debug)]
pub(super) struct Torn(bool);

impl Torn {
    fn write(&mut self, to: &mut impl Write, lines: &[u8]) -> Outcome {
        if self.0 {
            if let Err(error) = write_some(to, b"\n") {
                return Outcome {
                    lost: count(lines),
                    result: Err(error.1),
                };
            }
            self.0 = false;
        }
        match write_some(to, lines) {
            Ok(()) => Outcome {
                lost: 0,
                result: to.flush(),
            },
            Err((written, error)) => {
                let (done, rest) = lines.split_at(written);
                self.0 = done.last().is_some_and(|&last| last != b'\n');
                Outcome {
                    lost: count(rest),
                    result: Err(error),
                }
            }
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// `write_all` that says how much was written when it fails.
fn write_some(to: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    let mut patience = 1_000;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever gave us the pipe may have made it non-blocking; wait for its reader, not forever.
            Err(error) if error.kind() == ErrorKind::WouldBlock && patience > 0 => {
                patience -= 1;
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[derive(Debug)]
enum Server {
    Udp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Sends each line as one message (RFC 5424; over UDP, RFC 5426).
#[derive(Debug)]
pub(super) struct Syslog {
    server: Server,
    socket: Option<Socket>,
    /// ` host app pid message-id structured-data `.
    origin: String,
    clock: Clock,
    message: Vec<u8>,
}

/// Facility local0, severity informational (RFC 5424 section 6.2.1), and the version.
const PRIORITY: &[u8] = b"<134>1 ";

impl Syslog {
    fn new(server: Server) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host
            .trim()
            .chars()
            .filter(char::is_ascii_graphic)
            .take(255)
            .collect();
        let host = if host.is_empty() { "-" } else { &host };
        let origin = format!(" {host} gatehouse {} access - ", std::process::id());
        Syslog {
            server,
            socket: None,
            origin,
            clock: Clock::new(),
            message: Vec::new(),
        }
    }

    fn write(&mut self, lines: &[u8]) -> Outcome {
        let stamp = self.clock.stamp(SystemTime::now());
        let (mut lost, mut result) = (0, Ok(()));
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            self.message.clear();
            self.message.extend_from_slice(PRIORITY);
            self.message.extend_from_slice(stamp.as_bytes());
            self.message.extend_from_slice(self.origin.as_bytes());
            self.message.extend_from_slice(line);
            if let Err(error) = self.send() {
                lost += 1;
                result = Err(error);
            }
        }
        Outcome { lost, result }
    }

    /// Tries a new socket when the old one fails: the daemon may have been restarted, and an error of a
    /// UDP socket is about the message before.
    fn send(&mut self) -> io::Result<()> {
        if let Some(socket) = &self.socket
            && socket.send(&self.message).is_ok()
        {
            return Ok(());
        }
        self.socket = None;
        let socket = self.server.connect()?;
        socket.send(&self.message)?;
        self.socket = Some(socket);
        Ok(())
    }
}

impl Server {
    fn connect(&self) -> io::Result<Socket> {
        // A daemon that hangs costs lines, not the thread.
        let patience = Some(Duration::from_secs(1));
        match self {
            Server::Udp(address) => {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.set_write_timeout(patience)?;
                socket.connect(address)?;
                Ok(Socket::Udp(socket))
            }
            Server::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(patience)?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
        }
    }
}

impl Socket {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        match self {
            Socket::Udp(socket) => socket.send(message),
            Socket::Unix(socket) => socket.send(message),
        }
        .map(drop)
    }
}

#[cfg(test)]
mod tests;
