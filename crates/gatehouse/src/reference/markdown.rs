//! Small pieces of Markdown.

/// A text on one line of a table: no line breaks, no bars.
pub(super) fn cell(text: &str) -> String {
    let paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs
        .filter(|paragraph| !paragraph.is_empty())
        .collect::<Vec<_>>()
        .join("<br>")
        .replace('|', "\\|")
}

/// Up to and with the first full stop that ends a sentence.
pub(super) fn first_sentence(text: &str) -> String {
    let line = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    match line.find(". ") {
        Some(end) => line.get(..=end).unwrap_or(&line).to_owned(),
        None => line,
    }
}

/// The anchor that the usual renderers give to a heading.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_one_line() {
        assert_eq!(cell("a\nb | c\n\nd\n"), "a b \\| c<br>d");
    }

    #[test]
    fn the_first_sentence_ends_at_a_full_stop_and_a_space() {
        assert_eq!(
            first_sentence("Takes 1.5 s\nat most. More."),
            "Takes 1.5 s at most."
        );
        assert_eq!(first_sentence("All of it"), "All of it");
    }

    #[test]
    fn anchors_are_as_renderers_make_them() {
        assert_eq!(anchor("`upstreams.NAME.timeouts`"), "upstreamsnametimeouts");
        assert_eq!(anchor("Value match"), "value-match");
    }
}
