//! A real server of HTTP/2 (the `h2` crate), in the clear: each request is a function of the test's.
//!
//! Functions are asynchronous, because both directions of a stream may be wanted at once; what they wait for is in
//! [`H2Call`]. For TLS put a [`super::tls::TlsFront`] before it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

pub use h2::Reason;
use h2::server::{Builder, Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::gate::Gate;
use crate::headers::Headers;
use crate::wait;

type Data = std::io::Cursor<Vec<u8>>;

/// What a server tells its clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct H2Settings {
    /// Streams at a time.
    pub max_streams: Option<u32>,
    /// The window of a stream, in bytes.
    pub window: Option<u32>,
    /// The window of the connection, in bytes.
    pub connection_window: Option<u32>,
}

/// What arrived.
#[derive(Debug, Clone)]
pub struct H2Received {
    /// The number of the connection, from 0.
    pub connection: usize,
    pub stream: u32,
    pub method: String,
    pub path: String,
    pub authority: String,
    pub scheme: String,
    pub headers: Headers,
    /// Bytes of the body that were read.
    pub body: u64,
    /// The body was read to its end.
    pub complete: bool,
    pub trailers: Headers,
    /// The client reset the stream, for this reason.
    pub reset: Option<u32>,
}

#[derive(Default)]
struct Shared {
    requests: Vec<H2Received>,
    connections: usize,
    ended: usize,
    commands: Vec<mpsc::UnboundedSender<Command>>,
}

#[derive(Clone, Copy)]
enum Command {
    GoAway,
    Drop,
}

/// A server of HTTP/2.
pub struct H2Backend {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _stop: oneshot::Sender<()>,
}

impl H2Backend {
    /// Answers every request with `ok`, once its body is read.
    pub fn start() -> Self {
        Self::scripted(|mut call| async move {
            call.read_body().await;
            call.reply(200, b"ok").await;
        })
    }

    pub fn scripted<F, R>(script: F) -> Self
    where
        F: Fn(H2Call) -> R + Send + 'static,
        R: Future<Output = ()> + 'static,
    {
        Self::with(H2Settings::default(), script)
    }

    pub fn with<F, R>(settings: H2Settings, script: F) -> Self
    where
        F: Fn(H2Call) -> R + Send + 'static,
        R: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen on a free port");
        let address = listener.local_addr().expect("the address listened on");
        listener
            .set_nonblocking(true)
            .expect("a listener that does not block");
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let seen = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let script = Rc::new(script);
            let accept = async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((tcp, _)) = listener.accept().await {
                    let _ = tcp.set_nodelay(true);
                    tokio::task::spawn_local(serve(tcp, settings, seen.clone(), script.clone()));
                }
            };
            LocalSet::new().block_on(&runtime, async {
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
        });
        Self {
            address,
            shared,
            _stop: stop,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<H2Received> {
        self.shared.lock().unwrap().requests.clone()
    }

    pub fn last(&self) -> H2Received {
        self.requests().pop().expect("a request")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().unwrap().connections
    }

    /// Connections that are over.
    pub fn ended(&self) -> usize {
        self.shared.lock().unwrap().ended
    }

    pub fn wait_requests(&self, n: usize) -> Vec<H2Received> {
        wait::until("requests of HTTP/2", || self.requests().len() >= n);
        self.requests()
    }

    pub fn wait_ended(&self, n: usize) {
        wait::until("connections to end", || self.ended() >= n);
    }

    /// Tells all clients to go away, and serves what was begun.
    pub fn go_away(&self) {
        self.command(Command::GoAway);
    }

    /// Ends all connections at once.
    pub fn drop_connections(&self) {
        self.command(Command::Drop);
    }

    fn command(&self, command: Command) {
        for connection in &self.shared.lock().unwrap().commands {
            let _ = connection.send(command);
        }
    }
}

async fn serve<F, R>(tcp: TcpStream, settings: H2Settings, shared: Arc<Mutex<Shared>>, script: Rc<F>)
where
    F: Fn(H2Call) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let (commands, mut told) = mpsc::unbounded_channel();
    let number = {
        let mut shared = shared.lock().unwrap();
        shared.commands.push(commands.clone());
        shared.connections += 1;
        shared.connections - 1
    };
    let mut builder = Builder::new();
    if let Some(streams) = settings.max_streams {
        builder.max_concurrent_streams(streams);
    }
    if let Some(window) = settings.window {
        builder.initial_window_size(window);
    }
    if let Some(window) = settings.connection_window {
        builder.initial_connection_window_size(window);
    }
    if let Ok(mut connection) = builder.handshake::<_, Data>(tcp).await {
        loop {
            tokio::select! {
                command = told.recv() => match command {
                    Some(Command::GoAway) => connection.graceful_shutdown(),
                    Some(Command::Drop) | None => break,
                },
                accepted = accept(&mut connection) => match accepted {
                    Some((request, respond)) => {
                        let call = H2Call::new(number, request, respond, &shared, &commands);
                        tokio::task::spawn_local(script(call));
                    }
                    None => break,
                },
            }
        }
    }
    shared.lock().unwrap().ended += 1;
}

async fn accept(
    connection: &mut Connection<TcpStream, Data>,
) -> Option<(Request<RecvStream>, SendResponse<Data>)> {
    connection.accept().await?.ok()
}

/// A request that is being answered.
pub struct H2Call {
    index: usize,
    body: RecvStream,
    respond: SendResponse<Data>,
    out: RefCell<Option<SendStream<Data>>>,
    shared: Arc<Mutex<Shared>>,
    commands: mpsc::UnboundedSender<Command>,
}

