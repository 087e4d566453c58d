//! What answers a route: forward, reply or redirect, compiled.

use bytes::Bytes;
use gatehouse_http1::{Headers, Known};

use super::compile::Context;
use crate::action::rewrite::{PathRewrite, RedirectTarget};
use crate::action::split::Split;
use crate::action::{Action, Forward, HostRewrite, Redirect, Reply, Targets};
use crate::config::{self, Diagnostic};

/// The action of a route; none if something is wrong with it.
pub(super) fn action(cx: &mut Context<'_>, name: &str, route: &config::Route) -> Option<Action> {
    if let Some(forward) = &route.forward {
        return forwarding(cx, name, route, forward).map(Action::Forward);
    }
    if let Some(reply) = &route.reply {
        return Some(Action::Reply(self::reply(reply)));
    }
    let redirect = route.redirect.as_ref()?;
    match RedirectTarget::compile(redirect, route.r#match.path.as_ref()) {
        Ok(target) => Some(Action::Redirect(Redirect { status: redirect.status.get(), target })),
        Err((field, message)) => {
            cx.diagnostics.push(Diagnostic::halves(format!("routes.{name}.redirect.{field}"), &message));
            None
        }
    }
}

fn forwarding(cx: &mut Context<'_>, name: &str, route: &config::Route, forward: &config::Forward) -> Option<Forward> {
    let path = match PathRewrite::compile(forward, route.r#match.path.as_ref()) {
        Ok(path) => Some(path),
        Err((field, message)) => {
            cx.diagnostics.push(Diagnostic::halves(format!("routes.{name}.forward.{field}"), &message));
            None
        }
    };
    // Names were checked with the document; a missing one has its diagnostic already.
    let targets = match &forward.upstream {
        Some(upstream) => cx.upstreams.get(upstream.as_str()).copied().map(Targets::One),
        None => {
            let weights: Vec<_> = forward
                .split
                .iter()
                .filter_map(|split| Some((split.upstream.as_str(), *cx.upstreams.get(split.upstream.as_str())?, split.weight)))
                .collect();
            Some(Targets::Split { split: Split::new(&weights), sticky: forward.sticky.clone() })
        }
    };
    let host = match &forward.host {
        config::HostHeader::Preserve => HostRewrite::Preserve,
        config::HostHeader::Upstream => HostRewrite::Upstream,
        config::HostHeader::Literal(text) => HostRewrite::Literal(text.as_str().into()),
    };
    Some(Forward { targets: targets?, path: path?, host })
}

fn reply(reply: &config::Reply) -> Reply {
    let mut headers = Headers::new();
    for (name, value) in &reply.headers {
        headers.set_name(name.as_bytes(), value.as_bytes());
    }
    let (body, usual_type) = match (&reply.json, &reply.body) {
        (Some(json), _) => (json.to_string(), "application/json"),
        (None, Some(text)) => (text.clone(), "text/plain; charset=utf-8"),
        (None, None) => (String::new(), ""),
    };
    let content_type = reply.content_type.as_deref().unwrap_or(usual_type);
    if !content_type.is_empty() && !headers.contains(Known::ContentType) {
        headers.set(Known::ContentType, content_type.as_bytes());
    }
    Reply { status: reply.status, headers, body: Bytes::from(body) }
}
