//! What a forwarded request's path and host become: prefix stripped, path set, or parts replaced by expression.
//!
//! Everything starts from the path in normal form and ends in it: what a pattern captured is put in as it is, never
//! decoded; values a client chose freely (headers, cookies, parameters) are escaped to stay within one segment; and a
//! path that was put together is brought into normal form again, so that no rewrite can make a dot segment, a query or
//! a second request line.

pub mod redirect;

use crate::config::{self, HostHeader, Template, Variable};
use crate::http::normalize::{self, Form, Refusal, Shape};
use crate::route::Captures;
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;

/// The largest compiled form of one regular expression, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// A setting that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteError {
    /// Which one: `strip_prefix`, `path`, `rewrite.regex`.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// How the path of forwarded requests is made.
#[derive(Debug, Clone, Default)]
pub struct PathRewrite {
    strip: Option<Box<str>>,
    // Boxed, since most routes have neither and there may be thousands.
    set: Option<Box<UrlTemplate>>,
    replace: Option<Box<Replace>>,
}

/// A path as it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// The path.
    pub path: Cow<'a, str>,
    /// What was stripped from its beginning, for `X-Forwarded-Prefix`.
    pub stripped: Option<&'a str>,
}

/// What of a request paths and locations are made of.
pub struct Source<'a> {
    /// `http` or `https`, as the client used it.
    pub scheme: &'a str,
    /// The authority as sent; empty if there was none.
    pub host: &'a str,
    /// The path in normal form.
    pub path: &'a str,
    /// The query without `?`.
    pub query: Option<&'a str>,
    /// What the route's pattern captured in `path`.
    pub captures: &'a Captures,
    /// Writes the value of any other variable, as sent.
    pub other: &'a dyn Fn(&Variable, &mut Vec<u8>),
}

impl PathRewrite {
    /// Compiles the settings of a route that forwards; `captures` are the names its path captures, in order.
    ///
    /// # Errors
    /// All settings that are wrong.
    pub fn new(forward: &config::Forward, captures: &[&str]) -> Result<Self, Vec<RewriteError>> {
        let mut errors = Vec::new();
        let mut keep = |field, message| errors.push(RewriteError { field, message });
        let strip = forward.strip_prefix.as_deref().and_then(|prefix| {
            compile_prefix(prefix)
                .map_err(|message| keep("strip_prefix", message))
                .ok()
                .flatten()
        });
        let set = forward.path.as_ref().and_then(|template| {
            let checked = match template.literal() {
                Some(text) if !text.starts_with('/') => Err(format!("`{text}` does not begin with `/`")),
                _ if template.as_str().contains(['?', '#']) => Err(format!(
                    "`{}` has a query or fragment; only the path can be set",
                    template.as_str()
                )),
                _ => UrlTemplate::new(template, captures),
            };
            checked
                .map_err(|message| keep("path", message))
                .map(Box::new)
                .ok()
        });
        let replace = forward.rewrite.as_ref().and_then(|rewrite| {
            Replace::new(rewrite)
                .map_err(|(field, message)| keep(field, message))
                .map(Box::new)
                .ok()
        });
        if errors.is_empty() {
            Ok(Self { strip, set, replace })
        } else {
            Err(errors)
        }
    }

    /// True if paths stay as they are.
    pub fn is_nothing(&self) -> bool {
        self.strip.is_none() && self.set.is_none() && self.replace.is_none()
    }

    /// The prefix that is taken off, if one is.
    pub fn prefix(&self) -> Option<&str> {
        self.strip.as_deref()
    }

    /// Strips, then sets, then replaces; what is not asked for costs nothing.
    ///
    /// # Errors
    /// Why the path that came out cannot be sent.
    pub fn apply<'a>(&'a self, source: &Source<'a>) -> Result<Rewritten<'a>, Refusal> {
        let mut path = Cow::Borrowed(source.path);
        let mut stripped = None;
        if let Some(prefix) = &self.strip
            && let Some(rest) = strip_prefix(source.path, prefix)
        {
            path = Cow::Borrowed(rest);
            stripped = Some(&**prefix);
        }
        if let Some(template) = &self.set {
            let mut out = Vec::with_capacity(64);
            template.render(source, &mut out);
            path = Cow::Owned(finish(&String::from_utf8_lossy(&out))?);
        }
        if let Some(replace) = &self.replace
            && let Some(replaced) = replace.apply(&path)
        {
            path = Cow::Owned(finish(&replaced)?);
        }
        Ok(Rewritten { path, stripped })
    }
}

/// The prefix in normal form without a final slash; none if there is nothing to strip.
fn compile_prefix(prefix: &str) -> Result<Option<Box<str>>, String> {
    let mut normal = String::new();
    normalize::write(
        prefix,
        Form {
            decode: false,
            merge: true,
        },
        &mut normal,
    )
    .map_err(|refusal| format!("`{prefix}` is no prefix of a path: {refusal}"))?;
    if prefix.contains(['?', '#', '{', '*']) {
        return Err(format!(
            "`{prefix}` is no prefix of a path; expected plain segments such as `/v1`"
        ));
    }
    let trimmed = normal.trim_end_matches('/');
    Ok((!trimmed.is_empty()).then(|| trimmed.into()))
}

/// The path below a prefix, in whole segments; `/` if nothing is left, none if the path is not below it.
pub fn strip_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match path.strip_prefix(prefix)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

/// The `Host` that is sent: the client's, the endpoint's, or a fixed one.
pub fn host<'a>(setting: &'a HostHeader, sent: &'a str, endpoint: &'a str) -> &'a str {
    match setting {
        HostHeader::Preserve if !sent.is_empty() => sent,
        HostHeader::Preserve | HostHeader::Upstream => endpoint,
        HostHeader::Literal(host) => host,
    }
}

