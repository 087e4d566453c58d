//! What policies ask of a request's body: a bound, or all of it at once.

use std::future::poll_fn;

use bytes::Bytes;

use crate::body::Body;
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::http::screen;

impl Exchange {
    /// Bounds the request's body, in bytes, below what the route allows; `setting` names the bound.
    ///
    /// # Errors
    /// `body_too_large`, if its length is known and more.
    pub fn limit_body(&mut self, limit: u64, setting: &'static str) -> Result<(), Failure> {
        let own = self.plan().client.limits.body;
        let outer = self.route().and_then(|route| route.max_body).unwrap_or(own);
        let tightest = self.body_limit.map_or(outer, |(known, _)| known.min(outer));
        if self.route().is_some() && limit >= tightest {
            return Ok(());
        }
        if self.body_limit.is_some_and(|(known, _)| known <= limit) {
            return Ok(());
        }
        self.body_limit = Some((limit, setting));
        screen::bound_body(self, limit, setting)
    }

    /// Reads the request's body whole and leaves it there, to be read again. Trailer fields are lost.
    ///
    /// # Errors
    /// `body_too_large` beyond `limit` bytes, which `setting` sets; what fails while it arrives.
    pub async fn buffer_body(&mut self, limit: u64, setting: &'static str) -> Result<Bytes, Failure> {
        let too_large = |measured| {
            Failure::new(Code::BodyTooLarge)
                .limit(setting, limit, measured)
                .close(true)
        };
        let body = &mut self.request.body;
        let declared = body.exact_len();
        if let Some(length) = declared.filter(|length| *length > limit) {
            return Err(too_large(Some(length)));
        }
        if let Body::Full(bytes) = body {
            return Ok(bytes.clone());
        }
        let mut whole = Vec::with_capacity(declared.map_or(0, |length| usize::try_from(length).unwrap_or(0)));
        let outcome = loop {
            match poll_fn(|cx| body.poll_more(cx)).await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(failure) => break Err(failure),
            }
            let data = body.data();
            if (whole.len() + data.len()) as u64 > limit {
                break Err(too_large(None));
            }
            whole.extend_from_slice(data);
            let taken = data.len();
            body.consume(taken);
        };
        // The wait for the body is over: what follows is not to be cut by its bound.
        self.clock.leave();
        outcome?;
        let whole = Bytes::from(whole);
        self.request.body = whole.clone().into();
        Ok(whole)
    }
}
