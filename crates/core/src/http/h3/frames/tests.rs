use super::*;

/// What passes of a stream that comes in pieces of so many bytes, and the sections in it.
fn pass(mut frames: Frames, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<usize>), Fault> {
    let (mut out, mut sections) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            match frames.push(&mut piece)? {
                Found::Nothing => {}
                Found::Section => {
                    sections.push(frames.section().len());
                    frames.emit_section(None);
                }
                Found::Oversized(Oversized(len)) => sections.push(usize::try_from(len).unwrap()),
            }
        }
        while let Some(passed) = frames.pop() {
            out.extend_from_slice(&passed);
        }
    }
    frames.end()?;
    Ok((out, sections))
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_varint(&mut out, kind);
    write_varint(&mut out, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

#[test]
fn what_passes_does_not_depend_on_how_it_comes() {
    let sent = [
        frame(HEADERS, &[7; 70]),
        frame(0x21, &[1; 200]),
        frame(DATA, b"some data"),
        frame(DATA, b""),
        frame(0x4242, b""),
        frame(DATA, b"more"),
        frame(HEADERS, &[8; 3]),
    ]
    .concat();
    let passed = [
        frame(HEADERS, &[7; 70]),
        frame(DATA, b"some data"),
        frame(DATA, b"more"),
        frame(HEADERS, &[8; 3]),
    ]
    .concat();
    for piece in 1..sent.len() {
        let found = pass(Frames::of_request(100), &sent, piece);
        assert_eq!(found, Ok((passed.clone(), vec![70, 3])), "in pieces of {piece}");
    }
}

#[test]
fn a_section_over_the_limit_is_told_at_once_and_does_not_pass() {
    let mut frames = Frames::of_request(10);
    let mut bytes = Bytes::from(frame(HEADERS, &[0; 11]));
    assert!(matches!(
        frames.push(&mut bytes),
        Ok(Found::Oversized(Oversized(11)))
    ));
    assert_eq!(bytes.len(), 11, "nothing of it was needed");
    let found = pass(Frames::of_request(10), &frame(HEADERS, &[0; 11]), 5);
    assert_eq!(found, Ok((Vec::new(), vec![11])));
}

#[test]
fn a_frame_that_is_cut_short_is_an_error() {
    let sent = [frame(HEADERS, &[1; 5]), frame(DATA, b"12345")].concat();
    for end in 1..sent.len() {
        let whole = end == 7;
        let found = pass(Frames::of_request(10), &sent[..end], 100);
        assert_eq!(found.is_ok(), whole, "cut at {end}");
        assert!(whole || found == Err(Fault::Truncated));
    }
}

#[test]
fn a_length_beyond_all_memory_costs_nothing() {
    let mut endless = vec![0x21];
    write_varint(&mut endless, 1 << 61);
    endless.extend_from_slice(&[0; 1000]);
    let mut frames = Frames::of_request(10);
    let mut bytes = Bytes::from(endless);
    assert!(matches!(frames.push(&mut bytes), Ok(Found::Nothing)));
    assert!(frames.pop().is_none() && bytes.is_empty());
}

#[test]
fn a_control_stream_may_not_bring_large_frames() {
    let control = |frame: Vec<u8>| [vec![0], frame].concat();
    let settings = control(frame(SETTINGS, &[6, 1]));
    let found = pass(Frames::of_unidirectional(), &settings, 1);
    // It never ends, so what is there of it is whole.
    assert_eq!(found, Ok((settings, Vec::new())));
    let large = control(frame(SETTINGS, &[0; 5000]));
    assert_eq!(
        pass(Frames::of_unidirectional(), &large, 100),
        Err(Fault::TooLarge)
    );
    let unknown = control(frame(0xf0700, &[0; 5000]));
    let found = pass(Frames::of_unidirectional(), &unknown, 100);
    assert_eq!(found, Ok((vec![0], Vec::new())));
}

#[test]
fn other_streams_pass_as_they_are() {
    let encoder = [2, 0x3f, 0xe1, 0x1f];
    let found = pass(Frames::of_unidirectional(), &encoder, 1);
    assert_eq!(found, Ok((encoder.to_vec(), Vec::new())));
}

#[test]
fn integers_are_read_as_they_are_written() {
    for value in [0, 63, 64, 16383, 16384, (1 << 30) - 1, 1 << 30, (1 << 62) - 1] {
        let mut out = Vec::new();
        write_varint(&mut out, value);
        assert_eq!(varint(&out), Some((value, out.len())));
        assert_eq!(varint(&out[..out.len() - 1]), None);
    }
}
