//! One request, its answer, and what was learnt about it on the way.
//!
//! An exchange sees one plan from start to end. It is closed exactly once: by the driver when the
//! last byte is out, or on drop when a connection died or a task panicked.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gatehouse_http1::{Headers, Known, Method, PathMark, RequestHead, ResponseHead, Version};

use crate::body::Body;
use crate::gateway::PlanRef;
use crate::http::address::{IpText, PeerLines};
use crate::http::client_ip;
use crate::http::id::Ids;
use crate::http::upgrade::Upgrade;
use crate::identity::Identity;
use crate::io::Clock;
use crate::listen::ListenerState;
use crate::listen::tcp::Open;
pub use crate::parameters::remove_cookies;
use crate::plan::{ForwardedPlan, Plan, Route};
use crate::policy::Progress;
use crate::route::Captures;
use crate::telemetry::record::{self, Record};
use crate::tls::TlsInfo;
use crate::worker::Worker;

/// What the client sent.
#[derive(Default)]
pub struct Request {
    /// Method, target and fields.
    pub head: RequestHead,
    /// The body.
    pub body: Body,
}

/// What goes back to the client.
pub struct Response {
    /// Status and fields. Framing fields in it mean nothing: the driver writes its own. Boxed: a response moves often.
    pub head: Box<ResponseHead>,
    /// The body.
    pub body: Body,
    /// `Content-Length` of a response that has none of its body here (to HEAD, or a 304).
    pub declared_length: Option<u64>,
    /// True if the connection must end after this response.
    pub close: bool,
}

impl Response {
    /// An empty response.
    pub fn new(status: u16) -> Self {
        let mut head = Box::<ResponseHead>::default();
        head.status = status;
        Self {
            head,
            body: Body::Empty,
            declared_length: None,
            close: false,
        }
    }

    /// The same with a body of a type.
    #[must_use]
    pub fn with_body(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        self.head.headers.set(Known::ContentType, content_type.as_bytes());
        self.body = body.into();
        self
    }

    /// The fields, to be read or changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.head.headers
    }
}

/// The client's side of an exchange while it is being answered; each protocol has its own.
pub trait ClientSide {
    /// Sends an interim (1xx) response at once, as far as the connection takes it.
    fn send_interim(&self, head: &ResponseHead);
    /// Ready when the client has certainly left. One that has only ended its own direction still waits
    /// for its answer.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A client's connection, as far as its exchanges need to know it.
pub struct Connection {
    /// Where it was accepted.
    pub listener: Arc<ListenerState>,
    /// The address it really comes from: the socket's, or the PROXY protocol's.
    pub peer: IpAddr,
    /// The peer's port; 0 for a Unix socket.
    pub peer_port: u16,
    /// The address it was accepted on: the socket's, or the PROXY protocol's; none for a Unix socket.
    pub local: Option<SocketAddr>,
    /// The peer's address and the port it was accepted on as text, and what upstreams are told of them.
    pub lines: PeerLines,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What the handshake agreed on, if it is of TLS.
    pub tls: Option<Box<TlsInfo>>,
    /// Requests begun on it.
    pub requests: Cell<u64>,
    /// None if another holds it for the same connection.
    pub(crate) _open: Option<Open>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address, seen through trusted proxies.
    pub ip: IpAddr,
    /// The same as text, if it is not the peer's.
    text: Option<IpText>,
    /// True if the peer may speak for others (it is in `forwarded.trusted`).
    pub is_trusted_peer: bool,
    /// `http` or `https`: what the client used, as far as a trusted peer says.
    pub scheme: &'static str,
    /// The country it is in (ISO 3166-1), once a policy has found out.
    pub country: Option<[u8; 2]>,
}

impl Client {
    /// The country as text; empty if it is not known.
    pub fn country_text(&self) -> &str {
        let code = self.country.as_ref().map(|code| std::str::from_utf8(code));
        code.and_then(Result::ok).unwrap_or_default()
    }

