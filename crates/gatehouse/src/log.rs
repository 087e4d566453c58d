//! The process log: what the gateway says about itself, to standard error, as text or JSON.
//!
//! Not the access log. Lines pass through a bounded queue to one thread that writes them, so that a
//! standard error that nobody reads never stops a worker; what does not fit is counted, not kept.
//! The level can be changed while the process runs, the format cannot.

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Lines that may wait for standard error. More are dropped.
const QUEUE: usize = 4096;

/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// The running log. Dropping it writes what is still queued.
pub(crate) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    queue: Queue,
    /// Closes when the last line is written.
    written: Receiver<()>,
}

static STARTED: OnceLock<Format> = OnceLock::new();

/// How lines look; none if the log was not started.
pub(crate) fn format() -> Option<Format> {
    STARTED.get().copied()
}

/// Starts the log. `level` is `error`, `warn`, `info`, `debug`, `trace` or `off`, alone or with levels
/// for single modules: `info,gatehouse_core::upstream=debug`. Call it once.
///
/// # Errors
/// When `level` cannot be read, or when a log was started before.
pub(crate) fn start(level: &str, format: Format) -> anyhow::Result<Log> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let (queue, written) = Queue::start(io::stderr())?;
    let lines = fmt::layer().with_writer(queue.clone()).with_target(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).with_target(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .context("cannot start the log")?;
    let _ = STARTED.set(format);
    Ok(Log {
        filter: handle,
        queue,
        written,
    })
}

impl Log {
    /// Changes the level of the running log.
    ///
    /// # Errors
    /// When `level` cannot be read; the old one stays.
    pub(crate) fn set_level(&self, level: &str) -> anyhow::Result<()> {
        self.filter
            .reload(parse(level)?)
            .context("cannot change the log level")
    }

    /// Lines lost because standard error was too slow, since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.finish(&self.written, PATIENCE);
    }
}

fn parse(level: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::builder()
        .parse(level)
        .with_context(|| format!("`{level}` is not a log level"))?;
    // The library of HTTP/2 warns of what clients send: they must not be able to fill the log.
    if level.contains("h2=") {
        return Ok(filter);
    }
    Ok(filter.add_directive("h2=error".parse()?))
}

/// The way from `tracing` to the thread that writes.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the thread. What is returned beside the queue closes when the thread ends.
    fn start(out: impl Write + Send + 'static) -> io::Result<(Self, Receiver<()>)> {
        let (lines, rest) = sync_channel(QUEUE);
        let (end, written) = channel();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                write_all(&rest, out);
                drop::<Sender<()>>(end);
            })?;
        let lost = Arc::default();
        Ok((Self { lines, lost }, written))
    }

    /// Has all queued lines written, but waits no longer than `patience`: a standard error that nobody reads
    /// must not keep the process from ending.
    fn finish(&self, written: &Receiver<()>, patience: Duration) {
        let until = Instant::now() + patience;
        // An empty line is the end: the subscriber holds a sender as well, so the channel never closes.
        while let Err(TrySendError::Full(_)) = self.lines.try_send(Vec::new()) {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nothing is ever sent; it is the closing that is waited for.
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write) {
    while let Ok(line) = lines.recv() {
        if line.is_empty() {
            break;
        }
        // Nobody is left to be told that the log cannot be written.
        let _ = out.write_all(&line);
    }
    let _ = out.flush();
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            queue: self,
            bytes: Vec::new(),
        }
    }
}

/// One line in the making; it is queued when dropped. The formatter makes one for each event.
struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        if self
            .queue
            .lines
            .try_send(std::mem::take(&mut self.bytes))
            .is_err()
        {
            self.queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that hands on what it is given.
    struct Sink(Sender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn levels_are_read_or_refused() {
        for good in ["info", "off", "warn,gatehouse_core::upstream=debug"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let error = parse("gatehouse_core=loud").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`gatehouse_core=loud` is not a log level"),
            "{error}"
        );
    }

    #[test]
    fn lines_are_written_in_order_and_none_is_cut() {
        let (sent, written) = channel();
        let (queue, end) = Queue::start(Sink(sent)).unwrap();
        for line in ["one\n", "two\n"] {
            queue.make_writer().write_all(line.as_bytes()).unwrap();
        }
        queue.finish(&end, Duration::from_mins(1));
        let all: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(all, b"one\ntwo\n");
    }

    #[test]
    fn an_end_that_never_comes_is_not_waited_for() {
        let (lines, _rest) = sync_channel(1);
        let queue = Queue {
            lines,
            lost: Arc::default(),
        };
        let (_held, written) = channel();
        queue.finish(&written, Duration::ZERO);
        // The queue is full now.
        queue.finish(&written, Duration::ZERO);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        // No thread empties this queue.
        let (lines, _rest) = sync_channel(1);
        let queue = Queue {
            lines,
            lost: Arc::default(),
        };
        for _ in 0..3 {
            queue.make_writer().write_all(b"x\n").unwrap();
        }
        assert_eq!(queue.lost.load(Ordering::Relaxed), 2);
    }
}
