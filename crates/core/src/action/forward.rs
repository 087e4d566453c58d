//! Forwards a request to an endpoint of an upstream and streams its answer back.
//!
//! The loop around attempts is here: an endpoint that takes no connection has seen nothing, so another
//! may be asked, whatever the request.

use std::borrow::Cow;
use std::sync::Arc;

use gatehouse_http1::Version;

use super::rewrite::PathRewrite;
use super::split::Split;
use super::with_source;
use crate::config::{HostHeader, Sticky};
use crate::exchange::{Client, Connection, Exchange, Response};
use crate::failure::{Code, Failure};
use crate::http::hop::Hop;
use crate::http::{screen, upgrade};
use crate::io::Total;
use crate::policy::Progress;
use crate::tunnel::TunnelPlan;
use crate::upstream::attempt::{self, Failed, Outgoing};
use crate::upstream::{Local, Upstream};

/// Endpoints asked for a connection before the request fails.
const MOST_CONNECTS: usize = 3;

/// Where and how a route forwards.
pub struct Forward {
    /// Which upstream.
    pub targets: Targets,
    /// What becomes of the path.
    pub path: PathRewrite,
    /// What becomes of the host.
    pub host: HostHeader,
    /// What may be switched to, and how long that may last.
    pub tunnel: Arc<TunnelPlan>,
}

/// One upstream, or several by weight.
pub enum Targets {
    /// Always this one, by its index in the plan.
    One(usize),
    /// One of several.
    Several(Box<Several>),
}

/// Several upstreams by weight.
pub struct Several {
    /// The weights.
    pub split: Split,
    /// Their indices in the plan, in the same order.
    pub upstreams: Box<[usize]>,
    /// What keeps a client with the same one.
    pub sticky: Option<Sticky>,
}

impl Targets {
    /// All upstreams it may be, as indices in the plan.
    pub(crate) fn indices(&self) -> &[usize] {
        match self {
            Self::One(index) => std::slice::from_ref(index),
            Self::Several(several) => &several.upstreams,
        }
    }

    fn choose(&self, ex: &Exchange) -> Option<usize> {
        match self {
            Self::One(index) => Some(*index),
            Self::Several(several) => {
                let Several {
                    split,
                    upstreams,
                    sticky,
                } = &**several;
                let key = sticky.as_ref().and_then(|by| sticky_key(ex, by));
                let chosen = match key {
                    Some(key) => split.sticky(&key),
                    None => split.deal(ex.route.map_or(0, |route| ex.plan.deal(route))),
                };
                upstreams.get(chosen?).copied()
            }
        }
    }
}

/// What a client is recognised by; without it, it is served like a new one.
fn sticky_key(ex: &Exchange, by: &Sticky) -> Option<Vec<u8>> {
    let headers = &ex.request.head.headers;
    match by {
        Sticky::Header(name) => headers.find(name.as_bytes()).map(<[u8]>::to_vec),
        Sticky::Cookie(name) => crate::route::cookies(headers, name).next().map(<[u8]>::to_vec),
        Sticky::ClientIp => Some(ex.client_text().as_bytes().to_vec()),
        Sticky::Consumer => ex
            .identity
            .as_ref()
            .map(|caller| caller.name().as_bytes().to_vec()),
    }
}

/// Forwards the exchange.
pub(crate) async fn run(ex: &mut Exchange, forward: &Forward) -> Result<Response, Failure> {
    let plan = ex.plan.clone();
    if ex.upgrade.is_some() {
        upgrade::admit(ex, &forward.tunnel)?;
    }
    ex.record.upstream = forward.targets.choose(ex);
    // Invariant: the plan was compiled with these indices, and weights that are not all 0.
    let Some((upstream, local)) = ex.record.upstream.and_then(|index| plan.upstream(index)) else {
        return Err(Failure::new(Code::Internal).detail("the route names no upstream"));
    };
    if ex.upgrade.is_some() && upstream.transport.is_http2_only() {
        // Only HTTP/1.1 can be switched from.
        let failure = Failure::new(Code::UpgradeRefused).close(true);
        return Err(failure.detail("the upstream is spoken HTTP/2 to, by its setting `protocol`"));
    }
    bound(ex, upstream.timeouts.total);

    let stripped = rewrite(ex, &forward.path)?;
    // Upstream policies see the request as it is sent; without them nobody can tell where it was marked.
    let fields = &plan.forwarded.fields;
    let certificate = plan.edges.as_ref().filter(|edges| edges.forwards_certificate(ex));
    let mark_late =
        certificate.is_none() && upstream.policies.is_empty() && fields.is_plain(&ex.request.head.headers);
    if !mark_late {
        mark(ex, stripped)?;
    }
    if let Some(edges) = certificate {
        edges.forward_certificate(ex);
    }
    let outgoing = Outgoing {
        host: &forward.host,
        mark: mark_late,
        prefix: stripped,
    };

    if upstream.policies.is_empty() {
        return attempts(ex, upstream, local, &outgoing).await;
    }
    let mut ran = Progress::default();
    let reply = upstream.policies.on_request(ex, &mut ran).await;
    if let Some(reply) = reply? {
        return Ok(reply);
    }
    let mut response = attempts(ex, upstream, local, &outgoing).await?;
    upstream.policies.on_response(ran, ex, &mut response).await?;
    Ok(response)
}

