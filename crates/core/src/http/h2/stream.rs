//! One request on a connection of HTTP/2 and its answer.
//!
//! Each has its own clock and its own future, which belongs to the connection and ends with it.

use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use ::http::request;
use gatehouse_http1::{HeadError, Method, Version, is_token};
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

use super::incoming::{Incoming, Side};
use super::piece::Piece;
use super::switch;
use super::wire::Wire;
use super::write;
use crate::body::Body;
use crate::exchange::{ClientSide, Connection, Exchange, Request};
use crate::failure::{Code, Failure};
use crate::http::h1;
use crate::http::parts;
use crate::http::upgrade;
use crate::io::{Clock, Total};
use crate::proxy;
use crate::worker::Worker;

/// What the requests of a connection share.
pub(super) struct Shared {
    pub worker: Rc<Worker>,
    pub connection: Rc<Connection>,
    pub wire: Wire,
}

/// Answers one request.
pub(super) async fn serve(
    shared: Rc<Shared>,
    parts: request::Parts,
    body: RecvStream,
    respond: SendResponse<Piece>,
) {
    let (worker, connection) = (&shared.worker, &shared.connection);
    let started = Instant::now();
    let plan = worker.plan();
    let clock = Rc::new(Clock::new(&worker.timers, worker.metrics.clone()));
    let side = Side::new(respond);
    let mut request = Request {
        head: worker.spare_request(),
        body: Body::Empty,
    };
    let protocol = parts.extensions.get::<Protocol>().cloned();
    let is_extended = protocol.is_some();
    let read = match &protocol {
        Some(protocol) if !is_token(protocol.as_str().as_bytes()) => {
            request.head.clear();
            Err(HeadError::Malformed(":protocol is no token"))
        }
        _ => parts::request(
            &parts,
            Version::Http2,
            is_extended,
            &plan.client.head,
            &mut request.head,
        ),
    };
    // What follows is written anew from our own form.
    drop(parts);
    clock.begin_total(Total::Exchange, plan.client.timeouts.total);
    let mut tunnel = None;
    if is_extended || request.head.method == Method::Connect {
        tunnel = Some(body);
    } else if let Ok(declared) = &read
        && !body.is_end_stream()
    {
        let source = Incoming::new(body, side.clone(), clock.clone(), *declared, &plan.client);
        request.body = Body::Source(Box::new(source));
    }
    let mut ex = Exchange::begin(worker, plan, connection, &clock, request, started);
    ex.client_side = Some(side.clone());
    // Requests that are taken back at once must not cost an endpoint anything.
    let gone = std::future::poll_fn(|cx| Poll::Ready(side.poll_gone(cx).is_ready())).await;
    if gone {
        ex.record.broke(&Failure::new(Code::ClientGone));
        ex.close();
        return;
    }
    if let (Some(protocol), Ok(_)) = (&protocol, &read) {
        let headers = &mut ex.request.head.headers;
        ex.upgrade = Some(upgrade::extended(protocol.as_str(), headers, worker.random()));
    }
    let response = match read {
        Ok(_) => h1::answer(&mut ex).await,
        Err(error @ HeadError::Malformed(_)) => {
            // RFC 9113 8.1.1. It is counted and logged like one of HTTP/1 that gets a 400.
            let failure = h1::head_failure(&error);
            drop(proxy::refuse(&mut ex, &failure));
            side.reset(Reason::PROTOCOL_ERROR);
            ex.close();
            return;
        }
        Err(error) => proxy::refuse(&mut ex, &h1::head_failure(&error)),
    };
    if let Some(body) = tunnel
        && ex.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_granted())
    {
        return Box::pin(switch::serve(ex, side, body, response)).await;
    }
    write::response(&mut ex, &side, response).await;
    clock.end_total();
    ex.record.bytes_in = side.body_bytes.get();
    ex.close();
}
