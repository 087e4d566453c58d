//! Consumers that a store has (`consumers_from.redis`): asked for when a credential is shown, and remembered for a while.
//!
//! What is remembered is bounded and found without waiting. Who asks for the same at the same moment waits for one
//! answer. What is known of credentials that nobody has is kept apart, so that trying many drives nobody's consumer out.
//! While the store does not answer, what was found before is used for a time that is set, and this is told and counted.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use gatehouse_core::config::{CredentialSort, Credentials, Diagnostic, NamedConsumer};
use gatehouse_core::consumer::Consumer;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::Compile;
use gatehouse_core::telemetry::metrics::{Family, Tally};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::remember::Cache;
use crate::store::{Redis, Unavailable};

/// The longest name of a consumer, and the longest record of one.
const LONGEST_NAME: usize = 256;
const LONGEST_RECORD: usize = 64 * 1024;
/// Questions under way at once for one sort of credentials.
const MOST_FLIGHTS: usize = 4_096;
/// The label of what cannot be counted one by one.
pub const IN_STORE: &str = "_store";

/// What became of questions.
pub const LOOKUPS: Family = Family::counter(
    "gatehouse_consumer_lookups_total",
    &["credentials", "result"],
    "Credentials whose consumer was asked for in a store: `found`, `missing`, `broken` (a record that cannot be read), \
     `stale` (the store does not answer, and what was found before was used) or `unavailable`.",
);

/// What is known of a credential.
pub enum Answer<T> {
    /// Whose it is.
    Found(Arc<T>),
    /// Nobody's.
    Missing,
    /// The store does not answer, or has too much to do.
    Unavailable,
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Found(found) => Self::Found(found.clone()),
            Self::Missing => Self::Missing,
            Self::Unavailable => Self::Unavailable,
        }
    }
}

/// Makes of a consumer what a policy needs of it, if the credential is among its own.
type Make<T> = Box<dyn Fn(&Arc<Consumer>, &Credentials, &str) -> Option<T> + Send + Sync>;

/// Consumers by one sort of credentials. State: outlives plans.
pub struct Directory<T> {
    store: Arc<Redis>,
    sort: &'static str,
    make: Make<T>,
    found: Cache<Kept<T>>,
    missing: Cache<Instant>,
    flights: Mutex<HashMap<u128, watch::Receiver<Option<Answer<T>>>>>,
    times: Times,
    background: Option<Handle>,
    is_told: AtomicBool,
    counts: Counts,
}

struct Times {
    refresh: Duration,
    missing: Duration,
    stale: Duration,
}

struct Counts {
    found: Arc<Tally>,
    missing: Arc<Tally>,
    broken: Arc<Tally>,
    stale: Arc<Tally>,
    unavailable: Arc<Tally>,
}

/// What was found, and when; nothing if the credential was somebody's and is not any more.
struct Kept<T> {
    what: Option<Arc<T>>,
    at: Instant,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            what: self.what.clone(),
            at: self.at,
        }
    }
}

