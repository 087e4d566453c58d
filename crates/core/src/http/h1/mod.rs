//! Drives HTTP/1.1 on a client connection: bytes in, [`proxy::handle`], bytes out.
//!
//! One task serves one connection. Between requests the task holds neither buffer nor request state,
//! so that an idle connection costs little memory: what requests need lives in a future of its own
//! (`requests`).

mod incoming;
mod switch;
mod write;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use gatehouse_http1::{self as http1, Framing, HeadError, Known, Parsed};

use crate::body::Body;
use crate::config::Protocol;
use crate::exchange::{Connection, Exchange, Request, Response};
use crate::failure::{Code, Failure};
use crate::gateway::PlanRef;
use crate::http::h2;
use crate::io::{Buffer, Clock, Phase, Stream, Total};
use crate::proxy;
use crate::worker::Worker;

use incoming::Incoming;
pub(in crate::http) use incoming::{body_failure, too_slow};
use switch::Switched;
pub(in crate::http) use write::takes_upload;

/// How soon a request must follow the last for the memory of that to be used again. Longer pauses give it back.
const CLOSELY: Duration = Duration::from_millis(40);

/// What becomes of the connection.
enum Next {
    /// Wait for another request.
    Wait,
    /// Close it; everything was read.
    Close,
    /// Close it without a word: what was sent is not whole, and must not look so.
    Cut,
    /// Close it, but let the client read our last words first: it may still be sending.
    Linger,
    /// It speaks another protocol from here on.
    Switch(Box<Switched>),
    /// It is one of HTTP/2; what was read of it is left over.
    Http2,
}

/// The connection, shared by the driver and the body of the request it is reading.
pub(crate) struct ClientIo {
    stream: RefCell<Stream>,
    /// Bytes of the next request that came with the last.
    leftover: RefCell<Option<Buffer>>,
    /// Interim responses not written yet.
    interim: RefCell<Vec<u8>>,
    /// False while a request's body has not been read to its end.
    body_read: Cell<bool>,
    /// True while a client that leaves would be noticed: until something else is there to read.
    watches: Cell<bool>,
    /// True if the current request is of HTTP/1.0, which knows no interim responses.
    is_http10: Cell<bool>,
    /// Body bytes of the current request taken from the wire.
    body_bytes: Cell<u64>,
}

/// A client's connection, ready to be served.
pub(crate) struct Client {
    connection: Rc<Connection>,
    io: Rc<ClientIo>,
    clock: Rc<Clock>,
}

impl Client {
    /// A connection whose first bytes, if any, were read already.
    pub(crate) fn new(
        worker: &Worker,
        connection: Rc<Connection>,
        stream: Stream,
        first: Option<Buffer>,
    ) -> Self {
        let io = Rc::new(ClientIo {
            stream: RefCell::new(stream),
            leftover: RefCell::new(first),
            interim: RefCell::new(Vec::new()),
            body_read: Cell::new(true),
            watches: Cell::new(false),
            is_http10: Cell::new(false),
            body_bytes: Cell::new(0),
        });
        let clock = Rc::new(Clock::new(&worker.timers, worker.metrics.clone()));
        Self {
            connection,
            io,
            clock,
        }
    }

    /// Serves it until either side ends it.
    pub(crate) async fn serve(self, worker: Rc<Worker>) {
        let Self {
            connection,
            io,
            clock,
        } = &self;
        loop {
            if io.leftover.borrow().is_none() && !idle(&worker, connection, io, clock).await {
                return io.stream.borrow_mut().farewell();
            }
            match Box::pin(requests(&worker, connection, io, clock)).await {
                Next::Wait => {}
                Next::Close => return io.stream.borrow_mut().farewell(),
                Next::Cut => return,
                Next::Linger => return Box::pin(linger(&worker, io, clock)).await,
                Next::Switch(switched) => return switched.serve(io.clone()).await,
                Next::Http2 => break,
            }
        }
        if let Some(client) = self.into_http2() {
            Box::pin(client.serve(worker)).await;
        }
    }

    /// The same connection for the other driver. Between requests nobody else holds its stream.
    fn into_http2(self) -> Option<h2::Client> {
        let io = Rc::into_inner(self.io)?;
        let (stream, first) = (io.stream.into_inner(), io.leftover.into_inner());
        Some(h2::Client::new(self.connection, stream, first, self.clock))
    }
}

/// Waits for the first byte of a request. False when the connection is to end.
async fn idle(worker: &Worker, connection: &Connection, io: &ClientIo, clock: &Clock) -> bool {
    let plan = worker.plan();
    let (phase, after) = if connection.requests.get() == 0 {
        (Phase::Head, plan.client.timeouts.head)
    } else {
        (Phase::KeepAlive, plan.client.timeouts.keep_alive)
    };
    drop(plan);
    let readable = poll_fn(|cx| {
        if let Poll::Ready(result) = io.stream.borrow().poll_readable(cx) {
            return Poll::Ready(result.is_ok());
        }
        // A connection that is to end gets a little more time: its next request may be on its way, and would be lost.
        let (phase, after) = if connection.listener.is_draining() {
            (Phase::Leaving, worker.plan().drain_idle)
        } else {
            (phase, after)
        };
        clock.poll_phase(cx, phase, after).map(|_| false)
    })
    .await;
    if !readable && connection.requests.get() == 0 && !connection.listener.is_draining() {
        worker.metrics.timed_out(phase.label());
    }
    readable
}

