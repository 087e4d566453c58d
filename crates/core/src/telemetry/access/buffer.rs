//! A worker's side of the access log: lines gather in a buffer, full buffers go to the writer.

use std::{
    mem,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use super::{Counts, Line, writer::Message};

/// When a buffer is handed over without waiting for a tick.
pub(super) const FULL: usize = 32 * 1024;

/// What a buffer holds at most: it is full, and one more line is being added.
const ROOM: usize = FULL + 4 * 1024;

/// Lines of one worker on their way to the writer.
#[derive(Debug)]
pub struct AccessBuffer {
    worker: usize,
    current: Vec<u8>,
    lines: u64,
    /// Buffers that may still be made.
    spare: usize,
    empty: Receiver<Vec<u8>>,
    full: SyncSender<Message>,
    counts: Counts,
}

/// A buffer full of lines, on its way to be written.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) worker: usize,
    pub(super) lines: u64,
    pub(super) bytes: Vec<u8>,
}

impl AccessBuffer {
    /// A worker's buffers, `buffers` in all, and the way back for the empty ones.
    pub(super) fn new(
        worker: usize,
        buffers: usize,
        full: SyncSender<Message>,
        counts: Counts,
    ) -> (Self, SyncSender<Vec<u8>>) {
        let (back, empty) = sync_channel(buffers);
        let spare = buffers.saturating_sub(1);
        (
            AccessBuffer {
                worker,
                current: Vec::new(),
                lines: 0,
                spare,
                empty,
                full,
                counts,
            },
            back,
        )
    }

    /// Adds a line. Never waits: if the writer is that far behind, the line is dropped and counted.
    #[inline]
    pub fn write(&mut self, line: &Line<'_>) {
        if self.current.len() >= FULL && !self.hand_over() {
            self.counts.dropped.add_shared(1);
            return;
        }
        line.write(&mut self.current);
        self.lines += 1;
        if self.current.len() >= FULL {
            self.hand_over();
        }
    }

    /// Hands over what there is, for the worker's tick: a line waits no longer than that.
    #[inline]
    pub fn flush(&mut self) {
        if !self.current.is_empty() {
            self.hand_over();
        }
    }

    /// Lines not handed over yet.
    pub fn waiting(&self) -> u64 {
        self.lines
    }

    /// Swaps the buffer for an empty one. False, and nothing changed, if all are on their way.
    #[cold]
    fn hand_over(&mut self) -> bool {
        let next = match self.empty.try_recv() {
            Ok(buffer) => buffer,
            Err(_) if self.spare > 0 => {
                self.spare -= 1;
                Vec::with_capacity(ROOM)
            }
            Err(_) => return false,
        };
        self.send(next);
        true
    }

    fn send(&mut self, next: Vec<u8>) {
        let bytes = mem::replace(&mut self.current, next);
        let lines = mem::take(&mut self.lines);
        // There is room for every buffer there is, so this fails only if the writer has ended.
        if self
            .full
            .try_send(Message::Chunk(Chunk {
                worker: self.worker,
                lines,
                bytes,
            }))
            .is_err()
        {
            self.counts.dropped.add_shared(lines);
        }
    }
}

impl Drop for AccessBuffer {
    /// Hands over the last lines. They are written if the log is closed after this.
    fn drop(&mut self) {
        if self.lines > 0 {
            self.send(Vec::new());
        }
    }
}
