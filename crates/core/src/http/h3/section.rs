//! The order and number of the lines of an encoded field section (RFC 9204 4.5), without decoding them.
//!
//! The h3 crate decodes a section into one value for each pseudo-header and a map of fields: that a pseudo-header
//! came twice, or behind other fields, or does not belong to a request, is lost there. Here it shows. How values are
//! encoded is left to the crate, which refuses what it cannot decode.

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

/// Counts the lines of a section, at most `most`, and judges the order of its pseudo-headers.
pub(super) fn check(section: &[u8], kind: Kind, most: usize) -> Result<usize, Fault> {
    let mut rest = section;
    // Required Insert Count and Base: nothing refers to the dynamic table, which does not exist.
    integer(&mut rest, 8)?;
    integer(&mut rest, 7)?;
    let (mut lines, mut seen, mut fields) = (0, 0_u8, false);
    while !rest.is_empty() {
        lines += 1;
        if lines > most {
            return Err(Fault::TooMany(lines));
        }
        let Some(pseudo) = line(&mut rest)? else {
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
    }
    Ok(lines)
}

/// Reads over one line; gives its pseudo-header if it has one.
fn line(rest: &mut &[u8]) -> Result<Option<Pseudo>, Fault> {
    let first = *rest.first().ok_or(Fault::Undecodable)?;
    if first & 0x80 != 0 {
        // Indexed; bit 6 says that the table is the static one.
        let index = integer(rest, 6)?;
        return if first & 0x40 == 0 {
            Err(Fault::Undecodable)
        } else {
            Ok(static_name(index))
        };
    }
    if first & 0x40 != 0 {
        // A name by reference, its value as it is; bit 4 as above.
        let index = integer(rest, 4)?;
        skip_value(rest)?;
        return if first & 0x10 == 0 {
            Err(Fault::Undecodable)
        } else {
            Ok(static_name(index))
        };
    }
    if first & 0x20 == 0 {
        return Err(Fault::Undecodable);
    }
    let len = integer(rest, 3)?;
    let name = take(rest, len)?;
    skip_value(rest)?;
    Ok(literal_name(name, first & 0x08 != 0))
}

fn skip_value(rest: &mut &[u8]) -> Result<(), Fault> {
    let len = integer(rest, 7)?;
    take(rest, len).map(|_| ())
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
