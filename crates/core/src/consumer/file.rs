//! Consumers of a file: one on each line, as JSON.
//!
//! A good line is read once, straight into its type. Only what that refuses is looked at again, to say what is wrong
//! with it in the words that are used for the document.

use std::path::Path;

use serde_json::Value;

use crate::config::{Diagnostic, Diagnostics, NamedConsumer, Place, Reader};

/// Longer files are refused.
const LARGEST: u64 = 256 * 1024 * 1024;

/// After so many bad lines the rest is not looked at.
const MOST_BAD: usize = 20;

/// The consumers of the file, each with the number of its line. What is wrong is told.
pub(super) fn read(path: &Path, reader: &Reader, out: &mut Vec<Diagnostic>) -> Vec<(usize, NamedConsumer)> {
    let bytes = match reader.long_file(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(why) => {
            let message = format!("cannot read `{}`: {why}", path.display());
            out.push(Diagnostic::error("consumers_from.file", message));
            return Vec::new();
        }
    };
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.map(|(i, line)| (i + 1, line.trim_ascii()));
    let mut found = Vec::new();
    let mut bad = 0;
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(consumer) => found.push((number, consumer)),
            Err(error) => {
                bad += 1;
                explain(line, &error, &Line { path, number }, reader, out);
            }
        }
        if bad == MOST_BAD {
            let message = format!("{MOST_BAD} lines are wrong: what follows was not looked at");
            out.push(Line { path, number }.says(Diagnostic::error("consumers_from.file", message), 1));
            break;
        }
    }
    found
}

/// A line of the file.
pub(super) struct Line<'a> {
    pub path: &'a Path,
    pub number: usize,
}

impl Line<'_> {
    /// Says that a diagnostic is about this line. There is no excerpt, so what to write instead stands by itself.
    pub fn says(&self, diagnostic: Diagnostic, column: usize) -> Diagnostic {
        let help = diagnostic.help.or(diagnostic.hint);
        Diagnostic {
            place: Some(Place {
                file: self.path.display().to_string(),
                line: self.number,
                column,
                width: 1,
            }),
            hint: None,
            help,
            ..diagnostic
        }
    }
}

fn explain(
    line: &[u8],
    error: &serde_json::Error,
    at: &Line<'_>,
    reader: &Reader,
    out: &mut Vec<Diagnostic>,
) {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        let message = format!("line {} is no JSON object: {}", at.number, reason(error));
        out.push(at.says(
            Diagnostic::error("consumers_from.file", message),
            error.column().max(1),
        ));
        return;
    };
    let name = value.get("name").and_then(Value::as_str).unwrap_or("?");
    let mut told = Diagnostics::default();
    reader.read::<NamedConsumer>(&value, &format!("consumers.{name}"), &mut told);
    if told.is_empty() {
        // A field twice, which a value does not show.
        let message = format!("line {} is no consumer: {}", at.number, reason(error));
        told.push(Diagnostic::error("consumers_from.file", message));
    }
    out.extend(told.into_iter().map(|diagnostic| at.says(diagnostic, 1)));
}

/// What the parser says, without the place: to it, all there is is one line.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