/// Puts the forwarded path in the place of the client's; gives the prefix that was taken off.
fn rewrite<'f>(ex: &mut Exchange, rewrite: &'f PathRewrite) -> Result<Option<&'f str>, Failure> {
    if rewrite.is_nothing() {
        return Ok(None);
    }
    let before = ex.request.head.mark_path();
    let stripped = with_source(ex, |source| {
        let rewritten = rewrite.apply(source).map_err(screen::refused)?;
        let stripped = rewritten.stripped.is_some();
        Ok::<_, Failure>(match rewritten.path {
            // A part of the path as it is: no copy is needed.
            Cow::Borrowed(rest) if rest.len() > 1 => (stripped, Err(source.path.len() - rest.len())),
            path => (stripped, Ok(path.into_owned())),
        })
    })?;
    ex.matched_path = Some(before);
    let (stripped, path) = stripped;
    match path {
        Ok(path) => ex.request.head.set_path(&path),
        Err(cut) => ex.request.head.strip_path(cut),
    }
    Ok(rewrite.prefix().filter(|_| stripped))
}

/// Tells the upstream about the client and its request.
fn mark(ex: &mut Exchange, prefix: Option<&str>) -> Result<(), Failure> {
    let (plan, client, connection) = (ex.plan.clone(), &ex.client, &ex.connection);
    let version = ex.request.head.version;
    let (host, headers) = ex.request.head.authority_and_headers();
    let marked = plan
        .forwarded
        .fields
        .apply(headers, &hop(client, connection, host, version, prefix));
    marked.map_err(|error| Failure::new(Code::LoopDetected).safe_detail(error.to_string()))
}

/// What upstreams are told about the client and its request.
fn hop<'a>(
    client: &Client,
    connection: &'a Connection,
    host: &'a str,
    version: Version,
    prefix: Option<&'a str>,
) -> Hop<'a> {
    Hop {
        peer: connection.lines.peer().as_bytes(),
        trusted_peer: client.is_trusted_peer,
        host,
        scheme: connection.scheme,
        port: connection.lines.port().as_bytes(),
        prefix,
        version,
    }
}

/// Asks endpoints until one takes the request.
async fn attempts(
    ex: &mut Exchange,
    upstream: &Upstream,
    local: &Local,
    outgoing: &Outgoing<'_>,
) -> Result<Response, Failure> {
    let mut tried = Vec::new();
    let mut last = None;
    while tried.len() < MOST_CONNECTS {
        let endpoint = match upstream.pick(local, &tried) {
            Ok(endpoint) => endpoint,
            Err(failure) => return Err(last.unwrap_or(failure)),
        };
        ex.record.attempt(&endpoint);
        let shard = upstream.stats.shard(ex.worker.index);
        shard.attempts.inc();
        endpoint.attempted(ex.worker.index);
        if !tried.is_empty() {
            shard.retries.inc();
        }
        match attempt::send(ex, upstream, &endpoint, outgoing).await {
            Ok(response) => {
                shard.answered(response.head.status);
                endpoint.answered();
                return Ok(response);
            }
            Err(Failed { failure, unsent }) => {
                shard.failed(failure.code());
                endpoint.failed(ex.worker.index, &failure, ex.worker.now());
                if !unsent || failure.code() == Code::DeadlineExceeded {
                    return Err(failure);
                }
                tried.push(endpoint.id);
                last = Some(failure);
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::new(Code::NoEndpoint)))
}

/// Bounds what is left of the exchange by the route's, the upstream's and the client's total times.
fn bound(ex: &Exchange, upstream: std::time::Duration) {
    let client = ex.plan.client.timeouts.total;
    let of_exchange = ex
        .route()
        .and_then(|route| route.timeout)
        .map_or(client, |route| {
            // What policies have waited for counts.
            let spent = ex.clock.now().saturating_duration_since(ex.record.started());
            route.saturating_sub(spent).min(client)
        });
    if upstream < of_exchange {
        ex.clock.begin_total(Total::Upstream, upstream);
    } else {
        ex.clock.begin_total(Total::Exchange, of_exchange);
    }
}
