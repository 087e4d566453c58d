//! HTTP/2 towards endpoints: many requests at once on few connections.
//!
//! [`send`] is what an attempt of HTTP/1.1 is to its own connection: it takes a place on one ([`pool`]), sends the head
//! and as much of the body as the endpoint has room for, and reads the response's head ([`talk`]). The response's body
//! takes the rest of the request's along ([`body`]). A request that the endpoint certainly never looked at is sent
//! again; the connections themselves ([`connection`]) live in the pool.

mod body;
mod connection;
mod head;
mod pool;
mod talk;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use h2::Reason;

use super::Upstream;
use super::attempt::{self, Failed, Outgoing};
use super::endpoint::Endpoint;
use super::pool::PooledStream;
use crate::body::Body;
use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure};
use body::Download;
use connection::Lease;
use pool::Taken;
use talk::{Answer, Talk};
use upload::Upload;

pub(crate) use pool::Pools;

/// The most often a request is sent to one endpoint, if each time but the last it was refused unread.
const MOST_TRIES: u32 = 5;

/// What became of a request.
pub(super) enum Sent {
    /// It was answered, or failed.
    Done(Result<Response, Failed>),
    /// It was not sent: the endpoint speaks HTTP/1.1, on this connection.
    NotHttp2(Box<PooledStream>),
}

/// A request that was not answered.
struct Broken {
    failure: Failure,
    /// True if the endpoint certainly did not act upon it (RFC 9113 8.7).
    unread: bool,
    /// True if the connection went, or nothing says why.
    lost: bool,
    /// True if the body is in the exchange again, complete.
    whole: bool,
    /// True if the connection had served before.
    reused: bool,
}

/// Sends the exchange's request to `endpoint` and reads the head of its response.
pub(super) async fn send(
    ex: &mut Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    outgoing: &Outgoing<'_>,
    since: Instant,
) -> Sent {
    // False once an endpoint may have acted upon the request.
    let mut unsent = true;
    let mut tries = 0;
    loop {
        let connection = match pool::take(ex, upstream, endpoint).await {
            Ok(Taken::Place(connection)) => connection,
            Ok(Taken::Http1(stream)) => return Sent::NotHttp2(stream),
            Err(failure) => return Sent::Done(Err(Failed { failure, unsent })),
        };
        let lease = Lease::new(ex, upstream, endpoint, connection, since);
        let broken = match once(ex, upstream, endpoint, outgoing, lease).await {
            Ok(response) => return Sent::Done(Ok(response)),
            Err(broken) => broken,
        };
        tries += 1;
        // A kept connection may turn out dead, as with HTTP/1.1 (RFC 9110 9.2.2).
        let stale = broken.lost && broken.reused && tries == 1 && ex.request.head.method.is_idempotent();
        unsent &= broken.unread;
        if !broken.whole || tries == MOST_TRIES || !(broken.unread || stale) {
            let unsent = unsent && broken.whole;
            return Sent::Done(Err(Failed {
                failure: broken.failure,
                unsent,
            }));
        }
        upstream.stats.shard(ex.worker.index).retries.inc();
    }
}

/// One try on one connection.
async fn once(
    ex: &mut Exchange,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    outgoing: &Outgoing<'_>,
    lease: Lease,
) -> Result<Response, Broken> {
    let reused = lease.is_reused();
    let with = |failure| Broken {
        failure,
        unread: false,
        lost: false,
        whole: true,
        reused,
    };
    let framing = attempt::request_framing(ex);
    let request = head::request(ex, endpoint, outgoing, framing).map_err(with)?;
    let ends = ex.request.body.is_finished() && ex.request.body.trailers().is_none();
    let (response, stream) = match lease.begin(request, ends) {
        Ok(begun) => begun,
        // The connection takes no more: nothing was sent on it.
        Err(error) => {
            return Err(Broken {
                unread: true,
                lost: true,
                ..with(failed(&error))
            });
        }
    };
    let upload = Upload::new(stream, std::mem::take(&mut ex.request.body), ends, ex);
    ex.clock.leave();
    let mut talk = Talk::new(upstream, response, upload);
    let answer = talk.heads(ex, &lease).await;
    let Talk { upload, .. } = talk;
    match answer {
        Ok(answer) => respond(ex, upstream, lease, upload, answer).map_err(|failure| Broken {
            whole: false,
            ..with(failure)
        }),
        Err(talk::Error::Failure(failure)) => {
            ex.request.body = upload.into_rest();
            Err(Broken {
                whole: false,
                ..with(failure)
            })
        }
        Err(talk::Error::Stream(error)) => {
            let whole = upload.put_back(&mut ex.request.body);
            let unread = is_unread(&error);
            let lost = error.is_io();
            Err(Broken {
                unread,
                lost,
                whole,
                ..with(failed(&error))
            })
        }
    }
}

/// Makes the response: complete if it has no body, else one to be streamed.
fn respond(
    ex: &mut Exchange,
    upstream: &Upstream,
    mut lease: Lease,
    upload: Upload,
    answer: Answer,
) -> Result<Response, Failure> {
    let Answer { response, declared } = answer;
    let mut head = ex.worker.spare_response();
    let (parts, stream) = response.into_parts();
    head::response(&parts, &upstream.head, &mut head)?;
    let bodiless =
        ex.request.head.method == gatehouse_http1::Method::Head || matches!(head.status, 204 | 304);
    let body = if bodiless || stream.is_end_stream() {
        // What the request still had to send is not wanted: the stream is reset by being dropped.
        ex.request.body = upload.into_rest();
        lease.end_time();
        Body::Empty
    } else {
        // A body that is held back for a `100 Continue` is not wanted any more.
        let upload = if upload.is_over() || upload.is_held() {
            ex.request.body = upload.into_rest();
            None
        } else {
            ex.clock.go_duplex();
            Some(upload)
        };
        Body::Source(Box::new(Download::new(
            ex, upstream, stream, declared, lease, upload,
        )))
    };
    Ok(Response {
        head,
        body,
        declared_length: declared,
        close: false,
    })
}

/// True if the endpoint says that it did not act upon the request, or cannot have (RFC 9113 6.8, 8.7).
fn is_unread(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// What to tell of an error on a stream or its connection.
fn failed(error: &h2::Error) -> Failure {
    let code = if error.is_library() {
        // Found here: the endpoint broke the rules.
        Code::UpstreamProtocol
    } else {
        Code::UpstreamReset
    };
    Failure::new(code).detail(format!("the HTTP/2 stream failed: {error}"))
}
