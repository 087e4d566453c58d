//! Limits how many requests of a client may be under way at once.

use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::state::meter::ByHash;
use gatehouse_core::telemetry::metrics::{Count, Family, Tally};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Keys;

/// Limits how many requests of a client may be under way at once.
///
/// A request is under way until its answer's last byte is out, a tunnel until it ends, either way until the client has
/// left. Those past the limit are refused at once; nobody waits in a queue. It is counted in the memory of each gateway.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// Requests at the same time.
    pub limit: NonZeroU32,
    /// What is counted together; see `rate_limit`. `global` protects what is behind.
    #[serde(default)]
    pub key: Keys,
    /// So many bits of an IPv6 address make a client.
    #[serde(default = "Concurrency::ipv6_prefix")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Other limits for some callers, by the name of their consumer's tier or of one of its groups.
    #[serde(default)]
    pub tiers: IndexMap<String, NonZeroU32>,
    /// How requests past the limit are answered.
    #[serde(default)]
    pub answer: Answer,
    /// Counts and lets through.
    #[serde(default)]
    pub shadow: bool,
    /// What metrics call it. Absent: its place in the document.
    #[serde(default)]
    pub name: Option<String>,
    /// Keys with a request under way that are counted at most; those past them are let through and counted in the metric
    /// as `uncounted`.
    #[serde(default = "Concurrency::max_keys")]
    pub max_keys: NonZeroU32,
}

/// How requests past a limit are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ConcurrencyAnswer")]
pub enum Answer {
    /// `429`: the caller does too much.
    #[default]
    TooManyRequests,
    /// `503`: what is behind can do no more.
    Unavailable,
}

impl Concurrency {
    fn ipv6_prefix() -> u8 {
        64
    }

    fn max_keys() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(99_999)
    }
}

const OUTCOMES: Family = Family::counter(
    "gatehouse_concurrency_total",
    &["policy", "outcome"],
    "Requests that met a limit on those under way: allowed, refused, shadow for those let through that would have been \
     refused, or uncounted because there were too many keys.",
);

const UNDER_WAY: Family = Family::gauge(
    "gatehouse_concurrency_active",
    &["policy"],
    "Requests under way that such a limit counts.",
);

impl PolicyConfig for Concurrency {
    const NAME: &'static str = "concurrency";
    const STAGE: Stage = Stage::Limit;
    const EXAMPLE: &'static str = "limit: 10\nkey: client_ip\n";
    const METRICS: &'static [Family] = &[OUTCOMES, UNDER_WAY];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        self.key.check(cx)?;
        let label = self.name.clone().unwrap_or_else(|| cx.identity.clone());
        let shape = format!("key={} ipv6={} max={}", self.key, self.ipv6_prefix, self.max_keys);
        let (max_keys, active) = (self.max_keys.get() as usize, cx.gauge(&UNDER_WAY, &[&label]));
        let tally = |outcome| cx.tally(&OUTCOMES, &[&label, outcome]);
        Ok(Arc::new(Limit {
            places: cx.state(&shape, || Places::new(max_keys, active)),
            allowed: tally("allowed"),
            refused: tally("refused"),
            shadow: tally("shadow"),
            uncounted: tally("uncounted"),
            settings: self,
        }))
    }
}

struct Limit {
    settings: Concurrency,
    places: Arc<Places>,
    allowed: Arc<Tally>,
    refused: Arc<Tally>,
    shadow: Arc<Tally>,
    uncounted: Arc<Tally>,
}

const SHARDS: usize = 64;

/// How many requests of each key are under way. A key without any takes no room.
struct Places {
    secret: RandomState,
    shards: Box<[Mutex<ByHash<u32>>]>,
    /// Keys of a shard at most.
    room: usize,
    active: Arc<Count>,
}

/// A request that is under way; given back once, by hand or on drop.
struct Place {
    places: Arc<Places>,
    hash: u64,
    is_held: Cell<bool>,
}

/// What became of a request for a place.
enum Taken {
    Place(Place),
    TooMany,
    NoRoom,
}

impl Places {
    fn new(most: usize, active: Arc<Count>) -> Self {
        Self {
            secret: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            room: most.div_ceil(SHARDS),
            active,
        }
    }

    fn take(self: &Arc<Self>, key: &[u8], limit: u32) -> Taken {
        let hash = self.secret.hash_one(key);
        let mut counts = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= self.room && !counts.contains_key(&hash) {
            return Taken::NoRoom;
        }
        let count = counts.entry(hash).or_insert(0);
        if *count >= limit {
            return Taken::TooMany;
        }
        *count += 1;
        drop(counts);
        self.active.add_shared(1);
        Taken::Place(Place {
            places: self.clone(),
            hash,
            is_held: Cell::new(true),
        })
    }

    fn give_back(&self, hash: u64) {
        let mut counts = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(hash) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        drop(counts);
        // One less: such counts wrap around.
        self.active.add_shared(u64::MAX);
    }

    fn shard(&self, hash: u64) -> &Mutex<ByHash<u32>> {
        // The remainder is below the number of shards.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl Place {
    fn give_back(&self) {
        if self.is_held.replace(false) {
            self.places.give_back(self.hash);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Limit {
    fn limit_of(&self, ex: &Exchange) -> u32 {
        let own = || {
            let consumer = ex.identity.as_ref()?.consumer.as_ref()?;
            let names = consumer.tier.iter().chain(&*consumer.groups);
            names
                .into_iter()
                .find_map(|name| self.settings.tiers.get(&**name))
        };
        own().unwrap_or(&self.settings.limit).get()
    }

    fn decide(&self, ex: &mut Exchange) -> Outcome {
        let mut key = ex.scratch();
        self.settings.key.render(ex, self.settings.ipv6_prefix, &mut key);
        let taken = self.places.take(&key, self.limit_of(ex));
        ex.give_back(key);
        match taken {
            Taken::Place(place) => {
                ex.keep(place);
                self.allowed.count(ex);
            }
            Taken::NoRoom => self.uncounted.count(ex),
            Taken::TooMany if self.settings.shadow => self.shadow.count(ex),
            Taken::TooMany => {
                self.refused.count(ex);
                let code = match self.settings.answer {
                    Answer::TooManyRequests => Code::RateLimited,
                    Answer::Unavailable => Code::Overloaded,
                };
                let failure = Failure::new(code).safe_detail("too many requests at the same time");
                return Err(failure.header("retry-after", "1"));
            }
        }
        Ok(Verdict::Continue)
    }
}

impl Policy for Limit {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }

    fn on_finish(&self, ex: &Exchange) {
        if let Some(place) = ex.keeps::<Place>() {
            place.give_back();
        }
    }
}
