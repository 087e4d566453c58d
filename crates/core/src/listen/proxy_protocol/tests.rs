//! Every rule of the two forms, as tables.

use super::*;

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xC3, 0x50, 0x01, 0xBB];

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = V2_START.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(block.len()).expect("short").to_be_bytes());
    bytes.extend(block);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
    bytes.extend(value);
    bytes
}

fn v4_with(tlvs: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[V4.to_vec(), tlvs.concat()].concat())
}

/// Sets the CRC TLV, which is expected to be the last one, to the right value.
fn sign(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.len() - 4;
    let sum = crc32c::of([&bytes[..at], &[0; 4], b""]);
    bytes[at..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Parses a valid header, and checks that every shorter piece asks for more and that what follows is left alone.
fn accept(bytes: &[u8]) -> Header {
    let header = parse(bytes).expect("valid").expect("complete");
    assert_eq!(header.len, bytes.len());
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end]), Ok(None), "after {end} bytes of {bytes:?}");
    }
    let longer = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(parse(&longer), Ok(Some(header.clone())));
    header
}

#[test]
fn text_lines_accepted() {
    let table = [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n",
            "192.0.2.1:50000",
            "198.51.100.2:443",
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
            "255.255.255.255:65535",
        ),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0"),
        (
            "PROXY TCP6 2001:db8::1 2001:DB8::2 1 2\r\n",
            "[2001:db8::1]:1",
            "[2001:db8::2]:2",
        ),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
            "192.0.2.1:1",
            "[::1]:2",
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    ];
    for (line, source, destination) in table {
        let header = accept(line.as_bytes());
        assert_eq!(
            (header.source, header.destination),
            (Some(address(source)), Some(address(destination))),
            "{line}"
        );
        assert!(!header.local);
    }
}

#[test]
fn unknown_text_lines_give_no_address() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 16));
    assert_eq!(longest.len(), V1_MAX);
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN 1.2.3.4 nonsense\r\n",
        &longest,
    ] {
        let header = accept(line.as_bytes());
        assert_eq!(
            (header.source, header.destination, header.local),
            (None, None, false)
        );
    }
}

#[test]
fn text_lines_refused() {
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 15));
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(V1_MAX));
    let table = [
        "GET / HTTP/1.1\r\n\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY\tTCP4 192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXYTCP4",
        "PROXY \r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP 192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443 x\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\rx",
        "PROXY TCP4 192.0.2.01 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 0x7f.0.0.1 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 2001:db8::1 198.51.100.2 50000 443\r\n",
        "PROXY TCP6 192.0.2.1 2001:db8::1 50000 443\r\n",
        "PROXY TCP6 2001:db8::1%eth0 2001:db8::1 50000 443\r\n",
        "PROXY TCP6 2001:db8::1::2 2001:db8::1 50000 443\r\n",
        "PROXY TCP6 [2001:db8::1] 2001:db8::1 50000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 050000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +50000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 00\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5\u{0661} 443\r\n",
        &too_long,
        &endless,
    ];
    for line in table {
        let line = line
            .strip_suffix('\r')
            .map_or(line.to_owned(), |line| format!("{line}\rx"));
        assert!(parse(line.as_bytes()).is_err(), "{line:?}");
    }
    assert!(parse(b"PROXY TCP4 192.0.2.1 \xff 1 1\r\n").is_err());
    assert_eq!(parse(b"GET"), Err(Error::Missing));
    assert_eq!(parse(b"\r\n\r\nX"), Err(Error::Missing));
}

#[test]
fn a_carriage_return_at_the_limit_is_refused_at_once() {
    let line = format!("PROXY UNKNOWN {}\r", "x".repeat(V1_MAX - 15));
    assert_eq!(line.len(), V1_MAX);
    assert!(parse(line.as_bytes()).is_err());
}

#[test]
fn binary_addresses() {
    let header = accept(&v2(0x21, 0x11, &V4));
    assert_eq!(header.source, Some(address("192.0.2.1:50000")));
    assert_eq!(header.destination, Some(address("198.51.100.2:443")));

    let source: Ipv6Addr = "2001:db8::1".parse().expect("address");
    let mapped: Ipv6Addr = "::ffff:198.51.100.2".parse().expect("address");
    let block = [
        &source.octets()[..],
        &mapped.octets()[..],
        &[0xC3, 0x50, 0x01, 0xBB],
    ]
    .concat();
    let header = accept(&v2(0x21, 0x21, &block));
    assert_eq!(header.source, Some(address("[2001:db8::1]:50000")));
    assert_eq!(header.destination, Some(address("198.51.100.2:443")));
}

#[test]
fn binary_headers_without_addresses() {
    // (command, family, block, local)
    let table: [(u8, u8, &[u8], bool); 6] = [
        (0x20, 0x00, b"", true),
        (0x20, 0x11, &V4, true),
        (0x20, 0xFF, b"anything", true),
        (0x21, 0x00, b"", false),
        (0x21, 0x00, b"anything", false),
        (0x21, 0x31, &[b'/'; 216], false),
    ];
    for (command, family, block, local) in table {
        let header = accept(&v2(command, family, block));
        assert_eq!(
            (header.source, header.destination, header.local),
            (None, None, local)
        );
    }
}

