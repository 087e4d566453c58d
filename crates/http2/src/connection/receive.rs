//! What comes from the client (RFC 9113 4 to 6).

use std::time::Instant;

use gatehouse_http1::{HeadError, RequestHead};

use super::streams::Other;
use super::{Block, Breach, Closed, Connection, Event, Key, Leaving, Opening, Seen, Start, Step, head};
use crate::Reason;
use crate::frame::{self, Header, setting};

/// How many times what a head may take its compressed form may have.
const EXCESS: usize = 4;
/// Bytes of what a head begins with if it has a priority (RFC 9113 6.2).
const PRIORITY: usize = 5;
/// What our own ping says.
pub(super) const PING: [u8; 8] = *b"leaving?";

impl<T: Default> Connection<T> {
    /// Looks at the frame that `bytes` begin with. The head of a request is put into `head`, whatever that held.
    ///
    /// An error is the end: [`Connection::fail`] tells the client.
    pub fn receive(&mut self, bytes: &[u8], now: Instant, head: &mut RequestHead) -> Result<Step, Breach> {
        self.now = now;
        let step = self.step(bytes, head);
        if let Err(breach) = step {
            self.breach.get_or_insert(breach);
        }
        step
    }

    fn step(&mut self, bytes: &[u8], head: &mut RequestHead) -> Result<Step, Breach> {
        if let Some(breach) = self.breach {
            return Err(breach);
        }
        if self.start == Start::Preface {
            return self.preface(bytes);
        }
        let Some(frame) = Header::read(bytes) else {
            return Ok(Step::Needs(frame::HEADER));
        };
        self.check(frame)?;
        let whole = frame::HEADER + frame.length;
        let Some(payload) = bytes.get(frame::HEADER..whole) else {
            return Ok(Step::Needs(whole));
        };
        let event = match frame.kind {
            frame::DATA => self.data_frame(frame, payload),
            frame::HEADERS => self.headers(frame, payload, head),
            frame::CONTINUATION => self.continuation(frame, payload, head),
            frame::RST_STREAM => self.reset_by_client(frame, payload),
            frame::WINDOW_UPDATE => self.window_update(frame, payload),
            other => {
                self.count(Seen::Control)?;
                match other {
                    frame::SETTINGS => self.client_settings(frame, payload),
                    frame::PING => self.ping(frame, payload),
                    frame::GOAWAY => {
                        self.client_leaves = true;
                        Ok(Event::Nothing)
                    }
                    // Priorities mean nothing here, and unknown frames nothing at all (RFC 9113 5.3.2, 5.5).
                    _ => Ok(Event::Nothing),
                }
            }
        }?;
        Ok(Step::Took(whole, event))
    }

    fn preface(&mut self, bytes: &[u8]) -> Result<Step, Breach> {
        let n = bytes.len().min(frame::PREFACE.len());
        if bytes.get(..n) != frame::PREFACE.get(..n) {
            return Err(Breach::Protocol);
        }
        if n < frame::PREFACE.len() {
            return Ok(Step::Needs(frame::PREFACE.len()));
        }
        self.start = Start::Settings;
        Ok(Step::Took(n, Event::Nothing))
    }

    /// What is wrong with a frame by its header alone.
    fn check(&mut self, frame: Header) -> Result<(), Breach> {
        let Header {
            length, kind, stream, ..
        } = frame;
        // RFC 9113 4.2 and 6: each type that has a fixed length.
        let fits = match kind {
            frame::PRIORITY => length == PRIORITY,
            frame::RST_STREAM | frame::WINDOW_UPDATE => length == 4,
            frame::SETTINGS => length.is_multiple_of(6) && (!frame.has(frame::ACK) || length == 0),
            frame::PING => length == 8,
            frame::GOAWAY => length >= 8,
            _ => true,
        };
        if !fits || length > frame::MAX_PAYLOAD {
            return Err(Breach::FrameSize);
        }
        if self.start == Start::Settings {
            if kind != frame::SETTINGS || frame.has(frame::ACK) {
                return Err(Breach::Protocol);
            }
            self.start = Start::Over;
        }
        // Nothing may come between the frames of a head (RFC 9113 6.10).
        let expected = self.block.as_ref().map(|block| block.stream);
        if expected != (kind == frame::CONTINUATION).then_some(stream) {
            return Err(Breach::Protocol);
        }
        let is_right = match kind {
            frame::DATA | frame::HEADERS | frame::PRIORITY | frame::RST_STREAM => stream != 0,
            frame::SETTINGS | frame::PING | frame::GOAWAY => stream == 0,
            // RFC 9113 8.4: clients promise nothing.
            frame::PUSH_PROMISE => false,
            _ => true,
        };
        if is_right { Ok(()) } else { Err(Breach::Protocol) }
    }

