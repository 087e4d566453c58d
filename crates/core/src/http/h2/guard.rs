//! Watches the frames of a connection: counts those that make work and bring no request on (RFC 9113 10.5),
//! and refuses those that are wrong by their header alone.
//!
//! Looks at the nine bytes in front of each frame, and into none but `SETTINGS`. A client gets credit for what
//! it may well answer to: what was sent to it, and its own requests. What is refused here the library would
//! refuse too, but as another error than the protocol asks for.

use std::rc::Rc;
use std::time::{Duration, Instant};

use h2::Reason;

use super::HEADER;
use super::outward::Refusals;
use crate::config;
use crate::telemetry::metrics::Http2Closed;
use crate::timer::Timers;

/// Frames are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(10);
/// The client's connection preface (RFC 9113 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes sent that explain one frame more: a small frame of data, or a part of a large one.
const EXPLAINS: u64 = 64;
/// Frames more that a request explains: its priority, and windows for its answer.
const PER_REQUEST: u64 = 4;
/// Bytes of a setting (RFC 9113 6.5.1).
const SETTING: usize = 6;
/// Uploads that are followed at a time; with more, what comes after their end is left to the library.
const MOST_UPLOADS: usize = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Why a connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breach {
    /// The client takes too many of its requests back.
    Resets,
    /// Too many frames that bring nothing on.
    Control,
    /// Too many requests that are none.
    Malformed,
    /// A frame of a length that its type cannot have.
    FrameSize,
    /// A window that is too large.
    FlowControl,
    /// A request that goes on after its end.
    StreamClosed,
    /// A frame that a client never sends.
    NotForClients,
}

impl Breach {
    /// What the client is told.
    pub fn reason(self) -> Reason {
        match self {
            Self::Resets | Self::Control | Self::Malformed => Reason::ENHANCE_YOUR_CALM,
            Self::FrameSize => Reason::FRAME_SIZE_ERROR,
            Self::FlowControl => Reason::FLOW_CONTROL_ERROR,
            Self::StreamClosed => Reason::STREAM_CLOSED,
            Self::NotForClients => Reason::PROTOCOL_ERROR,
        }
    }

    /// What is counted.
    pub fn why(self) -> Http2Closed {
        match self {
            Self::Resets => Http2Closed::Resets,
            Self::Control => Http2Closed::ControlFrames,
            Self::Malformed => Http2Closed::Malformed,
            Self::FrameSize => Http2Closed::FrameSize,
            Self::FlowControl => Http2Closed::FlowControl,
            Self::StreamClosed => Http2Closed::StreamClosed,
            Self::NotForClients => Http2Closed::Protocol,
        }
    }

    /// The setting of the bound, if it was one.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::Resets => Some("client.http2.max_resets"),
            Self::Control => Some("client.http2.max_control_frames"),
            Self::Malformed => Some("client.http2.max_malformed"),
            _ => None,
        }
    }
}

/// What the library closed a connection for.
pub(super) fn why(reason: Option<Reason>) -> Http2Closed {
    match reason {
        Some(Reason::ENHANCE_YOUR_CALM) => Http2Closed::Calm,
        Some(Reason::FLOW_CONTROL_ERROR) => Http2Closed::FlowControl,
        Some(Reason::COMPRESSION_ERROR) => Http2Closed::Compression,
        Some(Reason::FRAME_SIZE_ERROR) => Http2Closed::FrameSize,
        Some(Reason::STREAM_CLOSED) => Http2Closed::StreamClosed,
        _ => Http2Closed::Protocol,
    }
}

