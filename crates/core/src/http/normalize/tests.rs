use super::*;

const DEFAULT: Form = Form::ALL[0];
const DECODE: Form = Form::ALL[1];
const KEEP_DOUBLED: Form = Form::ALL[2];

fn normal(path: &str, form: Form) -> Result<String, Refusal> {
    let mut out = "rubbish".to_owned();
    write(path, form, &mut out).map(|_| out)
}

#[test]
fn paths_come_out_in_one_form() {
    let cases = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/%7Euser/%2d%2E%5f", "/~user/-._"),
        ("/%61%42%39", "/aB9"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%2cb,c", "/a%2Cb,c"),
        ("/a%20b", "/a%20b"),
        ("/a\"b|c", "/a%22b%7Cc"),
        ("/é", "/%C3%A9"),
        ("/100%25", "/100%25"),
        ("/%252e%252e/%252f", "/%252e%252e/%252f"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/../../c", "/c"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/.", "/"),
        ("/...", "/..."),
        ("/..a/.b/c.", "/..a/.b/c."),
        ("/.well-known/x", "/.well-known/x"),
        ("//", "/"),
        ("/a//b///c", "/a/b/c"),
        ("/a/.//b", "/a/b"),
        ("/a//../b", "/b"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%5cb", "/a%5Cb"),
        ("/a\\b", "/a%5Cb"),
        ("/a;x=1/b;y", "/a;x=1/b;y"),
    ];
    for (path, expected) in cases {
        assert_eq!(normal(path, DEFAULT).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn slashes_are_read_as_the_form_says() {
    let cases = [
        (DECODE, "/a%2fb", "/a/b"),
        (DECODE, "/a%5Cb", "/a/b"),
        (DECODE, "/a%2F/b", "/a/b"),
        (DECODE, "/a%2F..%2Fb", "/b"),
        (DECODE, "/a%252Fb", "/a%252Fb"),
        (DECODE, "/a%2f", "/a/"),
        (KEEP_DOUBLED, "/a//b", "/a//b"),
        (KEEP_DOUBLED, "//", "//"),
        (KEEP_DOUBLED, "/a//../b", "/a/b"),
        (KEEP_DOUBLED, "//..", "/"),
        (KEEP_DOUBLED, "/a/./", "/a/"),
        (Form::ALL[3], "/a%2F%2Fb", "/a//b"),
    ];
    for (form, path, expected) in cases {
        assert_eq!(normal(path, form).as_deref(), Ok(expected), "{path} {form:?}");
    }
}

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    let cases = [
        ("/%", Refusal::Escape),
        ("/%2", Refusal::Escape),
        ("/%g0", Refusal::Escape),
        ("/%+1", Refusal::Escape),
        ("/a%00b", Refusal::Control(0)),
        ("/a%0d%0ab", Refusal::Control(13)),
        ("/a%7f", Refusal::Control(127)),
        ("/a\u{1}", Refusal::Control(1)),
        ("/..", Refusal::AboveRoot),
        ("/a/../..", Refusal::AboveRoot),
        ("/%2e%2e/a", Refusal::AboveRoot),
        ("//../..", Refusal::AboveRoot),
        ("/a/..%2fb", Refusal::HiddenDots),
        ("/a/b%2f%2e%2e", Refusal::HiddenDots),
        ("/a%5c..%5cb", Refusal::HiddenDots),
        ("/a%2F.", Refusal::HiddenDots),
        ("/a%2F..;x", Refusal::HiddenDots),
        ("/a/..;/b", Refusal::DotParameter),
        ("/a/..%3Bx/", Refusal::DotParameter),
        ("/a/%2e%2E%3b", Refusal::DotParameter),
        ("/a/.%3bx/b", Refusal::DotParameter),
        ("/a%2F..%3Bx", Refusal::HiddenDots),
        ("/a/.;x=1", Refusal::DotParameter),
        ("/a/%2e.;/b", Refusal::DotParameter),
        ("a/b", Refusal::Relative),
        ("", Refusal::Relative),
    ];
    for (path, refusal) in cases {
        assert_eq!(normal(path, DEFAULT), Err(refusal), "{path}");
    }
    assert_eq!(normal("/..%2fa", DECODE), Err(Refusal::AboveRoot));
}

#[test]
fn one_look_tells_what_is_to_do() {
    let cases = [
        ("/", Shape::Normal),
        ("/a/b.c/d", Shape::Normal),
        ("/a:b@c;d=e,f!$&'()*+-._~", Shape::Normal),
        ("*", Shape::Normal),
        ("/a/.b", Shape::Plain),
        ("/a/..", Shape::Plain),
        ("/a%20b", Shape::Plain),
        ("/a%252fb", Shape::Plain),
        ("/a b", Shape::Plain),
        ("/a%2fb", Shape::Slashes),
        ("/a%5Cb", Shape::Slashes),
        ("/a\\b", Shape::Slashes),
        ("/a//b", Shape::Slashes),
        ("//", Shape::Slashes),
        ("/%20%2", Shape::Plain),
    ];
    for (path, expected) in cases {
        assert_eq!(shape(path), expected, "{path}");
    }
}

#[test]
fn a_route_takes_or_refuses_what_was_found() {
    let facts = |path| write(path, DEFAULT, &mut String::new()).unwrap();
    assert_eq!(facts("/a/b/"), Facts::default());
    assert!(facts("/a%2Fb").encoded_slash && facts("/a//b").doubled_slash && facts("/a//").doubled_slash);
    let decoded = write("/a%2F/b", DECODE, &mut String::new()).unwrap();
    assert!(decoded.encoded_slash && decoded.doubled_slash);
    let paths = |encoded_slashes, doubled_slashes| Paths {
        encoded_slashes,
        doubled_slashes,
    };
    let strict = paths(EncodedSlashes::Reject, DoubledSlashes::Reject);
    let open = paths(EncodedSlashes::Keep, DoubledSlashes::Merge);
    assert_eq!(facts("/a%2Fb").check(&strict), Err(Refusal::EncodedSlash));
    assert_eq!(facts("/a//b").check(&strict), Err(Refusal::DoubledSlash));
    assert_eq!(decoded.check(&open), Ok(()));
    assert_eq!(Refusal::EncodedSlash.setting(), Some("paths.encoded_slashes"));
    assert!(
        Refusal::EncodedSlash
            .to_string()
            .contains("`paths.encoded_slashes`")
    );
    assert_eq!(Refusal::AboveRoot.setting(), None);
}

#[test]
fn forms_have_a_bit_each() {
    for (at, form) in Form::ALL.into_iter().enumerate() {
        assert_eq!(form.bit(), 1 << at);
    }
    let paths = Paths {
        encoded_slashes: EncodedSlashes::Decode,
        doubled_slashes: DoubledSlashes::Keep,
    };
    assert_eq!(Form::of(&paths), Form::ALL[3]);
    assert_eq!(Form::of(&Paths::default()), DEFAULT);
}

/// Random paths from pieces that matter: whatever comes out is a fixed point, absolute, and free of dot segments.
#[test]
fn a_normal_path_stays_as_it_is() {
    const PIECES: [&str; 24] = [
        "/", "/", "/", "//", ".", "..", "/../", "/./", "%2e", "%2E%2e", "%2f", "%5C", "\\", "%41", "%c3%a9",
        "a", "b", "é", ";", ";x", "%25", "%", "|", "%00",
    ];
    let mut random = crate::route::Random(7);
    let mut made = 0;
    for _ in 0..20_000 {
        let count = random.below(9);
        let path: String = std::iter::once("/")
            .chain((0..count).map(|_| random.pick(&PIECES)))
            .collect();
        for form in Form::ALL {
            let Ok(first) = normal(&path, form) else { continue };
            made += 1;
            assert_eq!(normal(&first, form).as_ref(), Ok(&first), "{path} {form:?}");
            assert!(first.starts_with('/') && first.is_ascii(), "{path} {form:?}");
            assert!(
                first.split('/').all(|segment| segment != "." && segment != ".."),
                "{path} {form:?}"
            );
            assert!(!form.merge || !first.contains("//"), "{path} {form:?}");
            assert!(!form.decode || !first.contains("%2F"), "{path} {form:?}");
            match shape(&path) {
                Shape::Normal => assert_eq!(first, path),
                Shape::Plain => assert_eq!(normal(&path, DEFAULT).as_ref(), Ok(&first), "{path} {form:?}"),
                Shape::Slashes => {}
            }
        }
    }
    assert!(made > 10_000, "the pieces make too few legal paths: {made}");
}
