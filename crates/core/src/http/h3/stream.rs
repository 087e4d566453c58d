//! One request of a connection, from its first frame to the last of its answer.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatehouse_http1::{
    Declared, HeadError, HeadLimits, Method, RequestHead, ResponseHead, Version, is_token,
};
use h3::error::{Code as Http3Code, StreamError};
use h3::server::{RequestResolver, RequestStream};

use super::incoming::{Incoming, Parts, Receiver, Taken};
use super::switch;
use super::transport::{Bidi, Marks, Note, Transport};
use super::write::{self, Sender};
use crate::body::{Body, Source};
use crate::exchange::{ClientSide, Connection, Exchange, Request, Response};
use crate::failure::{Code, Failure};
use crate::http::h1::{answer, head_failure};
use crate::http::{parts, upgrade};
use crate::io::{Clock, Phase, Total};
use crate::proxy;
use crate::worker::Worker;

/// How long the end of a request without a body may be behind its head. Then it is taken for one with a body.
const CLOSELY: Duration = Duration::from_millis(40);

/// How a request ended, as its connection counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was answered, or refused.
    Answered,
    /// The client gave it up before it had an answer.
    GivenUp,
}

/// A request that was accepted.
pub(super) struct Accepted {
    pub resolver: RequestResolver<Transport, Bytes>,
    pub note: Note,
}

/// Serves one request.
pub(super) async fn serve(worker: Rc<Worker>, connection: Rc<Connection>, accepted: Accepted) -> Ended {
    let Accepted { resolver, note } = accepted;
    let marks = note.request;
    let plan = worker.plan();
    let clock = Rc::new(Clock::new(&worker.timers, worker.metrics.clone()));
    let started = Instant::now();
    clock.begin_total(Total::Exchange, plan.client.timeouts.total);
    let mut request = Request {
        head: worker.spare_request(),
        body: Body::Empty,
    };
    request.head.clear();
    request.head.version = Version::Http3;
    let begin = |request| Exchange::begin(&worker, plan.clone(), &connection, &clock, request, started);

    let (head, stream) = match resolve(resolver, &marks, &clock, plan.client.timeouts.head).await {
        Ok(Ok(resolved)) => resolved,
        Ok(Err(error)) => {
            let Some(failure) = unresolved(&error, &marks, &plan.client.head) else {
                return Ended::GivenUp;
            };
            return record(begin(request), &failure, Ended::Answered);
        }
        // Whoever does not say what is wanted gets no answer.
        Err(failure) => return record(begin(request), &failure, Ended::Answered),
    };
    marks.end.set(Some(Http3Code::H3_REQUEST_CANCELLED));
    let (sender, receiver) = stream.split();
    let client = Rc::new(Side {
        sender: RefCell::new(Some(sender)),
        stopped: RefCell::new(Some(note.stopped)),
        gone: Cell::new(false),
    });
    let (head, ()) = head.into_parts();
    let protocol = marks.protocol.take();
    let assembled = assemble(
        &head,
        &marks,
        protocol.as_deref(),
        &plan.client.head,
        &mut request.head,
    );
    let declared = match assembled {
        Ok(declared) => declared,
        Err(error) => {
            let mut ex = begin(request);
            let response = proxy::refuse(&mut ex, &head_failure(&error));
            return finish(ex, &client, &marks, response).await;
        }
    };
    if protocol.is_some() || request.head.method == Method::Connect {
        let ex = begin(request);
        return connect(ex, &client, marks, receiver, protocol.as_deref(), note.early).await;
    }
    let taken = Rc::new(Taken::default());
    let parts = Parts {
        receiver,
        marks: marks.clone(),
        clock: clock.clone(),
        client: client.clone(),
        taken: taken.clone(),
        declared: declared.length,
        expects_continue: declared.expect_continue,
    };
    let mut body = Incoming::new(parts, &plan.client);
    let first = first_of(&mut body, &clock, declared).await;
    let mut ex = begin(request);
    ex.client_side = Some(client.clone());
    let response = match first {
        First::Failed(failure) => proxy::refuse(&mut ex, &failure),
        _ if note.early && !is_safe(&ex.request.head.method) => {
            proxy::refuse(&mut ex, &Failure::new(Code::TooEarly))
        }
        // Requests that are taken back at once must not cost an endpoint anything.
        _ if is_gone(&client).await => {
            return record(ex, &Failure::new(Code::ClientGone), Ended::GivenUp);
        }
        first => {
            if !matches!(first, First::Nothing) {
                ex.request.body = Body::Source(Box::new(body));
            }
            if note.early {
                // RFC 8470 5.1: whoever is behind us may know better what must not be repeated.
                ex.request.head.headers.set_name(b"early-data", b"1");
            }
            answer(&mut ex).await
        }
    };
    ex.record.bytes_in = taken.bytes.get();
    finish(ex, &client, &marks, response).await
}

