//! Read buffers, lent by a pool of the worker and given back on drop.
//!
//! Memory is zeroed once, when a buffer is made, and then reused: reading into it needs no `unsafe`
//! and costs no fill. Two sizes exist: [`SMALL`] holds any ordinary head and small body, [`LARGE`]
//! carries bulk bodies with few system calls. An idle connection holds none.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::pipe::{Pipe, Pipes};

/// Bytes in a small buffer: a head and a short body.
pub const SMALL: usize = 16 * 1024;
/// Bytes in a large buffer: bulk bodies.
pub const LARGE: usize = 128 * 1024;

/// How many spare buffers of each size a worker keeps; more are freed at once.
const SPARE_SMALL: usize = 256;
const SPARE_LARGE: usize = 64;

/// The spare buffers of one worker.
#[derive(Default)]
pub struct BufferPool {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    pub(super) pipes: Pipes,
}

impl BufferPool {
    /// Lends a buffer of [`SMALL`] bytes.
    pub fn small(self: &Rc<Self>) -> Buffer {
        let bytes = self.small.borrow_mut().pop().unwrap_or_else(|| vec![0; SMALL]);
        Buffer::new(bytes, self.clone())
    }

    /// Lends a buffer of [`LARGE`] bytes.
    pub fn large(self: &Rc<Self>) -> Buffer {
        let bytes = self.large.borrow_mut().pop().unwrap_or_else(|| vec![0; LARGE]);
        Buffer::new(bytes, self.clone())
    }

    /// Lends a pipe, which is a buffer of the system's. `None` if there are too many, or none is to be had.
    pub fn pipe(self: &Rc<Self>) -> Option<Pipe> {
        self.pipes.lend(self)
    }

    /// Frees the spare buffers beyond a small stock; called when the worker has been quiet.
    pub fn trim(&self) {
        self.small.borrow_mut().truncate(SPARE_SMALL / 8);
        self.large.borrow_mut().truncate(SPARE_LARGE / 8);
        self.pipes.trim();
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let (spare, most) = match bytes.len() {
            SMALL => (&self.small, SPARE_SMALL),
            LARGE => (&self.large, SPARE_LARGE),
            _ => return,
        };
        let mut spare = spare.borrow_mut();
        if spare.len() < most {
            spare.push(bytes);
        }
    }
}

/// A fixed run of bytes with a filled part `start..end`. Invariant: `start <= end <= bytes.len()`.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    pool: Rc<BufferPool>,
}

impl Buffer {
    fn new(bytes: Vec<u8>, pool: Rc<BufferPool>) -> Self {
        Self {
            bytes,
            start: 0,
            end: 0,
            pool,
        }
    }

    /// The pool it goes back to.
    pub fn pool(&self) -> &Rc<BufferPool> {
        &self.pool
    }

    /// The filled part.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The filled part, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// A part of the filled bytes, counted from its beginning.
    pub fn part(&self, range: Range<usize>) -> &[u8] {
        &self.data()[range]
    }

    /// True if nothing is filled.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes are filled.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// How many bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `n` filled bytes off the front (at most all of them).
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Keeps only the first `n` filled bytes.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start + n);
    }

    /// The room behind the filled part, made larger by moving the filled part down when it is at the end.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 && self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `n` bytes of [`Buffer::space`] were filled.
    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// Makes it hold at least `capacity` bytes, keeping what is filled.
    pub fn grow(&mut self, capacity: usize) {
        if capacity <= self.bytes.len() {
            return;
        }
        let mut other = if capacity <= LARGE {
            self.pool.large()
        } else {
            Buffer::new(vec![0; capacity], self.pool.clone())
        };
        let n = self.len();
        other.bytes[..n].copy_from_slice(self.data());
        other.end = n;
        *self = other;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_down_when_full_and_comes_back_to_the_pool() {
        let pool = Rc::new(BufferPool::default());
        let mut buffer = pool.small();
        let n = buffer.space().len();
        buffer.filled(n);
        assert!(buffer.space().is_empty());
        buffer.consume(n - 3);
        assert_eq!(
            buffer.space().len(),
            n - 3,
            "the last three bytes moved to the front"
        );
        assert_eq!(buffer.len(), 3);
        buffer.grow(LARGE);
        assert_eq!((buffer.len(), buffer.capacity()), (3, LARGE));
        drop(buffer);
        assert_eq!((pool.small.borrow().len(), pool.large.borrow().len()), (1, 1));
    }
}
