//! The plan: what a document says, compiled once, immutable, read without locks.
//!
//! An exchange takes a plan at its start and keeps it to its end. What changes while it runs (pools,
//! counters, health) is state, found by identity and only pointed to from here.

mod action;
mod answers;
mod compile;
pub mod diff;
mod explain;
pub mod lint;
pub mod outputs;
mod policies;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gatehouse_http1::{HeadLimits, Method};
use indexmap::IndexMap;

pub use compile::{Inputs, Routes, compile};

use crate::action::Action;
use crate::config::{self, Diagnostic, Trust, Underscores};
use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::http::edge::Edges;
use crate::http::hop::Forwarding;
use crate::http::normalize::Shape;
use crate::http::reserved::Reserved;
use crate::http::screen;
use crate::policy::Chain;
use crate::route::{Captures, Found, Miss, Query, Table};
use crate::telemetry::metrics::{Expiry, RouteStats};
use crate::tls::server::ServerTls;
use crate::upstream::Upstream;

/// A compiled document.
pub struct Plan {
    /// Identifies the document's text.
    pub hash: String,
    /// The policies of every request.
    pub policies: Chain,
    /// All routes; the table gives an index into them.
    pub routes: Vec<Route>,
    /// All upstreams; actions hold an index into them.
    pub upstreams: Vec<Upstream>,
    /// How clients may talk to us.
    pub client: ClientPlan,
    /// What upstreams are told about the client.
    pub forwarded: ForwardedPlan,
    /// Fields of requests that only the gateway itself may send on.
    pub reserved: Arc<Reserved>,
    /// Whose request ids are taken.
    pub request_id: Trust,
    /// The listeners as written.
    pub listeners: IndexMap<String, config::Listener>,
    /// True if finished exchanges are written to the access log.
    pub access_log: bool,
    /// How long a line may wait to be written to the access log.
    pub access_flush: Duration,
    /// How long a drain may take.
    pub drain: Duration,
    /// How long a connection that is to end is still waited for while nothing happens on it.
    pub drain_idle: Duration,
    /// Counts for requests that match no route.
    pub unmatched: Arc<RouteStats>,
    /// What is doubtful about the files the document names.
    pub warnings: Vec<Diagnostic>,
    /// TLS of the listeners that have it.
    pub tls: HashMap<Box<str>, Arc<ServerTls>>,
    /// What listeners demand of each request; none if none of them does.
    pub(crate) edges: Option<Box<Edges>>,
    pub(crate) table: Table,
    pub(crate) vary: Option<Box<str>>,
}

/// A compiled route.
pub struct Route {
    /// Its name in the document.
    pub name: Box<str>,
    /// Its version label; empty if it has none.
    pub version: Box<str>,
    /// Its policies.
    pub policies: Chain,
    /// What answers.
    pub action: Action,
    /// The names of what its path captures.
    pub captures: Box<[Box<str>]>,
    /// Bounds the whole exchange.
    pub timeout: Option<Duration>,
    /// Bounds the request's body, in bytes.
    pub max_body: Option<u64>,
    /// True if its match names OPTIONS: then it wants preflights for itself.
    pub(crate) names_options: bool,
    pub(crate) stats: Arc<RouteStats>,
}

/// Timeouts and limits on the client side.
pub struct ClientPlan {
    /// How long each phase may take.
    pub timeouts: ClientTimeouts,
    /// How much a client may send.
    pub limits: ClientLimits,
    /// How large a head may be.
    pub head: HeadLimits,
    /// What a client may do on a connection of HTTP/2.
    pub http2: config::Http2,
    /// What becomes of field names with an underscore that look like known ones.
    pub underscores: Underscores,
    /// What HTTP/3 connections may do.
    pub http3: config::Http3,
}

/// See `client.timeouts` in the reference.
#[allow(
    missing_docs,
    reason = "the same names, documented in the document's own type"
)]
#[derive(Debug, Clone, Copy)]
pub struct ClientTimeouts {
    pub handshake: Duration,
    pub head: Duration,
    pub body_idle: Duration,
    pub keep_alive: Duration,
    pub write_idle: Duration,
    pub total: Duration,
    pub linger: Duration,
}

