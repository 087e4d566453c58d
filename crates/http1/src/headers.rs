//! Header fields as one buffer and offsets into it (RFC 9110 5).
//!
//! The order and the case of names are kept as received. An edit appends a line to the buffer and points the field at
//! it; a removed field leaves a tombstone. Known names are interned, so asking for one that is absent is a bit test.
//!
//! Invariant: every slot's offsets lie within the buffer, which only grows until `clear`; what is in the buffer was
//! parsed or cleaned first, so no name or value can end its line.

mod debug;
mod named;
mod wire;

use std::ops::Range;

use crate::byte;
use crate::known::Known;
pub use named::{FieldName, FieldNames, ValueWriter};

/// The id of a field whose name is no known one.
const OTHER: u8 = 254;
/// The id of a removed field.
const DEAD: u8 = 255;
/// What `Connection` cannot name away.
const KEPT: u64 =
    Known::Connection.bit() | Known::Host.bit() | Known::ContentLength.bit() | Known::TransferEncoding.bit();

/// The header (or trailer) fields of a message.
#[derive(Clone, Default)]
pub struct Headers {
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    /// One bit for each known name that has a live field.
    present: u64,
    /// The marks of other names added since `clear`: most that are asked for and absent are told by them.
    marks: u64,
    live: usize,
    /// Some name added since `clear` contains `_`.
    underscores: bool,
}

/// One field line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    pub known: Option<Known>,
    /// The name as received.
    pub name: &'a [u8],
    /// The value without surrounding whitespace.
    pub value: &'a [u8],
}

/// Where a field lies in the buffer.
#[derive(Clone, Copy)]
struct Slot {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    /// A known name's id, `OTHER` or `DEAD`.
    id: u8,
    /// The buffer holds `name: value CR LF` just so from `name` on: the line can be copied whole.
    plain: bool,
}

impl Slot {
    fn name<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        // The invariant of the module: offsets lie within the buffer.
        &buffer[self.name as usize..][..usize::from(self.name_len)]
    }

    fn value<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        // As above.
        &buffer[self.value as usize..][..self.value_len as usize]
    }

    fn line(&self) -> Range<usize> {
        self.name as usize..self.value as usize + self.value_len as usize + 2
    }

    fn is_live(&self) -> bool {
        self.id != DEAD
    }

    fn is_named(&self, id: u8, name: &[u8], buffer: &[u8]) -> bool {
        self.id == id && (id != OTHER || self.name(buffer).eq_ignore_ascii_case(name))
    }

    fn field<'a>(&self, buffer: &'a [u8]) -> Field<'a> {
        Field {
            known: Known::from_id(self.id),
            name: self.name(buffer),
            value: self.value(buffer),
        }
    }
}

/// Some known names, to be looked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSet(u64);

