//! The access log: one JSON line for each exchange, written off the hot path.
//!
//! A worker formats its lines into its own [`AccessBuffer`]; full buffers go to one writer thread and come
//! back empty, so that nothing is allocated once all are in use. Their number is the bound: when the writer
//! cannot keep up there is no empty one, and lines are dropped and counted. A worker never waits, and a full
//! disk never stops traffic.

mod buffer;
mod clock;
mod line;
mod sink;
mod writer;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

pub use buffer::AccessBuffer;
pub use clock::{Clock, Stamp};
pub use line::Line;
pub use writer::AccessLog;

use super::metrics::{Count, Events};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output of the process.
    Stdout,
    /// A file, appended to; opened anew when something else is found at its path.
    File(PathBuf),
    /// A syslog server over UDP (RFC 5424, RFC 5426).
    SyslogUdp(SocketAddr),
    /// A local syslog daemon's datagram socket, such as `/dev/log` (RFC 5424).
    SyslogUnix(PathBuf),
}

/// How the access log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where lines go.
    pub output: Output,
    /// Bytes that may wait to be written, over all workers.
    pub capacity: usize,
    /// How many workers write.
    pub workers: usize,
}

/// What became of the lines.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Lines written.
    pub lines: Arc<Count>,
    /// Lines lost, because too many waited or writing failed.
    pub dropped: Arc<Count>,
    /// Failed attempts to open or write.
    pub errors: Arc<Count>,
}

impl Counts {
    /// The counts that `/metrics` shows.
    pub fn of(events: &Events) -> Self {
        Counts {
            lines: Arc::clone(&events.access_lines),
            dropped: Arc::clone(&events.access_dropped),
            errors: Arc::clone(&events.access_errors),
        }
    }
}
