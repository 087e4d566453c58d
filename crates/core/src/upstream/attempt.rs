//! One request to one endpoint: connect or reuse, send, read the head of the response.
//!
//! The request's body may still be on its way when the response begins; the response's body then
//! takes it along ([`super::body::Download`]). A connection goes back to the pool before the response
//! is written to the client, when the whole of it has arrived.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use gatehouse_http1::{self as http1, Decoder, Framing, HeadLimits, Known, Method, Parsed, RequestKind, ResponseHead, encode};

use super::body::{Download, Upload, protocol};
use super::endpoint::Endpoint;
use super::pool::{PoolLimits, PooledStream};
use super::Upstream;
use crate::action::HostRewrite;
use crate::body::Body;
use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure};
use crate::io::{Buffer, Intake, Phase, SendError, Sender, Stream};
use crate::timer::Which;
use crate::worker::Worker;

/// The most interim responses an endpoint may send before its final one.
const MOST_INTERIM: u32 = 16;

/// An attempt that failed.
pub(crate) struct Failed {
    pub failure: Failure,
    /// True if no endpoint has seen anything of the request and its body is back in the exchange: any
    /// request may then be tried elsewhere.
    pub unsent: bool,
}

/// A connection in use, and where it goes afterwards.
pub(crate) struct Lease {
    worker: Rc<Worker>,
    endpoint: Arc<Endpoint>,
    stream: Option<PooledStream>,
    limits: PoolLimits,
    reusable: bool,
    since: Instant,
    finished: Option<Rc<std::cell::Cell<u64>>>,
}

impl Lease {
    fn new(ex: &Exchange, upstream: &Upstream, endpoint: &Arc<Endpoint>, stream: PooledStream, since: Instant) -> Self {
        endpoint.begin_request();
        ex.worker.metrics.upstream_active(1);
        Self {
            worker: ex.worker.clone(),
            endpoint: endpoint.clone(),
            stream: Some(stream),
            limits: upstream.pool,
            reusable: true,
            since,
            finished: Some(ex.record.upstream_time()),
        }
    }

    /// Learns from a response's head whether and for how long its connection may be kept.
    fn learn(&mut self, head: &ResponseHead, parsed: &Parsed) {
        self.reusable &= parsed.keep_alive && parsed.framing != Framing::UntilClose;
        if let (Some(value), Some(stream)) = (head.headers.get(Known::KeepAlive), &mut self.stream) {
            stream.endpoint_idle = keep_alive_timeout(value);
        }
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        // Invariant: the stream is only taken in `give_back` and `drop`, which end the lease.
        #[allow(clippy::expect_used, reason = "taken only when the lease ends")]
        &mut self.stream.as_mut().expect("a lease has its stream until it ends").stream
    }

    /// Bars the connection from being used again.
    pub(super) fn spoil(&mut self) {
        self.reusable = false;
    }

    /// Notes that the endpoint has sent its last byte.
    pub(super) fn done_at_last_byte(&mut self) {
        if let Some(finished) = self.finished.take() {
            finished.set(elapsed_nanos(self.since));
        }
    }

