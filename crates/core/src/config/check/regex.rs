//! Regular expressions: linear in time, bounded in size.

use regex::{Regex, RegexBuilder};

/// Largest compiled expression, in bytes.
pub const REGEX_SIZE: usize = 1 << 20;

/// Compiles an expression; an error says in one line what is wrong with it.
pub fn compile_regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(REGEX_SIZE)
        .dfa_size_limit(2 * REGEX_SIZE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("`{text}` is too large; a compiled expression has at most {limit} bytes")
            }
            other => {
                let full = other.to_string();
                let why = full
                    .rsplit_once("error: ")
                    .map_or(full.as_str(), |(_, why)| why)
                    .trim();
                let why = why.split(['\n', ',']).next().unwrap_or_default();
                format!("`{text}` is not a regular expression: {why}")
            }
        })
}

/// Groups that a replacement such as `/v2/$1/${name}` asks for.
pub(super) fn replacement_groups(to: &str) -> Vec<&str> {
    let (mut groups, mut rest) = (Vec::new(), to);
    while let Some((_, after)) = rest.split_once('$') {
        if let Some(tail) = after.strip_prefix('$') {
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('{').and_then(|body| body.split_once('}')) {
            groups.push(name);
            rest = tail;
        } else {
            let end = after
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                .count();
            let (name, tail) = after.split_at(end);
            if !name.is_empty() {
                groups.push(name);
            }
            rest = tail;
        }
    }
    groups
}

/// Whether the expression has the group.
pub(super) fn has_group(regex: &Regex, group: &str) -> bool {
    match group.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|name| name == group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_in_one_line_what_is_wrong() {
        let error = |text: &str| compile_regex(text).unwrap_err();
        assert_eq!(error("("), "`(` is not a regular expression: unclosed group");
        assert_eq!(error("(?=x)"), "`(?=x)` is not a regular expression: look-around");
        assert!(error("(a{1000}){1000}").contains("is too large"));
    }

    #[test]
    fn finds_groups_of_replacements() {
        assert_eq!(
            replacement_groups("/a/$1/${name}/$$2/$x_y-$"),
            ["1", "name", "x_y"]
        );
        let regex = compile_regex("(?<n>a)(b)").unwrap();
        assert!(has_group(&regex, "n") && has_group(&regex, "2") && has_group(&regex, "0"));
        assert!(!has_group(&regex, "3") && !has_group(&regex, "m"));
    }
}
