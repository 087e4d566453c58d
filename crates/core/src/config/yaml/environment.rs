//! `${env:NAME}` and `${env:NAME:-default}` in texts.

use std::borrow::Cow;

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const OPEN: &str = "${env:";

/// The text with its variables replaced; none if it has none. As in a shell, a default also stands for an
/// empty variable. After another `$` nothing is replaced: `$${env:X}` is a dollar sign and `{env:X}`.
///
/// # Errors
/// Says which variable is not set, or what is wrong with the text, and what to write instead.
pub(super) fn substitute(text: &str, environment: Environment<'_>) -> Result<Option<String>, String> {
    if !text.contains(OPEN) {
        return Ok(None);
    }
    let (mut out, mut rest, mut replaced) = (String::with_capacity(text.len()), text, false);
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(before);
        if out.ends_with('$') {
            out.push_str(OPEN);
            rest = after;
            continue;
        }
        let Some((body, tail)) = after.split_once('}') else {
            return Err(format!("`{text}` has a `{OPEN}` without its `}}`; close it"));
        };
        out.push_str(&value(body, environment)?);
        (rest, replaced) = (tail, true);
    }
    out.push_str(rest);
    Ok(replaced.then_some(out))
}

fn value<'a>(body: &'a str, environment: Environment<'_>) -> Result<Cow<'a, str>, String> {
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(format!(
            "`${{env:{body}}}` has no legal name; expected such as `${{env:PORT}}` or `${{env:PORT:-8080}}`"
        ));
    }
    match (environment(name), default) {
        (Some(value), None) => Ok(Cow::Owned(value)),
        (Some(value), Some(_)) if !value.is_empty() => Ok(Cow::Owned(value)),
        (_, Some(default)) => Ok(Cow::Borrowed(default)),
        (None, None) => Err(format!(
            "environment variable `{name}` is not set; set it, or give a default: `${{env:{name}:-…}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Option<String>, String> {
        substitute(text, &|name| match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn replaces_variables() {
        let cases = [
            ("plain ${request.host}", None),
            ("${env:PORT}", Some("8080")),
            ("http://a:${env:PORT}/${env:EMPTY}x", Some("http://a:8080/x")),
            ("${env:NONE:-9}", Some("9")),
            ("${env:NONE:-}", Some("")),
            ("${env:EMPTY:-9}", Some("9")),
            ("${env:PORT:-9}", Some("8080")),
            ("$${env:PORT}", None),
            ("$${env:PORT} ${env:PORT}", Some("$${env:PORT} 8080")),
        ];
        for (text, expected) in cases {
            assert_eq!(run(text).unwrap().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let cases = [
            ("${env:NONE}", "environment variable `NONE` is not set; set it"),
            ("${env:PORT", "without its `}`"),
            ("${env:}", "has no legal name"),
            ("${env:A-B}", "has no legal name"),
        ];
        for (text, reason) in cases {
            let error = run(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
