//! Answers a request that is sent again as it was answered the first time.

mod store;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::{Buf, Bytes};
use gatehouse_core::body::{Body, Source};
use gatehouse_core::config::{Diagnostic, Size, Span};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::Identity;
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_http1::{self as http1, Headers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use store::{Digest, Found, Owner, Store, Stored};

/// Answers a request that is sent again as it was answered the first time, so that a client may try again without doing
/// a thing twice.
///
/// The client names what it wants done once by `Idempotency-Key`. The first answer is stored; whoever sends the same request with
/// the same key gets it again, with `Idempotency-Replayed: true`; those who come while the first is under way wait for its
/// answer. Another method, target or body with the same key gets `422` (`idempotency_key_reused`). Keys of different callers
/// (the consumer, else what the credential names, else the address with `Authorization` and `Cookie` as they were sent) and of
/// different routes have nothing to do with each other.
///
/// Stored are answers of the service with a status below 500, but for 408, 409, 425 and 429: after those, and after failures of
/// the gateway, the same key may be tried again. Answers longer than `max_response` are passed on and not stored. If the
/// client leaves before the answer is there, nothing is stored either. Answers are kept in this process's memory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Idempotency {
    /// Methods that are looked at.
    pub methods: Vec<String>,
    /// The field with the key.
    pub header: String,
    /// Whether a request without a key is refused with `400`.
    pub required: bool,
    /// For how long an answer is kept.
    pub ttl: Span,
    /// The most bytes of a request's body; it is read whole before it goes on.
    pub max_request: Size,
    /// The most bytes of an answer's body that is stored.
    pub max_response: Size,
    /// How many answers are kept at most; the oldest go first.
    pub entries: u32,
    /// How many bytes of answers are kept at most.
    pub memory: Size,
    /// How long one that is sent again waits for the first.
    pub wait: Span,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self {
            methods: vec!["POST".to_owned(), "PATCH".to_owned()],
            header: "Idempotency-Key".to_owned(),
            required: false,
            ttl: Span::from_secs(24 * 3600),
            max_request: Size::mib(1),
            max_response: Size::mib(1),
            entries: 10_000,
            memory: Size::mib(64),
            wait: Span::from_secs(30),
        }
    }
}

/// The longest key.
const LONGEST_KEY: usize = 255;

const REQUESTS: Family = Family::counter(
    "gatehouse_idempotency_total",
    &["policy", "outcome"],
    "Requests with an idempotency key: `first`, `stored` (its answer), `replayed`, `joined` (waited for the first), `conflict`, `full`.",
);
const EVICTED: Family = Family::counter(
    "gatehouse_idempotency_evictions_total",
    &["policy"],
    "Answers that had to go before their time, to make room.",
);

impl PolicyConfig for Idempotency {
    const NAME: &'static str = "idempotency";
    const STAGE: Stage = Stage::Limit;
    const EXAMPLE: &'static str = "required: true\nttl: 24h\nmax_response: 256KiB\n";
    const METRICS: &'static [Family] = &[REQUESTS, EVICTED];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        if !http1::is_token(self.header.as_bytes()) {
            let message = format!("`{}` cannot be the name of a header field", self.header);
            return Err(cx.error("header", message));
        }
        if self.entries == 0 || self.ttl.get().is_zero() {
            let field = if self.entries == 0 { "entries" } else { "ttl" };
            return Err(cx.error(field, "nothing would be kept; expected more than nothing"));
        }
        let identity = cx.identity.clone();
        let evicted = cx.tally(&EVICTED, &[&identity]);
        let shape = format!("{} {} {} {}", self.header, self.ttl, self.entries, self.memory);
        let (ttl, entries, memory) = (self.ttl.get(), self.entries as usize, self.memory.as_usize());
        let count = |outcome| cx.tally(&REQUESTS, &[&identity, outcome]);
        Ok(Arc::new(Once {
            store: cx
                .state::<Kept>(&shape, || {
                    Kept(Arc::new(Store::new(ttl, entries, memory, evicted)))
                })
                .0
                .clone(),
            methods: self.methods.iter().map(|name| name.as_str().into()).collect(),
            header: self.header.to_ascii_lowercase().into(),
            required: self.required,
            max_request: self.max_request.get(),
            max_response: self.max_response.as_usize(),
            wait: self.wait.get(),
            first: count("first"),
            stored: count("stored"),
            replayed: count("replayed"),
            joined: count("joined"),
            conflict: count("conflict"),
            full: count("full"),
        }))
    }
}

