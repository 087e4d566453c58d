//! Closes an exchange exactly once: the policies' last hook, the counts, the line in the access log.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::exchange::Exchange;
use crate::failure::{Code, Failure, Fault};
use crate::identity::Identity;
use crate::telemetry::access::Line;
use crate::telemetry::metrics::Done;
use crate::upstream::endpoint::Endpoint;
use crate::worker::Worker;

/// What is remembered of an exchange for its end.
pub(crate) struct Record {
    started: Instant,
    /// The status of the response; 0 until there is one.
    pub status: u16,
    /// Body bytes taken from the client.
    pub bytes_in: u64,
    /// Bytes written to the client.
    pub bytes_out: u64,
    /// The upstream's index in the plan.
    pub upstream: Option<usize>,
    endpoint: Option<Arc<Endpoint>>,
    attempts: u32,
    /// Nanoseconds from the start of the last attempt to the endpoint's last byte; there once there was an attempt.
    upstream_time: Option<Rc<Cell<u64>>>,
    code: Option<Code>,
    /// True if the endpoint broke its answer off.
    broken_off: bool,
    /// When the exchange became a tunnel.
    switched: Option<Instant>,
    open: bool,
}

impl Record {
    /// Begins with the first byte of a request.
    pub fn begin(worker: &Worker, started: Instant) -> Self {
        worker.metrics.in_flight.inc();
        Self {
            started,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            upstream: None,
            endpoint: None,
            attempts: 0,
            upstream_time: None,
            code: None,
            broken_off: false,
            switched: None,
            open: true,
        }
    }

    /// When the first byte of the request was there.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// An attempt begins.
    pub fn attempt(&mut self, endpoint: &Arc<Endpoint>) {
        self.attempts += 1;
        self.endpoint = Some(endpoint.clone());
    }

    /// The exchange is answered and becomes a tunnel, which may live for days.
    pub fn switched(&mut self, now: Instant) {
        self.switched = Some(now);
    }

    /// Where the time of the attempt is written.
    pub fn upstream_time(&mut self, worker: &Worker) -> Rc<Cell<u64>> {
        self.upstream_time
            .get_or_insert_with(|| worker.spare_cell())
            .clone()
    }

    /// A failure that became the response.
    pub fn failed(&mut self, failure: &Failure) {
        self.code = Some(failure.code());
    }

    /// Whether the response is a failure of ours.
    pub fn has_failed(&self) -> bool {
        self.code.is_some()
    }

    /// A failure after the response's head was out.
    pub fn broke(&mut self, failure: &Failure) {
        self.code.get_or_insert(failure.code());
        self.broken_off |= failure.fault() == Fault::Upstream;
    }
}

impl Exchange {
    /// Closes the exchange. Later calls do nothing.
    pub(crate) fn close(&mut self) {
        if !std::mem::take(&mut self.record.open) {
            return;
        }
        let plan = self.plan.clone();
        if let Some(route) = self.route.and_then(|i| plan.routes.get(i)) {
            route.policies.on_finish(self.ran.route, self);
        }
        plan.policies.on_finish(self.ran.global, self);

        let ended = Instant::now();
        let started = self.record.started;
        let cell = self.record.upstream_time.take();
        let upstream_time = cell.as_ref().map_or(0, |cell| cell.get());
        // What is measured of requests ends with the answer; a tunnel's whole life is for the log.
        let answered = nanos(self.record.switched.unwrap_or(ended), started);
        self.count(answered, upstream_time);
        if plan.access_log {
            self.log(
                nanos(ended, started),
                answered.saturating_sub(upstream_time),
                upstream_time,
            );
        }
        if let Some(cell) = cell {
            self.worker.recycle_cell(cell);
        }
    }

    fn count(&self, latency: u64, upstream_time: u64) {
        let (worker, record) = (&self.worker, &self.record);
        let shard = &worker.metrics;
        shard.in_flight.dec();
        shard.spoke(self.request.head.version);
        shard.bytes_in.add(record.bytes_in);
        shard.bytes_out.add(record.bytes_out);
        shard.overhead.observe(latency.saturating_sub(upstream_time));
        if let Some(code) = record.code {
            shard.failed(code);
        }
        let done = Done {
            status: self.status(),
            duration: latency,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
        };
        let stats = self.route().map_or(&self.plan.unmatched, |route| &route.stats);
        stats.record(worker.index, &done);
        if let Some(upstream) = record.upstream.and_then(|i| self.plan.upstreams.get(i)) {
            let shard = upstream.stats.shard(worker.index);
            shard.duration.observe(upstream_time);
            if let Some(code) = record.code.filter(|_| record.broken_off) {
                shard.failed(code);
            }
        }
    }

    /// The status sent; 499 if the client left before there was one.
    fn status(&self) -> u16 {
        if self.record.status == 0 {
            Code::ClientGone.status()
        } else {
            self.record.status
        }
    }

    fn log(&self, latency: u64, overhead: u64, upstream_time: u64) {
        let (record, head) = (&self.record, &self.request.head);
        let route = self.route();
        let upstream = record.upstream.and_then(|i| self.plan.upstreams.get(i));
        let target = head.raw_target();
        let tls = self.connection.tls.as_deref();
        let identity = self.identity.as_ref();
        let line = Line {
            timestamp: self.worker.stamp(record.started),
            request_id: self.ids.request.as_bytes(),
            correlation_id: self.ids.correlation().as_bytes(),
            method: head.method.as_str().as_bytes(),
            path: target.split('?').next().unwrap_or(target).as_bytes(),
            status: self.status(),
            latency,
            overhead,
            upstream_time: (record.attempts > 0).then_some(upstream_time),
            api_key: identity.and_then(|identity| identity.proof.credential.as_deref()),
            consumer: identity.map(Identity::name).filter(|name| !name.is_empty()),
            user_agent: head.headers.get(gatehouse_http1::Known::UserAgent),
            client_ip: self.client_text(),
            country: Some(self.client.country_text()).filter(|country| !country.is_empty()),
            host: head.authority().as_bytes(),
            protocol: head.version.as_str(),
            tls_version: tls.map(|tls| tls.version),
            tls_sni: tls.and_then(|tls| tls.sni.as_deref()),
            tls_client: tls
                .and_then(|tls| tls.client.as_ref())
                .map(|client| &*client.subject),
            listener: &self.connection.listener.name,
            route: route.map(|route| &*route.name),
            version: route
                .map(|route| &*route.version)
                .filter(|version| !version.is_empty()),
            upstream: upstream.map(|upstream| &*upstream.name),
            endpoint: record.endpoint.as_ref().map(|endpoint| &*endpoint.label),
            attempts: record.attempts,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            code: record.code,
        };
        self.worker.access.borrow_mut().write(&line);
    }
}

/// Closes an exchange that its driver could not: a panic, or a connection torn down.
pub(crate) fn close_abandoned(ex: &mut Exchange) {
    if ex.record.open {
        let code = if std::thread::panicking() {
            Code::Internal
        } else if ex.worker.is_draining() {
            // A client that leaves is noticed by its driver: this one was cut when the time was over.
            Code::Draining
        } else {
            Code::ClientGone
        };
        ex.record.code.get_or_insert(code);
        ex.close();
    }
}

fn nanos(later: Instant, earlier: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_nanos()).unwrap_or(u64::MAX)
}
