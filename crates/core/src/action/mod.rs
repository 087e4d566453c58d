//! What finally answers a request: an endpoint, or the gateway itself.

pub mod forward;
pub mod reply;
pub mod rewrite;
pub mod split;

pub use forward::{Forward, Several, Targets};
pub use reply::{Redirect, Reply};

use crate::exchange::{Exchange, Response};
use crate::failure::Failure;
use rewrite::Source;

/// What answers a route. Small, as there may be thousands.
pub enum Action {
    /// An endpoint of an upstream.
    Forward(Forward),
    /// A response written in the document.
    Reply(Box<Reply>),
    /// A redirect.
    Redirect(Box<Redirect>),
}

/// Calls `make` with what paths and locations are made of.
fn with_source<T>(ex: &Exchange, make: impl FnOnce(&Source<'_>) -> T) -> T {
    let head = &ex.request.head;
    make(&Source {
        scheme: ex.client.scheme,
        host: head.authority(),
        path: head.path(),
        query: head.query(),
        captures: &ex.captures,
        other: &|variable, out| ex.variable(variable, out),
    })
}

/// Runs a route's action.
pub(crate) async fn run(ex: &mut Exchange, action: &Action) -> Result<Response, Failure> {
    match action {
        Action::Forward(forward) => forward::run(ex, forward).await,
        Action::Reply(reply) => Ok(reply.answer(ex)),
        Action::Redirect(redirect) => redirect.answer(ex),
    }
}