impl H2Call {
    fn new(
        connection: usize,
        request: Request<RecvStream>,
        respond: SendResponse<Data>,
        shared: &Arc<Mutex<Shared>>,
        commands: &mpsc::UnboundedSender<Command>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let received = H2Received {
            connection,
            stream: respond.stream_id().as_u32(),
            method: parts.method.to_string(),
            path: parts
                .uri
                .path_and_query()
                .map_or(String::new(), ToString::to_string),
            authority: parts.uri.authority().map_or(String::new(), ToString::to_string),
            scheme: parts.uri.scheme_str().unwrap_or_default().to_owned(),
            headers: headers(&parts.headers),
            body: 0,
            complete: body.is_end_stream(),
            trailers: Headers::new(),
            reset: None,
        };
        let mut seen = shared.lock().unwrap();
        seen.requests.push(received);
        Self {
            index: seen.requests.len() - 1,
            body,
            respond,
            out: RefCell::new(None),
            shared: shared.clone(),
            commands: commands.clone(),
        }
    }

    fn note(&self, change: impl FnOnce(&mut H2Received)) {
        if let Some(received) = self.shared.lock().unwrap().requests.get_mut(self.index) {
            change(received);
        }
    }

    /// What arrived of it so far.
    pub fn received(&self) -> H2Received {
        self.shared.lock().unwrap().requests[self.index].clone()
    }

    /// The number of the request, from 0, over all connections.
    pub fn number(&self) -> usize {
        self.index
    }

    pub fn path(&self) -> String {
        self.received().path
    }

    /// The next piece of the body; none at its end, or when the client reset the stream.
    pub async fn piece(&mut self) -> Option<Vec<u8>> {
        match self.body.data().await {
            Some(Ok(data)) => {
                let _ = self.body.flow_control().release_capacity(data.len());
                self.note(|received| received.body += data.len() as u64);
                Some(data.to_vec())
            }
            Some(Err(error)) => {
                self.note(|received| received.reset = error.reason().map(Into::into));
                None
            }
            None => {
                let trailers = self.body.trailers().await.ok().flatten();
                self.note(|received| {
                    received.complete = true;
                    received.trailers = trailers.map_or_else(Headers::new, |map| headers(&map));
                });
                None
            }
        }
    }

    /// The whole body, or what came of it.
    pub async fn read_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            body.extend(piece);
        }
        body
    }

    /// Sends an interim response.
    pub fn interim(&mut self, status: u16, fields: &[(&str, &str)]) {
        self.respond
            .send_informational(response(status, fields))
            .expect("an interim response");
    }

    /// Sends the head of the response; `end` if it is all.
    pub fn head(&mut self, status: u16, fields: &[(&str, &str)], end: bool) {
        // Fails when the client is gone, which is what some tests want.
        if let Ok(out) = self.respond.send_response(response(status, fields), end) {
            *self.out.borrow_mut() = Some(out);
        }
    }

    /// Sends a piece of the body, as the client has room for it. False if the client does not want it any more.
    #[allow(clippy::await_holding_refcell_ref, reason = "a call is used by one task only")]
    pub async fn send(&mut self, data: &[u8]) -> bool {
        let Some(out) = &mut *self.out.borrow_mut() else {
            return false;
        };
        let mut rest = data;
        while !rest.is_empty() {
            out.reserve_capacity(rest.len());
            let Some(Ok(room)) = poll_fn(|cx| out.poll_capacity(cx)).await else {
                return false;
            };
            let (now, later) = rest.split_at(room.min(rest.len()));
            if out.send_data(Data::new(now.to_vec()), false).is_err() {
                return false;
            }
            rest = later;
        }
        true
    }

    /// Ends the body.
    pub fn end(&mut self) {
        if let Some(out) = &mut *self.out.borrow_mut() {
            let _ = out.send_data(Data::new(Vec::new()), true);
        }
    }

    /// Ends the body with trailers.
    pub fn trailers(&mut self, fields: &[(&str, &str)]) {
        if let Some(out) = &mut *self.out.borrow_mut() {
            let _ = out.send_trailers(map(fields));
        }
    }

    /// A whole response.
    pub async fn reply(&mut self, status: u16, body: &[u8]) {
        self.head(
            status,
            &[("content-length", &body.len().to_string())],
            body.is_empty(),
        );
        if !body.is_empty() && self.send(body).await {
            self.end();
        }
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Waits until the client resets the stream.
    #[allow(clippy::await_holding_refcell_ref, reason = "a call is used by one task only")]
    pub async fn wait_reset(&mut self) -> u32 {
        let reason = match &mut *self.out.borrow_mut() {
            Some(out) => poll_fn(|cx| out.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
        // A connection that ends is as good.
        let reason = reason.map_or(Reason::CANCEL.into(), u32::from);
        self.note(|received| received.reset = Some(reason));
        reason
    }

    /// Waits for the test.
    pub async fn wait(&self, gate: &Gate) {
        let gate = gate.clone();
        let _ = tokio::task::spawn_blocking(move || gate.wait()).await;
    }

    /// Tells the client of this connection to go away.
    pub fn go_away(&self) {
        let _ = self.commands.send(Command::GoAway);
    }

    /// Ends this connection at once.
    pub fn drop_connection(&self) {
        let _ = self.commands.send(Command::Drop);
    }
}

fn response(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().expect("a status");
    *response.headers_mut() = map(fields);
    response
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (
            name.parse::<HeaderName>().expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        )
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        map.append(name, value);
    }
    map
}

fn headers(map: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        headers.push(name.as_str(), crate::headers::latin1(value.as_bytes()));
    }
    headers
}
