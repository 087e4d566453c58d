//! Answers a request that is sent again as it was answered the first time.

mod config;
mod rejoined;
mod shared;
mod store;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use gatehouse_core::body::Body;
use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::Identity;
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_http1::{self as http1, Known};

pub use config::{Idempotency, OnFailure};
use rejoined::Rejoined;
use shared::{Claimed, Lease, Shared};
use store::{Digest, Found, Owner, Store, Stored};

use crate::store::{self as stores, Redis};

/// The longest key.
const LONGEST_KEY: usize = 255;

const REQUESTS: Family = Family::counter(
    "gatehouse_idempotency_total",
    &["policy", "outcome"],
    "Requests with an idempotency key: `first`, `stored` (its answer), `replayed`, `joined` (waited for the first), `in_progress` (did not), `conflict`, `full`, `unavailable` (the store did not answer).",
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
    const METRICS: &'static [Family] = &[REQUESTS, EVICTED, stores::UP, stores::COMMANDS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        if !http1::is_token(self.header.as_bytes()) {
            let message = format!("`{}` cannot be the name of a header field", self.header);
            return Err(cx.error("header", message));
        }
        if self.entries == 0 || self.ttl.get().is_zero() {
            let field = if self.entries == 0 { "entries" } else { "ttl" };
            return Err(cx.error(field, "nothing would be kept; expected more than nothing"));
        }
        let shared = self.shared(cx)?;
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
            in_progress: count("in_progress"),
            unavailable: count("unavailable"),
            has_store: self.store.is_some(),
            shared,
            on_failure: self.on_failure,
            has_warned: AtomicBool::new(false),
            name: identity.as_str().into(),
        }))
    }
}

impl Idempotency {
    /// The answers that gateways share. None if they do not, or if the document is only checked.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    fn shared(&self, cx: &Compile<'_>) -> Result<Option<Shared>, Diagnostic> {
        let Some(name) = &self.store else {
            if self.on_failure != OnFailure::default() {
                let message = "only one with a `store` has it; take it out, or name one of `stores`";
                return Err(cx.error("on_failure", message));
            }
            return Ok(None);
        };
        if self.lease.get() < Duration::from_secs(1) {
            let message = "a claim has to outlive a pause of the gateway; expected at least `1s`";
            return Err(cx.error("lease", message));
        }
        let store = Redis::named(cx, "store", name)?;
        Ok(cx.background.map(|background| Shared {
            store,
            background: background.clone(),
            scope: cx.identity.as_str().into(),
            ttl: self.ttl.get(),
            lease: self.lease.get(),
            late: cx.state::<Late>("", Late::default).0.clone(),
        }))
    }
}

/// How many answers wait for the store to come back.
#[derive(Default)]
struct Late(Arc<AtomicUsize>);

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
    in_progress: Arc<Tally>,
    unavailable: Arc<Tally>,
    has_store: bool,
    shared: Option<Shared>,
    on_failure: OnFailure,
    /// Whether it was said that an authentication runs too late.
    has_warned: AtomicBool,
    /// What messages call it.
    name: Box<str>,
}

/// Who calls, if that is known. Those who show nothing are not one caller, though they are one consumer.
fn caller(ex: &Exchange) -> Option<&Identity> {
    let identity = ex.identity.as_ref();
    identity.filter(|identity| identity.method != "anonymous" && !identity.name().is_empty())
}

