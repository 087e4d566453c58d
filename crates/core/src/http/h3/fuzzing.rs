//! What must hold for any bytes of a stream: behind the fuzz target, see [`crate::fuzzing`].

use bytes::Bytes;

use super::frames::{Found, Frames};
use super::section::{self, Kind};

/// Sections longer than this are refused.
const LONGEST: usize = 256;

/// A stream of any bytes, of either sort: what passes of it depends on the bytes alone and not on how they come in
/// pieces, and is bounded by what came; nothing beyond the limit is collected.
pub fn stream(data: &[u8]) {
    for make in [|| Frames::of_request(LONGEST), Frames::of_unidirectional] {
        let whole = pass(make(), data, data.len().max(1));
        for piece in [1, 7] {
            assert_eq!(pass(make(), data, piece), whole);
        }
        if let Ok((passed, sections)) = whole {
            // Lengths may be written longer than needed, never shorter: what we write is at most as long.
            assert!(passed.len() <= data.len());
            assert!(sections.iter().all(|section| section.len() <= LONGEST));
        }
    }
    for kind in [Kind::Request, Kind::Trailers] {
        if let Ok(checked) = section::check(data, kind, 16) {
            assert!(checked.lines <= 16 && checked.lines <= data.len());
            if let Some((_, line)) = checked.protocol {
                // Without that line it is as good as before.
                let rest = [&data[..line.start], &data[line.end..]].concat();
                let again = section::check(&rest, kind, 16);
                assert!(
                    again.is_ok_and(|again| again.protocol.is_none() && again.lines + 1 == checked.lines)
                );
            }
        }
    }
}

type Passed = Result<(Vec<u8>, Vec<Vec<u8>>), super::frames::Fault>;

fn pass(mut frames: Frames, data: &[u8], piece: usize) -> Passed {
    let (mut out, mut sections) = (Vec::new(), Vec::new());
    for piece in data.chunks(piece) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            if let Found::Section = frames.push(&mut piece)? {
                sections.push(frames.section().to_vec());
                frames.emit_section(None);
            }
        }
        while let Some(passed) = frames.pop() {
            out.extend_from_slice(&passed);
        }
    }
    frames.end()?;
    Ok((out, sections))
}