    /// Returns the connection to the pool, if it may be used again.
    pub(super) fn give_back(mut self) {
        if let Some(stream) = self.stream.take().filter(|_| self.reusable) {
            let kept = self.worker.pools.put(self.endpoint.id, stream, &self.limits, self.worker.now());
            if let Err(why) = kept {
                self.worker.metrics.upstream_retired(why);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.done_at_last_byte();
        self.endpoint.end_request();
        self.worker.metrics.upstream_active(-1);
    }
}

/// The seconds in `Keep-Alive: timeout=5, max=100`.
fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?;
    let seconds = value.split(',').find_map(|part| {
        let (name, n) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| n.trim().parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}

fn elapsed_nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Sends the exchange's request to `endpoint` and reads the head of its response.
///
/// A reused connection may turn out to have been closed just then. If no byte of a response came, the
/// request is sent once more on a new connection, provided that nothing of it left or that it is
/// idempotent and still at hand as a whole (RFC 9110 9.2.2, RFC 9112 9.3.1).
pub(crate) async fn send(
    ex: &mut Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    host: &HostRewrite,
) -> Result<Response, Failed> {
    let since = Instant::now();
    let mut stream = match connect(ex, upstream, endpoint, false).await {
        Ok(stream) => stream,
        Err(failure) => return Err(Failed { failure, unsent: true }),
    };
    let framing = request_framing(ex);
    let mut staged = ex.worker.spare_staging();
    encode_head(&mut staged, ex, endpoint, host, framing);
    let mut upload = Upload { sender: Sender::new(staged, framing), body: std::mem::take(&mut ex.request.body) };
    if !upload.body.is_finished() && ex.request.head.headers.contains(Known::Expect) {
        upload.sender.allow_body(false);
    }
    loop {
        let reused = stream.is_reused();
        let mut lease = Lease::new(ex, upstream, endpoint, stream, since);
        ex.clock.leave();
        let mut talk = Talk::new(ex, upstream);
        let failure = match talk.heads(ex, &mut lease, &mut upload).await {
            Ok((head, parsed, buffer)) => return respond(ex, upstream, lease, upload, head, &parsed, buffer),
            Err(failure) => failure,
        };
        lease.spoil();
        drop(lease);
        let is_idempotent = ex.request.head.method.is_idempotent();
        let repeatable = upload.sender.is_unsent() || (is_idempotent && upload.sender.is_replayable());
        let broke = matches!(failure.code(), Code::UpstreamReset);
        if !(reused && broke && !talk.answered && repeatable) {
            ex.worker.keep_staging(upload.sender.into_staging());
            ex.request.body = upload.body;
            return Err(Failed { failure, unsent: false });
        }
        upload.sender.rewind();
        ex.worker.metrics.upstream_replayed();
        stream = match connect(ex, upstream, endpoint, true).await {
            Ok(stream) => stream,
            Err(failure) => return Err(Failed { failure, unsent: false }),
        };
    }
}

/// A pooled connection, unless `fresh`; else a new one.
async fn connect(ex: &mut Exchange, upstream: &Upstream, endpoint: &Endpoint, fresh: bool) -> Result<PooledStream, Failure> {
    let worker = ex.worker.clone();
    if !fresh {
        let pooled = worker.pools.take(endpoint.id, worker.now(), |why| worker.metrics.upstream_retired(why));
        if let Some(mut stream) = pooled {
            stream.requests += 1;
            worker.metrics.upstream_reused();
            return Ok(stream);
        }
    }
    let mut dialling = pin!(Stream::connect(endpoint.address));
    let connected = poll_fn(|cx| match dialling.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.map_err(|error| {
            Failure::new(Code::ConnectFailed).detail(format!("cannot connect to {}", endpoint.address)).source(error)
        })),
        Poll::Pending => ex.clock.wait(cx, Phase::Connect, upstream.timeouts.connect).map(Err),
    })
    .await;
    ex.clock.leave();
    worker.metrics.upstream_opened(connected.is_ok());
    Ok(PooledStream { stream: connected?, requests: 1, connected: worker.now(), endpoint_idle: None })
}

/// Where the request's body will end, in our own framing.
fn request_framing(ex: &Exchange) -> Framing {
    match (&ex.request.body, ex.request.body.exact_len()) {
        // A method that usually has a body gets `content-length: 0` (RFC 9110 8.6).
        (Body::Empty, _) if matches!(ex.request.head.method, Method::Post | Method::Put | Method::Patch) => Framing::Length(0),
        (Body::Empty, _) => Framing::None,
        (_, Some(n)) => Framing::Length(n),
        (_, None) => Framing::Chunked,
    }
}

fn encode_head(out: &mut Vec<u8>, ex: &Exchange, endpoint: &Endpoint, host: &HostRewrite, framing: Framing) {
    let head = &ex.request.head;
    encode::request_line(out, &head.method, head.path(), head.query());
    let host = match host {
        HostRewrite::Preserve if !head.authority().is_empty() => head.authority(),
        HostRewrite::Preserve | HostRewrite::Upstream => &endpoint.host,
        HostRewrite::Literal(text) => text,
    };
    encode::field(out, b"host", host.as_bytes());
    encode::fields(out, &head.headers);
    encode::framing(out, framing);
    out.extend_from_slice(b"\r\n");
}

/// The part of an attempt in which heads cross: the request goes out, the response's head comes in.
struct Talk {
    kind: RequestKind,
    limits: HeadLimits,
    head: ResponseHead,
    buffer: Option<Buffer>,
    interim: u32,
    /// True once a byte of a response came.
    answered: bool,
    /// True once the request is out as far as it may go.
    sent: bool,
    broken: Option<io::Error>,
    write_idle: Duration,
    first_byte: Duration,
    expect_continue: Duration,
}

impl Talk {
    fn new(ex: &Exchange, upstream: &Upstream) -> Self {
        let kind = if ex.request.head.method == Method::Head { RequestKind::Head } else { RequestKind::Other };
        Self {
            kind,
            limits: upstream.head,
            head: ex.worker.spare_response(),
            buffer: None,
            interim: 0,
            answered: false,
            sent: false,
            broken: None,
            write_idle: upstream.timeouts.idle,
            first_byte: upstream.timeouts.first_byte,
            expect_continue: upstream.timeouts.expect_continue,
        }
    }