/// What the first request has to answer for.
struct Turn {
    owner: Owner,
    lease: Option<Lease>,
    request: Digest,
    /// Whether the key was made without knowing who calls.
    is_unknown: bool,
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
        let mut keys = head.headers.find_all(self.header.as_bytes());
        let Some(key) = keys.next() else {
            if self.required {
                return bad(format!("the field `{}` is missing", self.header));
            }
            return Ok(None);
        };
        if keys.next().is_some() {
            return bad(format!("the field `{}` is there more than once", self.header));
        }
        if key.is_empty() || key.len() > LONGEST_KEY {
            return bad(format!(
                "the field `{}` is empty or has more than {LONGEST_KEY} bytes",
                self.header
            ));
        }
        if !key.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return bad(format!(
                "the field `{}` has other than visible ASCII",
                self.header
            ));
        }
        let caller = caller(ex);
        let is_known = [u8::from(caller.is_some())];
        // Two ways to prove who calls, or two issuers, may each have somebody of the same name.
        let method = caller.map_or("", |identity| identity.method);
        let issuer = caller.and_then(|identity| identity.proof.claims.get("iss")?.as_str());
        // What the gateway does not look at may still say to the service who calls.
        let shown = |name: &'static str| {
            let fields = head.headers.find_all(name.as_bytes());
            let fields = fields.filter(|_| caller.is_none());
            fields.collect::<Vec<_>>().join(&b'\n')
        };
        let route = ex.route().map_or("", |route| &route.name);
        Ok(Some(digest_of(&[
            &is_known,
            method.as_bytes(),
            issuer.unwrap_or_default().as_bytes(),
            caller.map_or_else(|| ex.client_text(), Identity::name).as_bytes(),
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
        let form = [Known::ContentType, Known::ContentEncoding]
            .map(|name| head.headers.all(name).collect::<Vec<_>>().join(&b'\n'));
        let [kind, coding] = &form;
        let request = digest_of(&[
            head.method.as_str().as_bytes(),
            ex.path().as_bytes(),
            query.as_bytes(),
            kind,
            coding,
            &body,
        ]);
        let mut has_waited = false;
        loop {
            match self.store.find(key, request, ex.now()) {
                Found::First(owner) => return self.first(ex, key, request, owner).await,
                Found::Here(stored) => {
                    if has_waited { &self.joined } else { &self.replayed }.count(ex);
                    return Ok(Verdict::Respond(Box::new(replay(&stored))));
                }
                Found::UnderWay(_) if self.wait.is_zero() => return Err(self.in_progress(ex)),
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
                        Err(_) => return Err(self.in_progress(ex)),
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

    fn in_progress(&self, ex: &Exchange) -> Failure {
        self.in_progress.count(ex);
        Failure::new(Code::IdempotencyInProgress).header("retry-after", "1")
    }

    /// The first request here: others may be at it elsewhere.
    async fn first(&self, ex: &mut Exchange, key: Digest, request: Digest, owner: Owner) -> Outcome {
        let mut lease = None;
        if self.has_store {
            let claimed = match &self.shared {
                Some(shared) => shared.claim(&key, &request, self.wait).await.ok(),
                None => None,
            };
            match claimed {
                Some((Claimed::Ours(ours), _)) => lease = Some(ours),
                Some((Claimed::Here(stored), has_waited)) => {
                    if has_waited { &self.joined } else { &self.replayed }.count(ex);
                    let response = replay(&stored);
                    // From now on it is known here as well.
                    owner.answer(stored, ex.now());
                    return Ok(Verdict::Respond(Box::new(response)));
                }
                Some((Claimed::UnderWay, _)) => return Err(self.in_progress(ex)),
                Some((Claimed::Other, _)) => {
                    self.conflict.count(ex);
                    return Err(Failure::new(Code::IdempotencyKeyReused));
                }
                None => {
                    self.unavailable.count(ex);
                    if self.on_failure == OnFailure::Closed {
                        let failure = Failure::new(Code::Overloaded).header("retry-after", "1");
                        return Err(failure.detail("the store of idempotency keys does not answer"));
                    }
                }
            }
        }
        self.first.count(ex);
        let is_unknown = caller(ex).is_none();
        ex.keep(Turn {
            owner,
            lease,
            request,
            is_unknown,
        });
        Ok(Verdict::Continue)
    }

    /// Says once that an answer to somebody known is not kept: with a key that was made before, anybody would get it.
    fn warn(&self) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                policy = &*self.name,
                "idempotency runs before the authentication, so that it keeps no answers; put the authentication before it"
            );
        }
    }

    /// Reads the answer whole, stores it, and lets it go on.
    async fn store(&self, ex: &mut Exchange, response: &mut Response, turn: Turn) -> Outcome {
        if turn.is_unknown && caller(ex).is_some() {
            self.warn();
            return Ok(Verdict::Continue);
        }
        if is_endless(&response.head.headers) {
            return Ok(Verdict::Continue);
        }
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
        let stored = Stored {
            status: response.head.status,
            headers: fields
                .map(|field| (field.name.into(), field.value.into()))
                .collect(),
            body: whole.clone(),
        };
        if let Some(lease) = turn.lease {
            lease.answer(&turn.request, &stored).await;
        }
        turn.owner.answer(stored, ex.now());
        self.stored.count(ex);
        response.body = whole.into();
        Ok(Verdict::Continue)
    }
}

/// Whether the answer is a stream of events, which must not be waited for.
fn is_endless(fields: &http1::Headers) -> bool {
    let mut kinds = fields.all(Known::ContentType);
    kinds.any(|kind| {
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
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
        match ex.kept::<Turn>() {
            Some(turn) if is_final(response.head.status) && !ex.has_failed() => {
                Step::wait(self.store(ex, response, turn))
            }
            _ => Step::CONTINUE,
        }
    }
}
