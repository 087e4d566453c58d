//! The order and number of the lines of an encoded field section (RFC 9204 4.5), without decoding them.
//!
//! The h3 crate decodes a section into one value for each pseudo-header and a map of fields: that a pseudo-header
//! came twice, or behind other fields, or does not belong to a request, is lost there. Here it shows. How values are
//! encoded is left to the crate, which refuses what it cannot decode. Of `:protocol` it knows a few values only, and
//! `websocket` is none of them: that line is found here, so that it can be taken out of what the crate gets.

use std::ops::Range;

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The head of a request.
    Request,
    /// Its trailers.
    Trailers,
}

/// What is wrong with a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is malformed (RFC 9114 4.1.2).
    Malformed(&'static str),
    /// It cannot be decoded at all: the crate will say so.
    Undecodable,
    /// It has more lines than this.
    TooMany(usize),
}

/// A pseudo-header (RFC 9114 4.3, RFC 9220).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pseudo {
    Authority,
    Method,
    Path,
    Protocol,
    Scheme,
    Unknown,
}

/// What a literal name says, as it is and in the Huffman code, which writes each name in one way only (RFC 7541 B).
const LITERAL: [(&[u8], &[u8], Pseudo); 5] = [
    (
        b":authority",
        &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f],
        Pseudo::Authority,
    ),
    (b":path", &[0xb9, 0x58, 0xd3, 0x3f], Pseudo::Path),
    (b":method", &[0xb9, 0x49, 0x53, 0x39, 0xe4], Pseudo::Method),
    (b":scheme", &[0xb8, 0x82, 0x4e, 0x5a, 0x4b], Pseudo::Scheme),
    (
        b":protocol",
        &[0xb9, 0x5d, 0x87, 0x49, 0xc8, 0x7a, 0x3f],
        Pseudo::Protocol,
    ),
];

/// `websocket` in the Huffman code.
const WEBSOCKET: [u8; 7] = [0xf0, 0x58, 0xd0, 0x72, 0x75, 0x2a, 0x7f];

/// A section whose lines are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    /// How many lines it has.
    pub lines: usize,
    /// What an extended CONNECT asks for, and the bytes of the line that says so (RFC 9220). Not known if it is in a
    /// form that the crate has to read, and to refuse.
    pub protocol: Option<(String, Range<usize>)>,
}

/// Counts the lines of a section, at most `most`, and judges the order of its pseudo-headers.
pub(super) fn check(section: &[u8], kind: Kind, most: usize) -> Result<Checked, Fault> {
    let mut rest = section;
    // Required Insert Count and Base: nothing refers to the dynamic table, which does not exist.
    integer(&mut rest, 8)?;
    integer(&mut rest, 7)?;
    let (mut lines, mut seen, mut fields) = (0, 0_u8, false);
    let mut protocol = None;
    while !rest.is_empty() {
        lines += 1;
        if lines > most {
            return Err(Fault::TooMany(lines));
        }
        let start = section.len() - rest.len();
        let (pseudo, value) = line(&mut rest)?;
        let Some(pseudo) = pseudo else {
            fields = true;
            continue;
        };
        if kind == Kind::Trailers {
            return Err(Fault::Malformed("a pseudo-header among the trailers"));
        }
        if pseudo == Pseudo::Unknown {
            return Err(Fault::Malformed("a pseudo-header that no request has"));
        }
        if fields {
            return Err(Fault::Malformed("a pseudo-header behind other fields"));
        }
        let bit = 1 << pseudo as u8;
        if seen & bit != 0 {
            return Err(Fault::Malformed("a pseudo-header is repeated"));
        }
        seen |= bit;
        if pseudo == Pseudo::Protocol {
            protocol = value.text().map(|text| (text, start..section.len() - rest.len()));
        }
    }
    Ok(Checked { lines, protocol })
}

/// The value of a line, as it is written.
#[derive(Clone, Copy)]
struct Value<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl Value<'_> {
    /// What it says, if it can be told.
    fn text(self) -> Option<String> {
        let bytes = match (self.is_huffman, self.bytes) {
            (true, coded) if coded == WEBSOCKET => b"websocket",
            (true, _) => return None,
            (false, plain) => plain,
        };
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// Reads over one line; gives its pseudo-header if it has one, and its value if it is written out.
fn line<'a>(rest: &mut &'a [u8]) -> Result<(Option<Pseudo>, Value<'a>), Fault> {
    const NO_VALUE: Value<'_> = Value {
        bytes: &[],
        is_huffman: false,
    };
    let first = *rest.first().ok_or(Fault::Undecodable)?;
    if first & 0x80 != 0 {
        // Indexed; bit 6 says that the table is the static one.
        let index = integer(rest, 6)?;
        return if first & 0x40 == 0 {
            Err(Fault::Undecodable)
        } else {
            Ok((static_name(index), NO_VALUE))
        };
    }
    if first & 0x40 != 0 {
        // A name by reference, its value as it is; bit 4 as above.
        let index = integer(rest, 4)?;
        let value = value(rest)?;
        return if first & 0x10 == 0 {
            Err(Fault::Undecodable)
        } else {
            Ok((static_name(index), value))
        };
    }
    if first & 0x20 == 0 {
        return Err(Fault::Undecodable);
    }
    let len = integer(rest, 3)?;
    let name = take(rest, len)?;
    Ok((literal_name(name, first & 0x08 != 0), value(rest)?))
}

fn value<'a>(rest: &mut &'a [u8]) -> Result<Value<'a>, Fault> {
    let is_huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer(rest, 7)?;
    Ok(Value {
        bytes: take(rest, len)?,
        is_huffman,
    })
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], Fault> {
    let len = usize::try_from(len).map_err(|_| Fault::Undecodable)?;
    let (taken, left) = rest.split_at_checked(len).ok_or(Fault::Undecodable)?;
    *rest = left;
    Ok(taken)
}

/// An integer with a prefix of so many bits (RFC 7541 5.1), at most 62 bits long.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<u64, Fault> {
    let mut next = || {
        let (first, left) = rest.split_first().ok_or(Fault::Undecodable)?;
        *rest = left;
        Ok(u64::from(*first))
    };
    let mask = (1 << prefix) - 1;
    let mut value = next()? & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in (0..56).step_by(7) {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::Undecodable)
}

/// The pseudo-header of an entry of the static table (RFC 9204 A).
fn static_name(index: u64) -> Option<Pseudo> {
    match index {
        0 => Some(Pseudo::Authority),
        1 => Some(Pseudo::Path),
        15..=21 => Some(Pseudo::Method),
        22 | 23 => Some(Pseudo::Scheme),
        // `:status` is for responses.
        24..=28 | 63..=71 => Some(Pseudo::Unknown),
        _ => None,
    }
}

/// The pseudo-header of a name that is written out.
fn literal_name(name: &[u8], huffman: bool) -> Option<Pseudo> {
    // The code of `:` are the seven bits 1011100.
    let is_pseudo = name.first().is_some_and(|&first| {
        if huffman {
            first >> 1 == 0x5c
        } else {
            first == b':'
        }
    });
    if !is_pseudo {
        return None;
    }
    let found = LITERAL
        .iter()
        .find(|(plain, coded, _)| name == if huffman { *coded } else { *plain });
    Some(found.map_or(Pseudo::Unknown, |(_, _, pseudo)| *pseudo))
}

#[cfg(test)]
mod tests;
