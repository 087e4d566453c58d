//! Fields to blocks (RFC 7541 3), with little work for what is sent again and again.
//!
//! A field that is in the table is one byte or two. One that is not goes into the table the second time it is met, so
//! that values which never repeat push nothing out; or the first time, if not even its name is known to the other side.
//! Secrets never go into any table, here or at a proxy behind (RFC 7541 7.1.3). Strings are encoded only on their way
//! into the table: there it is worth it.
//!
//! A field of a known name is compared with the last of that name. Others are found by a hash into small arrays that may
//! forget: then a field is sent in full once more.

use std::collections::VecDeque;

use gatehouse_http1::{Known, KnownSet};

use super::table::{OVERHEAD, static_name};
use super::{TABLE, huffman, integer};

/// Kinds of literals: their highest bits and how many bits are left for an index (RFC 7541 6.2).
const ADDED: (u8, u32) = (0x40, 6);
const PLAIN: (u8, u32) = (0, 4);
const NEVER: (u8, u32) = (0x10, 4);

/// What nobody on the way may keep.
const SECRETS: KnownSet = KnownSet::of(&[
    Known::SetCookie,
    Known::Cookie,
    Known::Authorization,
    Known::ProxyAuthorization,
    Known::XApiKey,
]);
/// What is another each time: only the names are of use in the table.
const UNIQUE: KnownSet = KnownSet::of(&[Known::XRequestId, Known::XCorrelationId]);

/// The longest name that is looked for; longer ones are always sent in full.
const LONGEST_NAME: usize = 64;
/// Places by hash.
const PLACES: usize = 128;
/// The static index of each known name.
const STATIC_NAMES: [u8; 64] = {
    let mut names = [0; 64];
    let mut at = 0;
    while at < Known::ALL.len() {
        names[Known::ALL[at].0 as usize] = static_name(Known::ALL[at].1.as_bytes());
        at += 1;
    }
    names
};

/// An entry of the table.
struct Entry {
    known: Option<Known>,
    hash: u32,
    text: Box<[u8]>,
    name: usize,
}

/// Writes blocks, one after the other.
pub struct Encoder {
    /// The newest last.
    entries: VecDeque<Entry>,
    /// Entries ever added: the newest has this number.
    added: u32,
    size: usize,
    most: usize,
    /// What the other side must be told of the table's size: the least it was in between, then what it is.
    resized: Option<usize>,
    /// The number of an entry by the hash of its field, and by that of its name.
    fields: [u32; PLACES],
    names: [u32; PLACES],
    /// Hashes of fields that were sent once.
    met: [u32; PLACES],
    /// The number of the newest entry of each known name.
    newest: [u32; 64],
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            added: 0,
            size: 0,
            most: TABLE,
            resized: None,
            fields: [0; PLACES],
            names: [0; PLACES],
            met: [0; PLACES],
            newest: [0; 64],
        }
    }
}

impl Encoder {
    /// Takes what the other side allows; never more than [`TABLE`] is used.
    pub fn allow(&mut self, most: usize) {
        let most = most.min(TABLE);
        if most == self.most {
            return;
        }
        self.resized = Some(self.resized.map_or(most, |least| least.min(most)));
        self.most = most;
        self.evict(most);
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(least) = self.resized.take() {
            if least < self.most {
                integer::write(out, 0x20, 5, least);
            }
            integer::write(out, 0x20, 5, self.most);
        }
    }

    /// Adds `:status`; 100 to 999.
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        match status {
            200 => out.push(0x88),
            204 => out.push(0x89),
            206 => out.push(0x8a),
            304 => out.push(0x8b),
            400 => out.push(0x8c),
            404 => out.push(0x8d),
            500 => out.push(0x8e),
            _ => {
                let digits =
                    [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
                self.other(out, None, 8, b":status", &digits);
            }
        }
    }

