//! What goes to the client: everything is gathered in one run of bytes, which the caller writes out.

use gatehouse_http1::{Field, Known};

use super::receive::PING;
use super::{Breach, Closed, Connection, Key, Leaving};
use crate::Reason;
use crate::frame::{self, HEADER, MAX_PAYLOAD};
use crate::hpack::Encoder;

/// Bytes that may be gathered before bodies have to wait until some are out.
const BACKLOG: usize = 64 * 1024;

/// How much of a body may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None until the client gives room on this stream.
    OnStream,
    /// None until there is room on the connection, or some of what was gathered is out.
    OnConnection,
    /// The stream has ended.
    Gone,
}

/// The fields of a head that is being written.
pub struct Fields<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

impl Fields<'_> {
    /// Adds a field as it stands in a head.
    pub fn add(&mut self, field: Field<'_>) {
        self.encoder.field(self.out, field.known, field.name, field.value);
    }

    /// Adds `content-length`.
    pub fn add_length(&mut self, mut length: u64) {
        // `u64::MAX` has twenty digits.
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (length % 10) as u8;
            length /= 10;
            if length == 0 {
                break;
            }
        }
        self.add_known(Known::ContentLength, &digits[start..]);
    }

    /// Adds a field by its parts.
    pub fn add_known(&mut self, known: Known, value: &[u8]) {
        self.encoder
            .field(self.out, Some(known), known.as_str().as_bytes(), value);
    }
}

impl<T: Default> Connection<T> {
    /// Writes the head of an answer, interim or final; the stream ends with it if it `is_all`. False if it has ended.
    pub fn head(
        &mut self,
        key: Key,
        status: u16,
        is_all: bool,
        fields: impl FnOnce(&mut Fields<'_>),
    ) -> bool {
        self.write_head(key, Some(status), is_all, fields)
    }

    /// Ends a body with trailers. False if the stream has ended.
    pub fn trailers_out(&mut self, key: Key, fields: impl FnOnce(&mut Fields<'_>)) -> bool {
        self.write_head(key, None, true, fields)
    }

    fn write_head(
        &mut self,
        key: Key,
        status: Option<u16>,
        is_all: bool,
        fields: impl FnOnce(&mut Fields<'_>),
    ) -> bool {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.may_send()) else {
            return false;
        };
        let (id, at) = (stream.id, self.out.len());
        let flags = if is_all { frame::END_STREAM } else { 0 };
        frame::header(&mut self.out, 0, frame::HEADERS, flags | frame::END_HEADERS, id);
        self.encoder.begin(&mut self.out);
        if let Some(status) = status {
            self.encoder.status(&mut self.out, status);
        }
        fields(&mut Fields {
            encoder: &mut self.encoder,
            out: &mut self.out,
        });
        if self.out.len() - at - HEADER > MAX_PAYLOAD {
            self.split(at, id, flags);
        } else {
            frame::set_length(&mut self.out, at);
        }
        if is_all {
            self.streams.end(key, |stream| stream.has_sent_all = true);
        }
        true
    }

    /// Makes several frames of the head that begins at `at`: it is too long for one (RFC 9113 6.10).
    fn split(&mut self, at: usize, id: u32, flags: u8) {
        let block = self.out.split_off(at + HEADER);
        self.out.truncate(at);
        let last = block.len().div_ceil(MAX_PAYLOAD) - 1;
        for (nth, part) in block.chunks(MAX_PAYLOAD).enumerate() {
            let (kind, flags) = if nth == 0 {
                (frame::HEADERS, flags)
            } else {
                (frame::CONTINUATION, 0)
            };
            let end = if nth == last { frame::END_HEADERS } else { 0 };
            frame::header(&mut self.out, part.len(), kind, flags | end, id);
            self.out.extend_from_slice(part);
        }
    }

    /// How much of a body may be sent now.
    pub fn room(&self, key: Key) -> Room {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.closed.is_none()) else {
            return Room::Gone;
        };
        if stream.send_window <= 0 {
            return Room::OnStream;
        }
        let backlog = BACKLOG.saturating_sub(self.out.len() - self.written);
        match usize::try_from(self.send_window.min(stream.send_window)) {
            Ok(window) if window > 0 && backlog > 0 => Room::Bytes(window.min(backlog)),
            _ => Room::OnConnection,
        }
    }

    /// Writes a piece of a body, no more than there is room for. False if the stream has ended.
    pub fn send(&mut self, key: Key, data: &[u8]) -> bool {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.may_send()) else {
            return false;
        };
        stream.send_window -= data.len() as i64;
        self.send_window -= data.len() as i64;
        let id = stream.id;
        for part in data.chunks(MAX_PAYLOAD) {
            self.tail = Some((id, self.out.len()));
            frame::header(&mut self.out, part.len(), frame::DATA, 0, id);
            self.out.extend_from_slice(part);
        }
        true
    }