/// Serves a CONNECT, extended by a protocol or not: its stream may become a tunnel.
async fn connect(
    mut ex: Exchange,
    client: &Rc<Side>,
    marks: Rc<Marks>,
    receiver: Receiver,
    protocol: Option<&str>,
    early: bool,
) -> Ended {
    ex.client_side = Some(client.clone());
    if is_gone(client).await {
        return record(ex, &Failure::new(Code::ClientGone), Ended::GivenUp);
    }
    if let Some(protocol) = protocol {
        let random = ex.worker.random();
        ex.upgrade = Some(upgrade::extended(protocol, &mut ex.request.head.headers, random));
    }
    let response = if early {
        proxy::refuse(&mut ex, &Failure::new(Code::TooEarly))
    } else {
        answer(&mut ex).await
    };
    if !ex.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_granted()) {
        return finish(ex, client, &marks, response).await;
    }
    let Some(sender) = client.sender.borrow_mut().take() else {
        return Ended::GivenUp;
    };
    let (clock, patience) = (ex.clock.clone(), ex.plan.client.timeouts.write_idle);
    Box::pin(switch::serve(ex, sender, receiver, marks, response)).await;
    client.has_all(&clock, patience).await;
    Ended::Answered
}

/// Waits for the head.
async fn resolve(
    resolver: RequestResolver<Transport, Bytes>,
    marks: &Marks,
    clock: &Clock,
    after: Duration,
) -> Result<Result<Resolved, StreamError>, Failure> {
    let mut resolving = pin!(resolver.resolve_request());
    poll_fn(|cx| match resolving.as_mut().poll(cx) {
        Poll::Ready(resolved) => Poll::Ready(Ok(resolved)),
        Poll::Pending => clock.wait(cx, Phase::Head, after).map(|failure| {
            marks.end.set(Some(Http3Code::H3_REQUEST_INCOMPLETE));
            Err(failure)
        }),
    })
    .await
}

type Resolved = (http::Request<()>, RequestStream<Bidi<Bytes>, Bytes>);

/// What was wrong with a head that the h3 crate has refused, with 431 or by resetting the stream. None if the client
/// took it back itself.
fn unresolved(error: &StreamError, marks: &Marks, limits: &HeadLimits) -> Option<Failure> {
    match error {
        StreamError::HeaderTooBig { actual_size, .. } => {
            let at_least = ("client.limits.head", limits.bytes as u64, *actual_size);
            let (setting, limit, measured) = marks.exceeded.get().unwrap_or(at_least);
            Some(Failure::new(Code::HeaderTooLarge).limit(setting, limit, Some(measured)))
        }
        StreamError::StreamError {
            code: Http3Code::H3_MESSAGE_ERROR,
            ..
        } => Some(Failure::new(Code::BadRequest).safe_detail("the head is malformed")),
        _ => None,
    }
}

/// Records a request that gets no answer from us.
fn record(mut ex: Exchange, failure: &Failure, ended: Ended) -> Ended {
    proxy::refuse(&mut ex, failure);
    ex.clock().end_total();
    ex.close();
    ended
}

/// True if the client has given the request up by now.
async fn is_gone(client: &Side) -> bool {
    poll_fn(|cx| Poll::Ready(client.poll_gone(cx).is_ready())).await
}

