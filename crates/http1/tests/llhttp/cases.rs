//! Reads the cases from llhttp's Markdown: a heading, a `meta` comment, an `http` block and a `log` block.

use std::path::Path;

/// One case.
pub(crate) struct Case {
    /// `folder/file: heading`, with a number if several cases share a heading.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) is_lenient: bool,
    /// The body is left where it is, as for the response to HEAD.
    pub(crate) skip_body: bool,
    pub(crate) input: Vec<u8>,
    pub(crate) expected: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Request,
    Response,
}

/// What a parser makes of an input.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) refusal: Option<String>,
    /// The messages whose head is complete, with as much of the body as has come.
    pub(crate) messages: Vec<Message>,
}

/// A message as both parsers can describe it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// The method or the status.
    pub(crate) method: String,
    /// The target or the reason.
    pub(crate) text: String,
    pub(crate) version: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

/// All cases, by file and place.
pub(crate) fn read() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/llhttp");
    let mut cases = Vec::new();
    for (folder, kind) in [("request", Kind::Request), ("response", Kind::Response)] {
        let mut files: Vec<_> = std::fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let stem = file.file_stem().unwrap().to_str().unwrap();
            read_file(
                &format!("{folder}/{stem}"),
                kind,
                &std::fs::read_to_string(&file).unwrap(),
                &mut cases,
            );
        }
    }
    cases
}

fn read_file(file: &str, kind: Kind, text: &str, cases: &mut Vec<Case>) {
    let (mut heading, mut meta, mut input) = ("", "", None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim();
        } else if line.starts_with("<!-- meta=") {
            meta = line;
        } else if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match (language, input.take()) {
                ("http", _) => input = Some(unescape(&block.join("\n"))),
                ("log", Some(input)) => {
                    let mut name = format!("{file}: {heading}");
                    let before = cases.iter().filter(|case| case.name.starts_with(&name)).count();
                    if before > 0 {
                        name = format!("{name} ({})", before + 1);
                    }
                    let expected = expected(kind, &input, &block);
                    cases.push(Case {
                        name,
                        kind,
                        is_lenient: meta.contains("-lenient"),
                        skip_body: meta.contains("skipBody"),
                        input,
                        expected,
                    });
                }
                _ => {}
            }
        }
    }
}

/// Undoes what llhttp's tests do to write bytes as text: lines end in CR LF, unless joined by a backslash.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('\n', _) => out.extend_from_slice(b"\r\n"),
            ('\\', Some('\n')) => drop(chars.next()),
            ('\\', Some('r' | 'n' | 't' | 'f')) => out.push(match chars.next() {
                Some('r') => b'\r',
                Some('n') => b'\n',
                Some('t') => b'\t',
                _ => b'\x0c',
            }),
            ('\\', Some('x')) => {
                chars.next();
                let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_hexdigit)).collect();
                // llhttp writes its inputs as UTF-8.
                let char = char::from(u8::from_str_radix(&digits, 16).unwrap());
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

/// What llhttp's log says of the input. Spans are taken from the input by offset and length.
fn expected(kind: Kind, input: &[u8], log: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut message = Message::default();
    let (mut name, mut value) = (String::new(), String::new());
    for line in log {
        let Some((offset, rest)) = line.strip_prefix("off=").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        if let Some(error) = rest.strip_prefix("error code=") {
            // 21 to 23 are pauses, not errors.
            if !["21 ", "22 ", "23 "].iter().any(|pause| error.starts_with(pause)) {
                outcome.refusal = Some(error.to_owned());
            }
        } else if let Some((len, span)) = rest.strip_prefix("len=").and_then(|rest| rest.split_once(' ')) {
            let (offset, len): (usize, usize) = (offset.parse().unwrap(), len.parse().unwrap());
            let text: String = input[offset..offset + len]
                .iter()
                .map(|&byte| char::from(byte))
                .collect();
            match span.split(']').next().unwrap() {
                "span[method" => message.method += &text,
                "span[url" | "span[status" => message.text += &text,
                "span[version" => message.version += &text,
                "span[header_field" => name += &text,
                "span[header_value" => value += &text,
                "span[body" => outcome.messages.last_mut().unwrap().body += &text,
                _ => {}
            }
        } else if rest == "message begin" {
            message = Message::default();
        } else if rest == "header_value complete" {
            // llhttp leaves whitespace at the end of a value to its users.
            let field = (
                std::mem::take(&mut name),
                value.trim_end_matches([' ', '\t']).to_owned(),
            );
            value.clear();
            // After the head this is a trailer, which is of no consequence here.
            message.fields.push(field);
        } else if rest.starts_with("headers complete") {
            if kind == Kind::Response {
                message.method = status(rest);
            }
            outcome.messages.push(message.clone());
        }
    }
    outcome
}

fn status(line: &str) -> String {
    line.split("status=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}
