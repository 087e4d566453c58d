//! Fields from the wire and back to it.
//!
//! The lines of a head are copied into the buffer as they are, so that those that are written as we would write them
//! can be copied out again without being put together.

use super::{Headers, OTHER, Slot, mark, narrow};
use crate::head::line::{self, FieldLine};
use crate::head::{self, HeadError};
use crate::known::Known;

/// What parsing found besides the fields.
pub(crate) struct Section {
    /// Where the empty line ends.
    pub(crate) end: usize,
    /// The set of known names that occur more than once.
    pub(crate) repeated: u64,
}

impl Headers {
    /// Parses the field lines that begin at `start` of `bytes` up to the empty line, into empty `Headers`. None if
    /// the empty line has not come. They are empty again unless the whole section is good.
    pub(crate) fn parse(
        &mut self,
        bytes: &[u8],
        start: usize,
        max: usize,
    ) -> Result<Option<Section>, HeadError> {
        let parsed = self.parse_lines(bytes, start, max);
        if !matches!(parsed, Ok(Some(_))) {
            // The slots of the lines before point to where their text would have come.
            self.clear();
        }
        parsed
    }

    fn parse_lines(&mut self, bytes: &[u8], start: usize, max: usize) -> Result<Option<Section>, HeadError> {
        let mut at = start;
        let mut repeated = 0;
        loop {
            // `at` is the start or the end of a line, so within the bytes.
            let rest = &bytes[at..];
            if rest.first().is_none_or(|&byte| byte < b' ') {
                let Some(()) = line::end(rest)? else {
                    return Ok(None);
                };
                break;
            }
            let Some(found) = line::field(rest)? else {
                return Ok(None);
            };
            if self.slots.len() >= max {
                let measured = self.slots.len() + head::count_lines(rest);
                return Err(HeadError::TooManyFields { limit: max, measured });
            }
            repeated |= self.index(rest, at - start, &found)?;
            at += found.len;
        }
        self.live = self.slots.len();
        self.buffer.extend_from_slice(&bytes[start..at]);
        Ok(Some(Section {
            end: at + 2,
            repeated,
        }))
    }

    /// Adds the slot of a line that will be at `place` of the buffer; gives its name's bit if the name is repeated.
    fn index(&mut self, line: &[u8], place: usize, found: &FieldLine) -> Result<u64, HeadError> {
        let Ok(name_len) = u16::try_from(found.name_len) else {
            return Err(HeadError::Malformed("a field name is longer than 65535 bytes"));
        };
        let bit = found.known.map_or(0, Known::bit);
        let repeated = self.present & bit;
        self.present |= bit;
        if found.known.is_none() {
            self.marks |= mark(&line[..found.name_len]);
        }
        self.underscores |= found.underscore;
        let padding = found.len - found.name_len - found.value_len;
        self.slots.push(Slot {
            name: narrow(place),
            value: narrow(place + found.value),
            value_len: narrow(found.value_len),
            name_len,
            id: found.known.map_or(OTHER, |known| known as u8),
            // Colon, space, CR and LF, and the space where it belongs.
            plain: padding == 4 && found.value == found.name_len + 2 && line[found.name_len + 1] == b' ',
        });
        Ok(repeated)
    }

    /// Writes all fields but those of the names in `skip`, a set of bits. Neighbouring lines are copied as one.
    pub(crate) fn write(&self, out: &mut Vec<u8>, skip: u64) {
        out.reserve(self.buffer.len());
        let mut run = 0..0;
        for slot in &self.slots {
            if !slot.is_live() || (slot.id != OTHER && skip & (1 << slot.id) != 0) {
                continue;
            }
            let line = slot.line();
            if slot.plain && line.start == run.end {
                run.end = line.end;
                continue;
            }
            // The invariant of the module: offsets lie within the buffer.
            out.extend_from_slice(&self.buffer[run]);
            if slot.plain {
                run = line;
            } else {
                run = 0..0;
                for part in [slot.name(&self.buffer), b": ", slot.value(&self.buffer), b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
        }
        out.extend_from_slice(&self.buffer[run]);
    }
}