    /// Finds out who calls on a connection, by what its head says.
    fn of(connection: &Connection, head: &RequestHead, settings: &ForwardedPlan) -> Self {
        if settings.settings.trusted.is_empty() {
            return Self {
                ip: connection.peer,
                text: None,
                is_trusted_peer: false,
                scheme: connection.scheme,
                country: None,
            };
        }
        let found = client_ip::resolve(connection.peer, &head.headers, &settings.settings);
        let text = (found.ip != connection.peer).then(|| IpText::new(found.ip));
        let scheme = client_ip::scheme(connection.scheme, &head.headers, found);
        Self {
            ip: found.ip,
            text,
            is_trusted_peer: found.trusted_peer,
            scheme,
            country: None,
        }
    }
}

/// One request and its answer.
pub struct Exchange {
    /// What the client sent, normalised.
    pub request: Request,
    /// Who sent it.
    pub client: Client,
    /// Request and correlation ids.
    pub ids: Ids,
    /// Who calls, once an authentication has found out.
    pub identity: Option<Identity>,
    /// What the route's path captured.
    pub captures: Captures,
    /// The path the route was matched by, once another took its place.
    pub(crate) matched_path: Option<PathMark>,
    /// The connection it came on.
    pub connection: Rc<Connection>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) plan: PlanRef,
    pub(crate) clock: Rc<Clock>,
    pub(crate) client_side: Option<Rc<dyn ClientSide>>,
    /// The protocol the client wants to switch to, if it does.
    pub(crate) upgrade: Option<Box<Upgrade>>,
    pub(crate) record: Record,
    pub(crate) route: Option<usize>,
    pub(crate) ran: Ran,
    /// The tightest bound on the body that a policy has set, and its setting.
    pub(crate) body_limit: Option<(u64, &'static str)>,
    /// True if the route was chosen by version: the answer then varies by it.
    pub(crate) vary: bool,
    /// True if the client can take trailer fields.
    pub(crate) accepts_trailers: bool,
    mark: OnceCell<u64>,
    current: usize,
    /// What policies keep; without capacity until one does.
    slots: Slots,
}

/// What policies keep, by their places.
pub(crate) type Slots = Vec<(usize, Box<dyn Any>)>;

/// How far each chain got, so that the way back visits the same policies.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Ran {
    pub global: Progress,
    pub route: Progress,
}

impl Ran {
    /// True if no policy has run, so that there is no way back.
    pub fn is_nothing(self) -> bool {
        self.global.is_nothing() && self.route.is_nothing()
    }
}