/// See `client.limits` in the reference.
#[allow(
    missing_docs,
    reason = "the same names, documented in the document's own type"
)]
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    pub body: u64,
    pub requests_per_connection: u64,
    pub handshakes: u32,
    pub min_rate: u64,
}

/// Whom to believe, and what to tell upstreams.
pub struct ForwardedPlan {
    /// The settings as written, among them the peers that may speak for others.
    pub settings: config::Forwarded,
    /// The fields that are added.
    pub fields: Forwarding,
}

impl Plan {
    /// The certificates in use, of all listeners.
    pub(crate) fn certificates(&self) -> Vec<Expiry> {
        let mut all = Vec::new();
        for (listener, tls) in &self.tls {
            all.extend(tls.certificates().iter().map(|certificate| Expiry {
                listener: listener.clone(),
                file: certificate.file.clone(),
                not_after: certificate.not_after,
            }));
        }
        all
    }

    /// The route for an exchange; it is noted there, with what its path captured.
    pub(crate) fn find<'p>(&'p self, ex: &mut Exchange, shape: Shape) -> Result<&'p Route, Failure> {
        let head = &ex.request.head;
        let query = Query {
            host: head.authority(),
            path: head.path(),
            query: head.query(),
            method: &head.method,
            headers: &head.headers,
            client: ex.client.ip,
            listener: &ex.connection.listener.name,
        };
        let found = self.look_up(&query, shape, &mut ex.captures);
        let found = match self.for_preflight(ex, shape, found.as_ref().ok().map(|found| found.rule)) {
            Some((found, captures)) => {
                ex.captures = captures;
                Ok(found)
            }
            None => found,
        };
        let found = match found {
            Ok(found) => found,
            Err(miss) => {
                ex.vary = matches!(miss, Miss::VersionUnknown { .. } | Miss::NotAcceptable { .. });
                return Err(screen::missed(&miss));
            }
        };
        ex.vary = found.versioned;
        let (id, path) = (found.rule, found.path);
        if let Some(path) = path {
            ex.request.head.set_path(&path);
        }
        ex.route = Some(id);
        // Invariant: the table was built from these routes, so its ids are their indices.
        self.routes
            .get(id)
            .ok_or_else(|| Failure::new(crate::failure::Code::Internal).detail("the table names no route"))
    }

    fn look_up(
        &self,
        query: &Query<'_>,
        shape: Shape,
        captures: &mut Captures,
    ) -> Result<Found<'_>, Miss<'_>> {
        match shape {
            Shape::Normal => self.table.find(query, captures),
            Shape::Plain | Shape::Slashes => self.table.resolve(query, captures),
        }
    }

    /// The route of the request that a preflight announces, if it answers preflights. `found` is what OPTIONS itself
    /// leads to; a route that answers preflights, or that names OPTIONS, keeps them.
    fn for_preflight(
        &self,
        ex: &Exchange,
        shape: Shape,
        found: Option<usize>,
    ) -> Option<(Found<'_>, Captures)> {
        let head = &ex.request.head;
        if head.method != Method::Options {
            return None;
        }
        let method = Method::parse(std::str::from_utf8(ex.preflight_for()?).ok()?)?;
        let route = found.and_then(|id| self.routes.get(id));
        if route.is_some_and(|route| route.names_options || route.policies.answers_preflight()) {
            return None;
        }
        let query = Query {
            host: head.authority(),
            path: head.path(),
            query: head.query(),
            method: &method,
            headers: &head.headers,
            client: ex.client.ip,
            listener: &ex.connection.listener.name,
        };
        let mut captures = Captures::default();
        let found = self.look_up(&query, shape, &mut captures).ok()?;
        let route = self.routes.get(found.rule)?;
        route.policies.answers_preflight().then_some((found, captures))
    }
}
