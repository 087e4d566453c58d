//! What a gateway has taken of shared limits ahead of time, and may give out without asking.
//!
//! What is leased is counted in the store already, so all that is given out is at most what was taken. A refusal is kept
//! for as long as it holds, a second at most: whoever is over the limit costs the store one question a second.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatehouse_core::state::meter::{Decision, Report};

/// A refusal is believed no longer.
const REFUSED: Duration = Duration::from_secs(1);
/// Nobody is believed to be asking for longer.
const ASKING: Duration = Duration::from_secs(1);
const SHARDS: usize = 16;

/// Leases by key, in a bounded number.
pub struct Leases {
    secret: RandomState,
    shards: Box<[Mutex<HashMap<u64, Lease>>]>,
    /// Leases of a shard at most.
    room: usize,
}

struct Lease {
    left: u64,
    until: Instant,
    admitted: bool,
    /// Somebody has asked for more and has no answer yet; believed no longer than that.
    asking: Option<Instant>,
    reports: Box<[Report]>,
}

/// What a lease says.
pub enum Leased {
    /// Decided, without the store.
    Decided(Decision),
    /// Ask the store; for some ahead if nobody else is about to.
    Ask {
        /// Whether some may be taken ahead.
        ahead: bool,
    },
}

impl Leases {
    /// For so many keys at most.
    pub fn new(most: usize) -> Self {
        Self {
            secret: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            room: most.div_ceil(SHARDS).max(1),
        }
    }

    /// What the lease of the key says of a request.
    pub fn decide(&self, key: &[u8], cost: u64, now: Instant) -> Leased {
        let hash = self.secret.hash_one(key);
        let mut leases = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let full = leases.len() >= self.room;
        if full && !leases.contains_key(&hash) {
            leases.retain(|_, lease| now < lease.until);
            if leases.len() >= self.room {
                return Leased::Ask { ahead: false };
            }
        }
        let lease = leases.entry(hash).or_insert_with(|| Lease {
            left: 0,
            until: now + ASKING,
            admitted: true,
            asking: None,
            reports: Box::default(),
        });
        if now >= lease.until {
            // What is left is too old to be given out.
            (lease.left, lease.admitted) = (0, true);
        }
        if lease.admitted && lease.left < cost {
            let ahead = lease.asking.is_none_or(|until| now >= until);
            if ahead {
                lease.asking = Some(now + ASKING);
                lease.until = lease.until.max(now + ASKING);
            }
            return Leased::Ask { ahead };
        }
        if lease.admitted {
            lease.left -= cost;
        }
        let left = lease.left;
        let reports = lease.reports.iter().map(|report| Report {
            remaining: report.remaining + left,
            ..*report
        });
        Leased::Decided(Decision::new(lease.admitted, reports))
    }

    /// Keeps what the store gave beyond what was asked for, or that it gave nothing.
    pub fn keep(&self, key: &[u8], left: u64, lasts: Duration, decision: &Decision, now: Instant) {
        let hash = self.secret.hash_one(key);
        let mut leases = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let refused = decision
            .reports()
            .iter()
            .filter_map(|report| report.retry_after)
            .max();
        let lasts = match (decision.admitted, refused) {
            (true, _) => lasts,
            (false, Some(wait)) => wait.min(REFUSED),
            // It would never fit; another with less may.
            (false, None) => Duration::ZERO,
        };
        // Others go on using what is left while somebody asks for more.
        let before = leases
            .get(&hash)
            .filter(|lease| lease.admitted && now < lease.until);
        let before = before.map_or(0, |lease| lease.left);
        if lasts.is_zero() || (!decision.admitted && before > 0) {
            return;
        }
        let lease = Lease {
            left: if decision.admitted {
                left.saturating_add(before)
            } else {
                0
            },
            until: now + lasts,
            admitted: decision.admitted,
            asking: None,
            reports: decision.reports().into(),
        };
        leases.insert(hash, lease);
    }

    fn shard(&self, hash: u64) -> &Mutex<HashMap<u64, Lease>> {
        // The remainder is below the number of shards.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}
