//! The PROXY protocol, versions 1 and 2: how a load balancer in front tells who the client is.
//!
//! Sans-I/O: [`parse`] looks at the first bytes of a connection. Whether the peer may send such a header at all is
//! the caller's decision, *before* parsing: an address in it is believed. Follows the `proxy-protocol.txt` of `HAProxy`
//! (2.1 the text form, 2.2 the binary form) and is strict where that leaves room: exact CRLF, canonical numbers, no
//! datagram families, exact TLV lengths, no repeated TLV that is used, the CRC32C verified if there is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

mod crc32c;
#[cfg(test)]
mod tests;

/// The longest header accepted, in bytes: a reader needs no larger buffer.
pub const MAX_HEADER: usize = V2_FIXED + V2_MAX_LENGTH;

/// The longest text header, CRLF included (`proxy-protocol.txt`, 2.1).
const V1_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// Addresses and TLVs together. The format allows 65535; real ones stay below 1 KiB.
const V2_MAX_LENGTH: usize = 4096;

const TLV_AUTHORITY: u8 = 0x02;
const TLV_CRC32C: u8 = 0x03;
const TLV_UNIQUE_ID: u8 = 0x05;
/// The longest host name (RFC 1035, 2.3.4).
const MAX_AUTHORITY: usize = 255;
/// As `proxy-protocol.txt`, 2.2.5 has it.
const MAX_UNIQUE_ID: usize = 128;

/// What a PROXY header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes the header takes; what follows is the client's.
    pub len: usize,
    /// The client. `None` if the sender does not say (`UNKNOWN`, `UNSPEC`, Unix sockets, `LOCAL`): the peer of
    /// the connection counts then. An IPv4 address mapped into IPv6 is given as IPv4.
    pub source: Option<SocketAddr>,
    /// The address the client connected to; `None` as for `source`.
    pub destination: Option<SocketAddr>,
    /// The sender speaks for itself, as in a health check, and not for a client.
    pub local: bool,
    /// The host name the client asked for, from TLS SNI usually. Without control characters.
    pub authority: Option<Box<str>>,
    /// The sender's id of the connection, opaque, at most 128 bytes.
    pub unique_id: Option<Box<[u8]>>,
}

/// Why the bytes are no valid header. The connection must be closed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither signature is there.
    #[error("the connection does not start with a PROXY header")]
    Missing,
    /// The text form does not follow its grammar; names the part.
    #[error("malformed PROXY line: {0}")]
    Line(&'static str),
    /// The binary form does not follow its layout; names the part.
    #[error("malformed PROXY v2 header: {0}")]
    Binary(&'static str),
    /// The binary form declares more than is accepted.
    #[error("PROXY v2 header of {measured} bytes, more than the {V2_MAX_LENGTH} accepted")]
    TooLong {
        /// The declared length of addresses and TLVs.
        measured: usize,
    },
}

impl Header {
    const fn new(len: usize) -> Self {
        Self {
            len,
            source: None,
            destination: None,
            local: false,
            authority: None,
            unique_id: None,
        }
    }
}

/// Reads a PROXY header from the first bytes of a connection; `Ok(None)` while more bytes are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Error> {
    if starts(bytes, V1_START) {
        return if bytes.len() < V1_START.len() {
            Ok(None)
        } else {
            parse_line(bytes)
        };
    }
    if starts(bytes, V2_START) {
        return parse_binary(bytes);
    }
    Err(Error::Missing)
}

