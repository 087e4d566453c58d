//! Expected against actual. Each function says what differed, or nothing.

use serde_json::Value;

use crate::backend::http::Received;
use crate::headers::Headers;

/// The fields of a message against what is expected of each.
pub(super) fn headers(expected: &[(String, Value)], actual: &Headers) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, wanted) in expected {
        let values: Vec<&str> = actual.all(name).collect();
        let fine = match wanted {
            Value::String(word) if word == "present" => !values.is_empty(),
            Value::String(word) if word == "absent" => values.is_empty(),
            Value::Array(all) => values.iter().map(|v| Value::from(*v)).collect::<Vec<_>>() == *all,
            Value::Object(_) => matches!(values.as_slice(), [value] if text(wanted, value).is_none()),
            exact => values == [super::scalar(exact)],
        };
        if !fine {
            wrong.push(format!("header `{name}`: expected {wanted}, got {values:?}"));
        }
    }
    wrong
}

/// A body: exact text, part of a text, or JSON of which all expected parts must be there.
pub(super) fn body(expected: &Value, actual: &[u8]) -> Vec<String> {
    let actual_text = String::from_utf8_lossy(actual);
    if expected.is_string() || part(expected).is_some() {
        return text(expected, &actual_text)
            .into_iter()
            .map(|e| format!("body: {e}"))
            .collect();
    }
    match serde_json::from_slice(actual) {
        Ok(json) => subset("body", expected, &json),
        Err(e) => vec![format!("body: expected JSON, got {actual_text:?} ({e})")],
    }
}

/// What a backend received.
pub(super) fn received(expected: &Value, actual: &Received) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    for (key, value) in super::entries(expected)? {
        match key.as_str() {
            "method" => wrong.extend(text(&value, &actual.method).map(|e| format!("method: {e}"))),
            "target" => wrong.extend(text(&value, &actual.target).map(|e| format!("target: {e}"))),
            "headers" => wrong.extend(headers(&super::entries(&value)?, &actual.headers)),
            "body" => wrong.extend(body(&value, &actual.body)),
            other => return Err(format!("`backend` has no `{other}`")),
        }
    }
    Ok(wrong)
}

/// `{ contains: part }`, and its like.
fn part(expected: &Value) -> Option<(&str, &str)> {
    let map = expected.as_object().filter(|map| map.len() == 1)?;
    let (how, what) = map.iter().next()?;
    let how = matches!(how.as_str(), "contains" | "lacks" | "starts" | "ends").then_some(how.as_str())?;
    Some((how, what.as_str()?))
}

fn text(expected: &Value, actual: &str) -> Option<String> {
    let fine = match (expected, part(expected)) {
        (_, Some(("contains", part))) => actual.contains(part),
        (_, Some(("lacks", part))) => !actual.contains(part),
        (_, Some(("starts", part))) => actual.starts_with(part),
        (_, Some(("ends", part))) => actual.ends_with(part),
        (exact, _) => super::scalar(exact) == actual,
    };
    (!fine).then(|| format!("expected {expected}, got {actual:?}"))
}

fn subset(at: &str, expected: &Value, actual: &Value) -> Vec<String> {
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(has)) if part(expected).is_none() => wanted
            .iter()
            .flat_map(|(key, value)| {
                let at = format!("{at}.{key}");
                match (value.as_str(), has.get(key)) {
                    (Some("absent"), None) | (Some("present"), Some(_)) => Vec::new(),
                    (Some("absent"), Some(found)) => vec![format!("{at}: expected none, got {found}")],
                    (_, Some(found)) => subset(&at, value, found),
                    (_, None) => vec![format!("{at}: missing, expected {value}")],
                }
            })
            .collect(),
        (Value::Array(wanted), Value::Array(has)) if wanted.len() == has.len() => {
            let pairs = wanted.iter().zip(has).enumerate();
            pairs
                .flat_map(|(i, (w, h))| subset(&format!("{at}[{i}]"), w, h))
                .collect()
        }
        (_, Value::String(found)) if part(expected).is_some() => text(expected, found)
            .into_iter()
            .map(|e| format!("{at}: {e}"))
            .collect(),
        (wanted, found) if wanted == found => Vec::new(),
        (wanted, found) => vec![format!("{at}: expected {wanted}, got {found}")],
    }
}
