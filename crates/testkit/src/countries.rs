//! Small databases of countries and networks in the format of `MaxMind` (MMDB 2.0), made for a test.

use std::net::IpAddr;

/// A database that finds `country.iso_code` for each block, such as `("192.0.2.0/24", "DE")`. No block may lie in another.
pub fn database(blocks: &[(&str, &str)]) -> Vec<u8> {
    made(blocks, |data, country| {
        text(data, "country");
        map(data, 1);
        text(data, "iso_code");
        text(data, country);
    })
}

/// One that finds `autonomous_system_number` for each block, such as `("192.0.2.0/24", 64500)`.
pub fn networks(blocks: &[(&str, u32)]) -> Vec<u8> {
    made(blocks, |data, number| {
        text(data, "autonomous_system_number");
        data.push(0xc4);
        data.extend_from_slice(&number.to_be_bytes());
    })
}

/// One that finds a map of one entry, as `write` writes it.
fn made<T>(blocks: &[(&str, T)], write: impl Fn(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut tree = vec![[EMPTY; 2]];
    let mut data = Vec::new();
    for (block, found) in blocks {
        let at = u32::try_from(data.len()).unwrap();
        map(&mut data, 1);
        write(&mut data, found);
        insert(&mut tree, block, LEAF | at);
    }
    let nodes = u32::try_from(tree.len()).unwrap();
    let mut out = Vec::new();
    for record in tree.iter().flatten() {
        let value = match *record {
            EMPTY => nodes,
            leaf if leaf & LEAF != 0 => nodes + 16 + (leaf & !LEAF),
            node => node,
        };
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut out, nodes);
    out
}

/// No data below.
const EMPTY: u32 = u32::MAX;
/// A record that points into the data.
const LEAF: u32 = 1 << 31;

fn insert(tree: &mut Vec<[u32; 2]>, block: &str, leaf: u32) {
    let (ip, length) = block.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    // IPv4 addresses lie below ::/96.
    let (bits, length) = match ip.parse().unwrap() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), length + 96),
        IpAddr::V6(ip) => (u128::from(ip), length),
    };
    let mut node = 0;
    for depth in 0..length {
        let bit = usize::from(bits >> (127 - depth) & 1 == 1);
        if depth + 1 == length {
            tree[node][bit] = leaf;
        } else if tree[node][bit] == EMPTY {
            tree.push([EMPTY; 2]);
            tree[node][bit] = u32::try_from(tree.len() - 1).unwrap();
            node = tree.len() - 1;
        } else {
            node = tree[node][bit] as usize;
        }
    }
}

fn metadata(out: &mut Vec<u8>, nodes: u32) {
    map(out, 9);
    text(out, "node_count");
    out.push(0xc4);
    out.extend_from_slice(&nodes.to_be_bytes());
    for (name, value) in [
        ("record_size", 32_u16),
        ("ip_version", 6),
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
    ] {
        text(out, name);
        out.push(0xa2);
        out.extend_from_slice(&value.to_be_bytes());
    }
    text(out, "database_type");
    text(out, "Test-Country");
    text(out, "description");
    map(out, 1);
    text(out, "en");
    text(out, "a test");
    text(out, "languages");
    out.extend_from_slice(&[0x00, 0x04]);
    text(out, "build_epoch");
    out.extend_from_slice(&[0x08, 0x02]);
    out.extend_from_slice(&1_700_000_000_u64.to_be_bytes());
}

fn map(out: &mut Vec<u8>, entries: u8) {
    out.push(0xe0 | entries);
}

/// Shorter than 29 bytes.
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(0x40 | u8::try_from(text.len()).unwrap());
    out.extend_from_slice(text.as_bytes());
}
