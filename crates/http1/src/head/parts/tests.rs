use super::*;

const GET: Pseudo<'static> = Pseudo {
    method: "GET",
    scheme: Some("http"),
    authority: Some("api.test"),
    path: Some("/a?b"),
};

fn assemble(pseudo: &Pseudo<'_>, fields: &[(&str, &str)]) -> Result<(RequestHead, Declared), HeadError> {
    let mut head = RequestHead::new();
    let limits = HeadLimits {
        bytes: 256,
        fields: 8,
        target: 64,
    };
    let mut assembly = Assembly::begin(&mut head, &limits, Version::Http2, pseudo)?;
    for (name, value) in fields {
        assembly.field(name.as_bytes(), value.as_bytes())?;
    }
    let declared = assembly.end()?;
    Ok((head, declared))
}

#[test]
fn parts_become_the_same_head_as_text() {
    let fields = [("accept", "*/*"), ("content-length", "3"), ("te", "trailers")];
    let (head, declared) = assemble(&GET, &fields).unwrap();
    assert_eq!(
        (head.path(), head.query(), head.authority()),
        ("/a", Some("b"), "api.test")
    );
    assert_eq!((head.raw_target(), head.version.as_str()), ("/a?b", "HTTP/2"));
    assert_eq!(head.headers.get(Known::Host), Some(&b"api.test"[..]));
    assert_eq!(declared.length, Some(3));
}

#[test]
fn cookie_crumbs_become_one_field() {
    let (head, _) = assemble(
        &GET,
        &[
            ("cookie", "a=1"),
            ("x", "y"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
        ],
    )
    .unwrap();
    let cookies: Vec<_> = head.headers.all(Known::Cookie).collect();
    assert_eq!(cookies, [&b"a=1; b=2; c=3"[..]]);
}

#[test]
fn authority_and_host_must_agree() {
    let with = |authority, host: Option<&str>| {
        let fields: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
        assemble(&Pseudo { authority, ..GET }, &fields).map(|(head, _)| head.authority().to_owned())
    };
    assert_eq!(with(Some("a"), None).unwrap(), "a");
    assert_eq!(with(None, Some("a")).unwrap(), "a");
    assert_eq!(with(Some("a"), Some("A:80")).unwrap(), "a");
    for (authority, host) in [
        (None, None),
        (Some("a"), Some("b")),
        (Some("u@a"), None),
        (Some(""), None),
    ] {
        assert!(with(authority, host).is_err(), "{authority:?} {host:?}");
    }
    assert!(
        assemble(
            &Pseudo {
                authority: None,
                ..GET
            },
            &[("host", "a"), ("host", "a")]
        )
        .is_err()
    );
}

#[test]
fn what_text_refuses_parts_refuse_too() {
    let bad_paths = [
        "",
        "a",
        "http://x/",
        "/a b",
        "/a#b",
        "/%zz",
        "/\\",
        "*",
        "/\u{e4}",
        "//\u{7f}",
    ];
    for path in bad_paths {
        assert!(
            assemble(
                &Pseudo {
                    path: Some(path),
                    ..GET
                },
                &[]
            )
            .is_err(),
            "{path}"
        );
    }
    let bad_fields = [
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("X-Upper", "1"),
        (":path", "/"),
        ("a b", "1"),
        ("", "1"),
        ("a", "b\r\nc: d"),
        ("a", "\0"),
        ("a", " b"),
        ("a", "b\t"),
        ("content-length", "x"),
        ("content-length", "+1"),
    ];
    for (name, value) in bad_fields {
        assert!(assemble(&GET, &[(name, value)]).is_err(), "{name}: {value}");
    }
    assert!(assemble(&GET, &[("content-length", "1"), ("content-length", "1")]).is_err());
    assert!(
        assemble(
            &Pseudo {
                scheme: Some("ftp"),
                ..GET
            },
            &[]
        )
        .is_err()
    );
    assert!(assemble(&Pseudo { method: "G T", ..GET }, &[]).is_err());
    assert!(assemble(&Pseudo { path: None, ..GET }, &[]).is_err());
    let connect = Pseudo {
        method: "CONNECT",
        scheme: None,
        ..GET
    };
    assert!(assemble(&connect, &[]).is_err(), "a path");
    assert!(
        assemble(
            &Pseudo {
                path: None,
                ..connect
            },
            &[]
        )
        .is_err(),
        "no port"
    );
    let (head, _) = assemble(
        &Pseudo {
            path: None,
            authority: Some("a:1"),
            ..connect
        },
        &[],
    )
    .unwrap();
    assert_eq!((head.authority(), head.path()), ("a:1", ""));
    let (head, _) = assemble(
        &Pseudo {
            method: "OPTIONS",
            path: Some("*"),
            ..GET
        },
        &[],
    )
    .unwrap();
    assert_eq!(head.path(), "*");
}

#[test]
fn limits_are_those_of_text() {
    let long = "/".repeat(65);
    assert!(matches!(
        assemble(
            &Pseudo {
                path: Some(&long),
                ..GET
            },
            &[]
        ),
        Err(HeadError::TargetTooLong {
            limit: 64,
            measured: 65
        })
    ));
    let many: Vec<_> = (0..8).map(|_| ("a", "b")).collect();
    assert!(matches!(
        assemble(&GET, &many),
        Err(HeadError::TooManyFields {
            limit: 8,
            measured: 9
        })
    ));
    let large = "x".repeat(230);
    assert!(matches!(
        assemble(&GET, &[("a", &large)]),
        Err(HeadError::HeadTooLarge { limit: 256, .. })
    ));
    let crumbs: Vec<_> = (0..100).map(|_| ("cookie", "ab")).collect();
    assert!(matches!(
        assemble(&GET, &crumbs),
        Err(HeadError::HeadTooLarge { .. })
    ));
}

#[test]
fn trailers_are_filtered_as_those_of_chunks() {
    let collect = |fields: &[(&'static str, &'static str)]| {
        collect_trailers(
            fields
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
            &HeadLimits::default(),
        )
    };
    assert_eq!(collect(&[("grpc-status", "0")]).unwrap().len(), 1);
    for bad in [
        ("content-length", "1"),
        ("host", "a"),
        ("A", "1"),
        ("a", "\n"),
        (":status", "200"),
    ] {
        assert!(collect(&[bad]).is_err(), "{bad:?}");
    }
}
