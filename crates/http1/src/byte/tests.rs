use super::*;

#[test]
fn classes_follow_the_grammar() {
    assert_eq!(token(b"X-Trace_1!#$%&'*+.^`|~"), Some(true));
    assert_eq!(token(b"X-Trace"), Some(false));
    for bad in [&b""[..], b"a b", b"a:", b"(", b"a\x80", b"\x00", b"\"", b"a/b"] {
        assert!(!is_token(bad), "{bad:?}");
    }
    assert!(is_text(b"a\tb \xff"));
    for bad in 0..=0x1fu8 {
        assert_eq!(is_text(&[bad]), bad == b'\t');
    }
    assert!(!is_text(b"\x7f"));
    assert_eq!(target_len(b"/a%20b{|}\"<>^`?b=/ x"), 18);
    for bad in [&b" "[..], b"#", b"\\", b"\x7f", b"\x80", b"\t"] {
        assert!(!is_target(bad));
        assert_eq!(target_len(bad), 0, "{bad:?}");
    }
    assert_eq!(host_len(b"a-b.c_d~1,b"), 9);
}

#[test]
fn a_text_ends_at_any_control_byte_anywhere() {
    for len in 0..40 {
        let clean: Vec<u8> = (0..len)
            .map(|at| [b' ', b'~', b'\t', 0x80, 0xff, b'!'][at % 6])
            .collect();
        assert_eq!(text_len(&clean), len);
        for at in 0..len {
            for byte in 0..=255 {
                let mut bytes = clean.clone();
                bytes[at] = byte;
                let is_control = (byte < b' ' && byte != b'\t') || byte == 0x7f;
                assert_eq!(
                    text_len(&bytes),
                    if is_control { at } else { len },
                    "{byte} at {at} of {len}"
                );
            }
        }
    }
}

#[test]
fn a_target_is_the_same_by_both_ways() {
    for byte in 0..=255 {
        assert_eq!(is_target(&[byte]), target_len(&[byte]) == 1, "{byte}");
        assert_eq!(is_target(&[b'/', byte, b'/']), is_target(&[byte]));
    }
}

#[test]
fn the_first_colon_is_found_anywhere() {
    for len in 0..30 {
        for at in 0..len {
            // `;` is a colon but for the lowest bit, which a borrow could hide.
            let bytes: Vec<u8> = (0..len)
                .map(|place| if place < at { b';' } else { b':' })
                .collect();
            assert_eq!(find(b':', &bytes), Some(at));
        }
        assert_eq!(find(b':', &vec![b';'; len]), None);
    }
}

#[test]
fn a_cleaned_value_cannot_end_its_line() {
    assert_eq!(clean(b" a\r\nx: y\0 ").as_ref(), b"a  x: y");
    assert_eq!(clean(b"\ta\tb \xff").as_ref(), b"a\tb \xff");
    assert_eq!(clean(b" \r\n\t ").as_ref(), b"");
}

#[test]
fn a_target_part_cannot_end_the_request_line() {
    assert_eq!(target_part("/a b?\r\nü%", false), "/a%20b%3F%0D%0A%C3%BC%25");
    assert_eq!(target_part("a=b?%c#", true), "a=b?%c%23");
    assert!(matches!(target_part("/a%20b", false), Cow::Borrowed(_)));
}
