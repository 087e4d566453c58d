//! Blocks to fields (RFC 7541 3).

use super::table::Table;
use super::{TABLE, huffman, integer};

/// A block that cannot be read. The tables of both sides differ from here on: the connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// Bytes of scratch memory that are kept from one block to the next.
const KEPT: usize = 8 * 1024;

/// Reads blocks, one after the other.
pub struct Decoder {
    table: Table,
    /// Strings that were encoded, or whose entry may have to go.
    scratch: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE),
            scratch: Vec::new(),
        }
    }
}

/// Where the text of a string is.
#[derive(Clone, Copy)]
enum Text<'b> {
    Block(&'b [u8]),
    /// As much of the scratch memory.
    Scratch(usize, usize),
}

impl<'b> Text<'b> {
    fn of<'s>(self, scratch: &'s [u8]) -> &'s [u8]
    where
        'b: 's,
    {
        match self {
            Self::Block(text) => text,
            // It was written there before.
            Self::Scratch(from, to) => &scratch[from..to],
        }
    }
}

impl Decoder {
    /// Gives each field of a whole block to `field`, in order.
    pub fn decode(&mut self, mut block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<(), Broken> {
        let mut is_first = true;
        while let Some(&first) = block.first() {
            // What kind it is, by its highest bits (RFC 7541 6).
            if first & 0x80 != 0 {
                let index = integer::read(&mut block, 7).ok_or(Broken)?;
                let (name, value) = self.table.get(index).ok_or(Broken)?;
                field(name, value);
            } else if first & 0xe0 == 0x20 {
                let most = integer::read(&mut block, 5).ok_or(Broken)?;
                if most > TABLE || !is_first {
                    return Err(Broken);
                }
                self.table.resize(most);
                continue;
            } else {
                let is_added = first & 0x40 != 0;
                let index = integer::read(&mut block, if is_added { 6 } else { 4 }).ok_or(Broken)?;
                self.literal(&mut block, index, is_added, &mut field)?;
            }
            is_first = false;
        }
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        index: usize,
        is_added: bool,
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        self.scratch.clear();
        if index > 0 && !is_added {
            let value = string(block, &mut self.scratch)?;
            let (name, _) = self.table.get(index).ok_or(Broken)?;
            field(name, value.of(&self.scratch));
            return Ok(());
        }
        let name = if index > 0 {
            // A copy: to add the field may let go of the entry that has its name.
            let (name, _) = self.table.get(index).ok_or(Broken)?;
            self.scratch.extend_from_slice(name);
            Text::Scratch(0, self.scratch.len())
        } else {
            string(block, &mut self.scratch)?
        };
        let value = string(block, &mut self.scratch)?;
        let (name, value) = (name.of(&self.scratch), value.of(&self.scratch));
        field(name, value);
        if is_added {
            self.table.add(name, value);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

/// A string, taken off the block (RFC 7541 5.2).
fn string<'b>(block: &mut &'b [u8], scratch: &mut Vec<u8>) -> Result<Text<'b>, Broken> {
    let is_encoded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::read(block, 7).ok_or(Broken)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Broken)?;
    *block = rest;
    if !is_encoded {
        return Ok(Text::Block(text));
    }
    let from = scratch.len();
    if !huffman::decode(text, scratch) {
        return Err(Broken);
    }
    Ok(Text::Scratch(from, scratch.len()))
}