    async fn heads(&mut self, ex: &Exchange, lease: &mut Lease, upload: &mut Upload) -> Result<(ResponseHead, Parsed, Buffer), Failure> {
        let parsed = poll_fn(|cx| {
            loop {
                if let Poll::Ready(Err(failure)) = self.poll_send(cx, ex, lease, upload) {
                    return Poll::Ready(Err(failure));
                }
                match ready!(self.poll_head(cx, ex, lease, upload)) {
                    Ok(Some(parsed)) => return Poll::Ready(Ok(parsed)),
                    Ok(None) => {}
                    Err(failure) => return Poll::Ready(Err(failure)),
                }
            }
        })
        .await?;
        let buffer = self.buffer.take().unwrap_or_else(|| ex.worker.buffers.small());
        Ok((std::mem::take(&mut self.head), parsed, buffer))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, ex: &Exchange, lease: &mut Lease, upload: &mut Upload) -> Poll<Result<(), Failure>> {
        if self.sent {
            return Poll::Ready(Ok(()));
        }
        let before = upload.sender.bytes;
        let polled = upload.sender.poll(cx, lease.stream(), &mut upload.body);
        if upload.sender.bytes > before {
            ex.clock.progress();
        }
        match polled {
            Poll::Pending if upload.sender.is_blocked() => {
                ex.clock.wait(cx, Phase::UpstreamWrite, self.write_idle).map(Err)
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.sent = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(SendError::Source(failure))) => Poll::Ready(Err(failure)),
            Poll::Ready(Err(SendError::Sink(error))) => {
                // It may have answered before it closed: read on.
                self.broken = Some(error);
                self.sent = true;
                lease.spoil();
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Ready with a final head, or with `None` when the sending side has something to do.
    fn poll_head(&mut self, cx: &mut Context<'_>, ex: &Exchange, lease: &mut Lease, upload: &mut Upload) -> Poll<Result<Option<Parsed>, Failure>> {
        loop {
            if let Some(parsed) = self.parse()? {
                let status = self.head.status;
                if status >= 200 {
                    return Poll::Ready(Ok(Some(parsed)));
                }
                self.interim += 1;
                if self.interim > MOST_INTERIM || status == 101 {
                    let what = format!("unwanted interim response {status}");
                    return Poll::Ready(Err(Failure::new(Code::UpstreamProtocol).detail(what)));
                }
                if status != 100 {
                    if let Some(interim) = &ex.interim {
                        interim.send(&self.head);
                    }
                } else if upload.sender.holds_body() {
                    self.release_body(upload);
                    return Poll::Ready(Ok(None));
                }
                continue;
            }
            if self.buffer.is_none() && lease.stream().poll_readable(cx).is_pending() {
                return self.wait(cx, ex, upload);
            }
            let buffer = self.buffer.get_or_insert_with(|| ex.worker.buffers.small());
            match lease.stream().poll_read(cx, buffer.space()) {
                Poll::Pending => return self.wait(cx, ex, upload),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.reset(None))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.reset(Some(error)))),
                Poll::Ready(Ok(n)) => {
                    self.answered = true;
                    buffer.filled(n);
                    ex.clock.progress();
                }
            }
        }
    }