/// Serves requests that follow each other closely, in one piece of memory.
async fn requests(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    io: &Rc<ClientIo>,
    clock: &Rc<Clock>,
) -> Next {
    loop {
        let next = request(worker, connection, io, clock).await;
        if !matches!(next, Next::Wait)
            || (io.leftover.borrow().is_none() && !follows(connection, io, clock).await)
        {
            return next;
        }
    }
}

/// True if the next request begins before [`CLOSELY`] is over.
async fn follows(connection: &Connection, io: &ClientIo, clock: &Clock) -> bool {
    poll_fn(|cx| {
        if connection.listener.is_draining() {
            return Poll::Ready(false);
        }
        match io.stream.borrow().poll_readable(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => clock.poll_phase(cx, Phase::Follow, CLOSELY).map(|_| false),
        }
    })
    .await
}

/// Reads one request, has it answered, writes the answer.
async fn request(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    io: &Rc<ClientIo>,
    clock: &Rc<Clock>,
) -> Next {
    let plan = worker.plan();
    let mut request = Request {
        head: worker.spare_request(),
        body: Body::Empty,
    };
    let (parsed, buffer, started) = match read_head(worker, &plan, io, clock, &mut request).await {
        Ok(Some(read)) => read,
        Ok(None) => return Next::Close,
        Err(_) if speaks_http2(&plan, connection, io) => return Next::Http2,
        Err(failure) => {
            let ex = Exchange::begin(worker, plan, connection, clock, request, Instant::now());
            return Box::pin(refuse(ex, io, &failure)).await;
        }
    };
    clock.begin_total(Total::Exchange, plan.client.timeouts.total);
    io.body_bytes.set(0);
    io.body_read.set(parsed.framing == Framing::None);
    io.is_http10.set(request.head.version == http1::Version::Http10);
    // Only a client that has nothing more to send can be watched by what comes from it.
    io.watches
        .set(parsed.framing == Framing::None && buffer.is_empty());
    let mut is_early = false;
    if parsed.framing == Framing::None {
        // What comes behind a request for an upgrade may be no request: not a byte of it is skipped.
        let may_switch =
            request.head.headers.contains(Known::Upgrade) || request.head.method == http1::Method::Connect;
        is_early = may_switch && !buffer.is_empty();
        *io.leftover.borrow_mut() = if may_switch {
            Some(buffer).filter(|buffer| !buffer.is_empty())
        } else {
            next_request(buffer)
        };
    } else {
        let source = Incoming::new(io.clone(), clock.clone(), buffer, &parsed, &plan.client);
        request.body = Body::Source(Box::new(source));
    }

    let may_keep = parsed.keep_alive
        && request.head.method != http1::Method::Connect
        // It may be of the protocol that was asked for: without the switch it must not be read as a request.
        && !is_early
        && connection.requests.get() + 1 < plan.client.limits.requests_per_connection;
    let version = request.head.version;
    let mut ex = Exchange::begin(worker, plan, connection, clock, request, started);
    ex.client_side = Some(io.clone());
    let response = answer(&mut ex).await;
    if ex.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_granted()) {
        return Next::Switch(Switched::new(ex, io, response));
    }
    let next = write::response(&mut ex, io, response, may_keep, version).await;
    clock.end_total();
    ex.record.bytes_in = io.body_bytes.get();
    ex.close();
    next
}

/// Has the request answered; a panic on the way becomes an `internal` failure of this one exchange.
pub(in crate::http) async fn answer(ex: &mut Exchange) -> Response {
    let outcome = {
        let mut handled = pin!(proxy::handle(ex));
        poll_fn(
            |cx| match catch_unwind(AssertUnwindSafe(|| handled.as_mut().poll(cx))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
                Err(_) => Poll::Ready(None),
            },
        )
        .await
    };
    outcome.unwrap_or_else(|| {
        let failure = Failure::new(Code::Internal)
            .detail("a panic while answering")
            .close(true);
        proxy::refuse(ex, &failure)
    })
}

/// Answers a head that could not be read, and closes.
async fn refuse(mut ex: Exchange, io: &Rc<ClientIo>, failure: &Failure) -> Next {
    let response = proxy::refuse(&mut ex, failure);
    let version = http1::Version::Http11;
    write::response(&mut ex, io, response, false, version).await;
    ex.clock().end_total();
    ex.close();
    // The rest of whatever that was cannot be told from a next request: read nothing more.
    Next::Linger
}

