//! Where the frames of a WebSocket end (RFC 6455 5.2), in one direction of a tunnel.
//!
//! A tunnel carries bytes and looks at none of them, with one exception: to say goodbye it must know where a frame of
//! its own may stand. This follows the headers of frames with a few bytes of state and judges nothing else: what an
//! endpoint makes of a strange frame is not ours to say.

/// The opcode of a Close frame.
const CLOSE: u8 = 8;
/// `going away` (RFC 6455 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// How far into a frame the bytes so far reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    /// The first bytes of the current header; a masking key counts, but is not kept.
    header: [u8; 10],
    /// Bytes of the current header that are in, at most 14.
    have: u8,
    /// Bytes of the current payload still to come.
    payload: u64,
    closing: bool,
    lost: bool,
}

impl Frames {
    /// Takes in the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.lost {
            rest = rest.get(self.step(rest)..).unwrap_or_default();
        }
    }

    /// How many of the next bytes belong to a frame that has begun; `None` if all of them do and it goes on behind
    /// them. 0 between two frames.
    pub fn rest_of_frame(&self, bytes: &[u8]) -> Option<usize> {
        let mut ahead = *self;
        let mut taken = 0;
        while !ahead.is_between() {
            let rest = bytes.get(taken..).filter(|rest| !rest.is_empty())?;
            if ahead.lost {
                return None;
            }
            taken += ahead.step(rest);
        }
        Some(taken)
    }

    /// True between two frames: a frame of our own may stand here.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.payload == 0 && !self.lost
    }

    /// True once a whole Close frame has passed: no other frame may follow.
    pub fn is_closed(&self) -> bool {
        self.closing && self.is_between()
    }

    /// True if the bytes are no frames, so that nothing can be said of where one ends.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Takes in what belongs together at the beginning of `bytes`, which are not empty: its length, at least 1.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload > 0 {
            let n = usize::try_from(self.payload).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.payload -= n as u64;
            return n;
        }
        if let (Some(place), Some(byte)) = (self.header.get_mut(usize::from(self.have)), bytes.first()) {
            *place = *byte;
        }
        self.have += 1;
        let (length_bytes, short) = match self.header[1] & 0x7f {
            126 => (2, None),
            127 => (8, None),
            short => (0, Some(u64::from(short))),
        };
        let masked = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        if self.have >= 2 && self.have == 2 + length_bytes + masked {
            let long = self.header[2..].iter().take(usize::from(length_bytes));
            self.payload = short.unwrap_or_else(|| long.fold(0, |n, byte| n << 8 | u64::from(*byte)));
            self.closing |= self.header[0] & 0x0f == CLOSE;
            // The first bit of a length is 0: otherwise this is something else than frames.
            self.lost = self.payload >> 63 != 0;
            self.have = 0;
        }
        1
    }
}

/// A Close frame that says `going away`: masked with `key` if it goes to a server (RFC 6455 5.1).
pub fn going_away(key: Option<[u8; 4]>) -> ([u8; 8], usize) {
    let [high, low] = GOING_AWAY;
    match key {
        None => ([0x80 | CLOSE, 2, high, low, 0, 0, 0, 0], 4),
        Some([a, b, c, d]) => ([0x80 | CLOSE, 0x80 | 2, a, b, c, d, high ^ a, low ^ b], 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, masked: bool, payload: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut out = vec![first];
        match u16::try_from(payload) {
            Ok(n @ 0..=125) => out.push(mask | u8::try_from(n).unwrap()),
            Ok(n) => {
                out.push(mask | 0x7e);
                out.extend(n.to_be_bytes());
            }
            Err(_) => {
                out.push(mask | 0x7f);
                out.extend((payload as u64).to_be_bytes());
            }
        }
        if masked {
            out.extend([1, 2, 3, 4]);
        }
        out.extend(vec![0xff; payload]);
        out
    }

    #[test]
    fn finds_the_ends_of_frames_however_they_are_cut() {
        let sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000];
        for masked in [false, true] {
            let frames: Vec<Vec<u8>> = sizes.iter().map(|&n| frame(0x82, masked, n)).collect();
            let all = frames.concat();
            for cut in [1, 2, 3, 7, 1000, all.len()] {
                let (mut tracker, mut seen) = (Frames::default(), 0);
                let mut ends: Vec<usize> = Vec::new();
                for piece in all.chunks(cut) {
                    let mut at = 0;
                    while at < piece.len() {
                        if tracker.is_between() {
                            ends.push(seen);
                        }
                        let mut begun = tracker;
                        begun.feed(&piece[at..=at]);
                        let rest = begun.rest_of_frame(&piece[at + 1..]);
                        let n = rest.map_or(piece.len() - at, |n| n + 1);
                        tracker.feed(&piece[at..at + n]);
                        (at, seen) = (at + n, seen + n);
                    }
                }
                let expected: Vec<usize> = frames
                    .iter()
                    .scan(0, |at, frame| {
                        *at += frame.len();
                        Some(*at - frame.len())
                    })
                    .collect();
                assert_eq!(ends, expected, "cut at {cut}");
                assert!(tracker.is_between() && !tracker.is_closed());
            }
        }
    }

    #[test]
    fn knows_a_close_frame_and_what_is_no_frame() {
        let mut tracker = Frames::default();
        let (bytes, n) = going_away(Some([9, 8, 7, 6]));
        tracker.feed(&bytes[..n - 1]);
        assert!(!tracker.is_closed());
        tracker.feed(&bytes[n - 1..n]);
        assert!(tracker.is_closed());

        let mut tracker = Frames::default();
        tracker.feed(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 7, 7, 7]);
        assert!(tracker.is_lost() && !tracker.is_between());
        assert_eq!(tracker.rest_of_frame(&[0; 100]), None);
    }

    #[test]
    fn our_own_frames_say_1001() {
        let (bytes, n) = going_away(None);
        assert_eq!(bytes[..n], [0x88, 2, 3, 0xe9]);
        let (bytes, n) = going_away(Some([0xff, 0x0f, 1, 1]));
        assert_eq!(bytes[..n], [0x88, 0x82, 0xff, 0x0f, 1, 1, 3 ^ 0xff, 0xe9 ^ 0x0f]);
    }
}
