//! Counts what makes work and brings no request on (RFC 9113 10.5).
//!
//! A client gets credit for what it may well answer to: what was sent to it, and its own requests.

use std::time::{Duration, Instant};

use super::Settings;
use crate::Reason;

/// Frames are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(10);
/// Bytes sent that explain one frame more: a small frame of data, or a part of a large one.
const EXPLAINS: u64 = 64;
/// Frames more that a request explains: its priority, and windows for its answer.
const PER_REQUEST: u64 = 4;

/// Why a connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// The client takes too many of its requests back, or begins too many in vain.
    Resets,
    /// Too many frames that bring nothing on.
    Control,
    /// Too many requests that are none.
    Malformed,
    /// A compressed head that is far too large.
    Head,
    /// A frame of a length that it cannot have.
    FrameSize,
    /// More data than there was room for, or a window that is too large.
    FlowControl,
    /// A head that cannot be decompressed.
    Compression,
    /// A request that goes on after its end.
    StreamClosed,
    /// Any other frame that cannot be there.
    Protocol,
}

impl Breach {
    /// What the client is told.
    pub fn reason(self) -> Reason {
        match self {
            Self::Resets | Self::Control | Self::Malformed | Self::Head => Reason::ENHANCE_YOUR_CALM,
            Self::FrameSize => Reason::FRAME_SIZE_ERROR,
            Self::FlowControl => Reason::FLOW_CONTROL_ERROR,
            Self::Compression => Reason::COMPRESSION_ERROR,
            Self::StreamClosed => Reason::STREAM_CLOSED,
            Self::Protocol => Reason::PROTOCOL_ERROR,
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen {
    Request,
    Reset,
    Refused,
    Malformed,
    Control,
}

/// The counts of one connection.
pub(super) struct Guard {
    max_resets: u64,
    max_control: u64,
    max_malformed: u64,
    /// When the window began; none before the first frame that counts.
    began: Option<Instant>,
    resets: u64,
    control: u64,
    malformed: u64,
    requests: u64,
    /// Bytes that had been sent when the window began.
    sent: u64,
}

impl Guard {
    pub fn new(settings: &Settings) -> Self {
        Self {
            max_resets: settings.max_resets,
            max_control: settings.max_control,
            max_malformed: settings.max_malformed,
            began: None,
            resets: 0,
            control: 0,
            malformed: 0,
            requests: 0,
            sent: 0,
        }
    }

    /// Counts; `sent` is how many bytes have gone to the client.
    pub fn count(&mut self, seen: Seen, sent: u64, now: Instant) -> Result<(), Breach> {
        match seen {
            Seen::Request => {
                self.requests += 1;
                return Ok(());
            }
            Seen::Reset | Seen::Refused => self.resets += 1,
            Seen::Malformed => self.malformed += 1,
            Seen::Control => self.control += 1,
        }
        let began = *self.began.get_or_insert(now);
        let explained = sent.saturating_sub(self.sent) / EXPLAINS + self.requests * PER_REQUEST;
        let excess = if self.resets > self.max_resets {
            Breach::Resets
        } else if self.malformed > self.max_malformed {
            Breach::Malformed
        } else if self.control > self.max_control + explained {
            Breach::Control
        } else {
            return Ok(());
        };
        // Only what is too much asks for the time.
        if now.saturating_duration_since(began) < WINDOW {
            return Err(excess);
        }
        self.began = Some(now);
        self.sent = sent;
        (self.resets, self.control, self.malformed, self.requests) = (0, 0, 0, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(&Settings {
            max_resets: 3,
            max_control: 5,
            max_malformed: 4,
            ..Settings::default()
        })
    }

    fn most(guard: &mut Guard, seen: Seen, sent: u64, now: Instant) -> (usize, Breach) {
        (0..)
            .find_map(|n| guard.count(seen, sent, now).err().map(|breach| (n, breach)))
            .unwrap()
    }

    #[test]
    fn each_sort_has_its_own_bound() {
        let now = Instant::now();
        assert_eq!(most(&mut guard(), Seen::Reset, 0, now), (3, Breach::Resets));
        assert_eq!(most(&mut guard(), Seen::Refused, 0, now), (3, Breach::Resets));
        assert_eq!(
            most(&mut guard(), Seen::Malformed, 0, now),
            (4, Breach::Malformed)
        );
        assert_eq!(most(&mut guard(), Seen::Control, 0, now), (5, Breach::Control));
    }

    #[test]
    fn what_was_sent_and_asked_for_explains_frames() {
        let now = Instant::now();
        assert_eq!(most(&mut guard(), Seen::Control, 64, now).0, 6);
        let mut asked = guard();
        asked.count(Seen::Request, 0, now).unwrap();
        assert_eq!(most(&mut asked, Seen::Control, 0, now).0, 9);
    }

    #[test]
    fn another_window_counts_anew() {
        let (mut guard, now) = (guard(), Instant::now());
        for _ in 0..3 {
            guard.count(Seen::Reset, 0, now).unwrap();
        }
        assert_eq!(guard.count(Seen::Reset, 0, now + WINDOW), Ok(()));
        assert_eq!(most(&mut guard, Seen::Reset, 0, now + WINDOW).0, 3);
    }
}