    fn release_body(&mut self, upload: &mut Upload) {
        upload.sender.allow_body(true);
        self.sent = false;
    }

    fn wait(&mut self, cx: &mut Context<'_>, ex: &Exchange, upload: &mut Upload) -> Poll<Result<Option<Parsed>, Failure>> {
        if !self.sent {
            return Poll::Pending;
        }
        if upload.sender.holds_body() {
            return match ready!(ex.clock.poll_phase(cx, Phase::Continue, self.expect_continue)) {
                // The endpoint says nothing: the client is told to go on all the same (RFC 9110 10.1.1).
                Which::Phase => {
                    self.release_body(upload);
                    Poll::Ready(Ok(None))
                }
                Which::Total => ex.clock.wait(cx, Phase::FirstByte, self.first_byte).map(Err),
            };
        }
        ex.clock.wait(cx, Phase::FirstByte, self.first_byte).map(Err)
    }

    fn parse(&mut self) -> Result<Option<Parsed>, Failure> {
        let Some(buffer) = self.buffer.as_mut().filter(|b| !b.is_empty()) else { return Ok(None) };
        match http1::parse_response(buffer.data(), &self.limits, self.kind, &mut self.head) {
            Ok(Some(parsed)) => {
                buffer.consume(parsed.len);
                Ok(Some(parsed))
            }
            Ok(None) => {
                if buffer.len() == buffer.capacity() {
                    buffer.grow((buffer.capacity() * 2).min(self.limits.bytes + crate::io::SMALL));
                }
                Ok(None)
            }
            Err(error) => {
                Err(Failure::new(Code::UpstreamProtocol).detail(format!("the response's head is malformed: {error}")))
            }
        }
    }

    fn reset(&mut self, error: Option<io::Error>) -> Failure {
        let failure = Failure::new(Code::UpstreamReset).detail("the connection ended before a response");
        match self.broken.take().or(error) {
            Some(error) => failure.source(error),
            None => failure,
        }
    }
}

/// Makes the response: its body complete in memory if all of it has arrived, else to be streamed.
fn respond(
    ex: &mut Exchange,
    upstream: &Upstream,
    mut lease: Lease,
    upload: Upload,
    head: ResponseHead,
    parsed: &Parsed,
    buffer: Buffer,
) -> Result<Response, Failed> {
    lease.learn(&head, parsed);
    let mut intake = Intake::new(buffer, Decoder::new(parsed.framing, &upstream.head));
    if let Err(error) = intake.decode() {
        return Err(Failed { failure: protocol(&error), unsent: false });
    }
    let sent = upload.sender.is_done();
    let whole = intake.is_complete() && intake.trailers().is_none();
    let body = if whole {
        if intake.surplus() > 0 || !sent {
            lease.spoil();
        }
        lease.done_at_last_byte();
        lease.give_back();
        ex.request.body = upload.body;
        ex.worker.keep_staging(upload.sender.into_staging());
        if intake.data().is_empty() { Body::Empty } else { Body::Buffered(intake.into_body()) }
    } else {
        let upload = if sent {
            ex.worker.keep_staging(upload.sender.into_staging());
            None
        } else {
            ex.clock.go_duplex();
            Some(upload)
        };
        Body::Source(Box::new(Download::new(intake, lease, upload, ex.clock.clone(), upstream.timeouts.idle)))
    };
    Ok(Response { head, body, declared_length: parsed.declared_length, close: false })
}
