//! What there is to ask: `/livez`, `/readyz`, `/startupz` and `/metrics`, all of them read only.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::uri::Authority,
    http::{
        HeaderName, HeaderValue, StatusCode, Version,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{sync::Mutex, task, time};

use crate::AdminState;

/// The application; each request is answered within `patience`.
pub(crate) fn router(state: AdminState, patience: Duration, hosts: Hosts) -> Router {
    let shared = Arc::new(Shared {
        state,
        started: AtomicBool::new(false),
        scrape: Arc::default(),
    });
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .layer(middleware::from_fn(move |request, next| {
            answer(patience, hosts, request, next)
        }))
        .with_state(shared)
}

/// What requests may name as their host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// Anything: other means decide who reaches the listener.
    Any,
    /// `localhost` and addresses. A page in somebody's browser may have its own name lead to this machine (DNS
    /// rebinding), but it cannot make the browser send another name than its own.
    Local,
}

impl Hosts {
    fn allows(self, request: &Request) -> bool {
        let Hosts::Local = self else { return true };
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            // HTTP/1.0 has none: no browser speaks that.
            (None, _) => return request.version() < Version::HTTP_11 && request.uri().authority().is_none(),
            _ => return false,
        };
        // What the target names goes before the field (RFC 9112 3.2.2).
        let host = request.uri().authority().map_or(host, Authority::as_str);
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        name.eq_ignore_ascii_case("localhost") || address.unwrap_or(name).parse::<IpAddr>().is_ok()
    }
}

struct Shared {
    state: AdminState,
    /// Whether it was ready once.
    started: AtomicBool,
    /// One scrape at a time: a text of megabytes for each of many scrapers is memory nobody wants.
    scrape: Arc<Mutex<()>>,
}

impl Shared {
    fn readiness(&self) -> Result<(), Vec<String>> {
        let readiness = (self.state.readiness)();
        if readiness.is_ok() {
            self.started.store(true, Relaxed);
        }
        readiness
    }
}

/// The process answers: that is all liveness should say. A restart repairs no upstream.
async fn live() -> &'static str {
    "ok\n"
}

/// Whether a load balancer should send traffic here.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    probe(shared.readiness())
}

/// Whether it has ever been ready; stays so while draining.
async fn started(State(shared): State<Arc<Shared>>) -> Response {
    let readiness = shared.readiness();
    probe(if shared.started.load(Relaxed) {
        Ok(())
    } else {
        readiness
    })
}

fn probe(readiness: Result<(), Vec<String>>) -> Response {
    match readiness {
        Ok(()) => "ok\n".into_response(),
        Err(reasons) => {
            let text: String = reasons.iter().flat_map(|reason| [reason, "\n"]).collect();
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let turn = Arc::clone(&shared.scrape).lock_owned().await;
    let render = Arc::clone(&shared.state.metrics);
    // Summing thousands of series takes milliseconds: not on a thread that drives other background work.
    // The turn goes with it, because it goes on if the scraper leaves.
    let rendered = task::spawn_blocking(move || {
        let _turn = turn;
        render()
    });
    match rendered.await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response()
        }
    }
}

const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

async fn answer(patience: Duration, hosts: Hosts, request: Request, next: Next) -> Response {
    let mut response = if hosts.allows(&request) {
        match time::timeout(patience, next.run(request)).await {
            Ok(response) => response,
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "timed out\n").into_response(),
        }
    } else {
        let text = "this listener goes by `localhost` or an address\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    response.headers_mut().extend(HEADERS);
    response
}