#[test]
fn binary_headers_refused() {
    let table: [(u8, u8, &[u8]); 16] = [
        (0x11, 0x11, &V4),
        (0x31, 0x11, &V4),
        (0x22, 0x11, &V4),
        (0x2F, 0x11, &V4),
        (0x21, 0x12, &V4),
        (0x21, 0x22, &[0; 36]),
        (0x21, 0x32, &[0; 216]),
        (0x21, 0x10, &V4),
        (0x21, 0x01, &V4),
        (0x21, 0x13, &V4),
        (0x21, 0x41, &V4),
        (0x21, 0x11, &V4[..11]),
        (0x21, 0x11, b""),
        (0x21, 0x21, &[0; 35]),
        (0x21, 0x31, &[0; 215]),
        // A fragment of a TLV.
        (0x21, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0, 1, 0, 2, 4, 0]),
    ];
    for (command, family, block) in table {
        assert!(
            parse(&v2(command, family, block)).is_err(),
            "{command:x} {family:x} {block:?}"
        );
    }
}

#[test]
fn the_length_is_bounded_before_the_bytes_arrive() {
    let mut bytes = v2(0x21, 0x11, &V4);
    bytes[14..16].copy_from_slice(&4097u16.to_be_bytes());
    assert_eq!(parse(&bytes[..16]), Err(Error::TooLong { measured: 4097 }));
    let filler = tlv(0x04, &vec![0; V2_MAX_LENGTH - 12 - 3]);
    assert_eq!(accept(&v4_with(&[filler])).len, MAX_HEADER);
}

#[test]
fn tlvs_taken() {
    let header = accept(&v4_with(&[
        tlv(0x01, b"h2"),
        tlv(TLV_AUTHORITY, "bücher.example".as_bytes()),
        tlv(0x04, b"padding"),
        tlv(0x04, b""),
        tlv(TLV_UNIQUE_ID, &[7; 128]),
        tlv(0x20, b"whatever"),
        tlv(0xEA, b"vpce-1"),
    ]));
    assert_eq!(header.authority.as_deref(), Some("bücher.example"));
    assert_eq!(header.unique_id.as_deref(), Some(&[7; 128][..]));
    assert!(header.source.is_some());
}

#[test]
fn tlvs_refused() {
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    let table = [
        vec![cut(tlv(0x04, b"x"))],
        vec![tlv(0x04, b"x"), vec![4]],
        vec![vec![4, 0xFF, 0xFF]],
        vec![tlv(TLV_AUTHORITY, b"a\nb")],
        vec![tlv(TLV_AUTHORITY, b"\xFF")],
        vec![tlv(TLV_AUTHORITY, &[b'a'; 256])],
        vec![tlv(TLV_AUTHORITY, b"a"), tlv(TLV_AUTHORITY, b"a")],
        vec![tlv(TLV_UNIQUE_ID, &[0; 129])],
        vec![tlv(TLV_UNIQUE_ID, b"1"), tlv(TLV_UNIQUE_ID, b"2")],
        vec![tlv(TLV_CRC32C, &[0; 4])],
        vec![tlv(TLV_CRC32C, &[0; 3])],
        vec![tlv(TLV_CRC32C, &[0; 5])],
    ];
    for tlvs in table {
        assert!(parse(&v4_with(&tlvs)).is_err(), "{tlvs:?}");
    }
}

#[test]
fn the_checksum_covers_the_whole_header() {
    let good = sign(v4_with(&[tlv(TLV_UNIQUE_ID, b"abc"), tlv(TLV_CRC32C, &[0; 4])]));
    accept(&good);
    // A change of any byte is noticed, in the signature and lengths as in the data.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        let local = at == 12;
        assert!(local || !matches!(parse(&bad), Ok(Some(_))), "byte {at}");
    }
    let repeated = [tlv(TLV_CRC32C, &[0; 4]), tlv(TLV_CRC32C, &[0; 4])];
    assert!(parse(&sign(v4_with(&repeated))).is_err());
}

/// The seeds of the fuzz target, which are valid headers, some with a request behind them.
fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/proxy_protocol");
    let files = std::fs::read_dir(folder).expect("the seeds");
    let seeds: Vec<_> = files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("readable"))
        .collect();
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn seeds_are_valid() {
    for seed in seeds() {
        assert!(matches!(parse(&seed), Ok(Some(_))), "{seed:?}");
    }
}

/// What the fuzz target asserts, on bytes that are nearly right.
#[test]
fn the_verdict_does_not_depend_on_the_reads() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    for mut bytes in seeds().into_iter().cycle().take(4000) {
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = u8::try_from(random(256)).expect("a byte"),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b" \r\n:0.\x20\x04"[random(8)]),
            }
        }
        let verdict = parse(&bytes);
        let whole = match &verdict {
            Ok(Some(header)) => header.len,
            _ => 0,
        };
        let mut judged = false;
        for end in 0..=bytes.len() {
            match parse(&bytes[..end]) {
                Ok(None) => assert!(
                    !judged && (verdict == Ok(None) || verdict.is_err() || end < whole),
                    "{bytes:?}"
                ),
                other => {
                    judged = true;
                    assert_eq!(other.is_ok(), verdict.is_ok(), "{bytes:?} cut after {end}");
                }
            }
        }
    }
}
