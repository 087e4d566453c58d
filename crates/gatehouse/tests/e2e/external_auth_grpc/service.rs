//! An authorisation service: tonic carries bytes, which are taken apart by the numbers of their fields.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tower::{Service, service_fn};

use crate::grpc::service::Plain;

/// A message of protobuf, taken apart.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(u64, Value)>);

#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Fields {
    fn read(mut rest: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let tag = varint(&mut rest);
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut rest)),
                2 => {
                    let length = usize::try_from(varint(&mut rest)).unwrap();
                    let (bytes, after) = rest.split_at(length);
                    rest = after;
                    Value::Bytes(bytes.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, value));
        }
        Self(fields)
    }

    /// The bytes of a field; none if it is not there.
    pub fn field(&self, wanted: u64) -> Vec<u8> {
        let mut found = self.0.iter().filter(|(number, _)| *number == wanted);
        match found.next() {
            Some((_, Value::Bytes(bytes))) => bytes.clone(),
            Some((_, Value::Number(_))) => panic!("field {wanted} is a number"),
            None => Vec::new(),
        }
    }

    pub fn text(&self, wanted: u64) -> String {
        String::from_utf8(self.field(wanted)).unwrap()
    }

    pub fn message(&self, wanted: u64) -> Self {
        Self::read(&self.field(wanted))
    }

    pub fn number(&self, wanted: u64) -> u64 {
        let found = self.0.iter().find(|(number, _)| *number == wanted);
        match found {
            Some((_, Value::Number(value))) => *value,
            Some((_, Value::Bytes(_))) => panic!("field {wanted} is no number"),
            None => 0,
        }
    }

    /// The value of a key in a map.
    pub fn entry(&self, map: u64, key: &str) -> String {
        let entries = self.0.iter().filter(|(number, _)| *number == map);
        let mut entries = entries.map(|(_, value)| match value {
            Value::Bytes(bytes) => Self::read(bytes),
            Value::Number(_) => panic!("field {map} is a number"),
        });
        entries
            .find(|entry| entry.text(1) == key)
            .map(|entry| entry.text(2))
            .unwrap_or_default()
    }
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, after) = rest.split_first().expect("a byte");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn write_varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

/// A field with bytes, a text or a message.
pub fn bytes(number: u64, bytes: &[u8]) -> Vec<u8> {
    [
        write_varint(number << 3 | 2),
        write_varint(bytes.len() as u64),
        bytes.to_vec(),
    ]
    .concat()
}

pub fn text(number: u64, text: &str) -> Vec<u8> {
    bytes(number, text.as_bytes())
}

pub fn number(number: u64, value: u64) -> Vec<u8> {
    [write_varint(number << 3), write_varint(value)].concat()
}

/// A question that was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub timeout: Option<String>,
    pub message: Fields,
}

type Decide = dyn Fn(&Fields) -> Result<Vec<u8>, Status> + Send + Sync;

#[derive(Clone)]
struct Check {
    decide: Arc<Decide>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl NamedService for Check {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl Service<http::Request<Body>> for Check {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let own = self.clone();
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            let check = service_fn(move |request: Request<Vec<u8>>| {
                let (own, path) = (own.clone(), path.clone());
                async move {
                    let timeout = request.metadata().get("grpc-timeout");
                    let timeout = timeout.map(|text| text.to_str().unwrap().to_owned());
                    let message = Fields::read(request.get_ref());
                    let answer = (own.decide)(&message);
                    own.asked.lock().unwrap().push(Asked {
                        path,
                        timeout,
                        message,
                    });
                    answer.map(Response::new)
                }
            });
            Ok(Grpc::new(Plain).unary(check, request).await)
        })
    }
}

/// The service, on a thread of its own.
pub struct AuthServer {
    address: SocketAddr,
    check: Check,
    stop: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl AuthServer {
    pub fn start(decide: impl Fn(&Fields) -> Result<Vec<u8>, Status> + Send + Sync + 'static) -> Self {
        let check = Check {
            decide: Arc::new(decide),
            asked: Arc::default(),
        };
        let mut server = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            check,
            stop: None,
        };
        server.restart();
        server
    }

    /// Ends it with all its connections, and starts it on the same port.
    pub fn restart(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            drop(stop);
            thread.join().unwrap();
        }
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let check = self.check.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                let serving = Server::builder().serve_with_incoming(check, incoming);
                tokio::select! { _ = serving => {}, _ = stopped => {} }
            });
        });
        self.stop = Some((stop, thread));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn last(&self) -> Asked {
        self.check
            .asked
            .lock()
            .unwrap()
            .last()
            .expect("a question")
            .clone()
    }
}
