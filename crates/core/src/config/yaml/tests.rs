//! What the reader takes, what it refuses, and where it says the trouble is.

use super::*;
use serde_json::json;

fn read(text: &str) -> Parsed {
    parse(text, &|name| (name == "SET").then(|| "17".to_owned()))
}

#[test]
fn reads_values_of_the_core_schema() {
    let text =
        "\u{feff}a: no\nb: [1, 1.5, ~, 'x', \"y\\n\", true]\nc:\n  d: |\n    text\n  1: !!str 2\ne: {}\n";
    let parsed = read(text);
    assert_eq!((parsed.complete, parsed.problems), (true, vec![]));
    assert_eq!(
        parsed.value,
        json!({ "a": "no", "b": [1, 1.5, null, "x", "y\n", true], "c": { "d": "text\n", "1": "2" }, "e": {} })
    );
    assert_eq!(read("").value, json!(null));
    assert_eq!(read("# only a comment\n").value, json!(null));
    assert_eq!(
        read("{\"json\": [1, {\"a\": null}]}").value,
        json!({ "json": [1, { "a": null }] })
    );
}

#[test]
fn takes_texts_from_the_environment_and_notes_where() {
    let parsed = read("a: ${env:SET}\nb: [x, '${env:SET}-${env:NO:-z}']\n");
    assert_eq!(parsed.value, json!({ "a": "17", "b": ["x", "17-z"] }));
    assert_eq!(parsed.from_environment, ["a", "b[1]"]);
}

#[test]
fn refuses_with_a_place() {
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    let long_key = format!("{}: 1", "k".repeat(300));
    let cases = [
        (
            "a: 1\nb: 2\na: 3\n",
            "`a` is written twice; the first is in line 1",
            3,
            1,
            "",
        ),
        (
            "r:\n  x: {}\n  y: {}\n  x: {}\n",
            "`x` is written twice; the first is in line 2",
            4,
            3,
            "r.x",
        ),
        ("a: &n 1\nb: *n\n", "an alias stands for a value here", 2, 4, "b"),
        ("a: 1\n---\nb: 2\n", "a second document begins here", 2, 1, ""),
        ("a: !secret x\n", "unknown tag `!secret`", 1, 4, "a"),
        ("a: !!int x\n", "`x` is not what its tag says", 1, 4, "a"),
        ("a: !own { b: 1 }\n", "unknown tag `!own`", 1, 4, "a"),
        ("? [1]\n: 2\n", "a key is a list or map here", 1, 3, ""),
        (": 2\n", "a key is empty", 1, 1, ""),
        (long_key.as_str(), "a key has 300 bytes", 1, 1, ""),
        (deep.as_str(), "nested too deep", 1, 65, ""),
        (
            "a: ${env:NOT}\n",
            "environment variable `NOT` is not set",
            1,
            4,
            "a",
        ),
        ("a: [1, 2\n", "not YAML", 2, 1, ""),
        ("a: b: c\n", "not YAML: mapping values are not allowed", 1, 5, ""),
        ("a:\n\tb: 1\n", "not YAML", 2, 2, ""),
        ("a: 'x\n", "not YAML", 1, 4, ""),
        ("a:\n  b: 1\n c: 2\n", "not YAML", 3, 2, ""),
    ];
    for (text, message, line, column, path) in cases {
        let parsed = read(text);
        let problem = parsed
            .problems
            .first()
            .unwrap_or_else(|| panic!("no problem in {text:?}"));
        assert!(
            problem.message.starts_with(message),
            "{text:?}: {}",
            problem.message
        );
        assert_eq!(
            (problem.spot.line, problem.spot.column),
            (line, column),
            "{text:?}: {}",
            problem.message
        );
        if !problem.message.starts_with("not YAML") && !path.is_empty() {
            assert!(problem.path.starts_with(path), "{text:?}: {}", problem.path);
        }
    }
}

#[test]
fn reports_every_doubled_key_and_keeps_the_first() {
    let parsed = read("a: 1\na: 2\nb: { c: 1, c: 2 }\n");
    assert_eq!(parsed.problems.len(), 2);
    assert_eq!(parsed.value, json!({ "a": 1, "b": { "c": 1 } }));
    assert!(parsed.complete);
}

#[test]
fn refuses_what_is_too_large() {
    let text = " ".repeat(LARGEST + 1);
    let parsed = read(&text);
    assert!(!parsed.complete && parsed.problems[0].message.contains("the most is"));
}

#[test]
fn never_panics_on_damaged_text() {
    let good = "a: [1, {b: 'c', \"d\": e}]\nf:\n  - g: |\n      h\n  - &i !!str j\n  - *i\nk: >-\n  l\n# m\n? n\n: o\n...\n";
    for end in 0..=good.len() {
        let _ = read(good.get(..end).unwrap());
        let _ = positions(good.get(end..).unwrap());
        for wrong in [
            '\t', '{', ']', ':', '-', '\'', '"', '&', '*', '!', '|', '%', '\0', '\u{85}', '\n',
        ] {
            let text = format!("{}{wrong}{}", good.get(..end).unwrap(), good.get(end..).unwrap());
            let _ = (read(&text), positions(&text));
        }
    }
}

#[test]
fn items_are_handed_out_as_they_end() {
    let text = "a:\n  x: { n: 1 }\n  y: ${env:SET}\n  x: { n: 2 }\nb: { x: { n: 3 } }\nc: [1]\na: { z: 4 }\n";
    let mut taken = Vec::new();
    let parsed = parse_items(
        text,
        &|name| (name == "SET").then(|| "17".to_owned()),
        Items {
            sections: &["c", "a"],
            take: &mut |item| {
                taken.push((
                    item.section,
                    item.name.to_owned(),
                    item.value,
                    item.from_environment,
                ));
            },
        },
    );
    // What is written twice is refused, and not handed out.
    assert_eq!(parsed.problems.len(), 2);
    let expected = [
        (1, "x".to_owned(), json!({ "n": 1 }), vec![]),
        (1, "y".to_owned(), json!("17"), vec!["a.y".to_owned()]),
    ];
    assert_eq!(taken, expected);
    assert_eq!(
        parsed.value,
        json!({ "a": { "x": null, "y": null }, "b": { "x": { "n": 3 } }, "c": [1] })
    );
}