    /// Ends a body: the piece that was written last is the last one, if it is not out yet. False if the stream has
    /// ended.
    pub fn finish(&mut self, key: Key) -> bool {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.may_send()) else {
            return false;
        };
        match self
            .tail
            .filter(|(of, at)| *of == stream.id && *at >= self.written)
        {
            Some((_, at)) => {
                if let Some(flags) = self.out.get_mut(at + 4) {
                    *flags |= frame::END_STREAM;
                }
            }
            None => frame::header(&mut self.out, 0, frame::DATA, frame::END_STREAM, stream.id),
        }
        self.tail = None;
        self.streams.end(key, |stream| stream.has_sent_all = true);
        true
    }

    /// Gives the client room for as much as was consumed of a body: now, or once it is worth a frame.
    pub fn consumed(&mut self, key: Key, bytes: u32) {
        self.discard(bytes);
        let Some(stream) = self
            .streams
            .get_mut(key)
            .filter(|stream| !stream.has_received_all)
        else {
            return;
        };
        stream.consumed += bytes;
        if stream.closed.is_none() && stream.consumed >= self.settings.stream_window / 2 {
            let more = std::mem::take(&mut stream.consumed);
            stream.window += i64::from(more);
            frame::window_update(&mut self.out, stream.id, more);
        }
    }

    /// The same for what nobody wants: the stream itself gets no room for more.
    pub fn discard(&mut self, bytes: u32) {
        self.consumed += bytes;
        if self.consumed >= self.settings.connection_window / 2 {
            let more = std::mem::take(&mut self.consumed);
            self.window += i64::from(more);
            frame::window_update(&mut self.out, 0, more);
        }
    }

    /// Ends a stream at once, unless it is over (RFC 9113 5.4.2).
    pub fn reset(&mut self, key: Key, reason: Reason) {
        let Some(stream) = self.streams.get(key).filter(|stream| !stream.is_over()) else {
            return;
        };
        // When the connection ends, that says it all.
        if self.breach.is_none() {
            frame::reset(&mut self.out, stream.id, reason);
        }
        self.streams
            .end(key, |stream| stream.closed = Some(Closed::ByUs(reason)));
    }

    /// Lets go of a stream, which ends here if it is not over: without an error, if only the request was not whole.
    /// Gives back the caller's own.
    pub fn release(&mut self, key: Key) -> Option<T> {
        let has_answered = self.streams.get(key)?.has_sent_all;
        self.reset(
            key,
            if has_answered {
                Reason::NO_ERROR
            } else {
                Reason::INTERNAL_ERROR
            },
        );
        let stream = self.streams.remove(key)?;
        if matches!(stream.closed, Some(Closed::ByUs(_))) && !stream.has_received_all {
            self.streams.abandon(stream.id);
        }
        Some(stream.data)
    }

    /// Tells the client to begin no more requests. Those on their way are still served (RFC 9113 6.8).
    pub fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Told;
            frame::goaway(&mut self.out, u32::MAX >> 1, Reason::NO_ERROR);
            frame::ping(&mut self.out, false, PING);
        }
    }

    /// Tells the client that it is over, and why.
    pub fn fail(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
        self.end(breach.reason());
    }

    /// Tells the client that nothing more will be served.
    pub fn end(&mut self, reason: Reason) {
        if self.leaving != Leaving::From(self.streams.last) || reason != Reason::NO_ERROR {
            frame::goaway(&mut self.out, self.streams.last, reason);
        }
        self.leaving = Leaving::From(self.streams.last);
    }

    /// What is to be written.
    pub fn unsent(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// Says that so much of it was written.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.written += bytes;
        if self.written >= self.out.len() {
            self.written = 0;
            self.tail = None;
            self.out.clear();
        } else if self.written >= BACKLOG {
            // A client that takes a little at a time must not have us keep what it has.
            self.out.drain(..self.written);
            let written = std::mem::take(&mut self.written);
            self.tail = self
                .tail
                .and_then(|(of, at)| Some((of, at.checked_sub(written)?)));
        }
    }

    /// Bytes written in all.
    pub fn total_sent(&self) -> u64 {
        self.sent
    }

    /// True if the memory for what is to be written was given back.
    pub fn needs_memory(&self) -> bool {
        self.out.capacity() == 0
    }

    /// Takes empty memory to gather what is to be written.
    pub fn lend(&mut self, memory: Vec<u8>) {
        if self.needs_memory() {
            self.out = memory;
        }
    }

    /// Gives back the memory, if nothing is to be written.
    pub fn give_back(&mut self) -> Option<Vec<u8>> {
        (self.out.is_empty() && self.out.capacity() > 0).then(|| std::mem::take(&mut self.out))
    }
}
