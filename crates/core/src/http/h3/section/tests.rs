use super::*;

/// `:method: GET`, `:scheme: https`, `:path: /` by reference, `:authority: a` with a name by reference.
const HEAD: [u8; 8] = [0, 0, 0xd1, 0xd7, 0xc1, 0x50, 1, b'a'];

fn lines(checked: Result<Checked, Fault>) -> Result<usize, Fault> {
    checked.map(|checked| checked.lines)
}

fn request(more: &[&[u8]]) -> Result<usize, Fault> {
    let section = [&HEAD[..], &more.concat()].concat();
    lines(check(&section, Kind::Request, 10))
}

/// A line whose name and value are written out.
fn literal(name: &[u8], huffman: bool) -> Vec<u8> {
    let len = u8::try_from(name.len()).unwrap();
    let flags = if huffman { 0x28 } else { 0x20 };
    let mut line = match len {
        0..7 => vec![flags | len],
        _ => vec![flags | 7, len - 7],
    };
    line.extend_from_slice(name);
    line.extend_from_slice(&[1, b'x']);
    line
}

#[test]
fn an_ordinary_head_is_well_ordered() {
    assert_eq!(request(&[]), Ok(4));
    // `accept: */*` by reference, a name by reference, a name written out.
    assert_eq!(
        request(&[&[0xdd], &[0x5f, 0x1d, 1, b'x'], &literal(b"x-a", false)]),
        Ok(7)
    );
    assert_eq!(request(&[&literal(b":protocol", false)]), Ok(5));
    assert_eq!(lines(check(&[0, 0, 0xdd], Kind::Trailers, 10)), Ok(1));
}

#[test]
fn a_pseudo_header_comes_once_however_it_is_written() {
    let repeated = Err(Fault::Malformed("a pseudo-header is repeated"));
    for line in [
        &[0xd2_u8][..],
        &[0xd6],
        &[0xc1],
        &[0x50, 1, b'b'],
        &[0x51, 1, b'/'],
    ] {
        assert_eq!(request(&[line]), repeated, "{line:?}");
    }
    for (plain, coded, pseudo) in LITERAL {
        let expected = if pseudo == Pseudo::Protocol {
            Ok(5)
        } else {
            repeated
        };
        assert_eq!(request(&[&literal(plain, false)]), expected);
        assert_eq!(request(&[&literal(coded, true)]), expected);
        assert_eq!(
            request(&[&literal(plain, false), &literal(coded, true)]),
            repeated
        );
    }
}

#[test]
fn a_pseudo_header_comes_first() {
    let behind = Err(Fault::Malformed("a pseudo-header behind other fields"));
    assert_eq!(lines(check(&[0, 0, 0xdd, 0xd1], Kind::Request, 10)), behind);
    assert_eq!(request(&[&[0xdd], &literal(b":protocol", false)]), behind);
}

#[test]
fn a_request_has_no_others() {
    let unknown = Err(Fault::Malformed("a pseudo-header that no request has"));
    // `:status`, by reference and written out, plain and in the Huffman code; and one that nobody knows.
    for line in [
        vec![0xd9],
        vec![0x5f, 0x09, 1, b'2'],
        literal(b":status", false),
        literal(&[0xb8, 0x84, 0x8d, 0x36, 0xa3], true),
        literal(b":x", false),
        literal(b":", false),
    ] {
        assert_eq!(request(&[&line]), unknown, "{line:?}");
    }
    let trailers = check(&HEAD, Kind::Trailers, 10);
    assert_eq!(
        trailers,
        Err(Fault::Malformed("a pseudo-header among the trailers"))
    );
}

#[test]
fn lines_are_counted() {
    let many = [&HEAD[..], &[0xdd; 20]].concat();
    assert_eq!(check(&many, Kind::Request, 10), Err(Fault::TooMany(11)));
    assert_eq!(lines(check(&many, Kind::Request, 24)), Ok(24));
}

#[test]
fn what_cannot_be_decoded_is_left_to_the_crate() {
    for section in [
        &[][..],
        &[0],
        &[0, 0, 0x80],
        &[0, 0, 0x10],
        &[0, 0, 0x00],
        &[0, 0, 0x40, 1, b'a'],
        &[0, 0, 0x51],
        &[0, 0, 0x51, 9, b'/'],
        &[0, 0, 0x23, b'a'],
        &[
            0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ],
    ] {
        assert_eq!(
            check(section, Kind::Request, 10),
            Err(Fault::Undecodable),
            "{section:?}"
        );
    }
}

#[test]
fn the_line_of_an_extended_connect_can_be_taken_out() {
    let plain = [&literal(b":protocol", false)[..11], &[9], b"websocket"].concat();
    let coded = [&literal(b":protocol", false)[..11], &[0x87], &WEBSOCKET].concat();
    for line in [plain, coded] {
        let section = [&HEAD[..], &line, &[0xdd]].concat();
        let checked = check(&section, Kind::Request, 10).unwrap();
        let at = HEAD.len()..HEAD.len() + line.len();
        assert_eq!(checked.protocol, Some(("websocket".to_owned(), at)), "{line:?}");
    }
    // Another in the Huffman code is for the crate to read.
    let other = [&literal(b":protocol", false)[..11], &[0x81, 0x1f]].concat();
    let section = [&HEAD[..], &other].concat();
    assert_eq!(check(&section, Kind::Request, 10).unwrap().protocol, None);
}