/// Whether `bytes` begin with `start`, or are the beginning of it.
fn starts(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n`.
fn parse_line(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let window = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if bytes.len() < V1_MAX {
            Ok(None)
        } else {
            Err(Error::Line("longer than 107 bytes"))
        };
    };
    match window.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) if bytes.len() < V1_MAX => return Ok(None),
        _ => return Err(Error::Line("does not end in CRLF within 107 bytes")),
    }
    let line = window.get(V1_START.len()..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Error::Line("not text"))?;
    let mut header = Header::new(end + 2);

    let mut words = line.split(' ');
    let parse_ip: fn(&str) -> Option<IpAddr> = match words.next() {
        // What follows must be ignored.
        Some("UNKNOWN") => return Ok(Some(header)),
        Some("TCP4") => |text| text.parse().ok().map(IpAddr::V4),
        Some("TCP6") => |text| text.parse().ok().map(IpAddr::V6),
        _ => return Err(Error::Line("unknown protocol")),
    };
    let mut ip = |what| words.next().and_then(parse_ip).ok_or(Error::Line(what));
    let (source, destination) = (ip("bad source address")?, ip("bad destination address")?);
    let mut port = |what| words.next().and_then(parse_port).ok_or(Error::Line(what));
    let (source_port, destination_port) = (port("bad source port")?, port("bad destination port")?);
    if words.next().is_some() {
        return Err(Error::Line("text after the ports"));
    }
    header.source = Some(SocketAddr::new(source.to_canonical(), source_port));
    header.destination = Some(SocketAddr::new(destination.to_canonical(), destination_port));
    Ok(Some(header))
}

/// A decimal number without sign or leading zeros, at most 65535.
fn parse_port(text: &str) -> Option<u16> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    if canonical { text.parse().ok() } else { None }
}

/// Version 2: fixed part, addresses by family, TLVs.
fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, Error> {
    // Each part is judged as soon as it is there.
    let Some(&version) = bytes.get(12) else {
        return Ok(None);
    };
    let local = match version {
        0x20 => true,
        0x21 => false,
        _ if version >> 4 == 2 => return Err(Error::Binary("unknown command")),
        _ => return Err(Error::Binary("unknown version")),
    };
    let Some(&family) = bytes.get(13) else {
        return Ok(None);
    };
    let (Some(&high), Some(&low)) = (bytes.get(14), bytes.get(15)) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX_LENGTH {
        return Err(Error::TooLong { measured: length });
    }
    let len = V2_FIXED + length;
    let Some(bytes) = bytes.get(..len) else {
        return Ok(None);
    };
    let block = bytes.get(V2_FIXED..).unwrap_or_default();

    let mut header = Header::new(len);
    header.local = local;
    if local {
        // Family and addresses are to be ignored, and without a family nobody knows where TLVs begin.
        return Ok(Some(header));
    }
    let tlvs = match family {
        // The sender does not know: everything in the block is to be ignored.
        0x00 => return Ok(Some(header)),
        0x11 => {
            let (source, rest) = split::<4>(block)?;
            let (destination, rest) = split::<4>(rest)?;
            let (ports, tlvs) = split::<4>(rest)?;
            header.source = Some(SocketAddr::new(Ipv4Addr::from(source).into(), port(ports, 0)));
            header.destination = Some(SocketAddr::new(
                Ipv4Addr::from(destination).into(),
                port(ports, 2),
            ));
            tlvs
        }
        0x21 => {
            let (source, rest) = split::<16>(block)?;
            let (destination, rest) = split::<16>(rest)?;
            let (ports, tlvs) = split::<4>(rest)?;
            let ip = |at: [u8; 16]| Ipv6Addr::from(at).to_canonical();
            header.source = Some(SocketAddr::new(ip(source), port(ports, 0)));
            header.destination = Some(SocketAddr::new(ip(destination), port(ports, 2)));
            tlvs
        }
        0x31 => split::<216>(block)?.1,
        0x12 | 0x22 | 0x32 => return Err(Error::Binary("a datagram family on a stream")),
        _ => return Err(Error::Binary("unknown address family")),
    };
    read_tlvs(tlvs, bytes, &mut header)?;
    Ok(Some(header))
}

fn split<const N: usize>(block: &[u8]) -> Result<([u8; N], &[u8]), Error> {
    let (fields, rest) = block
        .split_first_chunk::<N>()
        .ok_or(Error::Binary("addresses cut short"))?;
    Ok((*fields, rest))
}

fn port(ports: [u8; 4], at: usize) -> u16 {
    let [a, b, c, d] = ports;
    u16::from_be_bytes(if at == 0 { [a, b] } else { [c, d] })
}

/// Walks the TLVs, which must fill `rest` exactly, and takes out what the gateway uses. `whole` is the header,
/// the end of which `rest` is.
fn read_tlvs(mut rest: &[u8], whole: &[u8], header: &mut Header) -> Result<(), Error> {
    let mut checked = false;
    while let Some((&[kind, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = after
            .split_at_checked(length)
            .ok_or(Error::Binary("a TLV cut short"))?;
        let end = whole.len() - after.len();
        match kind {
            TLV_AUTHORITY => {
                let text = std::str::from_utf8(value)
                    .ok()
                    .filter(|text| !text.chars().any(char::is_control));
                let text = text
                    .filter(|text| text.len() <= MAX_AUTHORITY)
                    .ok_or(Error::Binary("bad authority"))?;
                once(header.authority.replace(text.into()).is_some())?;
            }
            TLV_UNIQUE_ID if value.len() > MAX_UNIQUE_ID => {
                return Err(Error::Binary("unique id longer than 128 bytes"));
            }
            TLV_UNIQUE_ID => once(header.unique_id.replace(value.into()).is_some())?,
            TLV_CRC32C => {
                once(std::mem::replace(&mut checked, true))?;
                let expected = value
                    .try_into()
                    .map(u32::from_be_bytes)
                    .map_err(|_| Error::Binary("bad checksum length"))?;
                // The field itself counts as zeros.
                let (before, after) = (whole.get(..end - 4), whole.get(end..));
                let sum = crc32c::of([before.unwrap_or_default(), &[0; 4], after.unwrap_or_default()]);
                if sum != expected {
                    return Err(Error::Binary("wrong checksum"));
                }
            }
            _ => {}
        }
        rest = after;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Error::Binary("a TLV cut short"))
    }
}

fn once(repeated: bool) -> Result<(), Error> {
    if repeated {
        Err(Error::Binary("a repeated TLV"))
    } else {
        Ok(())
    }
}