    /// Adds a field; its name in lower case, whatever case it has.
    pub fn field(&mut self, out: &mut Vec<u8>, known: Option<Known>, name: &[u8], value: &[u8]) {
        if let Some(known) = known {
            return self.known(out, known, value);
        }
        let mut lower = [0; LONGEST_NAME];
        match lower.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.other(out, None, 0, lower, value);
            }
            None => literal(out, PLAIN, 0, &name.to_ascii_lowercase(), value),
        }
    }

    fn known(&mut self, out: &mut Vec<u8>, known: Known, value: &[u8]) {
        let name = known.as_str().as_bytes();
        // Below 64: their numbers are bits of a word.
        let static_name = usize::from(STATIC_NAMES[known as usize]);
        if SECRETS.contains(known) {
            return literal(out, NEVER, static_name, name, value);
        }
        let newest = self.entry(self.newest[known as usize]);
        let newest = newest.filter(|(entry, _)| entry.known == Some(known));
        let index = newest.as_ref().map_or(static_name, |(_, index)| *index);
        if UNIQUE.contains(known) && index > 0 {
            return literal(out, PLAIN, index, name, value);
        }
        match newest {
            Some((entry, index)) if entry.text.get(entry.name..) == Some(value) => {
                integer::write(out, 0x80, 7, index);
            }
            _ => self.other(out, Some(known), index, name, value),
        }
    }

    /// Adds a field whose name is in lower case, and has this index or none that is known yet.
    fn other(&mut self, out: &mut Vec<u8>, known: Option<Known>, index: usize, name: &[u8], value: &[u8]) {
        let seed = hash(0, name);
        let hash = hash(seed, value);
        if let Some(index) = self.find(hash, name, value) {
            return integer::write(out, 0x80, 7, index);
        }
        let index = Some(index).filter(|index| *index > 0);
        let index = index.or_else(|| self.find_name(seed, name));
        // The place of a hash is below the number of places.
        let was_met = std::mem::replace(&mut self.met[place(hash)], hash) == hash;
        let fits = name.len() + value.len() + OVERHEAD <= self.most / 4;
        if !fits || !was_met && index.is_some() {
            return literal(out, PLAIN, index.unwrap_or_default(), name, value);
        }
        self.add(out, index.unwrap_or_default(), seed, hash, name, value);
        if let Some(entry) = self.entries.back_mut() {
            entry.known = known;
        }
        if let Some(known) = known {
            self.newest[known as usize] = self.added;
        }
    }

    fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let (entry, index) = self.entry(self.fields[place(hash)])?;
        let (known, its) = entry.text.split_at(entry.name);
        (entry.hash == hash && known == name && its == value).then_some(index)
    }

    fn find_name(&self, seed: u32, name: &[u8]) -> Option<usize> {
        let (entry, index) = self.entry(self.names[place(seed)])?;
        (entry.text.get(..entry.name) == Some(name)).then_some(index)
    }

    /// The entry with this number, if it still is one, and its index.
    fn entry(&self, number: u32) -> Option<(&Entry, usize)> {
        let age = self.added.wrapping_sub(number) as usize;
        let place = self.entries.len().checked_sub(age + 1)?;
        Some((self.entries.get(place)?, 62 + age))
    }

    /// Writes a field that goes into the table.
    fn add(&mut self, out: &mut Vec<u8>, index: usize, seed: u32, hash: u32, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        integer::write(out, ADDED.0, ADDED.1, index);
        if index == 0 {
            short_string(out, name);
        }
        short_string(out, value);
        self.evict(self.most - size);
        self.size += size;
        self.added = self.added.wrapping_add(1);
        self.entries.push_back(Entry {
            known: None,
            hash,
            text: [name, value].concat().into(),
            name: name.len(),
        });
        self.fields[place(hash)] = self.added;
        self.names[place(seed)] = self.added;
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.text.len() + OVERHEAD;
        }
    }
}

/// Writes a field in full, or its value behind the index of its name.
fn literal(out: &mut Vec<u8>, (bits, prefix): (u8, u32), index: usize, name: &[u8], value: &[u8]) {
    integer::write(out, bits, prefix, index);
    if index == 0 {
        plain_string(out, name);
    }
    plain_string(out, value);
}

fn plain_string(out: &mut Vec<u8>, text: &[u8]) {
    integer::write(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// A string in whichever form is shorter.
fn short_string(out: &mut Vec<u8>, text: &[u8]) {
    let length = huffman::encoded_len(text);
    if length < text.len() {
        integer::write(out, 0x80, 7, length);
        huffman::encode(text, out);
    } else {
        plain_string(out, text);
    }
}

/// Where a hash has its place.
fn place(hash: u32) -> usize {
    hash as usize % PLACES
}

/// A number for a text, never 0; two texts seldom have the same.
fn hash(seed: u32, text: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (eights, rest) = text.as_chunks::<8>();
    let mut mixed = u64::from(seed) ^ (text.len() as u64).wrapping_mul(FACTOR);
    for eight in eights {
        mixed = (mixed.rotate_left(29) ^ u64::from_le_bytes(*eight)).wrapping_mul(FACTOR);
    }
    let last = rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte));
    mixed = (mixed.rotate_left(29) ^ last).wrapping_mul(FACTOR);
    (mixed >> 32) as u32 | 1
}
