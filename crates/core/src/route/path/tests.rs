use super::*;
use crate::config::types::{PathForm, PathPattern};

fn segments(pattern: &str) -> Vec<Segment> {
    match pattern.parse::<PathPattern>().unwrap().form() {
        PathForm::Segments(segments) => segments.clone(),
        PathForm::Regex(_) => panic!("{pattern} has no segments"),
    }
}

/// A tree of these patterns and their order in it.
fn tree(patterns: &[&str]) -> (Tree, Vec<String>) {
    let mut sorted: Vec<_> = patterns
        .iter()
        .map(|&pattern| (segments(pattern), pattern.to_owned()))
        .collect();
    sorted.sort_by(|(a, _), (b, _)| compare(a, b));
    let mut tree = Tree::default();
    let root = tree.add_root();
    for (entry, (segments, _)) in (0..).zip(&sorted) {
        tree.insert(root, segments, entry);
    }
    (tree, sorted.into_iter().map(|(_, pattern)| pattern).collect())
}

/// All patterns that cover the path in the order met, with what each captured.
fn covering(patterns: &[&str], path: &str) -> Vec<String> {
    let (tree, names) = tree(patterns);
    let mut all = Vec::new();
    for skip in 0.. {
        let mut seen = 0;
        let mut captures = Captures::default();
        let found = tree.walk(0, path, &mut captures, |entries| {
            seen += 1;
            (seen > skip).then_some(entries.start)
        });
        let Some(found) = found else {
            assert!(captures.is_empty(), "a failed walk leaves no captures");
            return all;
        };
        let texts: Vec<_> = (0..captures.len())
            .map(|at| captures.text(at, path).unwrap())
            .collect();
        all.push(format!("{} [{}]", names[found as usize], texts.join(" ")));
    }
    all
}

#[test]
fn the_most_specific_pattern_comes_first() {
    let patterns = [
        "/",
        "/**",
        "/users",
        "/users/",
        "/users/me",
        "/users/{id}",
        "/users/**",
        "/users/{id}/orders",
        "/users/{id}/{what}",
        "/users/me/{rest**}",
        "/{a}/{b}",
        "/files/{name}/{rest**}",
        "/api/v1/**",
        "/api/**",
    ];
    let cases: [(&str, &[&str]); 15] = [
        ("/", &["/ []", "/** []"]),
        ("/users", &["/users []", "/users/** []", "/** [users]"]),
        ("/users/", &["/users/ []", "/users/** []", "/** [users/]"]),
        (
            "/users/me",
            &[
                "/users/me []",
                "/users/me/{rest**} []",
                "/users/{id} [me]",
                "/users/** [me]",
                "/{a}/{b} [users me]",
                "/** [users/me]",
            ],
        ),
        (
            "/users/7",
            &[
                "/users/{id} [7]",
                "/users/** [7]",
                "/{a}/{b} [users 7]",
                "/** [users/7]",
            ],
        ),
        (
            "/users/7/orders",
            &[
                "/users/{id}/orders [7]",
                "/users/{id}/{what} [7 orders]",
                "/users/** [7/orders]",
                "/** [users/7/orders]",
            ],
        ),
        (
            "/users/me/x",
            &[
                "/users/me/{rest**} [x]",
                "/users/{id}/{what} [me x]",
                "/users/** [me/x]",
                "/** [users/me/x]",
            ],
        ),
        (
            "/users/me/",
            &["/users/me/{rest**} []", "/users/** [me/]", "/** [users/me/]"],
        ),
        ("/usersx", &["/** [usersx]"]),
        ("/a/b", &["/{a}/{b} [a b]", "/** [a/b]"]),
        (
            "/files/x",
            &[
                "/files/{name}/{rest**} [x ]",
                "/{a}/{b} [files x]",
                "/** [files/x]",
            ],
        ),
        (
            "/files/x/y/z",
            &["/files/{name}/{rest**} [x y/z]", "/** [files/x/y/z]"],
        ),
        (
            "/api/v1",
            &[
                "/api/v1/** []",
                "/api/** [v1]",
                "/{a}/{b} [api v1]",
                "/** [api/v1]",
            ],
        ),
        ("/api/v10/x", &["/api/** [v10/x]", "/** [api/v10/x]"]),
        ("//", &["/** [/]"]),
    ];
    for (path, expected) in cases {
        assert_eq!(covering(&patterns, path), expected, "{path}");
    }
    assert!(covering(&patterns, "*").is_empty() && covering(&patterns, "").is_empty());
}

#[test]
fn the_order_is_that_of_the_first_differing_segment() {
    let sorted = tree(&[
        "/**",
        "/{x}/b/**",
        "/{x}/**",
        "/a/**",
        "/a/b",
        "/a",
        "/{x}",
        "/a/{y}",
        "/a/{y}/c",
        "/a/b/c",
    ])
    .1;
    let expected = [
        "/a",
        "/a/b",
        "/a/b/c",
        "/a/{y}",
        "/a/{y}/c",
        "/a/**",
        "/{x}",
        "/{x}/b/**",
        "/{x}/**",
        "/**",
    ];
    assert_eq!(sorted, expected);
    assert_eq!(
        compare(&segments("/a/{x}/{r**}"), &segments("/a/{y}/**")),
        Ordering::Equal
    );
}

#[test]
fn a_walk_visits_a_node_once() {
    // Every one of the 2^16 mixtures of literal and parameter covers the path but for its last segment.
    let mut tree = Tree::default();
    let root = tree.add_root();
    let depth = 12;
    let mut patterns: Vec<Vec<Segment>> = (0..1_u32 << depth)
        .map(|bits| {
            let segment = |at: u32| match bits >> at & 1 {
                0 => Segment::Literal("a".to_owned()),
                _ => Segment::Param(format!("p{at}")),
            };
            (0..depth).map(segment).collect()
        })
        .collect();
    patterns.sort_by(|a, b| compare(a, b));
    for (entry, pattern) in (0..).zip(&patterns) {
        tree.insert(root, pattern, entry);
    }
    let mut visits = 0_u32;
    let path = "/a".repeat(depth as usize);
    let found = tree.walk(root, &path, &mut Captures::default(), |_| {
        visits += 1;
        None::<()>
    });
    assert_eq!((found, visits), (None, 1 << depth));
}

#[test]
fn captures_are_bounded() {
    let mut captures = Captures::default();
    for at in 0..MAX_CAPTURES + 3 {
        captures.push(at..at + 1);
    }
    assert_eq!(captures.len(), MAX_CAPTURES);
    assert_eq!(captures.range(MAX_CAPTURES), None);
    assert_eq!(captures.text(1, "abc"), Some("b"));
    captures.clear();
    assert!(captures.is_empty() && captures.range(0).is_none());
}
