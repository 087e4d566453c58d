//! One direction of a tunnel: bytes read at one end and written at the other.
//!
//! Nothing is read while what was read before is unsent: that is the back-pressure. A buffer is lent only while bytes
//! are in hand. The end of one direction is passed on and leaves the other open.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::End;
use super::frames::{self, Frames};
use crate::io::{Buffer, BufferPool, LARGE};

/// Why a direction broke: the end that failed, by its role.
#[derive(Debug)]
pub(super) enum Broken {
    /// Where the bytes come from.
    From(io::Error),
    /// Where they go to.
    To(io::Error),
}

/// How far a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Bytes flow.
    Open,
    /// Nothing more comes; what is in hand goes out, then the other end is told.
    Ending,
    /// A goodbye of our own goes out as soon as a frame may stand here.
    Parting,
    /// It is out: what still comes is dropped until the other side has said goodbye too.
    Parted,
    /// The other end was told that nothing more comes.
    Over,
}

/// One direction.
pub(super) struct Flow {
    buffers: Rc<BufferPool>,
    buffer: Option<Buffer>,
    stage: Stage,
    unflushed: bool,
    /// True if the last read filled its buffer: a larger one is worth it.
    filled: bool,
    /// Where frames end, as far as bytes were passed on; nothing if they are no frames.
    frames: Option<Frames>,
    /// What is said at the end, and how much of it is out.
    goodbye: Option<([u8; 8], usize, usize)>,
    /// Bytes passed on.
    pub bytes: u64,
}

impl Flow {
    /// A direction in which `first` has arrived already.
    pub fn new(buffers: &Rc<BufferPool>, first: Option<Buffer>, has_frames: bool) -> Self {
        Self {
            buffers: buffers.clone(),
            buffer: first.filter(|buffer| !buffer.is_empty()),
            stage: Stage::Open,
            unflushed: false,
            filled: false,
            frames: has_frames.then(Frames::default),
            goodbye: None,
            bytes: 0,
        }
    }

    /// True when nothing more will pass.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// True once bytes flow no more, because one side ended it or we do.
    pub fn is_ending(&self) -> bool {
        self.stage != Stage::Open
    }

    /// Begins to end it from here: with a frame that says so if frames are known (masked with `key` if it goes to a
    /// server), else with the end of the stream.
    pub fn part(&mut self, key: Option<[u8; 4]>) {
        if self.stage != Stage::Open {
            return;
        }
        self.stage = match self.frames {
            // Whoever has closed says no more.
            Some(frames) if !frames.is_lost() && !frames.is_closed() => {
                let (bytes, len) = frames::going_away(key);
                self.goodbye = Some((bytes, len, 0));
                Stage::Parting
            }
            _ => Stage::Ending,
        };
    }

    /// Nothing more comes: what is in hand goes out, then the other end is told.
    pub fn end(&mut self) {
        if self.stage != Stage::Over {
            self.stage = Stage::Ending;
        }
    }

    /// The other end is dead: what still comes is dropped.
    pub fn sink(&mut self) {
        self.buffer = None;
        self.unflushed = false;
        self.goodbye = None;
        if self.stage != Stage::Over {
            self.stage = Stage::Parted;
        }
    }

    /// Moves what can be moved; notes in `moved` whether something was. Ready when the direction is over.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
        moved: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_write(cx, to, moved))?;
            match self.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Ending => {
                    // An end that has gone already needs to be told nothing.
                    let _ = ready!(to.poll_shutdown(cx));
                    self.stage = Stage::Over;
                }
                Stage::Parting if self.is_between() => ready!(self.poll_goodbye(cx, to))?,
                Stage::Open | Stage::Parting | Stage::Parted => ready!(self.poll_read(cx, from, moved))?,
            }
        }
    }

    /// Writes what is in hand, or drops it if it must not be passed on. Ready when nothing is left that may be written.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl End,
        moved: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        while let Some(buffer) = &mut self.buffer {
            let may = match (self.stage, &self.frames) {
                (Stage::Parted, frames) => {
                    let mut frames = frames.unwrap_or_default();
                    frames.feed(buffer.data());
                    self.frames = Some(frames);
                    self.buffer = None;
                    if frames.is_closed() {
                        self.stage = Stage::Ending;
                    }
                    break;
                }
                (Stage::Parting, Some(frames)) => frames.rest_of_frame(buffer.data()).unwrap_or(buffer.len()),
                _ => buffer.len(),
            };
            if may == 0 {
                // A goodbye comes first.
                break;
            }
            let n = ready!(to.poll_write(cx, buffer.part(0..may))).map_err(Broken::To)?;
            if n == 0 {
                return Poll::Ready(Err(Broken::To(io::ErrorKind::WriteZero.into())));
            }
            if let Some(frames) = &mut self.frames {
                frames.feed(buffer.part(0..n));
            }
            buffer.consume(n);
            self.bytes += n as u64;
            self.unflushed = true;
            *moved = true;
            if buffer.is_empty() {
                self.buffer = None;
            }
        }
        if self.unflushed {
            ready!(to.poll_flush(cx)).map_err(Broken::To)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn is_between(&self) -> bool {
        self.frames.is_none_or(|frames| frames.is_between())
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>, to: &mut impl End) -> Poll<Result<(), Broken>> {
        while let Some((bytes, len, sent)) = &mut self.goodbye {
            match bytes.get(*sent..*len) {
                Some(rest) if !rest.is_empty() => {
                    *sent += ready!(to.poll_write(cx, rest)).map_err(Broken::To)?;
                }
                _ => self.goodbye = None,
            }
        }
        ready!(to.poll_flush(cx)).map_err(Broken::To)?;
        self.stage = Stage::Parted;
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl End,
        moved: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        // A buffer is lent only when there is something to put into it.
        ready!(from.poll_readable(cx)).map_err(Broken::From)?;
        let mut buffer = if self.filled {
            self.buffers.large()
        } else {
            self.buffers.small()
        };
        let room = buffer.space().len();
        // Nothing after all gives it back at once.
        let n = ready!(from.poll_read(cx, buffer.space())).map_err(Broken::From)?;
        if n == 0 {
            self.stage = Stage::Ending;
            *moved = true;
            return Poll::Ready(Ok(()));
        }
        self.filled = n == room || (self.filled && n > LARGE / 8);
        buffer.filled(n);
        self.buffer = Some(buffer);
        *moved = true;
        Poll::Ready(Ok(()))
    }
}
