//! One connection, the server's side: what has come becomes events, what is done becomes bytes.
//!
//! The caller gives bytes to [`Connection::receive`], frame by frame, and writes out what [`Connection::unsent`] holds.
//! A request has a [`Key`] until the caller releases it, and with it a place for the caller's own things, `T`. Nothing
//! of a body is kept here: the caller says when it has consumed what it was given, and only then there is room for more.

mod guard;
mod head;
mod receive;
mod send;
mod streams;

use std::ops::Range;
use std::time::Instant;

use gatehouse_http1::{BodyError, Declared, HeadError, HeadLimits, Headers};

use crate::frame::{self, setting};
use crate::hpack::{Decoder, Encoder};

pub use guard::Breach;
use guard::{Guard, Seen};
use head::Pseudos;
pub use send::{Fields, Room};
use streams::Streams;
pub use streams::{Closed, Key};

/// How a connection is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests at a time.
    pub max_streams: u32,
    /// Bytes of a body that may come before any of it was consumed, 2^31-1 at most.
    pub stream_window: u32,
    /// The same for all bodies together, 65535 at least.
    pub connection_window: u32,
    /// The size of a list of fields as the client is told it (RFC 9113 6.5.2).
    pub max_list: u32,
    /// What a head may be.
    pub head: HeadLimits,
    /// In a window of time: requests taken back or refused, frames that bring nothing on, malformed requests.
    pub max_resets: u64,
    pub max_control: u64,
    pub max_malformed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            max_list: 32 * 1024,
            head: HeadLimits::default(),
            max_resets: 500,
            max_control: 2000,
            max_malformed: 100,
        }
    }
}

/// What came of the bytes at hand.
#[derive(Debug)]
pub enum Step {
    /// Nothing: there must be this many, at least.
    Needs(usize),
    /// So many are done with.
    Took(usize, Event),
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// Nothing that concerns the caller.
    Nothing,
    /// A request has begun. Its head is in what was lent.
    Request(Opening),
    /// A piece of a body, not empty unless it is the last, in this part of the bytes given; to be consumed later.
    Data {
        key: Key,
        data: Range<usize>,
        is_last: bool,
    },
    /// Trailers, and with them the end.
    Trailers {
        key: Key,
        trailers: Result<Headers, BodyError>,
    },
    /// The stream has ended before its time: see [`Connection::closed`].
    Closed(Key),
    /// There is more room to send on this stream.
    Room(Key),
    /// Perhaps there is on all of them.
    RoomOnAll,
}

/// The beginning of a request.
#[derive(Debug)]
pub struct Opening {
    pub key: Key,
    /// What the head says, or why there is none. If it is malformed, the stream was reset already; if it is only too
    /// large, there may be an answer that says so.
    pub head: Result<Declared, HeadError>,
    pub is_connect: bool,
    /// What an extended CONNECT asks for (RFC 8441 4).
    pub protocol: Option<Box<str>>,
    /// There is neither a body nor trailers.
    pub is_whole: bool,
}

/// How far the beginning of a connection is (RFC 9113 3.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Preface,
    Settings,
    Over,
}

/// How far its end is (RFC 9113 6.8).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// The client was told, and is asked whether it has heard it.
    Told,
    /// Nothing above this stream is served.
    From(u32),
}

/// A head that comes in several frames.
struct Block {
    stream: u32,
    flags: u8,
    bytes: Vec<u8>,
}

/// One connection. `T` is what the caller keeps with each stream.
pub struct Connection<T> {
    settings: Settings,
    start: Start,
    leaving: Leaving,
    /// Requests that began after the client was told to begin no more.
    late: u32,
    client_leaves: bool,
    breach: Option<Breach>,
    guard: Guard,
    now: Instant,
    streams: Streams<T>,
    block: Option<Block>,
    decoder: Decoder,
    pseudos: Pseudos,
    /// Bytes that the client may send, and that it gets room for later.
    window: i64,
    consumed: u32,
    /// The window of new streams: the client need not know ours at once.
    stream_window: i64,
    encoder: Encoder,
    /// Bytes that may be sent to the client, and on a new stream.
    send_window: i64,
    stream_send_window: i64,
    out: Vec<u8>,
    /// The last frame of data that was written: its stream, and where its header is in `out`.
    tail: Option<(u32, usize)>,
    /// How much of `out` is out.
    written: usize,
    /// Bytes that are out of all.
    sent: u64,
    refused: u64,
}

impl<T: Default> Connection<T> {
    /// A connection on which nothing has come; our settings are the first to be sent.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let mut out = Vec::new();
        let told = [
            (setting::MAX_CONCURRENT_STREAMS, settings.max_streams),
            (setting::INITIAL_WINDOW_SIZE, settings.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, settings.max_list),
            // RFC 8441 3.
            (setting::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        frame::settings(&mut out, &told);
        let window = i64::from(settings.connection_window).max(frame::FIRST_WINDOW);
        let more = u32::try_from(window - frame::FIRST_WINDOW).unwrap_or_default();
        if more > 0 {
            frame::window_update(&mut out, 0, more);
        }
        Self {
            guard: Guard::new(&settings),
            start: Start::Preface,
            leaving: Leaving::No,
            late: 0,
            client_leaves: false,
            breach: None,
            now,
            streams: Streams::new(),
            block: None,
            decoder: Decoder::default(),
            pseudos: Pseudos::default(),
            window,
            consumed: 0,
            stream_window: i64::from(settings.stream_window).max(frame::FIRST_WINDOW),
            encoder: Encoder::default(),
            send_window: frame::FIRST_WINDOW,
            stream_send_window: frame::FIRST_WINDOW,
            out,
            tail: None,
            written: 0,
            sent: 0,
            refused: 0,
            settings,
        }
    }

    /// The caller's own of a stream.
    pub fn data(&mut self, key: Key) -> Option<&mut T> {
        self.streams.get_mut(key).map(|stream| &mut stream.data)
    }

    /// The caller's own of all streams.
    pub fn each(&mut self, mut then: impl FnMut(&mut T)) {
        self.streams.iter_mut().for_each(|stream| then(&mut stream.data));
    }

    /// How a stream ended before its time, if it did.
    pub fn closed(&self, key: Key) -> Option<Closed> {
        self.streams.get(key)?.closed
    }

    /// Streams that are not released.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// True within a head of several frames.
    pub fn is_amid_head(&self) -> bool {
        self.block.is_some()
    }

    /// True when nothing more will come of it: one side has left, and no stream is served.
    pub fn is_over(&self) -> bool {
        let has_left = matches!(self.leaving, Leaving::From(_)) || self.client_leaves;
        has_left && self.streams.len() == 0
    }

    /// Requests refused since this was last asked because there were too many at a time.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn count(&mut self, seen: Seen) -> Result<(), Breach> {
        // Bytes sent or about to be.
        let sent = self.sent + (self.out.len() - self.written) as u64;
        self.guard.count(seen, sent, self.now)
    }
}

#[cfg(test)]
mod tests;