/// What is known of one connection.
pub(super) struct Guard {
    timers: Rc<Timers>,
    max_resets: u64,
    max_control: u64,
    max_malformed: u64,
    /// Bytes of the preface or of a payload still to come.
    skip: usize,
    /// True within the payload of SETTINGS.
    in_settings: bool,
    /// The beginning of a frame's header, or of a setting.
    header: [u8; HEADER],
    have: usize,
    began: Instant,
    resets: u64,
    control: u64,
    requests: u64,
    /// What was refused, and what of it before the window began.
    refusals: Refusals,
    refused_before: Refusals,
    /// Bytes that had been sent when the window began.
    sent: u64,
    /// The last stream that the client began. None once it left some out: it can then not be told which were open.
    last: Option<u32>,
    /// True within a head, which nothing may interrupt: the library judges that.
    in_head: bool,
    /// Streams up to `last` on which the client may still send.
    uploads: Vec<u32>,
}

impl Guard {
    pub fn new(timers: &Rc<Timers>, settings: &config::Http2) -> Self {
        Self {
            timers: timers.clone(),
            max_resets: u64::from(settings.max_resets),
            max_control: u64::from(settings.max_control_frames),
            max_malformed: u64::from(settings.max_malformed),
            skip: PREFACE.len(),
            in_settings: false,
            header: [0; HEADER],
            have: 0,
            began: timers.now(),
            resets: 0,
            control: 0,
            requests: 0,
            refusals: Refusals::default(),
            refused_before: Refusals::default(),
            sent: 0,
            last: Some(0),
            in_head: false,
            uploads: Vec::new(),
        }
    }