impl<T: Send + Sync + 'static> Directory<T> {
    /// The consumers of the document's store, if credentials of this sort are looked for there.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn of(
        cx: &Compile<'_>,
        sort: CredentialSort,
        make: impl Fn(&Arc<Consumer>, &Credentials, &str) -> Option<T> + Send + Sync + 'static,
    ) -> Result<Option<Arc<Self>>, Diagnostic> {
        let Some(settings) = cx.consumers.in_store() else {
            return Ok(None);
        };
        if !settings.credentials.contains(&sort) {
            return Ok(None);
        }
        let store = Redis::named(cx, "", &settings.store)?;
        // Of a store that is reached in another way nothing is known.
        let shape = format!("{settings:?} {:?}", Arc::as_ptr(&store));
        let sort = match sort {
            CredentialSort::Keys => "key",
            CredentialSort::Passwords => "user",
            CredentialSort::Subjects => "subject",
            CredentialSort::Certificates => "certificate",
        };
        let count = |result| cx.tally(&LOOKUPS, &[sort, result]);
        let most = usize::try_from(settings.cache.get()).unwrap_or(usize::MAX);
        Ok(Some(cx.common_state("consumers_from.redis", &shape, || Self {
            store,
            sort,
            make: Box::new(make),
            found: Cache::new(most),
            missing: Cache::new(most),
            flights: Mutex::default(),
            times: Times {
                refresh: settings.refresh.get(),
                missing: settings.missing.get(),
                stale: settings.stale.get().max(settings.refresh.get()),
            },
            background: cx.background.cloned(),
            is_told: AtomicBool::new(false),
            counts: Counts {
                found: count("found"),
                missing: count("missing"),
                broken: count("broken"),
                stale: count("stale"),
                unavailable: count("unavailable"),
            },
        })))
    }

    /// What a credential, in parts, is remembered by.
    pub fn hash<const N: usize>(&self, parts: [&[u8]; N]) -> u128 {
        self.found.hash_of(parts)
    }

    /// What is known of a credential without asking. None: it has to be asked for.
    pub fn known(&self, hash: u128, now: Instant) -> Option<Answer<T>> {
        let kept = self.found.get(hash);
        if let Some(Kept { what: Some(what), at }) = &kept
            && now < *at + self.times.refresh
        {
            return Some(Answer::Found(what.clone()));
        }
        if self.missing.get(hash).is_some_and(|until| now < until) {
            return Some(Answer::Missing);
        }
        // Nobody waits for what is known to be gone.
        (!self.store.is_up() && self.store.is_settled()).then(|| self.without(kept, now))
    }

    /// Asks for a credential. It is looked for by each of these names, the first of which counts more than the next.
    pub async fn ask(self: &Arc<Self>, hash: u128, names: Vec<Name>, now: Instant) -> Answer<T> {
        if let Some(known) = self.known(hash, now) {
            return known;
        }
        let Some(background) = &self.background else {
            return Answer::Unavailable;
        };
        let waits_for = {
            let mut flights = self.flights();
            let under_way = flights.get(&hash).cloned();
            // What landed since the first look was kept before its flight was over.
            if under_way.is_none()
                && let Some(known) = self.known(hash, now)
            {
                return known;
            }
            match under_way {
                Some(flight) => Some(flight),
                None if flights.len() >= MOST_FLIGHTS => None,
                None => {
                    let (tell, flight) = watch::channel(None);
                    flights.insert(hash, flight.clone());
                    let landing = Landing {
                        directory: self.clone(),
                        hash,
                    };
                    // Whoever asked first may leave: the others still get the answer.
                    background.spawn(async move {
                        let answer = landing.directory.fetch(hash, &names, now).await;
                        drop(landing);
                        tell.send_replace(Some(answer));
                    });
                    Some(flight)
                }
            }
        };
        let Some(mut flight) = waits_for else {
            return self.without(self.found.get(hash), now);
        };
        match flight.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Answer::Unavailable),
            Err(_) => Answer::Unavailable,
        }
    }

    /// Bounded by the store's timeout, for each of three steps at most.
    async fn fetch(&self, hash: u128, names: &[Name], now: Instant) -> Answer<T> {
        self.store.settle().await;
        match self.look(names).await {
            Ok(found) => {
                self.is_told.store(false, Relaxed);
                let what = found.map(Arc::new);
                if what.is_some() || self.found.get(hash).is_some() {
                    let kept = Kept {
                        what: what.clone(),
                        at: now,
                    };
                    self.found.put(hash, kept);
                }
                if let Some(what) = what {
                    self.counts.found.add_shared(1);
                    return Answer::Found(what);
                }
                self.missing.put(hash, now + self.times.missing);
                self.counts.missing.add_shared(1);
                Answer::Missing
            }
            Err(_) => self.without(self.found.get(hash), now),
        }
    }

    async fn look(&self, names: &[Name]) -> Result<Option<T>, Unavailable> {
        for name in names {
            let key = format!("consumer-of:{}:{}", self.sort, name.key);
            let Some(owner) = self.store.start_of(&key, LONGEST_NAME + 1).await? else {
                continue;
            };
            let is_name = owner.len() <= LONGEST_NAME && !owner.iter().any(u8::is_ascii_control);
            let Some(owner) = String::from_utf8(owner).ok().filter(|_| is_name) else {
                self.broken(&key, "it is no name of a consumer");
                continue;
            };
            let key = format!("consumer:{owner}");
            let Some(record) = self.store.start_of(&key, LONGEST_RECORD + 1).await? else {
                continue;
            };
            if record.len() > LONGEST_RECORD {
                self.broken(&key, "it is longer than 64 KiB");
                continue;
            }
            let written: NamedConsumer = match serde_json::from_slice(&record) {
                Ok(written) => written,
                Err(why) => {
                    self.broken(&key, &why.to_string());
                    continue;
                }
            };
            if written.name != owner {
                self.broken(&key, "its `name` is another");
                continue;
            }
            let consumer = Arc::new(Consumer::from(&written));
            // What a credential points to may have it no more.
            if let Some(made) = (self.make)(&consumer, &written.credentials, &name.credential) {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }

    fn broken(&self, key: &str, why: &str) {
        self.counts.broken.add_shared(1);
        tracing::warn!(key, why, "a record of a consumer in the store cannot be used");
    }

    /// What is said while the store does not answer.
    fn without(&self, kept: Option<Kept<T>>, now: Instant) -> Answer<T> {
        if !self.is_told.swap(true, Relaxed) {
            tracing::warn!(
                credentials = self.sort,
                "the store with consumers does not answer; those found before are used for `stale`, others get 503"
            );
        }
        match kept {
            Some(Kept { what: Some(what), at }) if now < at + self.times.stale => {
                self.counts.stale.add_shared(1);
                Answer::Found(what)
            }
            _ => {
                self.counts.unavailable.add_shared(1);
                Answer::Unavailable
            }
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<u128, watch::Receiver<Option<Answer<T>>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight, however it ends.
struct Landing<T: Send + Sync + 'static> {
    directory: Arc<Directory<T>>,
    hash: u128,
}

impl<T: Send + Sync + 'static> Drop for Landing<T> {
    fn drop(&mut self) {
        self.directory.flights().remove(&self.hash);
    }
}

/// What a credential is found by.
pub struct Name {
    /// In the store.
    key: String,
    /// Among the consumer's own.
    credential: String,
}

impl Name {
    /// A credential that is a digest already, in hex.
    pub fn digest(digest: String) -> Self {
        Self {
            key: digest.clone(),
            credential: digest,
        }
    }

    /// A credential of which the store has the SHA-256.
    pub fn text(text: String) -> Self {
        Self {
            key: hex(digest(&SHA256, text.as_bytes()).as_ref()),
            credential: text,
        }
    }
}

/// Bytes in hex, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The answer while nobody can say whose a credential is.
pub fn unavailable() -> Failure {
    Failure::new(Code::AuthUnavailable)
        .detail("the store with consumers does not answer")
        .header("retry-after", "1")
}
