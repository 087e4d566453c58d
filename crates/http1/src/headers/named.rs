//! Edits by names and fields that are made once and used for many messages.

use std::borrow::Cow;

use super::{Headers, KnownSet, OTHER, Slot, id_of, mark, narrow};
use crate::known::Known;
use crate::{byte, encode};

/// The longest name, in bytes.
const LONGEST: u16 = u16::MAX;

/// A name of fields, checked and looked up once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    id: u8,
    len: u16,
    underscore: bool,
    mark: u64,
    /// The beginning of a line: the name, a colon and a space.
    start: Cow<'static, [u8]>,
}

/// Writes the value of a field where it belongs.
pub struct ValueWriter<'a> {
    out: &'a mut Vec<u8>,
    /// True if there is more in it than digits.
    has_text: bool,
}

impl ValueWriter<'_> {
    /// Some text of it.
    pub fn text(&mut self, text: &[u8]) {
        self.has_text = true;
        self.out.extend_from_slice(text);
    }

    /// A number in decimal.
    pub fn number(&mut self, n: u64) {
        encode::decimal(self.out, n);
    }
}

impl FieldName {
    /// The name in the case it is to be written in. None if it is no token of at most 65 535 bytes.
    pub fn new(name: &[u8]) -> Option<Self> {
        let underscore = byte::token(name)?;
        Some(Self {
            id: id_of(name),
            len: u16::try_from(name.len()).ok()?,
            underscore,
            mark: mark(name),
            start: [name, b": "].concat().into(),
        })
    }

    /// A name that is written in the program, with a colon and a space behind it.
    ///
    /// # Panics
    /// If that is no beginning of a field line; for a constant, the compiler says so.
    #[allow(clippy::panic, reason = "a constant that is wrong is not compiled")]
    pub const fn of_start(start: &'static str) -> Self {
        let [name @ .., b':', b' '] = start.as_bytes() else {
            panic!("a name has a colon and a space behind it");
        };
        let Some(underscore) = byte::token(name) else {
            panic!("a name is a token");
        };
        assert!(name.len() <= LONGEST as usize, "a name is short");
        Self {
            id: id_of(name),
            // Just looked at.
            #[allow(clippy::cast_possible_truncation)]
            len: name.len() as u16,
            underscore,
            mark: mark(name),
            start: Cow::Borrowed(start.as_bytes()),
        }
    }

    /// The name as it was given.
    pub fn as_bytes(&self) -> &[u8] {
        // There are two more bytes in `start` than in the name.
        &self.start[..usize::from(self.len)]
    }

    /// Which of the known names it is, if it is one.
    pub fn known(&self) -> Option<Known> {
        Known::from_id(self.id)
    }
}

/// Names of fields, to be removed together.
#[derive(Clone, Debug)]
pub struct FieldNames {
    known: KnownSet,
    /// The marks of the others.
    marks: u64,
    others: Box<[FieldName]>,
}

impl FromIterator<FieldName> for FieldNames {
    fn from_iter<I: IntoIterator<Item = FieldName>>(names: I) -> Self {
        let (known, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.id != OTHER);
        Self {
            known: KnownSet(known.iter().fold(0, |bits, name| bits | 1 << name.id)),
            marks: others.iter().fold(0, |marks, name| marks | name.mark),
            others: others.into(),
        }
    }
}

impl Headers {
    /// As `find`.
    pub fn find_field(&self, name: &FieldName) -> Option<&[u8]> {
        self.first(name.id, name.as_bytes())
    }

    /// As `find_all`.
    pub fn all_fields<'a>(&'a self, name: &'a FieldName) -> impl Iterator<Item = &'a [u8]> {
        self.named(name.id, name.as_bytes())
    }

    /// As `set_name`.
    pub fn set_field(&mut self, name: &FieldName, value: &[u8]) {
        self.set_written(name, |out| out.text(value));
    }

    /// As `append_name`.
    pub fn append_field(&mut self, name: &FieldName, value: &[u8]) {
        self.append_written(name, |out| out.text(value));
    }