    /// Looks at what has arrived; `sent` is how many bytes have gone the other way.
    pub fn look(&mut self, mut bytes: &[u8], sent: u64) -> Result<(), Breach> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            if self.in_settings && skipped > 0 {
                self.settings(bytes.get(..skipped).unwrap_or_default())?;
            }
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.skip > 0 || bytes.is_empty() {
                break;
            }
            let (taken, rest) = self.gather(bytes, HEADER);
            bytes = rest;
            if taken {
                self.frame(sent)?;
            }
        }
        Ok(())
    }

    /// Gathers a header or a setting of `length` bytes; true when it is whole.
    fn gather<'b>(&mut self, bytes: &'b [u8], length: usize) -> (bool, &'b [u8]) {
        let (now, rest) = bytes.split_at((length - self.have).min(bytes.len()));
        // `have` and what is taken make at most `length`, which is at most the length of a header.
        self.header[self.have..self.have + now.len()].copy_from_slice(now);
        self.have += now.len();
        let whole = self.have == length;
        if whole {
            self.have = 0;
        }
        (whole, rest)
    }

    /// A window beyond what the protocol can have (RFC 9113 6.5.2).
    fn settings(&mut self, mut bytes: &[u8]) -> Result<(), Breach> {
        const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
        while !bytes.is_empty() {
            let (whole, rest) = self.gather(bytes, SETTING);
            bytes = rest;
            let [a, b, highest, ..] = self.header;
            if whole && [a, b] == INITIAL_WINDOW_SIZE && highest >= 0x80 {
                return Err(Breach::FlowControl);
            }
        }
        Ok(())
    }

    /// Takes in what was refused so far; `sent` is how many bytes were sent.
    pub fn refused(&mut self, refusals: Refusals, sent: u64) -> Result<(), Breach> {
        if refusals == self.refusals {
            return Ok(());
        }
        self.refusals = refusals;
        self.count(sent)
    }

    /// A frame begins.
    fn frame(&mut self, sent: u64) -> Result<(), Breach> {
        let [.., kind, flags, _, _, _, _] = self.header;
        let (length, stream) = (super::length(&self.header), super::stream_id(&self.header));
        self.skip = length;
        self.in_settings = kind == SETTINGS;
        // RFC 9113 6: each type that has a fixed length.
        let fits = match kind {
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            SETTINGS => length.is_multiple_of(SETTING) && (flags & ACK == 0 || length == 0),
            PING => length == 8,
            _ => true,
        };
        if !fits {
            return Err(Breach::FrameSize);
        }
        if kind == PUSH_PROMISE {
            // RFC 9113 8.4: the library would pass over it.
            return Err(Breach::NotForClients);
        }
        self.follow(kind, flags, stream)?;
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => return Ok(()),
            CONTINUATION if length > 0 => return Ok(()),
            HEADERS => {
                self.requests += 1;
                return Ok(());
            }
            RST_STREAM => self.resets += 1,
            _ => self.control += 1,
        }
        self.count(sent)
    }

    /// True while a frame, or a head of several frames, has begun and not ended.
    pub fn is_amid_frame(&self) -> bool {
        self.skip > 0 || self.have > 0 || self.in_head
    }

    /// Refuses what comes on a stream that the client has ended (RFC 9113 5.1).
    fn follow(&mut self, kind: u8, flags: u8, stream: u32) -> Result<(), Breach> {
        let interrupts = std::mem::replace(
            &mut self.in_head,
            matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0,
        );
        let Some(last) = self.last.filter(|_| !interrupts) else {
            return Ok(());
        };
        let ends = kind == RST_STREAM || flags & END_STREAM != 0;
        match kind {
            HEADERS if stream == last + 2 || (last == 0 && stream == 1) => {
                self.last = Some(stream);
                if !ends {
                    self.uploads.push(stream);
                    if self.uploads.len() > MOST_UPLOADS {
                        (self.last, self.uploads) = (None, Vec::new());
                    }
                }
            }
            // Some were left out: they count as closed, but were never open.
            HEADERS if stream > last => (self.last, self.uploads) = (None, Vec::new()),
            HEADERS | DATA | RST_STREAM if stream <= last && stream % 2 == 1 => {
                let found = self.uploads.iter().position(|upload| *upload == stream);
                match found {
                    Some(at) if ends => drop(self.uploads.swap_remove(at)),
                    None if kind != RST_STREAM => return Err(Breach::StreamClosed),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Only what is counted may be too much, so only now is the time of interest.
    fn count(&mut self, sent: u64) -> Result<(), Breach> {
        let explained = sent.saturating_sub(self.sent) / EXPLAINS + self.requests * PER_REQUEST;
        let malformed = self.refusals.malformed - self.refused_before.malformed;
        let refused = self.refusals.refused - self.refused_before.refused;
        let excess = if self.resets + refused > self.max_resets {
            Breach::Resets
        } else if malformed > self.max_malformed {
            Breach::Malformed
        } else if self.control > self.max_control + explained {
            Breach::Control
        } else {
            return Ok(());
        };
        let now = self.timers.now();
        if now.saturating_duration_since(self.began) < WINDOW {
            return Err(excess);
        }
        self.began = now;
        self.sent = sent;
        self.refused_before = self.refusals;
        (self.resets, self.control, self.requests) = (0, 0, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        on(1, kind, flags, payload)
    }

    fn on(stream: u8, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).unwrap();
        [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn guard() -> Guard {
        let timers = Timers::new(crate::timer::TICK, Instant::now());
        let settings = config::Http2 {
            max_resets: 3,
            max_control_frames: 5,
            ..config::Http2::default()
        };
        let mut guard = Guard::new(&timers, &settings);
        guard.look(PREFACE, 0).unwrap();
        guard
    }

    #[test]
    fn frames_are_counted_however_they_arrive() {
        let pings: Vec<u8> = (0..6).flat_map(|_| frame(6, 0, &[6; 8])).collect();
        for step in 1..=pings.len() {
            let mut guard = guard();
            let looked = pings.chunks(step).try_for_each(|part| guard.look(part, 0));
            assert_eq!(looked, Err(Breach::Control), "in steps of {step}");
            let mut guard = self::guard();
            let looked = pings[..5 * 17]
                .chunks(step)
                .try_for_each(|part| guard.look(part, 0));
            assert_eq!(looked, Ok(()), "in steps of {step}");
        }
    }

    #[test]
    fn resets_have_their_own_bound() {
        let mut guard = guard();
        for stream in [1, 3, 5] {
            guard.look(&on(stream, 1, 5, b"x"), 0).unwrap();
            guard.look(&on(stream, 3, 0, &[0; 4]), 0).unwrap();
        }
        assert_eq!(guard.look(&frame(3, 0, &[0; 4]), 0), Err(Breach::Resets));
    }

    #[test]
    fn what_was_sent_and_asked_for_explains_frames() {
        let mut guard = guard();
        for _ in 0..6 {
            guard.look(&frame(8, 0, &[0; 4]), 64).unwrap();
        }
        assert_eq!(guard.look(&frame(8, 0, &[0; 4]), 64), Err(Breach::Control));
        let mut guard = self::guard();
        guard.look(&frame(1, 5, b"x"), 0).unwrap();
        for _ in 0..9 {
            guard.look(&frame(2, 0, &[0; 5]), 0).unwrap();
        }
        assert_eq!(guard.look(&frame(2, 0, &[0; 5]), 0), Err(Breach::Control));
    }

    #[test]
    fn empty_frames_are_counted_and_others_are_not() {
        let mut guard = guard();
        guard.look(&frame(1, 0, b"x"), 0).unwrap();
        for _ in 0..100 {
            guard.look(&frame(0, 0, b"data"), 0).unwrap();
        }
        // The request explains some.
        for _ in 0..PER_REQUEST {
            guard.look(&frame(0, 0, b""), 0).unwrap();
        }
        for _ in 0..5 {
            guard.look(&frame(0, 0, b""), 0).unwrap();
        }
        assert_eq!(guard.look(&frame(0, 0, b""), 0), Err(Breach::Control));
    }

    #[test]
    fn lengths_must_be_those_of_the_type() {
        for (kind, flags, good, bad) in [
            (2, 0, 5, 4),
            (3, 0, 4, 5),
            (4, 0, 12, 7),
            (4, 1, 0, 6),
            (6, 0, 8, 9),
            (8, 0, 4, 3),
        ] {
            assert_eq!(
                guard().look(&frame(kind, flags, &vec![0; good]), 0),
                Ok(()),
                "{kind}"
            );
            let looked = guard().look(&frame(kind, flags, &vec![0; bad]), 0);
            assert_eq!(looked, Err(Breach::FrameSize), "{kind}");
        }
    }

    #[test]
    fn windows_beyond_the_protocol_are_refused_wherever_they_stand() {
        let settings = |window: u8| frame(4, 0, &[0, 1, 0, 0, 0, 0, 0, 4, window, 255, 255, 255]);
        for step in 1..22 {
            let looked = |bytes: &[u8]| {
                let mut guard = guard();
                bytes.chunks(step).try_for_each(|part| guard.look(part, 0))
            };
            assert_eq!(looked(&settings(0x7f)), Ok(()));
            assert_eq!(looked(&settings(0x80)), Err(Breach::FlowControl));
        }
    }

    #[test]
    fn a_client_promises_nothing() {
        assert_eq!(
            guard().look(&frame(5, 4, &[0, 0, 0, 2, 0x88]), 0),
            Err(Breach::NotForClients)
        );
    }

    #[test]
    fn nothing_follows_the_end_of_a_request() {
        let after = |before: &[Vec<u8>], then: Vec<u8>| guard().look(&[before.concat(), then].concat(), 0);
        let (head, whole) = (frame(1, 4, b"x"), frame(1, 5, b"x"));
        let (data, end) = (frame(0, 0, b"x"), frame(0, 1, b"x"));
        assert_eq!(after(&[head.clone(), data.clone()], end.clone()), Ok(()));
        assert_eq!(
            after(&[head.clone(), data.clone()], whole.clone()),
            Ok(()),
            "trailers"
        );
        for before in [
            vec![whole.clone()],
            vec![head.clone(), end],
            vec![head, frame(3, 0, &[0; 4])],
        ] {
            assert_eq!(after(&before, data.clone()), Err(Breach::StreamClosed));
            assert_eq!(after(&before, whole.clone()), Err(Breach::StreamClosed));
            assert_eq!(after(&before, frame(3, 0, &[0; 4])), Ok(()));
        }
        assert_eq!(after(&[on(5, 1, 5, b"x")], on(3, 1, 5, b"x")), Ok(()), "left out");
    }
}