    fn data_frame(&mut self, frame: Header, payload: &[u8]) -> Result<Event, Breach> {
        let size = frame.length as u32;
        let is_last = frame.has(frame::END_STREAM);
        let data = frame::unpadded(frame, payload).ok_or(Breach::Protocol)?;
        self.window -= i64::from(size);
        if self.window < 0 {
            return Err(Breach::FlowControl);
        }
        if data.is_empty() && !is_last {
            self.count(Seen::Control)?;
        }
        let Some(key) = self.streams.find(frame.stream) else {
            return match self.streams.other(frame.stream, is_last) {
                Other::Idle => Err(Breach::Protocol),
                Other::Over(_) => Err(Breach::StreamClosed),
                Other::Abandoned => {
                    self.discard(size);
                    Ok(Event::Nothing)
                }
            };
        };
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(Event::Nothing);
        };
        match stream.closed {
            _ if stream.has_received_all => return Err(Breach::StreamClosed),
            Some(Closed::ByClient(_)) => return Err(Breach::StreamClosed),
            Some(Closed::ByUs(_)) => {
                stream.has_received_all = is_last;
                self.discard(size);
                return Ok(Event::Nothing);
            }
            None => {}
        }
        stream.window -= i64::from(size);
        let is_too_much = stream.window < 0;
        let length = data.len() as u64;
        let left = stream.left.map(|left| left.checked_sub(length));
        // RFC 9113 8.1.1: what was declared must come.
        let is_as_declared = left.is_none_or(|left| left.is_some_and(|left| left == 0 || !is_last));
        if is_too_much || !is_as_declared {
            self.streams.end(key, |stream| stream.has_received_all = is_last);
            self.discard(size);
            let reason = if is_too_much {
                Reason::FLOW_CONTROL_ERROR
            } else {
                Reason::PROTOCOL_ERROR
            };
            return self.fault(key, reason);
        }
        stream.left = left.flatten();
        if is_last {
            self.streams.end(key, |stream| stream.has_received_all = true);
        }
        // Padding is consumed as it comes.
        self.consumed(key, size - data.len() as u32);
        if data.is_empty() && !is_last {
            return Ok(Event::Nothing);
        }
        let start = frame::HEADER + usize::from(frame.has(frame::PADDED));
        let data = start..start + data.len();
        Ok(Event::Data { key, data, is_last })
    }

    fn headers(&mut self, frame: Header, payload: &[u8], head: &mut RequestHead) -> Result<Event, Breach> {
        let mut block = frame::unpadded(frame, payload).ok_or(Breach::Protocol)?;
        if frame.has(frame::PRIORITIZED) {
            block = block.get(PRIORITY..).ok_or(Breach::FrameSize)?;
        }
        if frame.has(frame::END_HEADERS) {
            return self.block(frame.stream, frame.flags, block, head);
        }
        self.block = Some(Block {
            stream: frame.stream,
            flags: frame.flags,
            bytes: block.to_vec(),
        });
        Ok(Event::Nothing)
    }

    fn continuation(
        &mut self,
        frame: Header,
        payload: &[u8],
        head: &mut RequestHead,
    ) -> Result<Event, Breach> {
        if payload.is_empty() && !frame.has(frame::END_HEADERS) {
            self.count(Seen::Control)?;
        }
        // There is one: the frame was checked.
        let Some(mut block) = self.block.take() else {
            return Err(Breach::Protocol);
        };
        block.bytes.extend_from_slice(payload);
        if block.bytes.len() > EXCESS * self.settings.head.bytes.max(4096) {
            return Err(Breach::Head);
        }
        if frame.has(frame::END_HEADERS) {
            return self.block(block.stream, block.flags, &block.bytes, head);
        }
        self.block = Some(block);
        Ok(Event::Nothing)
    }

    /// A whole head, in as many frames as it came. Whatever becomes of it, it is decoded: the table needs it.
    fn block(&mut self, id: u32, flags: u8, block: &[u8], head: &mut RequestHead) -> Result<Event, Breach> {
        let is_last = flags & frame::END_STREAM != 0;
        if let Some(key) = self.streams.find(id) {
            return self.trailers(key, is_last, block);
        }
        match self.streams.other(id, is_last) {
            Other::Idle if id.is_multiple_of(2) => Err(Breach::Protocol),
            Other::Idle => self.open(id, is_last, block, head),
            Other::Abandoned => self.pass_over(block),
            // Left out, it was closed by those after it (RFC 9113 5.1.1).
            Other::Over(true) => Err(Breach::Protocol),
            Other::Over(false) => Err(Breach::StreamClosed),
        }
    }

    /// A head that nobody wants.
    fn pass_over(&mut self, block: &[u8]) -> Result<Event, Breach> {
        self.count(Seen::Control)?;
        self.decoder
            .decode(block, |_, _| {})
            .map_err(|_| Breach::Compression)?;
        Ok(Event::Nothing)
    }

    fn open(
        &mut self,
        id: u32,
        is_whole: bool,
        block: &[u8],
        head: &mut RequestHead,
    ) -> Result<Event, Breach> {
        if self.leaving == Leaving::Told {
            // Some are on their way when it hears; who goes on and on does not listen.
            self.late += 1;
            if self.late > self.settings.max_streams {
                self.end(Reason::NO_ERROR);
            }
        }
        self.streams.begin(id);
        let is_too_late = matches!(self.leaving, Leaving::From(last) if id > last);
        if is_too_late || self.streams.open() >= self.settings.max_streams as usize {
            let event = self.pass_over(block)?;
            if !is_whole {
                self.streams.abandon(id);
            }
            if !is_too_late {
                frame::reset(&mut self.out, id, Reason::REFUSED_STREAM);
                self.refused += 1;
                self.count(Seen::Refused)?;
            }
            return Ok(event);
        }
        self.count(Seen::Request)?;
        let mut reading = head::Request::begin(head, &mut self.pseudos, &self.settings.head);
        let decoded = self
            .decoder
            .decode(block, |name, value| reading.field(name, value));
        decoded.map_err(|_| Breach::Compression)?;
        let mut said = reading.end();
        self.pseudos.trim();
        if is_whole && matches!(&said, Ok(said) if said.declared.length.is_some_and(|length| length > 0)) {
            said = Err(HeadError::Malformed("the body is not what the head declared"));
        }
        let key = self
            .streams
            .insert(id, self.stream_window, self.stream_send_window);
        self.streams.end(key, |stream| {
            stream.has_received_all = is_whole;
            stream.left = said.as_ref().ok().and_then(|said| said.declared.length);
        });
        if let Err(HeadError::Malformed(_)) = said {
            // RFC 9113 8.1.1. The caller learns of it all the same, for the log.
            self.fault(key, Reason::PROTOCOL_ERROR)?;
        }
        let (head, is_connect, protocol) = match said {
            Ok(said) => (Ok(said.declared), said.is_connect, said.protocol),
            Err(error) => (Err(error), false, None),
        };
        Ok(Event::Request(Opening {
            key,
            head,
            is_connect,
            protocol,
            is_whole,
        }))
    }

    fn trailers(&mut self, key: Key, is_last: bool, block: &[u8]) -> Result<Event, Breach> {
        let Some(stream) = self.streams.get_mut(key) else {
            return self.pass_over(block);
        };
        match stream.closed {
            _ if stream.has_received_all => return Err(Breach::StreamClosed),
            Some(Closed::ByClient(_)) => return Err(Breach::StreamClosed),
            Some(Closed::ByUs(_)) => {
                stream.has_received_all = is_last;
                return self.pass_over(block);
            }
            None => {}
        }
        let is_short = stream.left.is_some_and(|left| left > 0);
        let mut reading = head::Trailers::begin(&self.settings.head);
        let decoded = self
            .decoder
            .decode(block, |name, value| reading.field(name, value));
        decoded.map_err(|_| Breach::Compression)?;
        self.streams.end(key, |stream| stream.has_received_all = is_last);
        // RFC 9113 8.1: trailers are the end.
        match reading.end() {
            Some(trailers) if is_last && !is_short => Ok(Event::Trailers { key, trailers }),
            _ => self.fault(key, Reason::PROTOCOL_ERROR),
        }
    }

    fn reset_by_client(&mut self, frame: Header, payload: &[u8]) -> Result<Event, Breach> {
        self.count(Seen::Reset)?;
        let reason = Reason(frame::number(payload).unwrap_or_default());
        if let Some(key) = self.streams.find(frame.stream) {
            let mut is_new = false;
            self.streams.end(key, |stream| {
                is_new = stream.closed.is_none();
                stream.has_received_all |= stream.closed.is_some();
                stream.closed.get_or_insert(Closed::ByClient(reason));
            });
            return Ok(if is_new {
                Event::Closed(key)
            } else {
                Event::Nothing
            });
        }
        match self.streams.other(frame.stream, true) {
            Other::Idle => Err(Breach::Protocol),
            Other::Abandoned | Other::Over(_) => Ok(Event::Nothing),
        }
    }

    fn window_update(&mut self, frame: Header, payload: &[u8]) -> Result<Event, Breach> {
        self.count(Seen::Control)?;
        let more = i64::from(frame::number(payload).unwrap_or_default() & 0x7fff_ffff);
        if frame.stream == 0 {
            if more == 0 {
                return Err(Breach::Protocol);
            }
            self.send_window += more;
            if self.send_window > frame::MAX_WINDOW {
                return Err(Breach::FlowControl);
            }
            // Who waits for it asks when what was gathered is out.
            return Ok(Event::Nothing);
        }
        let Some(key) = self.streams.find(frame.stream) else {
            return match self.streams.other(frame.stream, false) {
                Other::Idle => Err(Breach::Protocol),
                Other::Abandoned | Other::Over(_) => Ok(Event::Nothing),
            };
        };
        let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.is_over()) else {
            return Ok(Event::Nothing);
        };
        stream.send_window += more;
        if more == 0 {
            self.fault(key, Reason::PROTOCOL_ERROR)
        } else if stream.send_window > frame::MAX_WINDOW {
            self.fault(key, Reason::FLOW_CONTROL_ERROR)
        } else {
            Ok(Event::Room(key))
        }
    }

    fn client_settings(&mut self, frame: Header, payload: &[u8]) -> Result<Event, Breach> {
        if frame.has(frame::ACK) {
            // From now on the client keeps to our window.
            let change = i64::from(self.settings.stream_window) - self.stream_window;
            self.stream_window += change;
            self.streams.iter_mut().for_each(|stream| stream.window += change);
            return Ok(Event::Nothing);
        }
        let mut window = None;
        for (name, value) in frame::read_settings(payload) {
            match name {
                setting::HEADER_TABLE_SIZE => self.encoder.allow(value as usize),
                setting::ENABLE_PUSH | setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                    return Err(Breach::Protocol);
                }
                setting::MAX_FRAME_SIZE if !(0x4000..0x100_0000).contains(&value) => {
                    return Err(Breach::Protocol);
                }
                setting::INITIAL_WINDOW_SIZE if i64::from(value) > frame::MAX_WINDOW => {
                    return Err(Breach::FlowControl);
                }
                setting::INITIAL_WINDOW_SIZE => window = Some(i64::from(value)),
                _ => {}
            }
        }
        let has_room = window.map_or(Ok(false), |window| self.widen(window))?;
        frame::settings_ack(&mut self.out);
        Ok(if has_room {
            Event::RoomOnAll
        } else {
            Event::Nothing
        })
    }

    /// Takes another first window of streams, which changes the streams there are, too (RFC 9113 6.9.2). True if there is
    /// more room than before.
    fn widen(&mut self, window: i64) -> Result<bool, Breach> {
        let change = window - self.stream_send_window;
        self.stream_send_window = window;
        for stream in self.streams.iter_mut() {
            stream.send_window += change;
            if stream.send_window > frame::MAX_WINDOW {
                return Err(Breach::FlowControl);
            }
        }
        Ok(change > 0)
    }

    fn ping(&mut self, frame: Header, payload: &[u8]) -> Result<Event, Breach> {
        let Some(&payload) = payload.first_chunk() else {
            return Err(Breach::FrameSize);
        };
        if !frame.has(frame::ACK) {
            frame::ping(&mut self.out, true, payload);
        } else if payload == PING && self.leaving == Leaving::Told {
            // What the client had sent before it heard is here.
            self.leaving = Leaving::From(self.streams.last);
            frame::goaway(&mut self.out, self.streams.last, Reason::NO_ERROR);
        }
        Ok(Event::Nothing)
    }

    /// Ends a stream for what the client did (RFC 9113 5.4.2). Whatever that is, it is counted: to make us end streams is
    /// as cheap for a client as to end them itself.
    fn fault(&mut self, key: Key, reason: Reason) -> Result<Event, Breach> {
        self.reset(key, reason);
        self.count(Seen::Malformed)?;
        Ok(Event::Closed(key))
    }
}
