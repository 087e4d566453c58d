use gatehouse_http1::Known;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

type Fields = Vec<(String, String)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Broken> {
    let mut fields = Fields::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, |name, value| fields.push((text(name), text(value))))?;
    Ok(fields)
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

#[test]
fn integers_are_those_of_the_appendix() {
    for (value, prefix, bytes) in [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a"), (31, 5, "1f00")] {
        let mut out = Vec::new();
        integer::write(&mut out, 0, prefix, value);
        assert_eq!(out, hex(bytes));
        let mut rest = &out[..];
        assert_eq!(integer::read(&mut rest, prefix), Some(value));
        assert!(rest.is_empty());
    }
    for bad in ["", "1f", "1f80", "1fffffffff7f", "1f8080808000"] {
        assert_eq!(integer::read(&mut &hex(bad)[..], 5), None, "{bad}");
    }
}

#[test]
fn single_fields_are_those_of_the_appendix() {
    for (block, field) in [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            ("custom-key", "custom-header"),
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", (":path", "/sample/path")),
        (
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            ("password", "secret"),
        ),
        ("82", (":method", "GET")),
    ] {
        assert_eq!(decode(&mut Decoder::default(), &hex(block)), Ok(fields(&[field])));
    }
}

#[test]
fn requests_are_those_of_the_appendix() {
    let first = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    let second = [&first[..], &[("cache-control", "no-cache")]].concat();
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = Decoder::default();
        for ((block, expected), size) in blocks
            .iter()
            .zip([&first[..], &second, &third])
            .zip([57, 110, 164])
        {
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(fields(expected)));
            assert_eq!(decoder.table().size(), size);
        }
    }
}

#[test]
fn responses_are_those_of_the_appendix() {
    let head = |status, date| {
        vec![
            (":status", status),
            ("cache-control", "private"),
            ("date", date),
            ("location", "https://www.example.com"),
        ]
    };
    let (early, late) = ("Mon, 21 Oct 2013 20:13:21 GMT", "Mon, 21 Oct 2013 20:13:22 GMT");
    let third = [
        head("200", late),
        vec![
            ("content-encoding", "gzip"),
            (
                "set-cookie",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ],
    ]
    .concat();
    let third: Vec<_> = [0, 1, 2, 3, 4, 5].map(|at| third[at]).to_vec();
    // The table holds 256 bytes here, so that entries have to go; set by what a block may begin with.
    let blocks = [
        "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let third = {
        // The appendix has the location behind the date, and the encoding behind that.
        let mut third = third;
        third[3] = ("location", "https://www.example.com");
        third
    };
    let mut decoder = Decoder::default();
    for ((block, expected), size) in blocks
        .iter()
        .zip([head("302", early), head("307", early), third])
        .zip([222, 222, 215])
    {
        assert_eq!(decode(&mut decoder, &hex(block)), Ok(fields(&expected)));
        assert_eq!(decoder.table().size(), size);
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (what, block) in [
        ("an index of zero", "80"),
        ("an index beyond the tables", "be"),
        ("a name beyond the tables", "7f00 0161"),
        ("a string that does not end", "4003 6161"),
        ("an index that does not end", "ff"),
        ("a size that is too large", "3fe2 1f"),
        ("a size behind a field", "8220"),
        ("half a literal", "41"),
        ("padding of zeros", "0081 0000"),
    ] {
        assert_eq!(
            decode(&mut Decoder::default(), &hex(block)),
            Err(Broken),
            "{what}"
        );
    }
    assert_eq!(
        decode(&mut Decoder::default(), &hex("20 3fe11f 82")).map(|f| f.len()),
        Ok(1)
    );
}

fn encode(encoder: &mut Encoder, list: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.status(&mut out, 200);
    for (name, value) in list {
        encoder.field(
            &mut out,
            Known::of(name.as_bytes()),
            name.as_bytes(),
            value.as_bytes(),
        );
    }
    out
}

const ANSWER: [(&str, &str); 5] = [
    ("Content-Type", "text/plain"),
    ("x-served-by", "a"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("set-cookie", "secret"),
    ("x-request-id", "0190a6e4-0000-7000-8000-000000000000"),
];

#[test]
fn what_is_sent_again_gets_short_and_stays_right() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut expected = fields(&ANSWER);
    expected[0].0 = "content-type".into();
    expected.insert(0, (":status".into(), "200".into()));
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let block = encode(&mut encoder, &ANSWER);
        assert_eq!(decode(&mut decoder, &block).as_ref(), Ok(&expected));
        lengths.push(block.len());
    }
    assert!(lengths[0] > lengths[1] && lengths[1] > lengths[2]);
    // Status, type, server and date, the cookie in full, the id behind its name.
    assert_eq!(lengths[3], 4 + (2 + 1 + 6 + 1 - 1) + (1 + 2 + 36), "{lengths:?}");
    // Secrets are marked as never to be kept.
    assert!(
        encode(&mut encoder, &[("set-cookie", "s")])
            .windows(3)
            .any(|w| w == [0x1f, 55 - 15, 1])
    );
}

#[test]
fn sizes_of_the_table_are_obeyed_and_told() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    for size in [4096, 0, 100, 200, 64, 1 << 20] {
        encoder.allow(0);
        encoder.allow(size);
        for round in 0..50 {
            let value = format!("value-{}", round / 3);
            let list = [
                ("x-some-name", value.as_str()),
                ("x-other", "same"),
                ("vary", value.as_str()),
            ];
            let block = encode(&mut encoder, &list);
            assert_eq!(decode(&mut decoder, &block).unwrap()[1..], fields(&list)[..]);
            assert!(decoder.table().size() <= size);
        }
    }
}
