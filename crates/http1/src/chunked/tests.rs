use super::*;

/// Decodes with at most `step` bytes more at each call: the body, the bytes consumed and the decoder.
fn decode(wire: &[u8], step: usize) -> Result<(Vec<u8>, usize, Decoder), BodyError> {
    let mut decoder = Decoder::new(
        Framing::Chunked,
        &HeadLimits {
            bytes: 64,
            fields: 2,
            target: 1,
        },
    );
    let (mut body, mut at) = (Vec::new(), 0);
    for end in (step..wire.len() + step).step_by(step) {
        let mut buf = wire[at..end.min(wire.len())].to_vec();
        let decoded = decoder.decode(&mut buf)?;
        body.extend_from_slice(&buf[decoded.data]);
        at += decoded.consumed;
        if decoded.done {
            break;
        }
    }
    decoder.finish()?;
    Ok((body, at, decoder))
}

#[test]
fn chunks_are_joined_however_they_arrive() {
    let wire = b"4\r\nWiki\r\n5;a=\"b c\"\t\r\npedia\r\n0000E \t;x\r\n in \r\n\r\nchunks\r\n0\r\nX: y\r\nZ:\r\n\r\nGET";
    for step in 1..=wire.len() {
        let (body, len, decoder) = decode(wire, step).unwrap();
        assert_eq!(body, b"Wikipedia in \r\n\r\nchunks");
        assert_eq!(len, wire.len() - 3);
        let trailers: Vec<_> = decoder
            .trailers()
            .unwrap()
            .iter()
            .map(|field| (field.name, field.value))
            .collect();
        assert_eq!(trailers, [(&b"X"[..], &b"y"[..]), (b"Z", b"")]);
    }
    let (body, len, decoder) = decode(b"000\r\n\r\n", 3).unwrap();
    assert!(body.is_empty() && len == 7 && decoder.trailers().is_none());
}

#[test]
fn broken_chunks_are_refused() {
    let long = format!("1;{}\r\n", "e".repeat(256));
    for wire in [
        "\r\n",
        ";a\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1\t\t\r\n",
        "1\n",
        "1\rX",
        "1 2\r\n",
        "1;a\n",
        "1;a\rb",
        "1;\x07\r\n",
        "1;\u{e4}\r\n",
        "00000000000000001\r\n",
        "11111111111111111\r\n",
        &long,
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\rb",
        "1\r\n\r\n",
        "2\r\na\r\n0\r\n\r\n",
    ] {
        for step in [1, 2, 300] {
            assert!(
                matches!(decode(wire.as_bytes(), step), Err(BodyError::BadChunk(_))),
                "{wire:?}"
            );
        }
    }
    let many = "1;eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\r\na\r\n".repeat(400);
    assert_eq!(
        decode(many.as_bytes(), 64).unwrap_err(),
        BodyError::BadChunk("the extensions are too long")
    );
    for wire in [
        "",
        "1",
        "1\r\n",
        "1\r\na",
        "1\r\na\r\n",
        "0\r\n",
        "0\r\n\r",
        "0\r\nA: b\r\n",
        "ffffffffffffffff\r\na",
    ] {
        assert_eq!(
            decode(wire.as_bytes(), 300).unwrap_err(),
            BodyError::Truncated,
            "{wire:?}"
        );
    }
}

#[test]
fn bad_trailers_are_refused() {
    for trailers in [
        "A: b\n\r\n",
        "A: b\r\n\n",
        "\n",
        " A: b\r\n\r\n",
        "A : b\r\n\r\n",
        "A\r\n\r\n",
        ": b\r\n\r\n",
        "A: \0\r\n\r\n",
        "A: b\r\n c\r\n\r\n",
        "A: b\rc\r\n\r\n",
        "Content-Length: 1\r\n\r\n",
        "Host: a\r\n\r\n",
        "A: b\r\ncookie: c\r\n\r\n",
        "transfer_encoding: chunked\r\n\r\n",
        "Authorization: x\r\n\r\n",
    ] {
        let wire = format!("0\r\n{trailers}");
        for step in [1, 3, 300] {
            assert!(
                matches!(decode(wire.as_bytes(), step), Err(BodyError::BadTrailer(_))),
                "{trailers:?}"
            );
        }
    }
    for trailers in ["A: b\r\n".repeat(3) + "\r\n", "A: ".to_owned() + &"b".repeat(64)] {
        let wire = format!("0\r\n{trailers}");
        assert_eq!(
            decode(wire.as_bytes(), 7).unwrap_err(),
            BodyError::TrailersTooLarge
        );
    }
}

#[test]
fn the_other_framings_count_or_wait() {
    let limits = HeadLimits::default();
    let mut buf = *b"abcdef";
    let mut decoder = Decoder::new(Framing::Length(4), &limits);
    assert_eq!(
        decoder.decode(&mut buf[..3]).unwrap(),
        Decoded {
            data: 0..3,
            consumed: 3,
            done: false
        }
    );
    assert_eq!(
        (decoder.remaining_hint(), decoder.finish()),
        (Some(1), Err(BodyError::Truncated))
    );
    assert_eq!(
        decoder.decode(&mut buf[3..]).unwrap(),
        Decoded {
            data: 0..1,
            consumed: 1,
            done: true
        }
    );
    assert_eq!((decoder.remaining_hint(), decoder.finish()), (None, Ok(())));
    assert_eq!(decoder.decode(&mut buf).unwrap().consumed, 0);
    let mut decoder = Decoder::new(Framing::UntilClose, &limits);
    assert_eq!(
        decoder.decode(&mut buf).unwrap(),
        Decoded {
            data: 0..6,
            consumed: 6,
            done: false
        }
    );
    assert!(decoder.finish().is_ok() && decoder.is_done());
    for framing in [Framing::None, Framing::Length(0)] {
        let mut decoder = Decoder::new(framing, &limits);
        assert!(decoder.is_done() && decoder.decode(&mut buf).unwrap().done && decoder.finish().is_ok());
    }
}

#[test]
fn what_passes_unseen_is_counted_off() {
    let limits = HeadLimits {
        bytes: 64,
        fields: 2,
        target: 1,
    };
    let mut decoder = Decoder::new(Framing::Length(10), &limits);
    decoder.pass(4);
    assert_eq!(decoder.remaining_hint(), Some(6));
    assert_eq!(decoder.decode(&mut b"abc".to_vec()).unwrap().data, 0..3);
    decoder.pass(2);
    assert_eq!(decoder.finish(), Err(BodyError::Truncated));
    decoder.pass(1);
    assert!(decoder.is_done());
    let surplus = decoder.decode(&mut b"next".to_vec()).unwrap();
    assert_eq!((surplus.consumed, surplus.done), (0, true));
    // Where the length is not declared nothing can be counted.
    let mut decoder = Decoder::new(Framing::Chunked, &limits);
    decoder.pass(4);
    assert!(!decoder.is_done());
}
