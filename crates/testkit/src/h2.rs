//! A client of HTTP/2 for tests, by the `h2` library, with blocking calls.
//!
//! A thread of its own drives the connection. Every call has a deadline, so that a gateway that hangs fails the
//! test. What no decent client would send is the affair of [`frames`].

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
pub use h2::Reason;
pub use h2::client::Builder;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
pub use http::request::Builder as Head;
use http::{HeaderMap, Request, Response};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::client::HOST;
use crate::wait::{PATIENCE, until, until_some};

pub mod frames;

/// How a connection ended: well, or with the error of the library.
type Ended = Arc<Mutex<Option<Result<(), String>>>>;

/// A connection. Dropping it closes it.
pub struct Http2 {
    handle: Handle,
    requests: SendRequest<Bytes>,
    ended: Ended,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The failure code of an answer that the gateway made.
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("a problem as JSON");
        problem["code"].as_str().expect("a code").to_owned()
    }
}

/// A request for a path of [`HOST`].
pub fn request(method: &str, path: &str) -> Head {
    Request::builder()
        .method(method)
        .uri(format!("http://{HOST}{path}"))
        .version(http::Version::HTTP_2)
}

impl Http2 {
    /// Connects by prior knowledge.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::connect_with(to, &Builder::new())
    }

    /// The same with settings.
    #[track_caller]
    pub fn connect_with(to: SocketAddr, builder: &Builder) -> Self {
        let (stop, mut stopped) = oneshot::channel::<()>();
        let (ready, connected) = std::sync::mpsc::channel();
        let ended = Ended::default();
        let (outcome, builder) = (ended.clone(), builder.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let stream = tokio::net::TcpStream::connect(to).await.expect("a connection");
                stream.set_nodelay(true).unwrap();
                let (requests, connection) =
                    builder.handshake::<_, Bytes>(stream).await.expect("a handshake");
                ready.send((Handle::current(), requests)).unwrap();
                tokio::select! {
                    result = connection => *outcome.lock().unwrap() = Some(result.map_err(|e| e.to_string())),
                    _ = &mut stopped => return,
                }
                // Calls that still wait need somebody to drive them.
                let _ = stopped.await;
            });
        });
        let (handle, requests) = connected
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no connection of HTTP/2 to {to}"));
        Self {
            handle,
            requests,
            ended,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        wait(&self.handle, what, future)
    }

    /// Begins a request; `end` if it has no body.
    #[track_caller]
    pub fn send(&self, request: Request<()>, end: bool) -> Stream {
        self.try_send(request, end).expect("the request is taken")
    }

    /// The same, where the connection may be going.
    #[track_caller]
    pub fn try_send(&self, request: Request<()>, end: bool) -> Result<Stream, h2::Error> {
        let ready = self.requests.clone().ready();
        let mut requests = self.wait("room for a request", ready)?;
        let (response, out) = requests.send_request(request, end)?;
        Ok(Stream {
            handle: self.handle.clone(),
            response: Some(response),
            out,
            body: None,
        })
    }

    /// Asks for a tunnel by an extended CONNECT (RFC 8441), once the gateway has said that it knows it.
    #[track_caller]
    pub fn connect_to(&self, protocol: &'static str, path: &str, fields: &[(&'static str, &str)]) -> Stream {
        until("the setting for extended CONNECT", || {
            self.requests.is_extended_connect_protocol_enabled()
        });
        let mut head = request("CONNECT", path).extension(Protocol::from_static(protocol));
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        self.send(head.body(()).unwrap(), false)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(()).unwrap(), true).answer()
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = request("POST", path).header("content-length", length);
        let mut stream = self.send(head.body(()).unwrap(), false);
        // An answer that comes first ends the upload.
        let _ = stream.try_write(body, true);
        stream.answer()
    }

    /// Waits until the connection ends; the error if it did not end well.
    #[track_caller]
    pub fn wait_ended(&self) -> Result<(), String> {
        until_some("the end of the connection", || self.ended.lock().unwrap().clone())
    }

    /// Waits until no more requests are taken: the gateway said that it goes.
    #[track_caller]
    pub fn wait_going(&self) {
        until("the gateway says that it goes", || {
            let ready = self.requests.clone().ready();
            self.wait("whether requests are taken", ready).is_err()
        });
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request and its answer.
pub struct Stream {
    handle: Handle,
    response: Option<ResponseFuture>,
    out: SendStream<Bytes>,
    body: Option<RecvStream>,
}

impl Stream {
    #[track_caller]
    fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        wait(&self.handle, what, future)
    }

    /// Sends a piece of the body as soon as there is room for it.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8], end: bool) {
        self.try_write(bytes, end).expect("the piece is taken");
    }

    /// The same, where the stream may be closed.
    #[track_caller]
    pub fn try_write(&mut self, mut bytes: &[u8], end: bool) -> Result<(), h2::Error> {
        let handle = self.handle.clone();
        if bytes.is_empty() {
            return self.out.send_data(Bytes::new(), end);
        }
        while !bytes.is_empty() {
            self.out.reserve_capacity(bytes.len());
            let room = match self.out.capacity() {
                0 => {
                    let out = &mut self.out;
                    wait(&handle, "room to send", poll_fn(|cx| out.poll_capacity(cx)))
                        .unwrap_or_else(|| Err(Reason::CANCEL.into()))?
                }
                room => room,
            };
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            bytes = rest;
            self.out
                .send_data(Bytes::copy_from_slice(now), end && rest.is_empty())?;
        }
        Ok(())
    }

    /// Gives as much as there is room for; how much that was. Does not wait for more room than there will soon be.
    pub fn write_some(&mut self, bytes: &[u8]) -> usize {
        self.out.reserve_capacity(bytes.len());
        let n = self.out.capacity().min(bytes.len());
        if n > 0 {
            self.out
                .send_data(Bytes::copy_from_slice(&bytes[..n]), false)
                .expect("the piece is taken");
        }
        n
    }

    #[track_caller]
    pub fn write_trailers(&mut self, trailers: &[(&'static str, &str)]) {
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            map.append(*name, value.parse().unwrap());
        }
        self.out.send_trailers(map).expect("trailers are taken");
    }

    /// The next interim response; none once the final one is there.
    #[track_caller]
    pub fn interim(&mut self) -> Option<Response<()>> {
        let handle = self.handle.clone();
        let response = self.response.as_mut().expect("the response was not taken yet");
        wait(
            &handle,
            "an interim response",
            poll_fn(|cx| response.poll_informational(cx)),
        )
        .map(|r| r.expect("an interim response"))
    }

    /// The head of the answer.
    #[track_caller]
    pub fn head(&mut self) -> Response<()> {
        self.try_head().expect("an answer")
    }

    /// The same, where the stream may be reset.
    #[track_caller]
    pub fn try_head(&mut self) -> Result<Response<()>, h2::Error> {
        let response = self.response.take().expect("the response was not taken yet");
        let (parts, body) = self.wait("the head of the answer", response)?.into_parts();
        self.body = Some(body);
        Ok(Response::from_parts(parts, ()))
    }

    /// The next piece of the answer, which makes room for another. An empty one says nothing.
    #[track_caller]
    pub fn piece(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let handle = self.handle.clone();
        let body = self.body.as_mut().expect("the head was taken");
        loop {
            let piece = wait(&handle, "a piece of the answer", body.data()).transpose()?;
            let length = piece.as_ref().map(Bytes::len);
            let _ = body.flow_control().release_capacity(length.unwrap_or(0));
            if length != Some(0) {
                return Ok(piece);
            }
        }
    }

    /// All of the answer.
    #[track_caller]
    pub fn answer(self) -> Answer {
        self.try_answer().expect("a whole answer")
    }

    /// The same, where the stream may be reset.
    #[track_caller]
    pub fn try_answer(mut self) -> Result<Answer, h2::Error> {
        let head = self.try_head()?;
        self.rest(&head)
    }

    /// What follows a head that was taken.
    #[track_caller]
    pub fn rest(&mut self, head: &Response<()>) -> Result<Answer, h2::Error> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece()? {
            all.extend_from_slice(&piece);
        }
        let handle = self.handle.clone();
        let body = self.body.as_mut().expect("the head was taken");
        let trailers = wait(&handle, "the end of the answer", body.trailers())?;
        Ok(Answer {
            status: head.status().as_u16(),
            headers: head.headers().clone(),
            body: all,
            trailers: trailers.unwrap_or_default(),
        })
    }

    /// Why the gateway ended the stream.
    #[track_caller]
    pub fn reset_by_gateway(&mut self) -> Reason {
        let handle = self.handle.clone();
        let out = &mut self.out;
        wait(&handle, "a reset", poll_fn(|cx| out.poll_reset(cx))).expect("a reset")
    }

    /// Takes the request back.
    pub fn reset(mut self) {
        self.out.send_reset(Reason::CANCEL);
    }
}

#[track_caller]
fn wait<T>(handle: &Handle, what: &str, future: impl Future<Output = T>) -> T {
    handle
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}
