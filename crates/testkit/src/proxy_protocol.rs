//! Headers of the PROXY protocol, versions 1 and 2, as a balancer in front would send them.

use std::net::SocketAddr;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The text header; both addresses of one family.
pub fn v1(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        from.ip(),
        to.ip(),
        from.port(),
        to.port()
    )
    .into_bytes()
}

/// The text header of a sender that does not know the client.
pub fn v1_unknown() -> Vec<u8> {
    b"PROXY UNKNOWN\r\n".to_vec()
}

/// The binary header, with more type-length-value fields if wanted.
pub fn v2(from: SocketAddr, to: SocketAddr, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    let family = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            block.extend_from_slice(&from.ip().octets());
            block.extend_from_slice(&to.ip().octets());
            0x11
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            block.extend_from_slice(&from.ip().octets());
            block.extend_from_slice(&to.ip().octets());
            0x21
        }
        _ => panic!("both addresses must be of one family"),
    };
    block.extend_from_slice(&from.port().to_be_bytes());
    block.extend_from_slice(&to.port().to_be_bytes());
    for (kind, value) in fields {
        block.push(*kind);
        block.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend_from_slice(value);
    }
    v2_raw(0x21, family, &block)
}

/// The binary header of the sender's own connection (a health check): no addresses.
pub fn v2_local() -> Vec<u8> {
    v2_raw(0x20, 0x00, &[])
}

/// The binary header from its parts, to build wrong ones.
pub fn v2_raw(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.push(version_command);
    out.push(family);
    out.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
    out.extend_from_slice(block);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_published_form() {
        let (from, to) = (
            "192.0.2.7:4567".parse().unwrap(),
            "198.51.100.1:80".parse().unwrap(),
        );
        assert_eq!(v1(from, to), b"PROXY TCP4 192.0.2.7 198.51.100.1 4567 80\r\n");
        let header = v2(from, to, &[(0x04, b"xy")]);
        assert_eq!(&header[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11");
        assert_eq!(
            &header[16..],
            [
                192, 0, 2, 7, 198, 51, 100, 1, 0x11, 0xd7, 0, 80, 4, 0, 2, b'x', b'y'
            ]
        );
        assert_eq!(v2_local().len(), 16);
    }
}