struct Kept(Arc<Store>);

struct Once {
    store: Arc<Store>,
    methods: Box<[Box<str>]>,
    header: Box<str>,
    required: bool,
    max_request: u64,
    max_response: usize,
    wait: Duration,
    first: Arc<Tally>,
    stored: Arc<Tally>,
    replayed: Arc<Tally>,
    joined: Arc<Tally>,
    conflict: Arc<Tally>,
    full: Arc<Tally>,
}

impl Once {
    /// The digest of caller, route and key. None: the request is none of ours.
    fn key(&self, ex: &Exchange) -> Result<Option<Digest>, Failure> {
        let head = &ex.request.head;
        let is_ours = self.methods.iter().any(|name| **name == *head.method.as_str());
        if !is_ours || ex.wants_upgrade() {
            return Ok(None);
        }
        let bad = |why: String| Err(Failure::new(Code::BadRequest).safe_detail(why).close(false));
        let Some(key) = head
            .headers
            .find(self.header.as_bytes())
            .filter(|key| !key.is_empty())
        else {
            if self.required {
                return bad(format!("the field `{}` is missing", self.header));
            }
            return Ok(None);
        };
        if key.len() > LONGEST_KEY {
            return bad(format!(
                "the field `{}` has more than {LONGEST_KEY} bytes",
                self.header
            ));
        }
        // Those who show nothing are not one caller, though they are one consumer.
        let identity = ex
            .identity
            .as_ref()
            .filter(|identity| identity.method != "anonymous");
        let caller = identity.map(Identity::name).filter(|name| !name.is_empty());
        let is_known = [u8::from(caller.is_some())];
        // What the gateway does not look at may still say to the service who calls.
        let shown = |name: &'static str| {
            let fields = head.headers.find_all(name.as_bytes());
            let fields = fields.filter(|_| caller.is_none());
            fields.collect::<Vec<_>>().join(&b'\n')
        };
        let route = ex.route().map_or("", |route| &route.name);
        Ok(Some(digest_of(&[
            &is_known,
            caller.unwrap_or_else(|| ex.client_text()).as_bytes(),
            &shown("authorization"),
            &shown("cookie"),
            route.as_bytes(),
            key,
        ])))
    }

    async fn decide(&self, ex: &mut Exchange, key: Digest) -> Outcome {
        let body = ex
            .buffer_body(self.max_request, "idempotency.max_request")
            .await?;
        let head = &ex.request.head;
        let query = head.query().unwrap_or_default();
        let request = digest_of(&[
            head.method.as_str().as_bytes(),
            ex.path().as_bytes(),
            query.as_bytes(),
            &body,
        ]);
        let mut has_waited = false;
        loop {
            match self.store.find(key, request, ex.now()) {
                Found::First(owner) => {
                    self.first.count(ex);
                    ex.keep(owner);
                    return Ok(Verdict::Continue);
                }
                Found::Here(stored) => {
                    if has_waited { &self.joined } else { &self.replayed }.count(ex);
                    return Ok(Verdict::Respond(Box::new(replay(&stored))));
                }
                Found::UnderWay(mut arrival) => {
                    has_waited = true;
                    // What did not fit into the store is still given to those who wait.
                    match tokio::time::timeout(self.wait, arrival.wait_for(Option::is_some)).await {
                        Ok(Ok(stored)) => {
                            if let Some(stored) = stored.as_deref() {
                                self.joined.count(ex);
                                return Ok(Verdict::Respond(Box::new(replay(stored))));
                            }
                        }
                        // The first ended without an answer worth keeping: this one is the next.
                        Ok(Err(_)) => {}
                        Err(_) => {
                            let why = "the first request with this idempotency key is still under way";
                            return Err(Failure::new(Code::DeadlineExceeded).safe_detail(why));
                        }
                    }
                }
                Found::Other => {
                    self.conflict.count(ex);
                    return Err(Failure::new(Code::IdempotencyKeyReused));
                }
                Found::Full => {
                    self.full.count(ex);
                    return Err(Failure::new(Code::Overloaded)
                        .detail("idempotency: as many requests are under way as may be kept"));
                }
            }
        }
    }

    /// Reads the answer whole, stores it, and lets it go on.
    async fn store(&self, ex: &mut Exchange, response: &mut Response, owner: Owner) -> Outcome {
        let body = &mut response.body;
        if body
            .exact_len()
            .is_some_and(|length| length > self.max_response as u64)
        {
            return Ok(Verdict::Continue);
        }
        let mut whole = Vec::new();
        loop {
            if !poll_fn(|cx| body.poll_more(cx)).await? {
                break;
            }
            let data = body.data();
            let taken = data.len();
            whole.extend_from_slice(data);
            body.consume(taken);
            if whole.len() > self.max_response {
                let rest = std::mem::take(body);
                *body = Body::Source(Box::new(Rejoined {
                    start: whole.into(),
                    rest,
                }));
                return Ok(Verdict::Continue);
            }
        }
        if body.trailers().is_some_and(|trailers| !trailers.is_empty()) {
            // They are lost, if it is given as one piece of memory.
            let rest = std::mem::take(body);
            *body = Body::Source(Box::new(Rejoined {
                start: whole.into(),
                rest,
            }));
            return Ok(Verdict::Continue);
        }
        let whole = Bytes::from(whole);
        let fields = response
            .head
            .headers
            .iter()
            .filter(|field| !is_of_one_answer(field.name));
        owner.answer(
            Stored {
                status: response.head.status,
                headers: fields
                    .map(|field| (field.name.into(), field.value.into()))
                    .collect(),
                body: whole.clone(),
            },
            ex.now(),
        );
        self.stored.count(ex);
        response.body = whole.into();
        Ok(Verdict::Continue)
    }
}

