//! A request from start to end: the function to read first.
//!
//! Protocol drivers (`http/h1/`, later h2 and h3) turn bytes into an [`Exchange`], call [`handle`]
//! and write the response it returns. Nothing here knows a protocol, a policy or a socket.

use crate::action;
use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure};
use crate::http::{id, respond, screen, upgrade};
use crate::io::Total;

/// Answers one request. Never fails: what goes wrong becomes a response.
pub async fn handle(ex: &mut Exchange) -> Response {
    let mut response = match answer(ex).await {
        Ok(response) => response,
        Err(failure) => respond::failure(ex, &failure),
    };
    if upgrade::is_false_grant(ex, response.head.status) {
        let failure = Failure::new(Code::UpgradeRefused).detail("answered without a switch of protocols");
        response = respond::failure(ex, &failure);
    }
    if !ex.ran.is_nothing() {
        unwind(ex, &mut response).await;
    }
    respond::finish(ex, &mut response);
    response
}

/// Answers a request whose head could not even be read. No policy sees it.
pub fn refuse(ex: &mut Exchange, failure: &Failure) -> Response {
    id::assign(ex);
    let mut response = respond::failure(ex, failure);
    respond::finish(ex, &mut response);
    response
}

async fn answer(ex: &mut Exchange) -> Result<Response, Failure> {
    id::assign(ex);
    let shape = screen::request(ex)?;
    let plan = ex.plan.clone();
    if !plan.reserved.is_empty() {
        plan.reserved.strip(&mut ex.request.head.headers);
        ex.request.body.reserve(&plan.reserved);
    }
    if let Some(edges) = &plan.edges
        && let Some(reply) = edges.screen(ex)?
    {
        return Ok(reply);
    }

    if !plan.policies.is_empty() {
        let mut ran = ex.ran.global;
        let reply = plan.policies.on_request(ex, &mut ran).await;
        ex.ran.global = ran;
        if let Some(reply) = reply? {
            return Ok(reply);
        }
    }

    let route = plan.find(ex, shape)?;
    screen::limits(ex, route)?;

    if !route.policies.is_empty() {
        if let Some(timeout) = route.timeout {
            // It bounds what policies wait for as well.
            let left = timeout.saturating_sub(ex.clock.now().saturating_duration_since(ex.record.started()));
            ex.clock
                .begin_total(Total::Exchange, left.min(plan.client.timeouts.total));
        }
        let mut ran = ex.ran.route;
        let reply = route.policies.on_request(ex, &mut ran).await;
        ex.ran.route = ran;
        if let Some(reply) = reply? {
            return Ok(reply);
        }
    }
    action::run(ex, &route.action).await
}

/// The way back: the route's policies, then the global ones, in reverse, also for failures.
async fn unwind(ex: &mut Exchange, response: &mut Response) {
    let plan = ex.plan.clone();
    if let Some(route) = ex.route.and_then(|i| plan.routes.get(i))
        && let Err(failure) = route.policies.on_response(ex.ran.route, ex, response).await
    {
        *response = respond::failure(ex, &failure);
    }
    if let Err(failure) = plan.policies.on_response(ex.ran.global, ex, response).await {
        *response = respond::failure(ex, &failure);
    }
}
