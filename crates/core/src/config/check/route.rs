//! Routes: what they match, and what answers them.

use super::regex::{compile_regex, has_group, replacement_groups};
use super::{Check, is_token};
use crate::config::diagnostic::{Diagnostic, list};
use crate::config::route::{Forward, Match, Redirect, Reply, Route, Sticky};
use crate::config::template::{Template, Variable};
use crate::config::types::{PathForm, PathPattern, ValueMatch, ValueTest};
use crate::http::upgrade::is_of_transport;
use indexmap::IndexMap;
use std::collections::HashSet;

/// Fields of a message that are ours to write.
const FRAMING: [&str; 5] = [
    "connection",
    "content-length",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
];

impl Check<'_> {
    pub(super) fn routes(&mut self) {
        for (name, route) in &self.config.routes {
            let path = format!("routes.{name}");
            if !self.broken.has(&path) {
                self.one_action(&path, name, route);
            }
            self.matching(&path, name, &route.r#match);
            self.policies(&format!("{path}.policies"), &route.policies);
            if let Some(timeout) = route.timeout {
                self.longer_than_nothing(&path, [("timeout", timeout)]);
            }
            if let Some(forward) = &route.forward {
                self.forward(&format!("{path}.forward"), name, route, forward);
            }
            if let Some(reply) = &route.reply {
                self.reply(&format!("{path}.reply"), reply);
            }
            if let Some(redirect) = &route.redirect {
                self.redirect(&path, name, route, redirect);
            }
        }
    }

    fn one_action(&mut self, path: &str, name: &str, route: &Route) {
        let actions = [
            route.forward.is_some().then_some("forward"),
            route.reply.is_some().then_some("reply"),
            route.redirect.is_some().then_some("redirect"),
        ];
        let actions: Vec<&str> = actions.into_iter().flatten().collect();
        match actions.as_slice() {
            [_] => {}
            [] => {
                let message = format!("route `{name}` answers nothing");
                let diagnostic = Diagnostic::error(path, message).at_key();
                self.out
                    .push(diagnostic.hint("give it `forward`, `reply` or `redirect`"));
            }
            [.., last] => {
                let message = format!(
                    "route `{name}` has more than one answer: {}; keep one",
                    list(actions.iter().copied())
                );
                self.halves(format!("{path}.{last}"), message);
            }
        }
    }

    fn matching(&mut self, path: &str, name: &str, conditions: &Match) {
        for (index, method) in conditions.methods.iter().enumerate() {
            let path = format!("{path}.match.methods[{index}]");
            if !is_token(method) {
                self.halves(
                    path,
                    format!(
                        "`{}` is not a method; expected such as `GET`",
                        method.escape_debug()
                    ),
                );
            } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
                self.halves(
                    path,
                    format!(
                        "`{method}` is in lower case; methods are matched letter for letter, write `{}`",
                        method.to_uppercase()
                    ),
                );
            }
        }
        for (index, listener) in conditions.listeners.iter().enumerate() {
            let path = format!("{path}.match.listeners[{index}]");
            let sentence = format!("route `{name}` matches listener");
            self.refers(&path, &sentence, "listeners", &self.config.listeners, listener);
        }
        if let Some(PathForm::Regex(regex)) = conditions.path.as_ref().map(PathPattern::form)
            && let Err(message) = compile_regex(regex)
        {
            self.halves(format!("{path}.match.path"), message);
        }
        self.values(
            &format!("{path}.match.headers"),
            Some("header"),
            &conditions.headers,
        );
        self.values(&format!("{path}.match.query"), None, &conditions.query);
        self.values(
            &format!("{path}.match.cookies"),
            Some("cookie"),
            &conditions.cookies,
        );
        if conditions.version.is_some() && self.config.versions.is_none() && !self.broken.has("versions") {
            let message = format!(
                "route `{name}` matches a version, but nothing says where a version is; add the section `versions`"
            );
            self.halves(format!("{path}.match.version"), message);
        }
    }

    fn values(&mut self, path: &str, token: Option<&str>, values: &IndexMap<String, ValueMatch>) {
        for (name, value) in values {
            let path = format!("{path}.{name}");
            if let Some(what) = token {
                self.token(path.clone(), what, name);
            }
            if let ValueTest::Regex(regex) = &value.test
                && let Err(message) = compile_regex(regex)
            {
                let path = format!("{path}.regex");
                self.halves(path, message);
            }
        }
    }

    fn forward(&mut self, path: &str, name: &str, route: &Route, forward: &Forward) {
        let whole = !self.broken.has(&format!("routes.{name}"));
        match (&forward.upstream, forward.split.is_empty()) {
            (Some(_), false) => self.halves(
                format!("{path}.split"),
                format!("route `{name}` has both `upstream` and `split`; keep one"),
            ),
            (None, true) if whole => self.halves(
                path,
                format!("route `{name}` forwards to nothing; give `upstream` or `split`"),
            ),
            _ => {}
        }
        let split = forward
            .split
            .iter()
            .enumerate()
            .map(|(i, part)| (format!("{path}.split[{i}].upstream"), &part.upstream));
        let one = forward
            .upstream
            .iter()
            .map(|upstream| (format!("{path}.upstream"), upstream));
        let mut seen = HashSet::new();
        for (path, upstream) in one.chain(split) {
            let sentence = format!("route `{name}` forwards to upstream");
            self.refers(&path, &sentence, "upstreams", &self.config.upstreams, upstream);
            if !seen.insert(upstream) {
                self.halves(
                    path,
                    format!("upstream `{upstream}` is written twice; keep one, with the sum of the weights"),
                );
            }
        }
        if !forward.split.is_empty() && forward.split.iter().all(|part| part.weight == 0) && whole {
            self.halves(
                format!("{path}.split"),
                "all weights are `0`; expected one with more",
            );
        }
        match &forward.sticky {
            Some(Sticky::Header(header)) => self.token(format!("{path}.sticky.header"), "header", header),
            Some(Sticky::Cookie(cookie)) => self.token(format!("{path}.sticky.cookie"), "cookie", cookie),
            Some(Sticky::ClientIp | Sticky::Consumer) | None => {}
        }
        self.forward_path(path, name, route, forward);
        self.upgrades(path, forward);
    }

    fn upgrades(&mut self, path: &str, forward: &Forward) {
        for (index, protocol) in forward.upgrades.iter().enumerate() {
            let field = format!("{path}.upgrades[{index}]");
            let mut parts = protocol.splitn(2, '/');
            if !parts.all(is_token) {
                let shown = protocol.escape_debug();
                self.halves(
                    field,
                    format!("`{shown}` is not a protocol; expected such as `websocket`"),
                );
            } else if is_of_transport(protocol) {
                let message = format!(
                    "`{protocol}` would let requests pass that nobody has looked at; leave it out, it is never switched to"
                );
                self.halves(field, message);
            }
        }
        let tunnel = &forward.tunnel;
        self.longer_than_nothing(
            &format!("{path}.tunnel"),
            [("idle", tunnel.idle), ("max_age", tunnel.max_age)],
        );
    }

    fn forward_path(&mut self, path: &str, name: &str, route: &Route, forward: &Forward) {
        if let Some(prefix) = &forward.strip_prefix
            && (!prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['?', '#', '{', '*']))
        {
            let message = format!(
                "`{prefix}` is not a beginning of a path; expected such as `/v1`, without a slash at its end"
            );
            self.halves(format!("{path}.strip_prefix"), message);
        }
        if let Some(template) = &forward.path {
            let field = format!("{path}.path");
            if forward.strip_prefix.is_some() || forward.rewrite.is_some() {
                let message =
                    "`path` sets the whole path, so `strip_prefix` and `rewrite` would do nothing; keep one";
                self.halves(field.as_str(), message);
            }
            let start = template.literal_start();
            let whole_path = start.is_empty() && template.variables().next() == Some(&Variable::Path);
            if !start.starts_with('/') && !whole_path {
                self.halves(
                    field.as_str(),
                    format!("`{template}` is not a path; expected a `/` first"),
                );
            }
            self.template(&field, name, route, template);
        }
        if let Some(rewrite) = &forward.rewrite {
            match compile_regex(&rewrite.regex) {
                Err(message) => self.halves(format!("{path}.rewrite.regex"), message),
                Ok(regex) => {
                    for group in replacement_groups(&rewrite.to) {
                        if !has_group(&regex, group) {
                            let message = format!(
                                "`{}` asks for the group `{group}`, which `{}` has not; write `${{1}}x` for group 1 before a letter, `$$` for a dollar sign",
                                rewrite.to, rewrite.regex
                            );
                            self.halves(format!("{path}.rewrite.to"), message);
                        }
                    }
                }
            }
        }
    }

    /// What a template asks of the path, the path must capture.
    fn template(&mut self, field: &str, name: &str, route: &Route, template: &Template) {
        let captures = route
            .r#match
            .path
            .as_ref()
            .map(|path| path.captures())
            .unwrap_or_default();
        for variable in template.variables() {
            let Variable::Capture(capture) = variable else {
                continue;
            };
            if !captures.contains(&capture.as_str()) && !self.broken.has(&format!("routes.{name}")) {
                let instead = if captures.is_empty() {
                    format!("capture it with `{{{capture}}}` in `match.path`")
                } else {
                    format!("its path captures {}", list(captures.iter().copied()))
                };
                self.halves(
                    field,
                    format!("`${{path.{capture}}}` is not captured by the path of route `{name}`; {instead}"),
                );
            }
        }
    }

    fn reply(&mut self, path: &str, reply: &Reply) {
        if reply.body.is_some() && reply.json.is_some() {
            self.halves(format!("{path}.json"), "both `body` and `json` are set; keep one");
        }
        if matches!(reply.status, 204 | 304) && (reply.body.is_some() || reply.json.is_some()) {
            self.halves(
                format!("{path}.status"),
                format!("status `{}` has no body; remove `body` and `json`", reply.status),
            );
        }
        let content_type = reply
            .content_type
            .iter()
            .map(|value| (format!("{path}.content_type"), value));
        let headers = reply
            .headers
            .iter()
            .map(|(name, value)| (format!("{path}.headers.{name}"), value));
        for (path, value) in content_type.chain(headers) {
            if value.chars().any(|c| c.is_control() && c != '\t') {
                self.halves(
                    path,
                    format!(
                        "`{}` has a control character; a field is one line of text",
                        value.escape_debug()
                    ),
                );
            }
        }
        for name in reply.headers.keys() {
            let path = format!("{path}.headers.{name}");
            if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
                self.halves(
                    path,
                    format!("`{name}` says where a message ends, which the gateway does itself; remove it"),
                );
            } else {
                self.token(path, "header", name);
            }
        }
    }

    fn redirect(&mut self, path: &str, name: &str, route: &Route, redirect: &Redirect) {
        let field = |part: &str| format!("{path}.redirect.{part}");
        let parts = redirect.scheme.is_some() || redirect.host.is_some() || redirect.path.is_some();
        match &redirect.to {
            Some(_) if parts => self.halves(
                field("to"),
                "`to` is the whole target; keep it, or `scheme`, `host` and `path`",
            ),
            None if !parts && !self.broken.has(path) => {
                let message = format!(
                    "route `{name}` sends clients back to where they are; give `to`, or one of `scheme`, `host` and `path`"
                );
                self.halves(format!("{path}.redirect"), message);
            }
            Some(to)
                if !["http://", "https://", "/"]
                    .iter()
                    .any(|start| to.literal_start().starts_with(start))
                    && !to.literal_start().is_empty() =>
            {
                self.halves(
                    field("to"),
                    format!("`{to}` is not a target; expected a URL or a path"),
                );
            }
            _ => {}
        }
        for (part, template) in [
            ("to", &redirect.to),
            ("host", &redirect.host),
            ("path", &redirect.path),
        ] {
            if let Some(template) = template {
                self.template(&field(part), name, route, template);
            }
        }
    }
}
