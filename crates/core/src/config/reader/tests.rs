//! Everything wrong with a value is told at once, where it is, and once.

use super::*;
use crate::config::{Client, Route, Upstream};
use serde_json::json;

/// Reads a value at `at`; answers whether something came out, and all that was said.
fn read<T: DeserializeOwned + JsonSchema + 'static>(reader: &Reader, value: &Value) -> (bool, Vec<String>) {
    let mut out = Diagnostics::default();
    let read = reader.read::<T>(value, "at", &mut out);
    assert_eq!(read.clean, out.is_empty(), "{out:?}");
    let show = |d: &Diagnostic| {
        format!(
            "{}: {} ({})",
            d.path,
            d.message,
            d.hint.as_deref().unwrap_or_default()
        )
    };
    (read.value.is_some(), out.iter().map(show).collect())
}

#[test]
fn a_good_value_is_clean() {
    let value = json!({ "match": { "path": "/a", "headers": { "x": { "regex": "b" } } }, "forward": { "upstream": "u" } });
    assert_eq!(read::<Route>(&Reader::default(), &value), (true, vec![]));
    assert_eq!(read::<Client>(&Reader::default(), &json!({})), (true, vec![]));
}

#[test]
fn all_unknown_fields_are_told_with_guesses() {
    let value = json!({ "match": { "pth": "/a", "headers": { "x": { "regx": "b", "exact": "c" } } }, "forwrd": {}, "zzz": 1 });
    let (some, told) = read::<Route>(&Reader::default(), &value);
    assert!(some);
    assert_eq!(
        told,
        [
            "at.match.pth: unknown field `pth` in `match` (did you mean `path`?)",
            "at.match.headers.x.regx: unknown field `regx` in `x` (did you mean `regex`?)",
            "at.forwrd: unknown field `forwrd` in `at` (did you mean `forward`?)",
            "at.zzz: unknown field `zzz` in `at` (expected one of `match`, `version`, `policies`, `forward`, `reply`, `redirect`, `paths`, `timeout`, `max_body`)",
        ]
    );
}

#[test]
fn all_wrong_values_are_told_and_the_rest_is_kept() {
    let value = json!({ "timeouts": { "head": 10, "total": "1x", "keep_alive": "5s" }, "limits": { "fields": "many", "body": -1 }, "underscores": "alow" });
    let mut out = Diagnostics::default();
    let read = Reader::default().read::<Client>(&value, "client", &mut out);
    let told: Vec<_> = out
        .iter()
        .map(|d| (d.path.as_str(), d.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("client.timeouts.head", "`head` is `10`"),
            (
                "client.timeouts.total",
                "bad value for `total`: `1x` is not a length of time"
            ),
            ("client.limits.fields", "`fields` is `many`"),
            ("client.limits.body", "`body` is `-1`"),
            ("client.underscores", "`underscores` is `alow`"),
        ]
    );
    let client = read.value.unwrap();
    assert_eq!(
        (
            client.timeouts.keep_alive.to_string().as_str(),
            client.limits.fields
        ),
        ("5s", 100)
    );
}

#[test]
fn elements_of_lists_keep_their_numbers() {
    let value =
        json!({ "endpoints": ["http://a", "x", "http://b", "http://c/d", { "url": "y" }, "http://d", 5] });
    let (some, told) = read::<Upstream>(&Reader::default(), &value);
    let paths: Vec<_> = told
        .iter()
        .filter_map(|told| told.split_once(": "))
        .map(|(path, _)| path)
        .collect();
    assert!(some);
    assert_eq!(
        paths,
        [
            "at.endpoints[1]",
            "at.endpoints[3]",
            "at.endpoints[4].url",
            "at.endpoints[6]"
        ]
    );
}

#[test]
fn missing_fields_are_told_once_and_not_when_mistyped() {
    let (some, told) = read::<Upstream>(&Reader::default(), &json!({ "endponts": [], "timeout": 5 }));
    assert!(!some);
    let expected = [
        "at.endponts: unknown field `endponts` in `at` (did you mean `endpoints`?)",
        "at.timeout: `timeout` is `5` (expected a length of time such as `250ms`, `10s` or `1h30m`)",
    ];
    assert_eq!(told, expected);

    let value = json!({ "match": {}, "forward": { "split": [{ "weight": 1 }, { "upstream": "a", "weight": "b" }, {}] } });
    let (some, told) = read::<Route>(&Reader::default(), &value);
    assert!(some);
    let expected = [
        "at.forward.split[0].upstream: missing field `upstream` in `split[0]` ()",
        "at.forward.split[2].upstream: missing field `upstream` in `split[2]` ()",
        "at.forward.split[2].weight: missing field `weight` in `split[2]` ()",
        "at.forward.split[1].weight: `weight` is `b` (expected a whole number from 0 to 4294967295)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn numbers_out_of_range_are_told_once() {
    let value = json!({ "endpoints": [], "limits": { "fields": 0 } });
    let (_, told) = read::<Upstream>(&Reader::default(), &value);
    let expected = [
        "at.endpoints: `endpoints` is `[]` (expected at least 1 in the list)",
        "at.limits.fields: `fields` is `0` (expected a number from 1)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_environment_gives_what_the_field_wants() {
    let paths = ["at.limits.fields", "at.limits.body", "at.timeouts.head"].map(str::to_owned);
    let reader = Reader::new(paths);
    let value = json!({ "limits": { "fields": "7", "body": "8" }, "timeouts": { "head": "9s" } });
    assert_eq!(read::<Client>(&reader, &value), (true, vec![]));
    let (_, told) = read::<Client>(
        &reader,
        &json!({ "limits": { "fields": "x", "requests_per_connection": "7" } }),
    );
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn what_is_not_the_type_at_all_is_nothing() {
    let (some, told) = read::<Route>(&Reader::default(), &json!([1]));
    assert_eq!(
        (some, told),
        (false, vec!["at: `at` is a list (expected a map)".to_owned()])
    );
    let (some, told) = read::<Route>(&Reader::default(), &json!(null));
    assert_eq!(
        (some, told),
        (false, vec!["at: `at` has no value (expected a map)".to_owned()])
    );
}