/// Fields that belong to one connection or to one answer, or that say where it ends.
fn is_of_one_answer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"content-length",
        b"trailer",
        b"upgrade",
        b"date",
        b"x-request-id",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// A digest of parts, none of which can be taken for the end of the one before it.
fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    // A SHA-256 has 32 bytes.
    context.finish().as_ref().try_into().unwrap_or_default()
}

fn replay(stored: &Stored) -> Response {
    let mut response = Response::new(stored.status);
    for (name, value) in &stored.headers {
        response.headers_mut().append_name(name, value);
    }
    response.headers_mut().set_name(b"idempotency-replayed", b"true");
    response.body = stored.body.clone().into();
    response
}

/// Whether an answer of the service settles the matter.
fn is_final(status: u16) -> bool {
    (200..500).contains(&status) && ![408, 409, 425, 429].contains(&status)
}

impl Policy for Once {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        match self.key(ex) {
            Ok(None) => Step::CONTINUE,
            Ok(Some(key)) => Step::wait(self.decide(ex, key)),
            Err(failure) => Err(failure).into(),
        }
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        match ex.kept::<Owner>() {
            Some(owner) if is_final(response.head.status) && !ex.has_failed() => {
                Step::wait(self.store(ex, response, owner))
            }
            _ => Step::CONTINUE,
        }
    }
}

/// A body of which the start was read already.
struct Rejoined {
    start: Bytes,
    rest: Body,
}

impl Source for Rejoined {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        if !self.start.is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.rest.poll_more(cx)
    }

    fn data(&self) -> &[u8] {
        if self.start.is_empty() {
            self.rest.data()
        } else {
            &self.start
        }
    }

    fn consume(&mut self, n: usize) {
        if self.start.is_empty() {
            self.rest.consume(n);
        } else {
            self.start.advance(n.min(self.start.len()));
        }
    }

    fn exact_len(&self) -> Option<u64> {
        Some(self.rest.exact_len()? + self.start.len() as u64)
    }

    fn is_finished(&self) -> bool {
        self.start.is_empty() && self.rest.is_finished()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.rest.trailers()
    }
}
