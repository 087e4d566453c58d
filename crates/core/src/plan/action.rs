//! What answers a route: forward, reply or redirect, compiled.

use std::sync::Arc;

use bytes::Bytes;
use gatehouse_http1::{Headers, Known};

use super::compile::Context;
use crate::action::rewrite::redirect::Target;
use crate::action::rewrite::{PathRewrite, RewriteError};
use crate::action::split::Split;
use crate::action::{Action, Forward, Redirect, Reply, Several, Targets};
use crate::config::{self, Diagnostic};
use crate::tunnel::TunnelPlan;

/// The action of a route; none if something is wrong with it.
pub(super) fn action(
    cx: &mut Context<'_>,
    name: &str,
    route: &config::Route,
    captures: &[&str],
) -> Option<Action> {
    if let Some(forward) = &route.forward {
        return forwarding(cx, name, forward, captures).map(Action::Forward);
    }
    if let Some(reply) = &route.reply {
        return Some(Action::Reply(Box::new(self::reply(reply))));
    }
    let redirect = route.redirect.as_ref()?;
    let target = noted(
        cx,
        &format!("routes.{name}.redirect"),
        Target::new(redirect, captures),
    )?;
    Some(Action::Redirect(Box::new(Redirect {
        status: redirect.status.get(),
        target,
    })))
}

fn forwarding(
    cx: &mut Context<'_>,
    name: &str,
    forward: &config::Forward,
    captures: &[&str],
) -> Option<Forward> {
    let path = noted(
        cx,
        &format!("routes.{name}.forward"),
        PathRewrite::new(forward, captures),
    );
    // Names were checked with the document; a missing one has its diagnostic already.
    let targets = if let Some(upstream) = &forward.upstream {
        cx.upstreams.get(upstream.as_str()).copied().map(Targets::One)
    } else {
        let index = |split: &config::Split| cx.upstreams.get(split.upstream.as_str()).copied();
        let upstreams: Option<Box<[usize]>> = forward.split.iter().map(index).collect();
        let split = Split::new(
            forward
                .split
                .iter()
                .map(|split| (split.upstream.as_str(), split.weight)),
        );
        upstreams.map(|upstreams| {
            Targets::Several(Box::new(Several {
                split,
                upstreams,
                sticky: forward.sticky.clone(),
            }))
        })
    };
    Some(Forward {
        targets: targets?,
        path: path?,
        host: forward.host.clone(),
        tunnel: tunnel(cx, forward),
    })
}

/// What a route says of tunnels; shared, since most routes say the same.
fn tunnel(cx: &mut Context<'_>, forward: &config::Forward) -> Arc<TunnelPlan> {
    let plan = TunnelPlan {
        upgrades: forward
            .upgrades
            .iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        idle: forward.tunnel.idle.get(),
        max_age: forward.tunnel.max_age.get(),
    };
    match &cx.tunnel {
        Some(last) if **last == plan => last.clone(),
        _ => cx.tunnel.insert(Arc::new(plan)).clone(),
    }
}

/// Notes what is wrong with the settings below `path`.
fn noted<T>(cx: &mut Context<'_>, path: &str, compiled: Result<T, Vec<RewriteError>>) -> Option<T> {
    match compiled {
        Ok(value) => Some(value),
        Err(errors) => {
            let at =
                |error: RewriteError| Diagnostic::halves(format!("{path}.{}", error.field), &error.message);
            cx.diagnostics.extend(errors.into_iter().map(at));
            None
        }
    }
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
    Reply {
        status: reply.status,
        headers,
        body: Bytes::from(body),
    }
}
