//! Answers made here: static replies and redirects.

use bytes::Bytes;
use gatehouse_http1::{Headers, Known};

use super::rewrite::redirect::Target;
use super::with_source;
use crate::body::Body;
use crate::exchange::{Exchange, Response};
use crate::failure::Failure;
use crate::http::screen;

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
    pub(super) fn answer(&self, ex: &Exchange) -> Response {
        let mut head = ex.worker.spare_response();
        head.clear();
        head.status = self.status;
        head.headers.append_all(&self.headers);
        Response {
            head,
            body: Body::from(self.body.clone()),
            declared_length: None,
            close: false,
        }
    }
}

/// A redirect to somewhere made from the request.
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where to.
    pub target: Target,
}

impl Redirect {
    pub(super) fn answer(&self, ex: &Exchange) -> Result<Response, Failure> {
        let location = with_source(ex, |source| self.target.location(source)).map_err(screen::refused)?;
        let mut response = Response::new(self.status);
        response.headers_mut().set(Known::Location, location.as_bytes());
        Ok(response)
    }
}
