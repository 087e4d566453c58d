//! A service of gRPC written by hand: messages are bytes as they are.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::{Service, service_fn};

const LARGEST: usize = 8 << 20;

type Bytes = Vec<u8>;
type Answer<T> = Result<Response<T>, Status>;

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

#[derive(Default)]
struct Seen {
    timeouts: Mutex<Vec<String>>,
    cancelled: AtomicUsize,
}

#[derive(Clone, Default)]
struct Echo(Arc<Seen>);

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let seen = self.0.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Plain)
                .max_decoding_message_size(LARGEST)
                .max_encoding_message_size(LARGEST);
            let method = request
                .uri()
                .path()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            Ok(match method.as_str() {
                "Unary" => grpc.unary(service_fn(unary), request).await,
                "Fail" => grpc.unary(service_fn(fail), request).await,
                "Hang" => {
                    grpc.unary(service_fn(move |request| hang(seen.clone(), request)), request)
                        .await
                }
                "Count" => grpc.server_streaming(service_fn(count), request).await,
                "Join" => grpc.client_streaming(service_fn(join), request).await,
                "Echo" => grpc.streaming(service_fn(echo), request).await,
                _ => Status::new(Code::Unimplemented, "no such method").into_http(),
            })
        })
    }
}

async fn unary(request: Request<Bytes>) -> Answer<Bytes> {
    let (metadata, _, message) = request.into_parts();
    let mut response = Response::new(message);
    for value in metadata.get_all("x-text") {
        response.metadata_mut().append("x-text", value.clone());
    }
    if let Some(value) = metadata.get_bin("x-bytes-bin") {
        response.metadata_mut().insert_bin("x-bytes-bin", value.clone());
    }
    Ok(response)
}

async fn fail(_: Request<Bytes>) -> Answer<Bytes> {
    let details = bytes::Bytes::from_static(b"\x00\x01details");
    let mut status = Status::with_details(Code::FailedPrecondition, "not now: 50% of é", details);
    status.metadata_mut().insert("x-why", "because".parse().unwrap());
    Err(status)
}

async fn hang(seen: Arc<Seen>, request: Request<Bytes>) -> Answer<Bytes> {
    struct Guard(Arc<Seen>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
    if let Some(timeout) = request.metadata().get("grpc-timeout") {
        seen.timeouts
            .lock()
            .unwrap()
            .push(timeout.to_str().unwrap().to_owned());
    }
    let _guard = Guard(seen);
    pending().await
}

async fn count(request: Request<Bytes>) -> Answer<ReceiverStream<Result<Bytes, Status>>> {
    let n: usize = String::from_utf8(request.into_inner()).unwrap().parse().unwrap();
    let (send, stream) = mpsc::channel(4);
    tokio::spawn(async move {
        for n in 0..n {
            if send.send(Ok(n.to_string().into_bytes())).await.is_err() {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(stream)))
}

async fn join(request: Request<Streaming<Bytes>>) -> Answer<Bytes> {
    let (mut stream, mut all) = (request.into_inner(), Vec::new());
    while let Some(message) = stream.message().await? {
        all.extend(message);
    }
    Ok(Response::new(all))
}

async fn echo(request: Request<Streaming<Bytes>>) -> Answer<ReceiverStream<Result<Bytes, Status>>> {
    let (send, stream) = mpsc::channel(1);
    let mut messages = request.into_inner();
    tokio::spawn(async move {
        while let Ok(Some(message)) = messages.message().await {
            let enough = message == b"enough";
            let answer = if enough {
                Err(Status::out_of_range("that is enough"))
            } else {
                Ok(message)
            };
            if send.send(answer).await.is_err() || enough {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(stream)))
}

/// The service, on a thread of its own.
pub struct EchoServer {
    address: SocketAddr,
    seen: Arc<Seen>,
    _stop: oneshot::Sender<()>,
}

impl EchoServer {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let echo = Echo::default();
        let seen = echo.0.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                let serving = Server::builder().serve_with_incoming(echo, incoming);
                tokio::select! { _ = serving => {}, _ = stopped => {} }
            });
        });
        Self {
            address,
            seen,
            _stop: stop,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `grpc-timeout`s of hanging calls.
    pub fn timeouts(&self) -> Vec<String> {
        self.seen.timeouts.lock().unwrap().clone()
    }

    /// Hanging calls that ended.
    pub fn cancelled(&self) -> usize {
        self.seen.cancelled.load(Ordering::SeqCst)
    }
}

/// A client of the service.
pub struct EchoClient(Client<Channel>);

impl EchoClient {
    pub async fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self(
            Client::new(channel)
                .max_decoding_message_size(LARGEST)
                .max_encoding_message_size(LARGEST),
        )
    }

    async fn call(&mut self, path: &'static str, request: Request<Bytes>) -> Answer<Bytes> {
        self.0.ready().await.unwrap();
        self.0
            .unary(request, http::uri::PathAndQuery::from_static(path), Plain)
            .await
    }

    pub async fn unary(&mut self, request: Request<Bytes>) -> Answer<Bytes> {
        self.call("/test.Echo/Unary", request).await
    }

    pub async fn fail(&mut self, request: Request<Bytes>) -> Answer<Bytes> {
        self.call("/test.Echo/Fail", request).await
    }

    pub async fn hang(&mut self, request: Request<Bytes>) -> Answer<Bytes> {
        self.call("/test.Echo/Hang", request).await
    }

    pub async fn unknown(&mut self) -> Answer<Bytes> {
        self.call("/test.Echo/Unknown", Request::new(Vec::new())).await
    }

    pub async fn count(&mut self, request: Request<Bytes>) -> Answer<Streaming<Bytes>> {
        self.0.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/test.Echo/Count");
        self.0.server_streaming(request, path, Plain).await
    }

    pub async fn join<S>(&mut self, request: Request<S>) -> Answer<Bytes>
    where
        S: tokio_stream::Stream<Item = Bytes> + Send + 'static,
    {
        self.0.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/test.Echo/Join");
        self.0.client_streaming(request, path, Plain).await
    }

    pub async fn echo<S>(&mut self, request: Request<S>) -> Answer<Streaming<Bytes>>
    where
        S: tokio_stream::Stream<Item = Bytes> + Send + 'static,
    {
        self.0.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/test.Echo/Echo");
        self.0.streaming(request, path, Plain).await
    }
}
