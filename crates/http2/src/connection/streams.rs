//! The streams of a connection: those that somebody serves, and what is remembered of others (RFC 9113 5.1).

use std::collections::VecDeque;

use crate::Reason;

/// Streams reset by us whose client may not know yet; with more, what comes on any closed one is passed over.
const MOST_ABANDONED: usize = 1024;

/// Slots that an idle connection keeps.
const SPARE: usize = 16;

/// Names a stream from its request until it is released, and no other in that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u32);

/// Who ended a stream before its time, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    ByClient(Reason),
    ByUs(Reason),
}

/// A stream that is served.
pub(super) struct Stream<T> {
    pub id: u32,
    /// The client has said all it had to say.
    pub has_received_all: bool,
    /// So have we.
    pub has_sent_all: bool,
    pub closed: Option<Closed>,
    /// Bytes that the client may send, and that it gets room for later.
    pub window: i64,
    pub consumed: u32,
    /// Bytes that may be sent to the client.
    pub send_window: i64,
    /// What is left of the declared length.
    pub left: Option<u64>,
    /// The caller's own.
    pub data: T,
}

impl<T> Stream<T> {
    /// Something of the answer may still be sent.
    pub fn may_send(&self) -> bool {
        self.closed.is_none() && !self.has_sent_all
    }

    /// Neither side will send anything more.
    pub fn is_over(&self) -> bool {
        self.closed.is_some() || (self.has_received_all && self.has_sent_all)
    }
}

/// All streams of a connection.
pub(super) struct Streams<T> {
    slots: Vec<Option<Stream<T>>>,
    free: Vec<u32>,
    /// Ids with their slots; ids only grow, so they are in order.
    ids: Vec<(u32, u32)>,
    /// How many are not over (RFC 9113 5.1.2).
    open: usize,
    /// The highest id that was begun.
    pub last: u32,
    /// The client left some ids out: those count as closed, but were never open.
    has_gaps: bool,
    /// Streams that we ended while the client may still have been sending.
    abandoned: VecDeque<u32>,
    has_forgotten: bool,
}

/// What a frame is about that is for no stream that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// Never begun.
    Idle,
    /// We ended it, and the client may not know yet: nothing is wrong.
    Abandoned,
    /// It has ended, or was left out; true if it may be the latter.
    Over(bool),
}

impl<T: Default> Streams<T> {
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ids: Vec::new(),
            open: 0,
            last: 0,
            has_gaps: false,
            abandoned: VecDeque::new(),
            has_forgotten: false,
        }
    }

    /// How many are served.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many of them are not over (RFC 9113 5.1.2).
    pub fn open(&self) -> usize {
        self.open
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream<T>> {
        self.slots.iter_mut().flatten()
    }

    pub fn get(&self, key: Key) -> Option<&Stream<T>> {
        self.slots.get(key.0 as usize)?.as_ref()
    }

    /// For all but its end.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Stream<T>> {
        self.slots.get_mut(key.0 as usize)?.as_mut()
    }

    /// Changes how far a stream is.
    pub fn end(&mut self, key: Key, change: impl FnOnce(&mut Stream<T>)) {
        let Some(Some(stream)) = self.slots.get_mut(key.0 as usize) else {
            return;
        };
        let was_over = stream.is_over();
        change(stream);
        if stream.is_over() && !was_over {
            self.open -= 1;
        }
    }

    pub fn find(&self, id: u32) -> Option<Key> {
        let at = self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.ids.get(at).map(|(_, slot)| Key(*slot))
    }

    /// Notes that a stream above all others begins.
    pub fn begin(&mut self, id: u32) {
        self.has_gaps |= id > self.last + 1 + u32::from(self.last > 0);
        self.last = id;
    }

    /// Serves a stream that was just begun.
    pub fn insert(&mut self, id: u32, window: i64, send_window: i64) -> Key {
        let stream = Some(Stream {
            id,
            has_received_all: false,
            has_sent_all: false,
            closed: None,
            window,
            consumed: 0,
            send_window,
            left: None,
            data: T::default(),
        });
        let slot = if let Some(slot) = self.free.pop() {
            // It was a slot before.
            self.slots[slot as usize] = stream;
            slot
        } else {
            self.slots.push(stream);
            (self.slots.len() - 1) as u32
        };
        self.ids.push((id, slot));
        self.open += 1;
        Key(slot)
    }

    /// Lets go of a stream.
    pub fn remove(&mut self, key: Key) -> Option<Stream<T>> {
        let stream = self.slots.get_mut(key.0 as usize)?.take()?;
        self.free.push(key.0);
        self.open -= usize::from(!stream.is_over());
        if let Ok(at) = self.ids.binary_search_by_key(&stream.id, |(id, _)| *id) {
            self.ids.remove(at);
        }
        if self.ids.is_empty() && self.slots.len() > SPARE {
            // A connection that idles keeps little.
            (self.slots, self.free, self.ids) = (Vec::new(), Vec::new(), Vec::new());
        }
        Some(stream)
    }

    /// Remembers that a stream was ended by us before the client has ended it.
    pub fn abandon(&mut self, id: u32) {
        if self.abandoned.len() == MOST_ABANDONED {
            self.abandoned.pop_front();
            self.has_forgotten = true;
        }
        self.abandoned.push_back(id);
    }

    /// What a frame that `ends` its stream or not is about, if the stream is not served.
    pub fn other(&mut self, id: u32, ends: bool) -> Other {
        if id > self.last || id.is_multiple_of(2) {
            return Other::Idle;
        }
        if let Some(at) = self.abandoned.iter().position(|abandoned| *abandoned == id) {
            if ends {
                self.abandoned.remove(at);
            }
            return Other::Abandoned;
        }
        if self.has_forgotten {
            return Other::Abandoned;
        }
        Other::Over(self.has_gaps)
    }
}
