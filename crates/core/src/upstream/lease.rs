//! A connection while an attempt uses it, and where it goes afterwards.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse_http1::{Framing, Known, Parsed, ResponseHead};

use super::Upstream;
use super::endpoint::{Endpoint, InFlight};
use super::pool::{PoolLimits, PooledStream};
use crate::config::Balance;
use crate::exchange::Exchange;
use crate::io::Stream;
use crate::telemetry::metrics::Closed;
use crate::worker::Worker;

/// A connection in use. When it ends, the connection goes back to the pool or is closed.
pub(crate) struct Lease {
    worker: Rc<Worker>,
    endpoint: u32,
    stream: Option<Box<PooledStream>>,
    limits: PoolLimits,
    /// Why the connection must not be used again, if so.
    spoilt: Option<Closed>,
    since: Instant,
    time: Option<Rc<Cell<u64>>>,
    _in_flight: Option<InFlight>,
}

impl Lease {
    pub(super) fn new(
        ex: &mut Exchange,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        stream: Box<PooledStream>,
        since: Instant,
    ) -> Self {
        upstream.stats.shard(ex.worker.index).in_flight.inc();
        Self {
            worker: ex.worker.clone(),
            endpoint: endpoint.id,
            stream: Some(stream),
            limits: upstream.pool,
            spoilt: None,
            since,
            time: Some(ex.record.upstream_time(&ex.worker)),
            _in_flight: (upstream.balance == Balance::LeastRequest).then(|| endpoint.begin()),
        }
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        // Invariant: the stream is only taken in `give_back`, which ends the lease.
        #[allow(clippy::expect_used, reason = "taken only when the lease ends")]
        &mut self
            .stream
            .as_mut()
            .expect("a lease has its stream until it ends")
            .stream
    }

    /// Learns from a response's head whether and for how long its connection may be kept.
    pub(super) fn learn(&mut self, head: &ResponseHead, parsed: &Parsed) {
        if !parsed.keep_alive || parsed.framing == Framing::UntilClose {
            self.spoil(Closed::NotReusable);
        }
        if let (Some(value), Some(stream)) = (head.headers.get(Known::KeepAlive), &mut self.stream) {
            stream.endpoint_idle = keep_alive_timeout(value);
        }
        if let (Framing::None, Some(1..), Some(stream)) =
            (parsed.framing, parsed.declared_length, &mut self.stream)
        {
            stream.suspect = true;
        }
    }

    /// Bars the connection from being used again. The first reason counts.
    pub(super) fn spoil(&mut self, why: Closed) {
        self.spoilt.get_or_insert(why);
    }

    /// Notes that the endpoint has sent its last byte.
    pub(super) fn end_time(&mut self) {
        if let Some(time) = self.time.take() {
            time.set(u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Ends the lease well: the connection goes back to the pool, if it may be used again.
    pub(super) fn give_back(mut self) {
        let Some(stream) = self.stream.take() else { return };
        stream.ended();
        match self.spoilt {
            Some(why) => stream.close(why),
            None => self
                .worker
                .pools
                .put(self.endpoint, stream, &self.limits, self.worker.now()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end_time();
        if let Some(stream) = self.stream.take() {
            stream.ended();
            if let Some(why) = self.spoilt {
                stream.close(why);
            }
        }
    }
}

/// The seconds in `Keep-Alive: timeout=5, max=100`.
fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?;
    let seconds = value.split(',').find_map(|part| {
        let (name, n) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| n.trim().parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}
