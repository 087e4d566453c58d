//! Answers made here: static replies and redirects.

use bytes::Bytes;
use gatehouse_http1::{Headers, Known, ResponseHead};

use super::rewrite::RedirectTarget;
use crate::body::Body;
use crate::exchange::{Exchange, Response};
use crate::failure::Failure;

/// A response written in the document.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: Headers,
    /// Its body, shared by all answers.
    pub body: Bytes,
}

impl Reply {
    pub(super) fn answer(&self) -> Response {
        let mut response = Response::new(self.status);
        response.head = ResponseHead { status: self.status, headers: self.headers.clone(), ..ResponseHead::default() };
        response.body = Body::from(self.body.clone());
        response
    }
}

/// A redirect to somewhere made from the request.
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where to.
    pub target: RedirectTarget,
}

impl Redirect {
    pub(super) fn answer(&self, ex: &mut Exchange) -> Result<Response, Failure> {
        let location = self.target.build(ex)?;
        let mut response = Response::new(self.status);
        response.headers_mut().set(Known::Location, &location);
        Ok(response)
    }
}
