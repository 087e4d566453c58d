//! The stream below a connection of HTTP/2: frames are counted as they come, and small writes gathered.
//!
//! The library flushes after each frame of some size. Here nothing leaves before [`Wire::flush`], which the
//! driver calls at the end of a turn, or before much has been gathered: the answers of many requests then
//! take one system call, and one record of TLS.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::guard::{Breach, Guard};
use super::outward::Outward;
use crate::io::{Buffer, Stream};
use crate::worker::Worker;

/// Bytes gathered at most; more are written at once.
const GATHERED: usize = 16 * 1024;

struct Inner {
    stream: Stream,
    worker: Rc<Worker>,
    /// What was read before the connection was known to be one of HTTP/2.
    first: Option<Buffer>,
    guard: Guard,
    outward: Outward,
    breach: Option<Breach>,
    gathered: Vec<u8>,
    sent: u64,
    /// Refused requests that were counted.
    told: u64,
}

/// A stream, shared by the library, which reads and writes, and the driver, which flushes.
#[derive(Clone)]
pub(crate) struct Wire(Rc<RefCell<Inner>>);

impl Wire {
    pub(super) fn new(worker: &Rc<Worker>, stream: Stream, first: Option<Buffer>, guard: Guard) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            stream,
            worker: worker.clone(),
            first,
            guard,
            outward: Outward::default(),
            breach: None,
            gathered: Vec::new(),
            sent: 0,
            told: 0,
        })))
    }

    /// What the client did too much of. From then on nothing more is read.
    pub(super) fn breach(&self) -> Option<Breach> {
        self.0.borrow().breach
    }

    /// True while a frame, or a head of several frames, has begun and not ended.
    pub(super) fn is_amid_frame(&self) -> bool {
        self.0.borrow().guard.is_amid_frame()
    }

    /// Requests refused since this was last asked because there were too many at a time.
    pub(super) fn take_refused(&self) -> u64 {
        let mut inner = self.0.borrow_mut();
        let refused = inner.outward.seen.refused;
        refused - std::mem::replace(&mut inner.told, refused)
    }

    /// Bytes written to the stream.
    pub(super) fn sent(&self) -> u64 {
        self.0.borrow().sent
    }

    /// Ready when everything gathered has left.
    pub(super) fn flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().flush(cx)
    }

    /// Reads and drops what still comes. Ready at the end.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<usize> {
        let read = self.0.borrow_mut().stream.poll_read(cx, buffer.space());
        read.map(|read| read.unwrap_or(0))
    }
}

impl Inner {
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let n = ready!(self.stream.poll_write(cx, &self.gathered))?;
            self.wrote(n)?;
            self.gathered.drain(..n);
        }
        // An idle connection keeps none of it; the next that writes takes it over.
        if self.gathered.capacity() > 0 {
            self.worker.keep_staging(std::mem::take(&mut self.gathered));
        }
        self.stream.poll_flush(cx)
    }

    fn wrote(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent += n as u64;
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>, runs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length: usize = runs.iter().map(|run| run.len()).sum();
        if self.gathered.len() + length <= GATHERED {
            if self.gathered.capacity() == 0 {
                self.gathered = self.worker.spare_staging();
            }
            for run in runs {
                self.gathered.extend_from_slice(run);
            }
            self.taken(runs, length);
            return Poll::Ready(Ok(length));
        }
        while !self.gathered.is_empty() {
            // A frame's header, its payload, and what came before.
            let (first, second) = (runs.first(), runs.get(1));
            let empty: &[u8] = &[];
            let all = [
                IoSlice::new(&self.gathered),
                IoSlice::new(first.map_or(empty, |run| run)),
                IoSlice::new(second.map_or(empty, |run| run)),
            ];
            let n = ready!(self.stream.poll_write_vectored(cx, &all))?;
            self.wrote(n)?;
            let gathered = self.gathered.len();
            self.gathered.drain(..n.min(gathered));
            if n > gathered {
                self.taken(runs, n - gathered);
                return Poll::Ready(Ok(n - gathered));
            }
        }
        let n = ready!(self.stream.poll_write_vectored(cx, runs))?;
        self.wrote(n)?;
        self.taken(runs, n);
        Poll::Ready(Ok(n))
    }

    /// Looks at the first `n` bytes of `runs`, which the library has got rid of.
    fn taken(&mut self, runs: &[IoSlice<'_>], mut n: usize) {
        for run in runs {
            let now = n.min(run.len());
            self.outward.look(run.get(..now).unwrap_or_default());
            n -= now;
        }
        if let Err(breach) = self.guard.refused(self.outward.seen, self.sent) {
            self.breach.get_or_insert(breach);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.breach.is_some() {
            return Poll::Pending;
        }
        let before = target.filled().len();
        if let Some(first) = &mut self.first {
            let n = first.len().min(target.remaining());
            target.put_slice(first.part(0..n));
            first.consume(n);
            if first.is_empty() {
                self.first = None;
            }
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(cx, target))?;
        }
        let arrived = target.filled().get(before..).unwrap_or_default();
        if let Err(breach) = self.guard.look(arrived, self.sent) {
            self.breach = Some(breach);
            // None of it is looked at: the connection ends here.
            target.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().read(cx, target)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().write(cx, runs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The driver flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.flush(cx))?;
        inner.stream.poll_shutdown(cx)
    }
}