    /// As `set_name`, with what is written for a value.
    pub fn set_written(&mut self, name: &FieldName, write: impl FnOnce(&mut ValueWriter<'_>)) {
        let Some(line) = self.write_named(name, write) else {
            return;
        };
        if self.may_have(name.id, name.as_bytes()) {
            self.put(line, name.as_bytes());
        } else {
            self.add(line);
        }
    }

    /// As `append_name`, with what is written for a value.
    pub fn append_written(&mut self, name: &FieldName, write: impl FnOnce(&mut ValueWriter<'_>)) {
        if let Some(line) = self.write_named(name, write) {
            self.add(line);
        }
    }

    /// Appends the line to the buffer; none if that would be too long for the offsets.
    fn write_named(&mut self, name: &FieldName, write: impl FnOnce(&mut ValueWriter<'_>)) -> Option<Slot> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&name.start);
        let value = self.buffer.len();
        let mut writer = ValueWriter {
            out: &mut self.buffer,
            has_text: false,
        };
        write(&mut writer);
        let has_text = writer.has_text;
        // What was written is at the end of the buffer.
        let written = &self.buffer[value..];
        if has_text && (!byte::is_text(written) || byte::trim(written).len() < written.len()) {
            let cleaned = byte::clean(written).into_owned();
            self.buffer.truncate(value);
            self.buffer.extend_from_slice(&cleaned);
        }
        let value_len = self.buffer.len() - value;
        self.buffer.extend_from_slice(b"\r\n");
        if u32::try_from(self.buffer.len()).is_err() {
            self.buffer.truncate(start);
            return None;
        }
        self.underscores |= name.underscore;
        Some(Slot {
            name: narrow(start),
            value: narrow(value),
            value_len: narrow(value_len),
            name_len: name.len,
            id: name.id,
            plain: true,
        })
    }

    /// As `remove_name` for each of the names; two tests if there are none of them.
    pub fn remove_fields(&mut self, names: &FieldNames) {
        self.remove_any(names.known);
        if self.marks & names.marks != 0 {
            for name in &names.others {
                self.bury(name.id, name.as_bytes());
            }
        }
    }

    /// Appends all fields of another, in one copy.
    pub fn append_all(&mut self, other: &Self) {
        let start = self.buffer.len();
        if u32::try_from(start + other.buffer.len()).is_err() {
            return;
        }
        self.buffer.extend_from_slice(&other.buffer);
        let by = narrow(start);
        self.slots.reserve(other.live);
        self.slots.extend(other.live_slots().map(|slot| Slot {
            name: slot.name + by,
            value: slot.value + by,
            ..*slot
        }));
        self.present |= other.present;
        self.marks |= other.marks;
        self.live += other.live;
        self.underscores |= other.underscores;
    }

    /// As `set_name` for each field of another; in one copy if there are none of these names.
    pub fn set_all(&mut self, other: &Self) {
        if !self.may_share(other) {
            return self.append_all(other);
        }
        for slot in other.live_slots() {
            self.replace(slot.id, slot.name(&other.buffer), slot.value(&other.buffer));
        }
    }

    /// Appends the fields of another whose names there are none of; in one copy if that is so for all.
    pub fn append_missing(&mut self, other: &Self) {
        if !self.may_share(other) {
            return self.append_all(other);
        }
        for slot in other.live_slots() {
            let name = slot.name(&other.buffer);
            if self.first(slot.id, name).is_none() {
                self.push(slot.id, name, slot.value(&other.buffer));
            }
        }
    }

    /// As `set_name` for each field of another whose name there is a field of; two tests if there are none.
    pub fn replace_present(&mut self, other: &Self) {
        if !self.may_share(other) {
            return;
        }
        for slot in other.live_slots() {
            let name = slot.name(&other.buffer);
            if self.first(slot.id, name).is_some() {
                self.replace(slot.id, name, slot.value(&other.buffer));
            }
        }
    }

    /// False if there certainly is no name that both have.
    fn may_share(&self, other: &Self) -> bool {
        self.present & other.present != 0 || self.marks & other.marks != 0
    }

    fn live_slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.is_live())
    }
}
