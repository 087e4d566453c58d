//! Where a redirect leads: the value of `Location` (RFC 9110 10.2.2).
//!
//! Either the whole target is given, or the request's own URL with parts of it changed. No part that a client chose can
//! change the host: a target that begins with its path never begins with two slashes, and see `UrlTemplate`.

use super::{RewriteError, Source, UrlTemplate};
use crate::config::{self, UrlScheme};
use crate::http::normalize::Refusal;

/// The target of a redirect, compiled.
#[derive(Debug, Clone)]
pub struct Target {
    to: Option<UrlTemplate>,
    scheme: Option<UrlScheme>,
    host: Option<UrlTemplate>,
    path: Option<UrlTemplate>,
    keep_query: bool,
}

/// How a target may begin: with what a client cannot turn into another scheme or host.
const STARTS: [&str; 5] = [
    "https://",
    "http://",
    "/",
    "${request.scheme}://",
    "${request.path}",
];

impl Target {
    /// Compiles the settings; `captures` are the names the route's path captures, in order.
    ///
    /// # Errors
    /// All settings that are wrong.
    pub fn new(redirect: &config::Redirect, captures: &[&str]) -> Result<Self, Vec<RewriteError>> {
        let mut errors = Vec::new();
        if let Some(to) = &redirect.to
            && !STARTS.iter().any(|start| to.as_str().starts_with(start))
        {
            let message = format!(
                "`{}` is no target; it must begin with one of `{}`",
                to.as_str(),
                STARTS.join("`, `")
            );
            errors.push(RewriteError { field: "to", message });
            return Err(errors);
        }
        let mut compile = |field, template: &Option<config::Template>| {
            let compiled = template
                .as_ref()
                .map(|template| UrlTemplate::new(template, captures))
                .transpose();
            compiled
                .map_err(|message| errors.push(RewriteError { field, message }))
                .ok()
                .flatten()
        };
        let target = Self {
            to: compile("to", &redirect.to),
            host: compile("host", &redirect.host),
            path: compile("path", &redirect.path),
            scheme: redirect.scheme,
            keep_query: redirect.keep_query,
        };
        if errors.is_empty() {
            Ok(target)
        } else {
            Err(errors)
        }
    }

    /// The location for a request.
    ///
    /// # Errors
    /// Why the path that came out is none.
    pub fn location(&self, source: &Source<'_>) -> Result<String, Refusal> {
        let mut location = match &self.to {
            Some(template) => whole(template, source),
            None => self.parts(source)?,
        };
        if let Some(query) = source.query.filter(|query| self.keep_query && !query.is_empty())
            && !location.contains('?')
        {
            let at = location.find('#').unwrap_or(location.len());
            location.insert_str(at, query);
            location.insert(at, '?');
        }
        Ok(location)
    }

    fn parts(&self, source: &Source<'_>) -> Result<String, Refusal> {
        let path = match &self.path {
            None => source.path.to_owned(),
            Some(template) => super::finish(&render(template, source, ""))?,
        };
        let scheme = self.scheme.map_or(source.scheme, |scheme| scheme.as_str());
        let host = match &self.host {
            Some(template) => render(template, source, "//"),
            // The port belonged to the other scheme.
            None if scheme != source.scheme => without_port(source.host).to_owned(),
            None => source.host.to_owned(),
        };
        Ok(if host.is_empty() {
            one_slash(path)
        } else {
            format!("{scheme}://{host}{path}")
        })
    }
}

fn whole(template: &UrlTemplate, source: &Source<'_>) -> String {
    let target = render(template, source, "");
    // Two slashes that the configuration itself begins with mean another host; others do not.
    if template.template.literal_start().starts_with("//") {
        target
    } else {
        one_slash(target)
    }
}

/// A template as text, written after `before`, which tells whether a host is being written.
fn render(template: &UrlTemplate, source: &Source<'_>, before: &str) -> String {
    let mut out = before.as_bytes().to_vec();
    template.render(source, &mut out);
    String::from_utf8_lossy(out.get(before.len()..).unwrap_or_default()).into_owned()
}

/// `//host/` at the beginning of a location is another host (RFC 3986 4.2).
fn one_slash(target: String) -> String {
    if target.starts_with("//") {
        format!("/{}", target.trim_start_matches('/'))
    } else {
        target
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
