//! What is written of `idempotency`.

use gatehouse_core::config::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answers a request that is sent again as it was answered the first time, so that a client may try again without doing
/// a thing twice.
///
/// The client names what it wants done once by `Idempotency-Key`. The first answer is stored; whoever sends the same request with
/// the same key gets it again, with `Idempotency-Replayed: true`; those who come while the first is under way wait for its
/// answer, or get `409` (`idempotency_in_progress`). Another method, target, `Content-Type`, `Content-Encoding` or body with the same
/// key gets `422` (`idempotency_key_reused`). A key that is there twice, is empty, has more than 255 bytes or other than
/// visible ASCII gets `400`. Keys of different callers
/// (the consumer, else what the credential names, else the address with `Authorization` and `Cookie` as they were sent) and of
/// different routes have nothing to do with each other.
///
/// Stored are answers of the service with a status below 500, but for 408, 409, 425 and 429: after those, and after failures of
/// the gateway, the same key may be tried again. Answers longer than `max_response`, those with trailers, and streams of events
/// (`text/event-stream`) are passed on and not stored. If the client leaves before the answer is there, nothing is stored
/// either. A shorter answer is read whole before it goes on.
///
/// Answers are kept in this process's memory; with a `store`, in a Redis (7 or newer) as well, for all gateways that
/// have the policy at the same place or under the same name. One of them claims the key; the claim holds for `lease` and is
/// renewed while the request is under way, so that a gateway that dies frees the key. Answers stand there as they were
/// sent: whoever reads that Redis reads them.
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
    /// How long one that is sent again waits for the first. `0s`: not at all, but gets `409` (`idempotency_in_progress`).
    pub wait: Span,
    /// The store in which gateways share answers, one of `stores`. Absent: each has its own.
    pub store: Option<String>,
    /// What happens while the store does not answer.
    pub on_failure: OnFailure,
    /// With a `store`: how long a key is taken by a gateway that died. At least 1s.
    pub lease: Span,
}

/// What becomes of requests with a key while the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "IdempotencyOnFailure")]
pub enum OnFailure {
    /// They get `503`: nothing is done twice.
    #[default]
    Closed,
    /// Each gateway knows only what it has answered itself.
    Local,
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
            store: None,
            on_failure: OnFailure::default(),
            lease: Span::from_secs(60),
        }
    }
}