impl Exchange {
    /// Begins an exchange with the plan of this moment. Inline, so that it is made where it stays.
    #[inline]
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        plan: PlanRef,
        connection: &Rc<Connection>,
        clock: &Rc<Clock>,
        request: Request,
        started: Instant,
    ) -> Self {
        connection.requests.set(connection.requests.get() + 1);
        Self {
            client: Client::of(connection, &request.head, &plan.forwarded),
            request,
            ids: Ids::default(),
            identity: None,
            captures: Captures::default(),
            matched_path: None,
            connection: connection.clone(),
            worker: worker.clone(),
            plan,
            clock: clock.clone(),
            client_side: None,
            upgrade: None,
            record: Record::begin(worker, started),
            route: None,
            ran: Ran::default(),
            body_limit: None,
            vary: false,
            accepts_trailers: false,
            mark: OnceCell::new(),
            current: 0,
            slots: Vec::new(),
        }
    }

    /// The plan it runs under.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The client's address as text.
    pub fn client_text(&self) -> &str {
        match &self.client.text {
            Some(text) => text.as_str(),
            None => self.connection.lines.peer(),
        }
    }

    /// The route that matched, if one has.
    pub fn route(&self) -> Option<&Route> {
        self.route.and_then(|i| self.plan.routes.get(i))
    }

    /// True if the answer is a failure of the gateway, not what a service said.
    pub fn has_failed(&self) -> bool {
        self.record.has_failed()
    }

    /// True if the client wants to switch to another protocol, such as that of `WebSocket`s.
    pub fn wants_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// True if a browser asks before the real request whether it may send it (Fetch 3.2.2).
    pub fn is_preflight(&self) -> bool {
        self.preflight_for().is_some()
    }

    /// The method that a preflight asks for; none if the request is no preflight.
    pub fn preflight_for(&self) -> Option<&[u8]> {
        let head = &self.request.head;
        if head.method != Method::Options || !head.headers.contains(Known::Origin) {
            return None;
        }
        head.headers.find(b"access-control-request-method")
    }

    /// Keeps a value for this policy's later hooks, in place of one of the same type. One of each type for each policy
    /// instance.
    pub fn keep<T: Any>(&mut self, value: T) {
        if self.slots.capacity() == 0 {
            self.slots = self.worker.spare_slots();
        }
        let found = self.slots.iter().position(|slot| self.has::<T>(slot));
        if let Some(at) = found {
            self.slots.swap_remove(at);
        }
        self.slots.push((self.current, Box::new(value)));
    }

    /// What this policy instance kept of this type; taken out.
    pub fn kept<T: Any>(&mut self) -> Option<T> {
        let at = self.slots.iter().position(|slot| self.has::<T>(slot))?;
        let (_, value) = self.slots.swap_remove(at);
        value.downcast().ok().map(|value| *value)
    }

    /// The same, left where it is.
    pub fn keeps<T: Any>(&self) -> Option<&T> {
        let (_, value) = self.slots.iter().find(|slot| self.has::<T>(slot))?;
        value.downcast_ref()
    }

    fn has<T: Any>(&self, (slot, value): &(usize, Box<dyn Any>)) -> bool {
        *slot == self.current && value.is::<T>()
    }

    /// The time, up to a tick behind; costs nothing.
    pub fn now(&self) -> Instant {
        self.worker.now()
    }

    /// The time for what has to be exact: when the request was there, unless a tick has gone by since. It then is up to a
    /// tick behind. Costs nothing.
    pub fn exact_now(&self) -> Instant {
        self.worker.now().max(self.record.started())
    }

    /// The time of day, in seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.worker.unix_seconds()
    }

    /// Random bits: good for choosing, not for secrets.
    pub fn random(&self) -> u64 {
        self.worker.random()[0]
    }

    /// An empty buffer to work something out in, which is to be given back.
    pub fn scratch(&self) -> Vec<u8> {
        self.worker.spare_staging()
    }

    /// Takes a buffer back.
    pub fn give_back(&self, buffer: Vec<u8>) {
        self.worker.keep_staging(buffer);
    }

    /// A number of this exchange alone. Unlike its ids, nobody else has a say in it.
    pub fn mark(&self) -> u64 {
        *self.mark.get_or_init(|| self.random())
    }

    pub(crate) fn enter(&mut self, slot: usize) {
        self.current = slot;
    }

    /// The client, to see whether it leaves while a policy waits. Not one of HTTP/1 whose body is still to come: what
    /// there is to read is then the body.
    pub(crate) fn listener(&self) -> Option<Rc<dyn ClientSide>> {
        let has_body = !self.request.body.is_finished();
        let is_seen = !has_body || matches!(self.request.head.version, Version::Http2 | Version::Http3);
        self.client_side.clone().filter(|_| is_seen)
    }

    /// How much longer the exchange may take, if that is bounded yet.
    pub fn time_left(&self) -> Option<Duration> {
        self.clock.total_left()
    }

    pub(crate) fn clock(&self) -> &Rc<Clock> {
        &self.clock
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Only an exchange whose driver never got to close it: a panic, or a task torn down.
        record::close_abandoned(self);
        self.worker
            .recycle_request(std::mem::take(&mut self.request.head));
        if self.slots.capacity() > 0 {
            self.worker.recycle_slots(std::mem::take(&mut self.slots));
        }
    }
}
