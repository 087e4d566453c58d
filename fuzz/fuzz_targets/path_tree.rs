//! The path tree against a scan: lines of input are patterns, and the last is a path.
//!
//! Whatever the table finds is the first of its own printed order that covers the path when that is cut with `split`.
#![no_main]

use gatehouse_core::config::types::{PathForm, PathPattern, Segment};
use gatehouse_core::config::{Match, Paths};
use gatehouse_core::route::{Captures, Miss, Query, Rule, Table, Versions};
use gatehouse_http1::{Headers, Method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
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
    let Ok(table) = Table::build(plain.iter().enumerate().map(rule).collect(), Versions::default()) else {
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
});

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
