//! All API keys of a document by their SHA-256, and what is known of each. Made once for a plan. Those of a store are
//! asked for.
//!
//! A lookup compares digests, which say nothing of the keys: how long it takes gives nothing away.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::SHA256;
use gatehouse_core::config::{ApiKey, Cidr, CredentialSort, Diagnostic, Timestamp};
use gatehouse_core::consumer::Consumer;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::Compile;
use gatehouse_core::telemetry::metrics::{Count, Family, Tally};
use serde_json::Map;

use crate::auth::directory::{Directory, IN_STORE};

/// Requests that came with a key.
pub const REQUESTS: Family = Family::counter(
    "gatehouse_key_auth_requests_total",
    &["consumer", "key"],
    "Requests that came with this API key and were let in.",
);

/// When a key was used last.
pub const LAST_USED: Family = Family::gauge(
    "gatehouse_key_auth_last_used_seconds",
    &["consumer", "key"],
    "When this API key was used last, in seconds since 1970; 0 if not since the start.",
);

/// All keys.
#[derive(Default)]
pub struct Index(HashMap<[u8; 32], Known>);

/// A key that is known.
pub struct Known {
    identity: Identity,
    expires: Option<i64>,
    addresses: Box<[Cidr]>,
    requests: Arc<Tally>,
    last_used: Arc<Count>,
}

/// Why a key is not good: for the log and a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Different keys in one request.
    Ambiguous,
    /// Not of the form that all keys have.
    Malformed,
    /// Nobody's.
    Unknown,
    /// No longer good.
    Expired,
    /// Not good from this address.
    Address,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Ambiguous,
        Self::Malformed,
        Self::Unknown,
        Self::Expired,
        Self::Address,
    ];

    /// The word for it in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Address => "address",
        }
    }

    /// The same for the log.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Ambiguous => "the request has different API keys",
            Self::Malformed => "the API key has another prefix, or its checksum is wrong",
            Self::Unknown => "no consumer has this API key",
            Self::Expired => "the API key has expired",
            Self::Address => "the API key may not be used from this address",
        }
    }
}

impl Index {
    /// The keys of all consumers of the document.
    pub fn of(cx: &Compile<'_>) -> Self {
        let consumers = cx.consumers.credentials();
        let keys = consumers.flat_map(|(consumer, credentials)| {
            credentials.keys.iter().map(move |key| {
                let labels = [&*consumer.name, &key.id];
                let known = Known::new(
                    consumer,
                    key,
                    cx.tally(&REQUESTS, &labels),
                    cx.gauge(&LAST_USED, &labels),
                );
                (*key.sha256.bytes(), known)
            })
        });
        Self(keys.collect())
    }

    /// What is known of the key with this digest.
    pub fn get(&self, digest: &[u8; 32]) -> Option<&Known> {
        self.0.get(digest)
    }
}

/// The keys of consumers in a store. They are counted together: there may be any number of them.
#[allow(clippy::result_large_err, reason = "runs once a plan")]
pub fn in_store(cx: &Compile<'_>) -> Result<Option<Arc<Directory<Known>>>, Diagnostic> {
    let requests = cx.tally(&REQUESTS, &[IN_STORE; 2]);
    let last_used = cx.gauge(&LAST_USED, &[IN_STORE; 2]);
    Directory::of(
        cx,
        CredentialSort::Keys,
        move |consumer, credentials, digest: &str| {
            let mut keys = credentials.keys.iter();
            let key = keys.find(|key| key.sha256.to_string() == digest)?;
            Some(Known::new(consumer, key, requests.clone(), last_used.clone()))
        },
    )
}

/// The SHA-256 of a key.
pub fn digest(key: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = aws_lc_rs::digest::digest(&SHA256, key);
    out.iter_mut()
        .zip(digest.as_ref())
        .for_each(|(out, byte)| *out = *byte);
    out
}

impl Known {
    fn new(consumer: &Arc<Consumer>, key: &ApiKey, requests: Arc<Tally>, last_used: Arc<Count>) -> Self {
        Self {
            identity: Identity {
                method: "key_auth",
                proof: Arc::new(Proof {
                    subject: consumer.name.clone(),
                    credential: Some(key.id.as_str().into()),
                    scopes: key.scopes.iter().map(|scope| scope.as_str().into()).collect(),
                    claims: Map::new(),
                }),
                consumer: Some(consumer.clone()),
            },
            expires: key.expires.map(Timestamp::unix_seconds),
            addresses: key.addresses.clone().into(),
            requests,
            last_used,
        }
    }

    /// Whose it is, if it is good now from this address; notes that it was used.
    pub fn admit(&self, ex: &Exchange) -> Result<Identity, Refusal> {
        let is_over = |expires: i64| u64::try_from(expires).unwrap_or(0) <= ex.unix_seconds();
        if self.expires.is_some_and(is_over) {
            return Err(Refusal::Expired);
        }
        if !self.addresses.is_empty() && !self.addresses.iter().any(|net| net.contains(ex.client.ip)) {
            return Err(Refusal::Address);
        }
        Ok(self.used(ex))
    }

    fn used(&self, ex: &Exchange) -> Identity {
        self.requests.count(ex);
        let now = ex.unix_seconds();
        // Workers share the cell: it is written once a second and not for each request.
        if self.last_used.get() != now {
            self.last_used.set(now);
        }
        self.identity.clone()
    }
}
