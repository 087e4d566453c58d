//! What must hold for any bytes at all: the checks behind the fuzz targets in `fuzz/` and the test of their seeds.
//!
//! Each function panics if its property does not hold. Not part of the interface of this crate.

use gatehouse_http1::{Headers, Method};

use crate::config::load::load_str_with;
use crate::config::types::{PathForm, PathPattern, Segment};
use crate::config::{Match, Paths};
use crate::http::normalize::{self, Form, Shape};
use crate::listen::proxy_protocol::{MAX_HEADER, parse};
use crate::route::{Captures, Miss, Query, Rule, Table, Versions};
use crate::server;
use crate::tunnel::frames::{Frames, going_away};

/// A whole document: it is read, or all that is wrong with it is told; what has no errors can be compiled or is
/// refused with reasons.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let loaded = load_str_with(text, "gatehouse.yaml", &|_| None);
    let told = loaded.diagnostics.render(&loaded.sources);
    assert_eq!(told.is_empty(), loaded.diagnostics.is_empty());
    if loaded.diagnostics.has_errors() {
        return;
    }
    if let Err(refused) = server::check(&loaded.config, &loaded.reader, &[]) {
        assert!(!refused.is_empty());
    }
}

/// The bytes of an HTTP/3 stream: see `http::h3::fuzzing`.
#[cfg(feature = "http3")]
pub fn http3_stream(data: &[u8]) {
    crate::http::h3::fuzzing::stream(data);
}

/// Any path in any form: refused, or absolute, printable, free of dot segments, and a fixed point of its form.
pub fn target(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else {
        return;
    };
    let shape = normalize::shape(path);
    let mut plain = None;
    for form in Form::ALL {
        let mut normal = String::new();
        if normalize::write(path, form, &mut normal).is_err() {
            continue;
        }
        assert!(normal.starts_with('/') && normal.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(
            !normal
                .bytes()
                .any(|byte| matches!(byte, b'?' | b'#' | b'\\' | b'"'))
        );
        assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
        assert!(!form.merge || !normal.contains("//"));
        assert!(!form.decode || !(normal.contains("%2F") || normal.contains("%5C")));
        let mut again = String::new();
        assert!(normalize::write(&normal, form, &mut again).is_ok());
        assert_eq!(again, normal);
        match shape {
            Shape::Normal => assert_eq!(normal, path),
            Shape::Plain => assert_eq!(plain.get_or_insert_with(|| normal.clone()), &normal),
            Shape::Slashes => {}
        }
    }
}

/// The path tree against a scan: lines of input are patterns, and the last is a path.
///
/// Whatever the table finds is the first of its own printed order that covers the path when that is cut with `split`.
pub fn path_tree(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some((patterns, path)) = text.rsplit_once('\n') else {
        return;
    };
    let parsed = patterns
        .lines()
        .take(64)
        .filter_map(|line| line.parse::<PathPattern>().ok());
    // Expressions are the regex crate's to fuzz, and slow to compile.
    let plain: Vec<_> = parsed
        .filter(|pattern| matches!(pattern.form(), PathForm::Segments(_)))
        .collect();
    let rule = |(id, path): (usize, &PathPattern)| Rule {
        id,
        name: id.to_string(),
        matches: Match {
            path: Some(path.clone()),
            ..Match::default()
        },
        paths: Paths::default(),
    };
    let Ok(table) = Table::build(plain.iter().enumerate().map(rule), Versions::default()) else {
        return;
    };
    let headers = Headers::new();
    let query = Query {
        host: "",
        path,
        query: None,
        method: &Method::Get,
        headers: &headers,
        client: [127, 0, 0, 1].into(),
        listener: "",
    };
    let mut captures = Captures::default();
    let first = table
        .explain()
        .find(|row| plain.get(row.rule).is_some_and(|pattern| covers(pattern, path)));
    match table.find(&query, &mut captures) {
        Ok(found) => {
            assert_eq!(first.map(|row| row.rule), Some(found.rule));
            for at in 0..table.capture_names(found.rule).len() {
                assert!(captures.text(at, path).is_some());
            }
        }
        Err(miss) => assert!(first.is_none() && miss == Miss::NotFound),
    }
    let _ = table.resolve(&query, &mut captures);
}

/// Whether the pattern covers the path, segment by segment.
fn covers(pattern: &PathPattern, path: &str) -> bool {
    let PathForm::Segments(segments) = pattern.form() else {
        return false;
    };
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let mut parts = rest.split('/');
    for segment in segments {
        let fits = match segment {
            Segment::Rest(_) => return true,
            Segment::Literal(text) => parts.next() == Some(text),
            Segment::Param(_) => parts.next().is_some_and(|part| !part.is_empty()),
        };
        if !fits {
            return false;
        }
    }
    parts.next().is_none()
}

/// Any bytes may come first on a connection. The verdict must not depend on how they are cut into reads, and must
/// not change when more bytes follow.
pub fn proxy_protocol(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Some(header)) => {
            assert!(header.len <= bytes.len() && header.len <= MAX_HEADER);
            for end in 0..header.len {
                assert_eq!(parse(&bytes[..end]), Ok(None));
            }
            assert_eq!(parse(&bytes[..header.len]), Ok(Some(header)));
        }
        Ok(None) => assert!(bytes.len() < MAX_HEADER),
        Err(_) => {
            let mut longer = bytes.to_vec();
            longer.extend_from_slice(b"\r\n\0");
            assert!(parse(&longer).is_err());
        }
    }
}

/// Any bytes may come through a tunnel. Where frames end must not depend on how the bytes are cut, the end of a frame
/// that was promised must come, and a frame of our own there is a frame.
pub fn frames(bytes: &[u8]) {
    let mut whole = Frames::default();
    whole.feed(bytes);
    let mut bytewise = Frames::default();
    for (at, byte) in bytes.iter().enumerate() {
        let rest = bytes.get(at..).unwrap_or_default();
        let promised = bytewise.rest_of_frame(rest);
        assert_eq!(promised == Some(0), bytewise.is_between());
        if let Some(n) = promised {
            let mut ahead = bytewise;
            ahead.feed(rest.get(..n).unwrap_or_default());
            assert!(n <= rest.len() && ahead.is_between() && !ahead.is_lost());
        }
        bytewise.feed(&[*byte]);
    }
    assert_eq!(
        (whole.is_between(), whole.is_closed(), whole.is_lost()),
        (bytewise.is_between(), bytewise.is_closed(), bytewise.is_lost())
    );
    if whole.is_between() {
        for key in [None, Some([1, 2, 3, 4])] {
            let mut after = whole;
            let (frame, len) = going_away(key);
            after.feed(frame.get(..len).unwrap_or_default());
            assert!(after.is_closed());
        }
    }
}
