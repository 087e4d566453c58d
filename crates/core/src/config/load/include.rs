//! `include`: more files with sections by name.

use super::assemble::{Assembly, NAMED, items};
use super::{Loading, read_file, reason};
use crate::config::diagnostic::{Diagnostic, list};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// So many files are included at most.
const MOST_FILES: usize = 1000;

/// So many bytes have all files together at most.
const MOST_BYTES: usize = 64 << 20;

impl Loading<'_> {
    /// Reads the files that the patterns name, relative to the main file.
    pub(super) fn include(&mut self, patterns: &[Value], main: &Path, assembly: &mut Assembly) {
        let folder = main.parent().unwrap_or(Path::new(""));
        let mut seen: HashSet<PathBuf> = main.canonicalize().into_iter().collect();
        let mut bytes = 0;
        for (index, pattern) in patterns.iter().enumerate() {
            let Some(pattern) = pattern.as_str() else { continue };
            let path = format!("include[{index}]");
            let files = match matching(folder, pattern, &mut self.watch) {
                Ok(files) => files,
                Err(message) => {
                    self.out.push(Diagnostic::halves(path, &message));
                    continue;
                }
            };
            if files.is_empty() {
                self.out.push(Diagnostic::warning(
                    path.as_str(),
                    format!("`{pattern}` is the name of no file"),
                ));
            }
            for file in files {
                // Two patterns may name the same file; it is read once.
                if !seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                    continue;
                }
                if seen.len() > MOST_FILES || bytes > MOST_BYTES {
                    let message = format!(
                        "too much is included; the most is {MOST_FILES} files and {MOST_BYTES} bytes"
                    );
                    self.out.push(Diagnostic::halves(path, &message));
                    return;
                }
                match read_file(&file) {
                    Ok(text) => {
                        bytes += text.len();
                        self.merge(&file, text, assembly);
                    }
                    Err(reason) => {
                        let message = format!("`{}` cannot be read: {reason}", file.display());
                        self.out.push(Diagnostic::error(path.as_str(), message));
                    }
                }
            }
        }
    }

    fn merge(&mut self, file: &Path, text: String, assembly: &mut Assembly) {
        let name = file.display().to_string();
        self.watch.push(file.to_owned());
        let Some(root) = self.parse(&name, text, assembly) else {
            return;
        };
        let number = self.sources.files().len() - 1;
        for (section, value) in root {
            let before = self.out.len();
            self.merge_section(&section, value, number, assembly);
            // What was said about the form of a section is about this file.
            let place = self.sources.place_in(number, &section, true);
            self.out.place_from(before, place.as_ref());
        }
    }

    fn merge_section(&mut self, section: &str, value: Value, file: usize, assembly: &Assembly) {
        let Some((section, kind)) = NAMED.into_iter().find(|(known, _)| *known == section) else {
            let message = format!("`{section}` is not for included files");
            let help = format!(
                "put it into the main file; included files have {}",
                list(NAMED.map(|(name, _)| name))
            );
            self.out.push(Diagnostic::error(section, message).help(help));
            return;
        };
        let items: Map<String, Value> = items(section, value, &mut self.out).unwrap_or_default();
        for name in items.keys() {
            let path = format!("{section}.{name}");
            if assembly.is_twice(&path) {
                let first = self.sources.place(&path, true);
                let first = first.map(|place| format!("{}:{}:{}", place.file, place.line, place.column));
                let mut diagnostic =
                    Diagnostic::error(path.as_str(), format!("{kind} `{name}` is written twice"));
                diagnostic.place = self.sources.place_in(file, &path, true);
                self.out
                    .push(diagnostic.help(format!("the first is at {}", first.unwrap_or_default())));
            } else {
                self.sources.own(path, file);
            }
        }
    }
}

/// The files a pattern names, in the order of their names. What must be watched to see more is added.
fn matching(folder: &Path, pattern: &str, watch: &mut Vec<PathBuf>) -> Result<Vec<PathBuf>, String> {
    let (parent, last) = match pattern.rsplit_once('/') {
        Some(("", last)) => (PathBuf::from("/"), last),
        Some((parent, last)) => (folder.join(parent), last),
        None => (folder.to_owned(), pattern),
    };
    if last.is_empty() {
        return Err(format!(
            "`{pattern}` names a directory; expected such as `teams/*.yaml`"
        ));
    }
    if pattern
        .strip_suffix(last)
        .is_some_and(|front| front.contains('*'))
    {
        return Err(format!(
            "`{pattern}` has a `*` in a directory; only the last part may have one"
        ));
    }
    if !last.contains('*') {
        return Ok(vec![parent.join(last)]);
    }
    let parent = if parent.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parent
    };
    let entries = std::fs::read_dir(&parent)
        .map_err(|error| format!("`{pattern}` cannot be listed: {}", reason(&error)))?;
    let hidden = last.starts_with('.');
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("`{pattern}` cannot be listed: {}", reason(&error)))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if fits(last, name) && (hidden || !name.starts_with('.')) && entry.path().is_file() {
            files.push(parent.join(name));
        }
    }
    files.sort_unstable();
    watch.push(parent);
    Ok(files)
}

/// Whether the name fits a pattern in which `*` is any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_any_text() {
        let cases = [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", ".yaml", true),
            ("*.yaml", "a.yml", false),
            ("team-*.yaml", "team-a.yaml", true),
            ("team-*.yaml", "team-.yaml", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("ab*ba", "aba", false),
            ("*", "anything", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ];
        for (pattern, name, fit) in cases {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }
}
