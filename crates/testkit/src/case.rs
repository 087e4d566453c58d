//! Text cases: a configuration, what to send, what to expect; readable by a user, run against the real binary.
//!
//! ```yaml
//! about: one sentence that is true if the case passes
//! backends: { orders: { status: 200, body: ok }, gone: refuse }   # a reply, `refuse`, `silent` or `blackhole`
//! config: |                    # `${orders}` is the backend's URL
//!   ...
//! steps:
//!   - send: POST /orders       # a version may follow: `GET / HTTP/1.0`
//!     headers: { X-A: [one, two] }
//!     body: text, or a map sent as JSON
//!     from: 203.0.113.7        # says so by a PROXY protocol header
//!     listener: main
//!     repeat: 10
//!     expect:
//!       status: 200
//!       headers: { x-a: exact, x-b: present, x-c: absent, x-d: { contains: part }, x-e: [first, second] }
//!       body: exact text, or a map that the JSON must contain, or { contains: part }
//!       backend: { orders: { method: POST, target: /orders, headers: {...}, body: ... } }    # or `none`
//!       closed: true           # the gateway closes the connection
//!       spread: { a: [1, 90] } # with repeat: how many of the requests each backend got
//!       sticky: true           # with repeat: one backend got all of them
//!   - reload: |                # a new configuration; `refused: true` if it must be
//!       ...
//! ```
//! `${x*100}` in a request stands for a hundred `x`. A backend without a reply answers 200 with its own name.

use std::path::Path;

use serde_json::Value;

use crate::yaml;

mod backends;
mod compare;
mod run;

pub use run::run;

/// A case, ready to run.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file's name without its extension.
    pub name: String,
    pub about: String,
    pub config: String,
    backends: Vec<(String, Value)>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Send(Box<Send>),
    Reload { yaml: String, refused: bool },
}

#[derive(Debug, Clone, Default)]
struct Send {
    line: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    from: Option<std::net::IpAddr>,
    listener: Option<String>,
    repeat: usize,
    expect: Expect,
}

#[derive(Debug, Clone, Default)]
struct Expect {
    status: Option<u16>,
    headers: Vec<(String, Value)>,
    body: Option<Value>,
    backend: Option<Value>,
    spread: Vec<(String, u64, u64)>,
    sticky: bool,
    closed: Option<bool>,
}

/// Reads a case; the error names the file and what is wrong with it.
pub fn load(path: &Path) -> Result<Case, String> {
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&name, &text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Reads a case from its text.
pub fn parse(name: &str, text: &str) -> Result<Case, String> {
    let mut case = Case {
        name: name.to_owned(),
        about: String::new(),
        config: String::new(),
        backends: Vec::new(),
        steps: Vec::new(),
    };
    for (key, value) in entries(&yaml::parse(text)?)? {
        match key.as_str() {
            "about" => case.about = string(&value)?,
            "config" => case.config = string(&value)?,
            "backends" => case.backends = entries(&value)?,
            "steps" => {
                for (index, step) in items(&value)?.iter().enumerate() {
                    case.steps
                        .push(parse_step(step).map_err(|e| format!("step {}: {e}", index + 1))?);
                }
            }
            other => return Err(format!("a case has no `{other}`")),
        }
    }
    if case.about.is_empty() || case.config.is_empty() || case.steps.is_empty() {
        return Err("a case needs `about`, `config` and `steps`".to_owned());
    }
    Ok(case)
}

fn parse_step(value: &Value) -> Result<Step, String> {
    if let Some(yaml) = value.get("reload") {
        let refused = value.get("refused").is_some_and(|v| v == true);
        return Ok(Step::Reload {
            yaml: string(yaml)?,
            refused,
        });
    }
    let mut send = Send {
        repeat: 1,
        ..Send::default()
    };
    for (key, value) in entries(value)? {
        match key.as_str() {
            "send" => send.line = expand(&string(&value)?)?,
            "headers" => {
                for (name, value) in entries(&value)? {
                    for value in value.as_array().cloned().unwrap_or_else(|| vec![value]) {
                        send.headers.push((name.clone(), expand(&scalar(&value))?));
                    }
                }
            }
            "body" => {
                if let Some(text) = value.as_str() {
                    send.body = Some(expand(text)?.into_bytes());
                } else {
                    send.headers
                        .push(("Content-Type".to_owned(), "application/json".to_owned()));
                    send.body = Some(value.to_string().into_bytes());
                }
            }
            "from" => send.from = Some(string(&value)?.parse().map_err(|e| format!("`from`: {e}"))?),
            "listener" => send.listener = Some(string(&value)?),
            "repeat" => send.repeat = number(&value)?,
            "expect" => send.expect = parse_expect(&value)?,
            other => return Err(format!("a step has no `{other}`")),
        }
    }
    if send.line.split(' ').count() < 2 {
        return Err(format!("`send` must be a request line, not {:?}", send.line));
    }
    Ok(Step::Send(Box::new(send)))
}

fn parse_expect(value: &Value) -> Result<Expect, String> {
    let mut expect = Expect::default();
    for (key, value) in entries(value)? {
        match key.as_str() {
            "status" => expect.status = Some(number(&value)?),
            "headers" => expect.headers = entries(&value)?,
            "body" => expect.body = Some(value),
            "backend" => expect.backend = Some(value),
            "closed" => expect.closed = value.as_bool(),
            "sticky" => expect.sticky = value == true,
            "spread" => {
                for (name, range) in entries(&value)? {
                    match items(&range)?.as_slice() {
                        [min, max] => expect.spread.push((name, number(min)?, number(max)?)),
                        _ => return Err(format!("`spread` of `{name}` must be [least, most]")),
                    }
                }
            }
            other => return Err(format!("`expect` has no `{other}`")),
        }
    }
    Ok(expect)
}

fn entries(value: &Value) -> Result<Vec<(String, Value)>, String> {
    let map = value
        .as_object()
        .ok_or_else(|| format!("expected a map, got {value}"))?;
    Ok(map.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn items(value: &Value) -> Result<Vec<Value>, String> {
    value
        .as_array()
        .cloned()
        .ok_or_else(|| format!("expected a list, got {value}"))
}

fn string(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("expected a text, got {value}"))
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number<N: TryFrom<u64>>(value: &Value) -> Result<N, String> {
    let wrong = || format!("expected a small number, got {value}");
    N::try_from(value.as_u64().ok_or_else(wrong)?).map_err(|_| wrong())
}

/// Replaces `${x*3}` by `xxx`.
fn expand(text: &str) -> Result<String, String> {
    let Some((before, rest)) = text.split_once("${") else {
        return Ok(text.to_owned());
    };
    let (what, after) = rest
        .split_once('}')
        .ok_or_else(|| format!("no end of `${{` in {text:?}"))?;
    let (piece, times) = what
        .rsplit_once('*')
        .ok_or_else(|| format!("expected `${{text*times}}` in {text:?}"))?;
    let times = times.parse().map_err(|e| format!("{text:?}: {e}"))?;
    Ok(format!("{before}{}{}", piece.repeat(times), expand(after)?))
}

#[cfg(test)]
mod tests;
