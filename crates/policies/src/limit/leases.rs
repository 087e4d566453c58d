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
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
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

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);

    fn said(fits: bool, remaining: u64, wait: Option<u64>) -> Decision {
        let report = Report {
            fits,
            remaining,
            carried: 0,
            resets_in: WINDOW,
            retry_after: wait.map(Duration::from_millis),
        };
        Decision::new(fits, std::iter::once(report))
    }

    fn asks(leased: &Leased) -> Option<bool> {
        match leased {
            Leased::Ask { ahead } => Some(*ahead),
            Leased::Decided(_) => None,
        }
    }

    #[test]
    fn one_takes_ahead_and_all_use_it() {
        let (leases, now) = (Leases::new(100), Instant::now());
        assert_eq!(asks(&leases.decide(b"a", 1, now)), Some(true));
        assert_eq!(
            asks(&leases.decide(b"a", 1, now)),
            Some(false),
            "somebody asks already"
        );
        leases.keep(b"a", 3, WINDOW, &said(true, 90, None), now);
        for left in [92, 91, 90] {
            let Leased::Decided(decision) = leases.decide(b"a", 1, now) else {
                panic!("it was leased")
            };
            assert!(decision.admitted);
            assert_eq!(decision.reports()[0].remaining, left);
        }
        assert_eq!(asks(&leases.decide(b"a", 1, now)), Some(true), "nothing is left");
        let later = now + ASKING;
        assert_eq!(
            asks(&leases.decide(b"a", 1, later)),
            Some(true),
            "whoever asked got no answer"
        );
        assert_eq!(
            asks(&leases.decide(b"b", 1, now)),
            Some(true),
            "each key for itself"
        );
    }

    #[test]
    fn what_is_old_is_not_given_out() {
        let (leases, now) = (Leases::new(100), Instant::now());
        leases.decide(b"a", 1, now);
        leases.keep(b"a", 3, WINDOW, &said(true, 90, None), now);
        assert_eq!(asks(&leases.decide(b"a", 1, now + WINDOW)), Some(true));
    }

    #[test]
    fn a_refusal_holds_as_long_as_it_says_and_a_second_at_most() {
        let (leases, now) = (Leases::new(100), Instant::now());
        for (wait, holds) in [(10, 10), (5_000, 1_000)] {
            leases.decide(b"a", 1, now);
            leases.keep(b"a", 0, WINDOW, &said(false, 0, Some(wait)), now);
            let just_before = now + Duration::from_millis(holds - 1);
            let Leased::Decided(decision) = leases.decide(b"a", 1, just_before) else {
                panic!("it was refused")
            };
            assert!(!decision.admitted);
            assert_eq!(
                asks(&leases.decide(b"a", 1, now + Duration::from_millis(holds))),
                Some(true)
            );
        }
    }

    #[test]
    fn their_number_is_bounded() {
        let (leases, now) = (Leases::new(16), Instant::now());
        for i in 0..1_000_u32 {
            leases.decide(&i.to_be_bytes(), 1, now);
        }
        let kept: usize = leases
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert!(kept <= 16, "{kept}");
    }
}