/// The head as the rest of the gateway knows heads, by the same rules.
fn assemble(
    request: &http::request::Parts,
    marks: &Marks,
    protocol: Option<&str>,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Declared, HeadError> {
    if let Some(why) = marks.malformed.get() {
        return Err(HeadError::Malformed(why));
    }
    if protocol.is_some_and(|protocol| !is_token(protocol.as_bytes())) {
        return Err(HeadError::Malformed(":protocol is no token"));
    }
    parts::request(request, Version::Http3, protocol.is_some(), limits, head)
}

/// What comes behind the head.
enum First {
    /// Its end: there is no body.
    Nothing,
    /// Some of the body, or nothing yet.
    Body,
    /// A body that is wrong from its beginning.
    Failed(Failure),
}

/// Looks what comes behind a head. The frames do not say whether there will be a body: the end of the stream may be a
/// packet behind.
async fn first_of(body: &mut Incoming, clock: &Clock, declared: Declared) -> First {
    let promises = declared.length.is_some_and(|length| length > 0) || declared.expect_continue;
    poll_fn(|cx| match body.poll_arrived(cx) {
        Poll::Ready(Ok(false)) if body.trailers().is_none() => Poll::Ready(First::Nothing),
        Poll::Ready(Ok(_)) => Poll::Ready(First::Body),
        Poll::Ready(Err(failure)) => Poll::Ready(First::Failed(failure)),
        Poll::Pending if promises => Poll::Ready(First::Body),
        Poll::Pending => clock.poll_phase(cx, Phase::Follow, CLOSELY).map(|_| First::Body),
    })
    .await
}

/// True for what may be repeated by whoever listens in: it changes nothing (RFC 9110 9.2.1, RFC 8470 3).
fn is_safe(method: &Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options)
}

/// Sends the answer, closes the exchange, and waits until the client has all of it.
async fn finish(mut ex: Exchange, client: &Side, marks: &Marks, response: Response) -> Ended {
    let Some(mut sender) = client.sender.borrow_mut().take() else {
        return Ended::GivenUp;
    };
    let sent = write::response(&mut ex, &mut sender, client, marks, response).await;
    let (clock, patience) = (ex.clock.clone(), ex.plan.client.timeouts.write_idle);
    ex.clock().end_total();
    ex.close();
    drop(ex);
    drop(sender);
    if !sent || client.gone.get() {
        return Ended::GivenUp;
    }
    marks.end.set(
        marks
            .end
            .get()
            .filter(|code| *code == Http3Code::H3_MESSAGE_ERROR),
    );
    client.has_all(&clock, patience).await;
    Ended::Answered
}

/// The client's side of one request.
struct Side {
    sender: RefCell<Option<Sender>>,
    stopped: RefCell<Option<super::transport::Stopped>>,
    gone: Cell<bool>,
}

impl Side {
    /// Waits until the client has all that was sent, or takes too long.
    async fn has_all(&self, clock: &Clock, patience: Duration) {
        let Some(mut stopped) = self.stopped.borrow_mut().take() else {
            return;
        };
        poll_fn(|cx| match stopped.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => clock.poll_phase(cx, Phase::Linger, patience).map(|_| ()),
        })
        .await;
    }
}

impl ClientSide for Side {
    fn send_interim(&self, head: &ResponseHead) {
        let mut sender = self.sender.borrow_mut();
        let Some(sender) = sender.as_mut() else { return };
        // As much as there is room for; the transport sends the rest in front of the final response.
        let mut cx = Context::from_waker(Waker::noop());
        let _ = pin!(sender.send_response(parts::interim(head.status, &head.headers))).poll(&mut cx);
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gone.get() {
            return Poll::Ready(());
        }
        let mut stopped = self.stopped.borrow_mut();
        let Some(waiting) = stopped.as_mut() else {
            return Poll::Pending;
        };
        std::task::ready!(waiting.as_mut().poll(cx)).ok();
        *stopped = None;
        self.gone.set(true);
        Poll::Ready(())
    }
}