/// A path that was put together, absolute and in normal form. Slashes stay as the route's own form left them.
fn finish(path: &str) -> Result<String, Refusal> {
    let rooted = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    if normalize::shape(&rooted) == Shape::Normal {
        return Ok(rooted);
    }
    let mut out = String::new();
    normalize::write(
        &rooted,
        Form {
            decode: false,
            merge: false,
        },
        &mut out,
    )?;
    Ok(out)
}

/// A template whose values become part of a URL.
#[derive(Debug, Clone)]
struct UrlTemplate {
    template: Template,
    /// The captures in the template and their positions.
    captures: Vec<(String, usize)>,
}

impl UrlTemplate {
    fn new(template: &Template, captures: &[&str]) -> Result<Self, String> {
        let mut places = Vec::new();
        for variable in template.variables() {
            let Variable::Capture(name) = variable else {
                continue;
            };
            let Some(at) = captures.iter().position(|capture| capture == name) else {
                let known = match captures {
                    [] => "the route's path captures nothing".to_owned(),
                    names => format!("the route's path captures `{}`", names.join("`, `")),
                };
                return Err(format!(
                    "`{}` uses `${{path.{name}}}`, but {known}",
                    template.as_str()
                ));
            };
            places.push((name.clone(), at));
        }
        Ok(Self {
            template: template.clone(),
            captures: places,
        })
    }

    fn render(&self, source: &Source<'_>, out: &mut Vec<u8>) {
        self.template.render(out, &mut |variable, out| match variable {
            Variable::Path => out.extend_from_slice(source.path.as_bytes()),
            Variable::Host => out.extend_from_slice(source.host.as_bytes()),
            Variable::Scheme => out.extend_from_slice(source.scheme.as_bytes()),
            Variable::Query if out.contains(&b'?') => {
                out.extend_from_slice(source.query.unwrap_or_default().as_bytes());
            }
            Variable::Query => escape(source.query.unwrap_or_default().as_bytes(), out),
            Variable::Capture(name) => {
                let at = self
                    .captures
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, at)| *at);
                let text = at
                    .and_then(|at| source.captures.text(at, source.path))
                    .unwrap_or_default();
                // Where a host is being written, a capture must not end it.
                if is_in_authority(out) {
                    escape(text.as_bytes(), out);
                } else {
                    out.extend_from_slice(text.as_bytes());
                }
            }
            _ => {
                let mut value = Vec::new();
                (source.other)(variable, &mut value);
                escape(&value, out);
            }
        });
    }
}

/// Whether what comes next belongs to the authority of a URL: `scheme://` or `//` stands before, and nothing ended it.
fn is_in_authority(out: &[u8]) -> bool {
    let Some(slashes) = memchr::memmem::find(out, b"//") else {
        return false;
    };
    let (before, rest) = (
        out.get(..slashes).unwrap_or_default(),
        out.get(slashes + 2..).unwrap_or_default(),
    );
    (before.is_empty() || before.ends_with(b":"))
        && !before.contains(&b'/')
        && !rest.iter().any(|byte| matches!(byte, b'/' | b'?' | b'#'))
}

/// Writes a value so that it stays what it is in any part of a URL: everything but unreserved characters escaped.
fn escape(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// A regular expression and what comes in the place of its matches.
#[derive(Debug, Clone)]
struct Replace {
    regex: Regex,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replace {
    fn new(rewrite: &config::Rewrite) -> Result<Self, (&'static str, String)> {
        let regex = RegexBuilder::new(&rewrite.regex).size_limit(REGEX_SIZE).build();
        let regex = regex.map_err(|error| ("rewrite.regex", error.to_string()))?;
        let parts = replacement(&rewrite.to, &regex).map_err(|message| ("rewrite.to", message))?;
        Ok(Self { regex, parts })
    }

    /// Replaces every match; none if there is none.
    fn apply(&self, path: &str) -> Option<String> {
        let mut out = String::with_capacity(path.len() + 16);
        let mut end = 0;
        let mut matched = false;
        for groups in self.regex.captures_iter(path) {
            let whole = groups.get(0)?;
            out.push_str(path.get(end..whole.start())?);
            for part in &self.parts {
                out.push_str(match part {
                    Part::Text(text) => text,
                    Part::Group(group) => groups.get(*group).map_or("", |found| found.as_str()),
                });
            }
            end = whole.end();
            matched = true;
        }
        out.push_str(path.get(end..)?);
        matched.then_some(out)
    }
}

/// Cuts a replacement: `$1` or `${1}` is a group by number, `${name}` by name, `$$` a dollar sign.
fn replacement(text: &str, regex: &Regex) -> Result<Vec<Part>, String> {
    if text.contains(['?', '#']) {
        return Err(format!(
            "`{text}` has a query or fragment; only the path can be rewritten"
        ));
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            literal.push('$');
            rest = tail;
            continue;
        }
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (name, tail) = match after.strip_prefix('{').map(|body| body.split_once('}')) {
            Some(Some(split)) => split,
            None if digits > 0 => after.split_at(digits),
            _ => {
                return Err(format!(
                    "`{text}` has a lone `$`; expected `$1`, `${{name}}`, or `$$` for a dollar sign"
                ));
            }
        };
        let group = match name.parse::<usize>() {
            Ok(number) => Some(number).filter(|number| *number < regex.captures_len()),
            Err(_) => regex.capture_names().position(|known| known == Some(name)),
        };
        let group = group
            .ok_or_else(|| format!("`{text}` uses the group `{name}`, which the expression does not have"))?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Group(group));
        rest = tail;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