impl KnownSet {
    /// The set of these names.
    pub const fn of(names: &[Known]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < names.len() {
            bits |= names[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// The names of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the name is one of them.
    pub const fn contains(self, known: Known) -> bool {
        self.0 & known.bit() != 0
    }
}

impl Headers {
    /// No fields and no capacity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all fields and keeps the capacity.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.slots.clear();
        self.present = 0;
        self.marks = 0;
        self.live = 0;
        self.underscores = false;
    }

    /// How many field lines there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Whether there is a field of this name; one bit test.
    pub fn contains(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    /// Whether there is a field of any of these names; one test.
    pub fn contains_any(&self, names: KnownSet) -> bool {
        self.present & names.0 != 0
    }

    /// The value of the first field of this name.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        if !self.contains(known) {
            return None;
        }
        self.slots
            .iter()
            .find(|slot| slot.id == known as u8)
            .map(|slot| slot.value(&self.buffer))
    }

    /// The values of all fields of this name, in order.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let slots = if self.contains(known) {
            self.slots.as_slice()
        } else {
            &[]
        };
        slots
            .iter()
            .filter(move |slot| slot.id == known as u8)
            .map(|slot| slot.value(&self.buffer))
    }

    /// The elements of the comma-separated list that all fields of this name make together, trimmed, without empty
    /// ones (RFC 9110 5.6.1). For lists of tokens such as `Connection`: a comma within quotes separates too.
    pub fn list(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.all(known).flat_map(byte::elements)
    }

    /// The value of the first field of this name, whatever the case.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.first(id_of(name), name)
    }

    /// The values of all fields of this name, whatever the case, in order.
    pub fn find_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.named(id_of(name), name)
    }

    /// Gives the field this value: in the place of the first of its name, the others removed, or at the end.
    ///
    /// Here and in all other edits, control bytes in the value but HTAB become spaces (RFC 9110 5.5) and surrounding
    /// whitespace is taken off, so that an edit can never split a header.
    pub fn set(&mut self, known: Known, value: &[u8]) {
        self.replace(known as u8, known.as_str().as_bytes(), value);
    }

    /// Like `set` for any name. False, and nothing done, if the name is no token of at most 65 535 bytes.
    pub fn set_name(&mut self, name: &[u8], value: &[u8]) -> bool {
        byte::is_token(name) && self.replace(id_of(name), name, value)
    }

    /// Adds a field line at the end.
    pub fn append(&mut self, known: Known, value: &[u8]) {
        self.push(known as u8, known.as_str().as_bytes(), value);
    }

    /// Like `append` for any name. False, and nothing done, if the name is no token of at most 65 535 bytes.
    pub fn append_name(&mut self, name: &[u8], value: &[u8]) -> bool {
        byte::is_token(name) && self.push(id_of(name), name, value)
    }

    /// Removes all fields of this name; true if there were any.
    pub fn remove(&mut self, known: Known) -> bool {
        self.bury(known as u8, b"")
    }

    /// Removes all fields of these names, in one pass; a single test if there are none.
    pub fn remove_any(&mut self, names: KnownSet) {
        if !self.contains_any(names) {
            return;
        }
        for slot in &mut self.slots {
            // `OTHER` and `DEAD` lie beyond the bits of a set.
            if slot.id < 64 && names.0 >> slot.id & 1 == 1 {
                slot.id = DEAD;
                self.live -= 1;
            }
        }
        self.present &= !names.0;
    }

    /// Removes all fields of this name, whatever the case; true if there were any.
    pub fn remove_name(&mut self, name: &[u8]) -> bool {
        self.bury(id_of(name), name)
    }

    /// Removes the fields that `Connection` names (RFC 9110 7.6.1), but neither itself nor what says where the message
    /// goes and ends: `Host`, `Content-Length`, `Transfer-Encoding`.
    pub fn remove_named_by_connection(&mut self) {
        if !self.contains(Known::Connection) {
            return;
        }
        for at in 0..self.slots.len() {
            // `at` is below the number of slots, which does not change.
            let line = self.slots[at];
            if line.id != Known::Connection as u8 {
                continue;
            }
            for name in byte::elements(line.value(&self.buffer)) {
                let id = id_of(name);
                if id == OTHER || KEPT & (1 << id) == 0 {
                    self.live -= bury(&mut self.slots, &self.buffer, id, name);
                    self.present &= if id == OTHER { u64::MAX } else { !(1 << id) };
                }
            }
        }
    }

    /// Removes the fields for which `keep(known, name, value)` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(Option<Known>, &[u8], &[u8]) -> bool) {
        self.present = 0;
        for slot in self.slots.iter_mut().filter(|slot| slot.is_live()) {
            let known = Known::from_id(slot.id);
            if keep(known, slot.name(&self.buffer), slot.value(&self.buffer)) {
                self.present |= known.map_or(0, Known::bit);
            } else {
                slot.id = DEAD;
                self.live -= 1;
            }
        }
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.slots
            .iter()
            .filter(|slot| slot.is_live())
            .map(|slot| slot.field(&self.buffer))
    }

    /// Whether some name, now or before an edit, contains `_`; a flag set as fields are added.
    ///
    /// Servers that hand fields on as variables (CGI, WSGI) read `X_User` and `X-User` as one. A caller that
    /// adds fields of its own to what it received should drop or refuse such names altogether.
    pub fn has_underscores(&self) -> bool {
        self.underscores
    }

    /// Whether some name would be taken for a known one by a server that reads `_` as `-`: `Content_Length`. Costs
    /// nothing while no name contains `_`. `Known::lookalike` tells which; `retain` with it drops them.
    pub fn has_underscore_lookalike(&self) -> bool {
        self.underscores && self.iter().any(|field| Known::lookalike(field.name).is_some())
    }

    fn first(&self, id: u8, name: &[u8]) -> Option<&[u8]> {
        if !self.may_have(id, name) {
            return None;
        }
        let mut slots = self.slots.iter();
        let found = slots.find(|slot| slot.is_named(id, name, &self.buffer));
        found.map(|slot| slot.value(&self.buffer))
    }

    fn named<'a>(&'a self, id: u8, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let slots = if self.may_have(id, name) {
            self.slots.as_slice()
        } else {
            &[]
        };
        let named = slots
            .iter()
            .filter(move |slot| slot.is_named(id, name, &self.buffer));
        named.map(|slot| slot.value(&self.buffer))
    }

    /// False if there certainly is no field of this name.
    fn may_have(&self, id: u8, name: &[u8]) -> bool {
        if id == OTHER {
            self.marks & mark(name) != 0
        } else {
            self.present & (1 << id) != 0
        }
    }

    fn replace(&mut self, id: u8, name: &[u8], value: &[u8]) -> bool {
        if !self.may_have(id, name) {
            return self.push(id, name, value);
        }
        let Some(line) = self.write_line(id, name, value) else {
            return false;
        };
        self.put(line, name);
        true
    }

    /// Puts a line that is written already in the place of the first of its name, and removes the others.
    fn put(&mut self, line: Slot, name: &[u8]) {
        let id = line.id;
        let mut place = None;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if !slot.is_named(id, name, &self.buffer) {
                continue;
            }
            if place.is_none() {
                place = Some(at);
                *slot = line;
            } else {
                slot.id = DEAD;
                self.live -= 1;
            }
        }
        if place.is_none() {
            self.add(line);
        }
    }

    fn push(&mut self, id: u8, name: &[u8], value: &[u8]) -> bool {
        let line = self.write_line(id, name, value);
        if let Some(line) = line {
            self.add(line);
        }
        line.is_some()
    }

    fn add(&mut self, line: Slot) {
        if line.id == OTHER {
            self.marks |= mark(line.name(&self.buffer));
        } else {
            self.present |= 1 << line.id;
        }
        self.slots.push(line);
        self.live += 1;
    }

    /// Adds a field line at the end, whose value was found to be clean already. False, and nothing done, if the name is
    /// no token of at most 65 535 bytes.
    pub(crate) fn append_checked(&mut self, known: Option<Known>, name: &[u8], value: &[u8]) -> bool {
        if known.is_none() && !byte::is_token(name) {
            return false;
        }
        let line = self.write_clean(known.map_or(OTHER, |known| known as u8), name, value);
        if let Some(line) = line {
            self.add(line);
        }
        line.is_some()
    }

    /// Appends the line to the buffer; none if the name or the buffer would be too long for the offsets.
    fn write_line(&mut self, id: u8, name: &[u8], value: &[u8]) -> Option<Slot> {
        self.write_clean(id, name, &byte::clean(value))
    }

    fn write_clean(&mut self, id: u8, name: &[u8], value: &[u8]) -> Option<Slot> {
        let name_len = u16::try_from(name.len()).ok()?;
        let start = self.buffer.len();
        u32::try_from(start + name.len() + value.len() + 4).ok()?;
        self.underscores |= id == OTHER && name.contains(&b'_');
        self.buffer.reserve(name.len() + value.len() + 4);
        for part in [name, b": ", value, b"\r\n"] {
            self.buffer.extend_from_slice(part);
        }
        let at = start + name.len() + 2;
        Some(Slot {
            name: narrow(start),
            value: narrow(at),
            value_len: narrow(value.len()),
            name_len,
            id,
            plain: true,
        })
    }

    fn bury(&mut self, id: u8, name: &[u8]) -> bool {
        if !self.may_have(id, name) {
            return false;
        }
        let buried = bury(&mut self.slots, &self.buffer, id, name);
        self.live -= buried;
        if id != OTHER {
            self.present &= !(1 << id);
        }
        buried > 0
    }
}

/// Leaves tombstones for all fields of this name; gives how many.
fn bury(slots: &mut [Slot], buffer: &[u8], id: u8, name: &[u8]) -> usize {
    let mut buried = 0;
    for slot in slots.iter_mut().filter(|slot| slot.is_named(id, name, buffer)) {
        slot.id = DEAD;
        buried += 1;
    }
    buried
}

/// A bit of a name that is none of the known ones, the same in any case: of its length and its last two bytes, by which
/// names of one family differ.
const fn mark(name: &[u8]) -> u64 {
    // Makes letters lower case.
    let (before, last) = match name {
        [.., before, last] => (*before | 0x20, *last | 0x20),
        _ => (0, 0),
    };
    1 << ((name.len() + 5 * before as usize + last as usize) % 64)
}

const fn id_of(name: &[u8]) -> u8 {
    match Known::of(name) {
        Some(known) => known as u8,
        None => OTHER,
    }
}

/// An offset as it is stored; callers have checked that the whole buffer is shorter than 4 GiB.
#[allow(
    clippy::cast_possible_truncation,
    reason = "checked by the callers once for the whole buffer"
)]
fn narrow(offset: usize) -> u32 {
    offset as u32
}

#[cfg(test)]
mod tests;
