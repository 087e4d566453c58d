//! serde's words in ours: no names of types, and always the value that is wrong.

use crate::config::diagnostic::{Diagnostic, closest};

/// What to call the thing at this path: `` route `orders` ``, `` `rate_limit` ``, `the document`.
pub(crate) fn name_of(path: &str) -> String {
    if let Some((section, name)) = path.split_once('.')
        && !name.contains(['.', '['])
    {
        let kind = match section {
            "consumers" => "consumer",
            "listeners" => "listener",
            "named_policies" => "named policy",
            "routes" => "route",
            "stores" => "store",
            "upstreams" => "upstream",
            _ => return format!("`{name}`"),
        };
        return format!("{kind} `{name}`");
    }
    match path.rsplit('.').next() {
        None | Some("") => "the document".to_owned(),
        Some(last) => format!("`{last}`"),
    }
}

/// The field that serde says is missing.
pub(super) fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// What serde says about the value at this path.
pub(super) fn explain(path: &str, message: &str) -> Diagnostic {
    let name = name_of(path);
    if let Some((found, expected)) = mismatch(message) {
        let number = found.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            || found == "true"
            || found == "false";
        let is = match found {
            "map" => "is a map".to_owned(),
            "sequence" => "is a list".to_owned(),
            "null" | "unit value" | "unit" | "Option value" => "has no value".to_owned(),
            found => format!("is `{found}`"),
        };
        let quotes = if number && is_text(expected) {
            format!(": write `\"{found}\"`")
        } else {
            String::new()
        };
        return Diagnostic::error(path, format!("{name} {is}"))
            .hint(format!("expected {}{quotes}", plain(expected)));
    }
    if let Some((found, hint)) = one_of(message, "unknown variant `") {
        return Diagnostic::error(path, format!("{name} is `{found}`")).hint(hint);
    }
    if let Some((found, hint)) = one_of(message, "unknown field `") {
        let container = path
            .strip_suffix(found)
            .and_then(|front| front.strip_suffix('.'))
            .unwrap_or(path);
        let message = format!("unknown field `{found}` in {}", name_of(container));
        return Diagnostic::error(path, message).at_key().hint(hint);
    }
    Diagnostic::halves(path, &format!("bad value for {name}: {message}"))
}

/// `invalid type: FOUND, expected EXPECTED` and the like.
fn mismatch(message: &str) -> Option<(&str, &str)> {
    let rest = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "));
    if let Some(rest) = rest {
        // A text may have anything in it, so what was expected is looked for from the end first.
        let (found, expected) = if rest.starts_with("string ") {
            rest.rsplit_once("\", expected ")
        } else {
            rest.split_once(", expected ")
        }?;
        let found = match found.split_once([' ']) {
            Some(("string", text)) => text.trim_matches('"'),
            Some(("integer" | "boolean" | "character", value)) => value.trim_matches('`'),
            Some(("floating", value)) => value.trim_start_matches("point ").trim_matches('`'),
            _ => found,
        };
        return Some((found, expected));
    }
    None
}

/// What was found of `unknown … FOUND, expected EXPECTED`, and a hint: what was meant, or all there is.
fn one_of<'m>(message: &'m str, start: &str) -> Option<(&'m str, String)> {
    let (found, expected) = message.strip_prefix(start)?.split_once("`, ")?;
    let words = expected.split('`').skip(1).step_by(2);
    let hint = match closest(found, words) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => expected.to_owned(),
    };
    Some((found, hint))
}

fn is_text(expected: &str) -> bool {
    matches!(expected, "a string" | "a borrowed string" | "a character")
}

/// What serde expects, without the names of types.
fn plain(expected: &str) -> String {
    let plain = match expected {
        "a string" | "a borrowed string" => "a text",
        "string or map" => "a word",
        "a sequence" => "a list",
        "a boolean" => "`true` or `false`",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0",
        "a nonzero u8" => "a whole number from 1 to 255",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "unit" | "null" => "nothing",
        _ if expected.starts_with("struct ") || expected.starts_with("enum ") => "a map",
        _ if expected.starts_with("tuple ") || expected.starts_with("an array ") => "a list",
        other => other,
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_things() {
        let cases = [
            ("", "the document"),
            ("client", "`client`"),
            ("routes.orders", "route `orders`"),
            ("upstreams.users", "upstream `users`"),
            ("client.limits", "`limits`"),
            ("routes.orders.policies[1].rate_limit", "`rate_limit`"),
            ("routes.orders.match.hosts[0]", "`hosts[0]`"),
        ];
        for (path, name) in cases {
            assert_eq!(name_of(path), name, "{path}");
        }
    }

    #[test]
    fn explains_without_names_of_types() {
        let cases = [
            (
                "invalid type: string \"many\", expected u32",
                "`x` is `many`",
                "expected a whole number from 0 to 4294967295",
            ),
            (
                "invalid type: string \"a, expected b\", expected u16",
                "`x` is `a, expected b`",
                "expected a whole number from 0 to 65535",
            ),
            (
                "invalid value: integer `-1`, expected u64",
                "`x` is `-1`",
                "expected a whole number from 0",
            ),
            (
                "invalid value: integer `0`, expected a nonzero u32",
                "`x` is `0`",
                "expected a whole number from 1 to 4294967295",
            ),
            (
                "invalid type: floating point `1.5`, expected u8",
                "`x` is `1.5`",
                "expected a whole number from 0 to 255",
            ),
            (
                "invalid type: integer `7`, expected a string",
                "`x` is `7`",
                "expected a text: write `\"7\"`",
            ),
            (
                "invalid type: boolean `true`, expected a string",
                "`x` is `true`",
                "expected a text: write `\"true\"`",
            ),
            (
                "invalid type: map, expected a sequence",
                "`x` is a map",
                "expected a list",
            ),
            (
                "invalid type: null, expected struct Route",
                "`x` has no value",
                "expected a map",
            ),
            (
                "unknown variant `round`, expected `round_robin` or `least_request`",
                "`x` is `round`",
                "expected `round_robin` or `least_request`",
            ),
            (
                "unknown variant `kep`, expected one of `reject`, `keep`, `decode`",
                "`x` is `kep`",
                "did you mean `keep`?",
            ),
            (
                "`10` has no unit; expected a length of time",
                "bad value for `x`: `10` has no unit",
                "expected a length of time",
            ),
        ];
        for (message, what, hint) in cases {
            let diagnostic = explain("a.x", message);
            assert_eq!(
                (diagnostic.message.as_str(), diagnostic.hint.as_deref()),
                (what, Some(hint)),
                "{message}"
            );
        }
    }
}
