//! An endpoint that agrees to switch protocols: its connection leaves the pool for good.

use std::sync::Arc;
use std::time::Instant;

use gatehouse_http1::ResponseHead;

use super::Upstream;
use super::attempt::Failed;
use super::body::Upload;
use super::endpoint::Endpoint;
use super::lease::Lease;
use super::pool::PooledStream;
use crate::body::Body;
use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure};
use crate::io::Buffer;
use crate::telemetry::metrics::Closed;
use crate::tunnel::Far;

/// Keeps a new connection for a tunnel whose bytes nobody but its ends understands (CONNECT).
pub(super) fn open(
    ex: &mut Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    stream: Box<PooledStream>,
    since: Instant,
) -> Response {
    let mut lease = Lease::new(ex, upstream, endpoint, stream, since);
    lease.end_time();
    lease.spoil(Closed::NotReusable);
    if let Some(upgrade) = &mut ex.upgrade {
        upgrade.far = Some(Box::new(Far {
            lease,
            first: None,
            stats: upstream.stats.clone(),
        }));
    }
    Response {
        close: true,
        ..Response::new(200)
    }
}

/// Checks an endpoint's 101 and keeps its connection for the tunnel; `buffer` has what came behind the head.
pub(super) fn respond(
    ex: &mut Exchange,
    upstream: &Upstream,
    mut lease: Lease,
    upload: Upload,
    head: Box<ResponseHead>,
    buffer: Buffer,
) -> Result<Response, Failed> {
    // The time of the upstream is that of the handshake.
    lease.end_time();
    let checked = match &ex.upgrade {
        Some(upgrade) if upload.sender.is_done() => upgrade.check(&ex.request.head.headers, &head.headers),
        _ => Err("a 101 before the request was sent"),
    };
    ex.worker.keep_staging(upload.sender.into_staging());
    if let (Ok(()), Some(upgrade)) = (checked, &mut ex.upgrade) {
        lease.spoil(Closed::NotReusable);
        upgrade.far = Some(Box::new(Far {
            lease,
            first: (!buffer.is_empty()).then_some(buffer),
            stats: upstream.stats.clone(),
        }));
        return Ok(Response {
            head,
            body: Body::Empty,
            declared_length: None,
            close: true,
        });
    }
    lease.spoil(Closed::Failed);
    Err(Failed {
        failure: Failure::new(Code::UpstreamProtocol).detail(checked.err().unwrap_or_default()),
        unsent: false,
    })
}
