//! One request on a connection of HTTP/2 and its answer.
//!
//! Each has its own clock and a future for itself, which belongs to the connection and ends with it.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

use gatehouse_http1::{HeadError, RequestHead};
use gatehouse_http2::Opening;

use super::incoming::{Incoming, Side};
use super::session::Session;
use super::tasks::Seat;
use super::{switch, write};
use crate::body::Body;
use crate::exchange::{Exchange, Request};
use crate::failure::{Code, Failure};
use crate::http::h1;
use crate::http::upgrade;
use crate::io::{Clock, Total};
use crate::proxy;

/// Answers the requests of a place, one after the other.
pub(super) async fn serve(session: Rc<Session>, seat: Rc<Seat<Asked>>) -> Infallible {
    let worker = &session.worker;
    let clock = Rc::new(Clock::new(&worker.timers, worker.metrics.clone()));
    loop {
        let asked = seat.next().await;
        answer(&session, &clock, asked).await;
        clock.end_total();
    }
}

/// A request whose head has come.
pub(super) struct Asked {
    pub head: RequestHead,
    pub opening: Opening,
}

/// Answers one request.
async fn answer(session: &Rc<Session>, clock: &Rc<Clock>, Asked { head, opening }: Asked) {
    let worker = &session.worker;
    let started = Instant::now();
    let plan = worker.plan();
    let side = Side::new(session.clone(), opening.key);
    let mut request = Request {
        head,
        body: Body::Empty,
    };
    clock.begin_total(Total::Exchange, plan.client.timeouts.total);
    if let Ok(declared) = &opening.head
        && !opening.is_whole
        && !opening.is_connect
    {
        let source = Incoming::new(side.clone(), clock.clone(), *declared, &plan.client);
        request.body = Body::Source(Box::new(source));
    }
    let mut ex = Exchange::begin(worker, plan, &session.connection, clock, request, started);
    ex.client_side = Some(side.clone());
    if let Err(error @ HeadError::Malformed(_)) = &opening.head {
        // Its stream was reset (RFC 9113 8.1.1). It is counted and logged like one of HTTP/1 that gets a 400.
        drop(proxy::refuse(&mut ex, &h1::head_failure(error)));
        return ex.close();
    }
    // Requests that are taken back at once must not cost an endpoint anything.
    if session.is_gone(opening.key) {
        ex.record.broke(&Failure::new(Code::ClientGone));
        ex.close();
        return;
    }
    if let (Some(protocol), Ok(_)) = (&opening.protocol, &opening.head) {
        let headers = &mut ex.request.head.headers;
        ex.upgrade = Some(upgrade::extended(protocol, headers, worker.random()));
    }
    let response = match opening.head {
        Ok(_) => h1::answer(&mut ex).await,
        Err(error) => proxy::refuse(&mut ex, &h1::head_failure(&error)),
    };
    if opening.is_connect && ex.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_granted()) {
        return Box::pin(switch::serve(ex, side, response)).await;
    }
    write::response(&mut ex, &side, response).await;
    ex.record.bytes_in = side.body_bytes.get();
    ex.close();
}
