//! Pipes: how long bodies cross from one socket to another without being copied into the process.
//!
//! `splice(2)` moves bytes from a socket into a pipe and from there into another socket; what moves are
//! references to the system's own buffers. A pipe is filled only while it is empty, so that "would block"
//! can only mean that its source has nothing to give, and it is lent again only when it is empty.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use super::BufferPool;
use crate::listen::descriptors;

/// The least that must be left of a body for a pipe to be worth its system calls, in bytes.
pub const LEAST: u64 = 32 * 1024;
/// The most that one fill takes, and the size asked for, in bytes. The system may allow less.
const CAPACITY: usize = 1024 * 1024;
/// The least size a pipe may have: with less, copying costs less.
const SMALLEST: usize = 64 * 1024;
/// How many pipes a worker has at most, lent and spare: each takes two descriptors, and as much of the
/// system's memory as it holds.
const MOST: usize = 64;
/// How many spare ones outlive a quiet second.
const QUIET: usize = 4;

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The pipes of one worker.
#[derive(Default)]
pub(super) struct Pipes {
    spare: RefCell<Vec<Ends>>,
    lent: Cell<usize>,
    /// True once the system refused one, until the next quiet second.
    refused: Cell<bool>,
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipes {
    /// Lends an empty pipe, if there are not too many and the system gives one.
    pub fn lend(&self, pool: &Rc<BufferPool>) -> Option<Pipe> {
        if self.lent.get() >= MOST {
            return None;
        }
        let spare = self.spare.borrow_mut().pop();
        let ends = match spare {
            Some(ends) => ends,
            None if self.refused.get() => return None,
            None => {
                let opened = Ends::open();
                self.refused.set(opened.is_none());
                opened?
            }
        };
        self.lent.set(self.lent.get() + 1);
        Some(Pipe {
            ends: Some(ends),
            held: 0,
            pool: pool.clone(),
        })
    }

    /// Closes spare pipes beyond a small stock, and asks the system again if it refused one.
    pub fn trim(&self) {
        self.spare.borrow_mut().truncate(QUIET);
        self.refused.set(false);
    }
}

impl Ends {
    fn open() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A user without privileges has a bound on the size of all pipes together, and one on new ones.
        let grown = fcntl_setpipe_size(&write, CAPACITY);
        let size = grown.or_else(|_| fcntl_getpipe_size(&write)).ok()?;
        // What is kept back from clients is not for what can be done without either.
        let number = u32::try_from(read.as_raw_fd().max(write.as_raw_fd())).unwrap_or(u32::MAX);
        (size >= SMALLEST && number < descriptors::ceiling()).then_some(Self { read, write })
    }
}

/// A pipe on loan, and how much is in it.
pub struct Pipe {
    /// Taken only on drop.
    ends: Option<Ends>,
    held: usize,
    pool: Rc<BufferPool>,
}

impl Pipe {
    /// Moves at most `most` bytes from a socket into the pipe, which must be empty. `Ok(0)` is the end of
    /// the stream; [`io::ErrorKind::Unsupported`] says that this cannot be done with this socket.
    pub(super) fn fill(&mut self, from: impl AsFd, most: u64) -> io::Result<usize> {
        let Some(ends) = self.ends.as_ref().filter(|_| self.held == 0) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let most = usize::try_from(most).map_or(CAPACITY, |most| most.min(CAPACITY));
        match splice(from, None, &ends.write, None, most, FLAGS) {
            Ok(n) => {
                self.held = n;
                Ok(n)
            }
            // Nothing has moved: the body can still be read.
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves some of what the pipe holds, which must not be empty, into a socket.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else {
            return Ok(0);
        };
        let n = splice(&ends.read, None, to, None, self.held, FLAGS)?;
        self.held = self.held.saturating_sub(n);
        Ok(n)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let pipes = &self.pool.pipes;
        pipes.lent.set(pipes.lent.get() - 1);
        // One with something of a body in it must never carry another's.
        if let Some(ends) = self.ends.take().filter(|_| self.held == 0) {
            pipes.spare.borrow_mut().push(ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    fn spare(pool: &BufferPool) -> usize {
        pool.pipes.spare.borrow().len()
    }

    #[test]
    fn moves_bytes_from_socket_to_socket_and_no_more_than_asked() {
        let pool = Rc::new(BufferPool::default());
        let ((from, mut sender), (to, mut receiver)) = (pair(), pair());
        sender.write_all(b"body and the next request").unwrap();
        let mut pipe = pool.pipe().unwrap();
        assert_eq!(pipe.fill(&from, 4).unwrap(), 4);
        let refused = pipe.fill(&from, 4).map_err(|e| e.kind());
        assert_eq!(
            refused,
            Err(io::ErrorKind::Unsupported),
            "only an empty pipe is filled"
        );
        assert_eq!(pipe.drain(&to).unwrap(), 4);
        let mut got = [0; 4];
        receiver.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"body");
        let mut rest = [0; 32];
        let n = (&from).read(&mut rest).unwrap();
        assert_eq!(&rest[..n], b" and the next request");
    }

    #[test]
    fn says_when_there_is_nothing_and_when_the_stream_ended() {
        let pool = Rc::new(BufferPool::default());
        let (from, sender) = pair();
        let mut pipe = pool.pipe().unwrap();
        let empty = pipe.fill(&from, 10).map_err(|e| e.kind());
        assert_eq!(empty, Err(io::ErrorKind::WouldBlock));
        drop(sender);
        assert_eq!(pipe.fill(&from, 10).unwrap(), 0);
    }

    #[test]
    fn only_an_empty_pipe_is_lent_again() {
        let pool = Rc::new(BufferPool::default());
        let (from, mut sender) = pair();
        sender.write_all(b"abc").unwrap();
        drop(pool.pipe().unwrap());
        assert_eq!(spare(&pool), 1);
        let mut pipe = pool.pipe().unwrap();
        assert_eq!(spare(&pool), 0);
        assert_eq!(pipe.fill(&from, 10).unwrap(), 3);
        drop(pipe);
        assert_eq!((spare(&pool), pool.pipes.lent.get()), (0, 0));
    }

    #[test]
    fn there_is_a_most_and_a_quiet_second_closes_the_spare_ones() {
        let pool = Rc::new(BufferPool::default());
        let lent: Vec<_> = std::iter::from_fn(|| pool.pipe()).collect();
        assert_eq!(lent.len(), MOST);
        drop(lent);
        assert_eq!(spare(&pool), MOST);
        pool.trim();
        assert_eq!(spare(&pool), QUIET);
        assert!(pool.pipe().is_some());
    }
}