/// Reads until a whole head is there. `None`: the client left, or said nothing in time.
async fn read_head(
    worker: &Worker,
    plan: &PlanRef,
    io: &ClientIo,
    clock: &Clock,
    request: &mut Request,
) -> Result<Option<(Parsed, Buffer, Instant)>, Failure> {
    let mut buffer = io
        .leftover
        .borrow_mut()
        .take()
        .unwrap_or_else(|| worker.buffers.small());
    let limits = &plan.client.head;
    let mut started = None;
    loop {
        if !buffer.is_empty() {
            let started = *started.get_or_insert_with(Instant::now);
            match http1::parse_request(buffer.data(), limits, &mut request.head) {
                Ok(Some(parsed)) => {
                    buffer.consume(parsed.len);
                    return Ok(Some((parsed, buffer, started)));
                }
                Ok(None) => {
                    if buffer.len() == buffer.capacity() {
                        // The parser refuses heads over the limit, so this is bounded by it.
                        buffer.grow((buffer.capacity() * 2).min(limits.bytes + crate::io::SMALL));
                    }
                }
                Err(error) => {
                    let failure = head_failure(&error);
                    if error == HeadError::UnsupportedVersion {
                        *io.leftover.borrow_mut() = Some(buffer);
                    }
                    return Err(failure);
                }
            }
        }
        let read = poll_fn(|cx| {
            let space = buffer.space();
            match io.stream.borrow_mut().poll_read(cx, space) {
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending => clock.wait(cx, Phase::Head, plan.client.timeouts.head).map(Err),
            }
        })
        .await;
        match read {
            // Nothing was asked: a late answer could be taken for that of a request on its way.
            Ok(Ok(0)) | Err(_) if is_blank(&buffer) => return Ok(None),
            Ok(Ok(0)) => {
                return Err(Failure::new(Code::BadRequest)
                    .safe_detail("the head was cut short")
                    .close(true));
            }
            Ok(Ok(n)) => buffer.filled(n),
            Ok(Err(_)) => return Ok(None),
            Err(failure) => return Err(failure),
        }
    }
}

/// True if a head of an unknown version is the beginning of a connection of HTTP/2 (RFC 9113 3.3), which only
/// comes unannounced in the clear. The rest of its preface is looked at by the other driver.
fn speaks_http2(plan: &PlanRef, connection: &Connection, io: &ClientIo) -> bool {
    let preface = gatehouse_http2::frame::PREFACE;
    let begins = |buffer: &Buffer| {
        let n = buffer.len().min(preface.len());
        buffer.part(0..n) == &preface[..n]
    };
    let leftover = io.leftover.borrow();
    connection.requests.get() == 0
        && connection.scheme == "http"
        && leftover.as_ref().is_some_and(begins)
        && plan
            .listeners
            .get(&*connection.listener.name)
            .is_some_and(|listener| listener.speaks(Protocol::Http2))
}

/// True if nothing of a request is there: at most the line end that some clients send after a body (RFC 9112 2.2).
fn is_blank(buffer: &Buffer) -> bool {
    matches!(buffer.data(), [] | b"\r" | b"\r\n")
}

/// What is left in a buffer, if it is the beginning of another request.
fn next_request(buffer: Buffer) -> Option<Buffer> {
    (!matches!(buffer.data(), [] | b"\r\n")).then_some(buffer)
}

pub(in crate::http) fn head_failure(error: &HeadError) -> Failure {
    let with = |code, setting, limit: usize, measured: usize| {
        Failure::new(code).limit(setting, limit as u64, Some(measured as u64))
    };
    let failure = match *error {
        HeadError::Malformed(what) => Failure::new(Code::BadRequest).safe_detail(what),
        HeadError::HeadTooLarge { limit, measured } => {
            with(Code::HeaderTooLarge, "client.limits.head", limit, measured)
        }
        HeadError::TooManyFields { limit, measured } => {
            with(Code::HeaderTooLarge, "client.limits.fields", limit, measured)
        }
        HeadError::TargetTooLong { limit, measured } => {
            with(Code::UriTooLong, "client.limits.target", limit, measured)
        }
        HeadError::UnsupportedCoding => {
            Failure::new(Code::NotImplemented).safe_detail("only the transfer coding `chunked` is known")
        }
        HeadError::UnsupportedVersion => Failure::new(Code::HttpVersion),
    };
    failure.close(true)
}

/// Ends our direction and reads what the client still sends, for a while, so that our last response
/// is not lost to a reset (RFC 9112 9.6).
async fn linger(worker: &Worker, io: &ClientIo, clock: &Clock) {
    const MOST: usize = 1024 * 1024;
    let after = worker.plan().client.timeouts.linger;
    let mut buffer = worker.buffers.small();
    let mut taken = 0;
    clock.begin_total(Total::Exchange, after);
    let _ = poll_fn(|cx| {
        let mut stream = io.stream.borrow_mut();
        match stream.poll_shutdown(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => clock
                .poll_phase(cx, Phase::Linger, after)
                .map(|_| Err(io::ErrorKind::TimedOut.into())),
        }
    })
    .await;
    poll_fn(|cx| {
        loop {
            match io.stream.borrow_mut().poll_read(cx, buffer.space()) {
                Poll::Ready(Ok(n)) if n > 0 && taken < MOST => taken += n,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return clock.poll_phase(cx, Phase::Linger, after).map(|_| ()),
            }
        }
    })
    .await;
}
