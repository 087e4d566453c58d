//! Forwards a request to an endpoint of an upstream and streams its answer back.
//!
//! The loop around attempts is here: an endpoint that takes no connection has seen nothing, so another
//! may be asked, whatever the request.

use super::rewrite::PathRewrite;
use super::split::Split;
use crate::config::Sticky;
use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure};
use crate::http::hop;
use crate::io::Total;
use crate::policy::Progress;
use crate::upstream::attempt::{self, Failed};
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
    pub host: HostRewrite,
}

/// The `Host` an endpoint gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRewrite {
    /// The client's.
    Preserve,
    /// The endpoint's own.
    Upstream,
    /// This one.
    Literal(Box<str>),
}

/// One upstream, or several by weight.
pub enum Targets {
    /// Always this one, by its index in the plan.
    One(usize),
    /// One of several.
    Split {
        /// The weights; the values are indices in the plan.
        split: Split,
        /// What keeps a client with the same one.
        sticky: Option<Sticky>,
    },
}

impl Targets {
    fn choose(&self, ex: &Exchange) -> usize {
        match self {
            Self::One(index) => *index,
            Self::Split { split, sticky } => {
                let [random, _] = ex.worker.random();
                match sticky.as_ref().and_then(|by| sticky_key(ex, by)) {
                    Some(key) => split.sticky(&key),
                    None => split.spread(random),
                }
            }
        }
    }
}

/// What a client is recognised by; without it, it is served like a new one.
fn sticky_key(ex: &Exchange, by: &Sticky) -> Option<Vec<u8>> {
    let headers = &ex.request.head.headers;
    match by {
        Sticky::Header(name) => headers.find(name.as_bytes()).map(<[u8]>::to_vec),
        Sticky::Cookie(name) => crate::route::cookie(headers, name).map(<[u8]>::to_vec),
        Sticky::ClientIp => Some(ex.client.text.as_bytes().to_vec()),
        // No policy finds a consumer yet.
        Sticky::Consumer => None,
    }
}

/// Forwards the exchange.
pub(crate) async fn run(ex: &mut Exchange, forward: &Forward) -> Result<Response, Failure> {
    let plan = ex.plan.clone();
    let index = forward.targets.choose(ex);
    // Invariant: the plan was compiled with these indices.
    let Some((upstream, local)) = plan.upstream(index) else {
        return Err(Failure::new(Code::Internal).detail("the route names no upstream"));
    };
    ex.record.upstream = Some(index);
    bound(ex, upstream.timeouts.total);

    let prefix = forward.path.apply(ex)?;
    hop::to_upstream(ex, &plan.forwarded.fields, prefix.as_deref())?;

    let mut ran = Progress::default();
    let reply = upstream.policies.on_request(ex, &mut ran).await;
    if let Some(reply) = reply? {
        return Ok(reply);
    }
    let mut response = attempts(ex, upstream, local, &forward.host).await?;
    upstream.policies.on_response(ran, ex, &mut response).await?;
    Ok(response)
}

/// Asks endpoints until one takes the request.
async fn attempts(
    ex: &mut Exchange,
    upstream: &Upstream,
    local: &Local,
    host: &HostRewrite,
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
        if !tried.is_empty() {
            shard.retries.inc();
        }
        match attempt::send(ex, upstream, &endpoint, host).await {
            Ok(response) => {
                shard.answered(response.head.status);
                return Ok(response);
            }
            Err(Failed { failure, unsent }) => {
                shard.failed(failure.code());
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
    let of_exchange = ex.route().and_then(|route| route.timeout).map_or(client, |route| route.min(client));
    if upstream < of_exchange {
        ex.clock.begin_total(Total::Upstream, upstream);
    } else {
        ex.clock.begin_total(Total::Exchange, of_exchange);
    }
}

