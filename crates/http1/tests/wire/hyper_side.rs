//! hyper's reading of a run of bytes: its server reads requests, its client a response, over a wire in memory.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};

use crate::ours::{Message, sorted};

/// The requests that hyper's server hands on whole.
pub(crate) fn requests(wire: &[u8]) -> Vec<Message> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            if let Some((body, trailers)) = collect(body).await {
                let first = format!("{} {}", head.method, head.uri);
                seen.borrow_mut().push(Message {
                    first,
                    fields: fields(&head.headers),
                    body,
                    trailers,
                });
            }
            Ok::<_, Infallible>(Response::new(Empty))
        }
    });
    let server = hyper::server::conn::http1::Builder::new().serve_connection(Wire::new(wire, true), service);
    // How the connection ends is of no interest: only what the service was given.
    let _ = run(server);
    seen.take()
}

/// The response that hyper's client hands on whole.
pub(crate) fn response(wire: &[u8]) -> Option<Message> {
    run(async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(Wire::new(wire, false))
            .await
            .ok()?;
        let request = Request::builder()
            .uri("/")
            .header("host", "a")
            .body(Empty)
            .unwrap();
        let exchange = async {
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let (body, trailers) = collect(body).await?;
            Some(Message {
                first: head.status.as_str().to_owned(),
                fields: fields(&head.headers),
                body,
                trailers,
            })
        };
        tokio::join!(exchange, connection).0
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

async fn collect(body: Incoming) -> Option<(Vec<u8>, Vec<(String, Vec<u8>)>)> {
    let mut body = pin!(body);
    let (mut data, mut trailers) = (Vec::new(), Vec::new());
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame.ok()?.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = fields(frame.trailers_ref()?),
        }
    }
    Some((data, trailers))
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    sorted(
        headers
            .iter()
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
    )
}

/// A body of no bytes.
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// Gives bytes and then the end; takes whatever is written.
struct Wire {
    bytes: Vec<u8>,
    at: usize,
    /// A client's answer must not come before its question.
    is_open: bool,
    waiting: Option<Waker>,
}

impl Wire {
    fn new(bytes: &[u8], is_open: bool) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            is_open,
            waiting: None,
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.is_open {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = buf.remaining().min(self.bytes.len() - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.is_open = true;
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
