//! What is known of one name, and for how long: a pure state machine.
//!
//! A found answer replaces the addresses of its family at once, so an address that was taken away gets no further
//! request. When the server cannot be asked (timeouts, SERVFAIL, refusals) the last answer serves on, `stale` long
//! after it ran out (RFC 8767). When the server *says* that the name is not there (NXDOMAIN, or no addresses in either
//! family) it is believed, but only after [`DENIAL_GRACE`]: registries deny everything for a moment while they
//! restart, and after that moment somebody else may have been given the addresses.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a name must be denied before its addresses are dropped.
pub(super) const DENIAL_GRACE: Duration = Duration::from_secs(30);
/// The wait after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest wait between attempts while a name does not resolve.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What a question about one address family brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Addresses, at least one, and how long they are good for.
    Found { addresses: Vec<IpAddr>, ttl: Duration },
    /// The name, or its addresses of this family, do not exist.
    Denied,
    /// No answer was to be had.
    Failed(String),
}

/// The replies for both families of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) v4: Reply,
    pub(super) v6: Reply,
}

impl Outcome {
    /// Why nothing was found, if nothing was.
    pub(super) fn error(&self) -> Option<&str> {
        match (&self.v4, &self.v6) {
            (Reply::Found { .. }, _) | (_, Reply::Found { .. }) => None,
            (Reply::Failed(error), _) | (_, Reply::Failed(error)) => Some(error),
            (Reply::Denied, Reply::Denied) => Some("no such name, or a name without addresses"),
        }
    }
}

/// Limits to how long answers serve, from the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) stale: Duration,
}

/// The addresses of one family.
#[derive(Debug, Default)]
struct Family {
    addresses: Vec<IpAddr>,
    /// Until when the last answer is good; set whenever there are addresses.
    good_until: Option<Instant>,
    denied_since: Option<Instant>,
}

/// The addresses of a name.
#[derive(Debug, Default)]
pub(super) struct Answer {
    families: [Family; 2],
    /// Questions in a row that found nothing.
    failures: u32,
}

impl Answer {
    /// Takes in the replies and says how long to wait before the next question.
    pub(super) fn apply(&mut self, outcome: Outcome, now: Instant, times: &Times) -> Duration {
        let clamp = |ttl: Duration| ttl.min(times.max_ttl).max(times.min_ttl);
        let found = outcome.error().is_none();
        let mut shortest: Option<Duration> = None;
        for (family, reply) in self.families.iter_mut().zip([outcome.v4, outcome.v6]) {
            match reply {
                Reply::Found { addresses, ttl } => {
                    let ttl = clamp(ttl);
                    shortest = Some(shortest.map_or(ttl, |shortest| shortest.min(ttl)));
                    *family = Family {
                        addresses,
                        good_until: now.checked_add(ttl),
                        denied_since: None,
                    };
                }
                // The name exists, with addresses of the other family.
                Reply::Denied if found => *family = Family::default(),
                Reply::Denied => {
                    family.denied_since.get_or_insert(now);
                    family.expire(now, times);
                }
                Reply::Failed(_) => family.expire(now, times),
            }
        }
        if let Some(ttl) = shortest {
            self.failures = 0;
            return ttl;
        }
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LAST_RETRY)
    }

    /// All addresses, sorted, IPv4 first.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<_> = self
            .families
            .iter()
            .flat_map(|family| family.addresses.iter().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// True if the last question found something, or none was asked yet.
    pub(super) fn is_good(&self) -> bool {
        self.failures == 0
    }
}

impl Family {
    /// Drops addresses that served too long without a new answer.
    fn expire(&mut self, now: Instant, times: &Times) {
        let over = |since: Option<Instant>, length: Duration| {
            since
                .and_then(|since| since.checked_add(length))
                .is_some_and(|end| now >= end)
        };
        let grace = DENIAL_GRACE.min(times.stale);
        if over(self.good_until, times.stale) || over(self.denied_since, grace) {
            *self = Self {
                denied_since: self.denied_since,
                ..Self::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMES: Times = Times {
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_mins(5),
        stale: Duration::from_hours(1),
    };

    fn ips(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|ip| ip.parse().expect("an address")).collect()
    }

    fn found(addresses: &[&str], ttl: u64) -> Reply {
        Reply::Found {
            addresses: ips(addresses),
            ttl: SECOND * u32::try_from(ttl).expect("short"),
        }
    }

    fn failed() -> Reply {
        Reply::Failed("timed out".to_owned())
    }

    struct Rig(Answer, Instant);

    impl Rig {
        fn new() -> Self {
            Self(Answer::default(), Instant::now())
        }

        /// Applies the replies so many seconds after the start; gives the wait.
        fn at(&mut self, second: u32, v4: Reply, v6: Reply) -> Duration {
            self.0.apply(Outcome { v4, v6 }, self.1 + SECOND * second, &TIMES)
        }

        fn has(&self, addresses: &[&str]) -> bool {
            self.0.addresses() == ips(addresses)
        }
    }

    #[test]
    fn both_families_serve_and_the_shorter_lifetime_counts() {
        let mut rig = Rig::new();
        assert_eq!(
            rig.at(
                0,
                found(&["10.0.0.2", "10.0.0.1"], 60),
                found(&["2001:db8::1"], 20)
            ),
            SECOND * 20
        );
        assert!(rig.has(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]));
    }

    #[test]
    fn lifetimes_are_clamped() {
        let mut rig = Rig::new();
        assert_eq!(rig.at(0, found(&["10.0.0.1"], 0), Reply::Denied), SECOND * 5);
        assert_eq!(
            rig.at(5, found(&["10.0.0.1"], 86_400), Reply::Denied),
            SECOND * 300
        );
    }

    #[test]
    fn removed_addresses_go_at_once() {
        let mut rig = Rig::new();
        rig.at(
            0,
            found(&["10.0.0.1", "10.0.0.2"], 60),
            found(&["2001:db8::1"], 60),
        );
        rig.at(60, found(&["10.0.0.2"], 60), Reply::Denied);
        assert!(rig.has(&["10.0.0.2"]));
    }

    #[test]
    fn a_family_that_cannot_be_asked_keeps_its_addresses() {
        let mut rig = Rig::new();
        rig.at(0, found(&["10.0.0.1"], 60), found(&["2001:db8::1"], 60));
        assert_eq!(rig.at(60, found(&["10.0.0.2"], 60), failed()), SECOND * 60);
        assert!(rig.has(&["10.0.0.2", "2001:db8::1"]));
        rig.at(3660, found(&["10.0.0.2"], 60), failed());
        assert!(
            rig.has(&["10.0.0.2"]),
            "a minute of lifetime and an hour of staleness are over"
        );
    }

    #[test]
    fn failures_serve_stale_as_long_as_allowed() {
        let mut rig = Rig::new();
        rig.at(0, found(&["10.0.0.1"], 60), Reply::Denied);
        rig.at(3659, failed(), failed());
        assert!(rig.has(&["10.0.0.1"]));
        rig.at(3660, failed(), failed());
        assert!(rig.has(&[]));
    }

    #[test]
    fn denials_are_believed_after_a_while() {
        let mut rig = Rig::new();
        rig.at(0, found(&["10.0.0.1"], 60), Reply::Denied);
        rig.at(60, Reply::Denied, Reply::Denied);
        rig.at(89, Reply::Denied, Reply::Denied);
        assert!(rig.has(&["10.0.0.1"]));
        rig.at(90, Reply::Denied, Reply::Denied);
        assert!(rig.has(&[]));
    }

    #[test]
    fn a_denial_in_between_is_forgotten() {
        let mut rig = Rig::new();
        rig.at(0, found(&["10.0.0.1"], 60), Reply::Denied);
        rig.at(60, Reply::Denied, Reply::Denied);
        rig.at(61, found(&["10.0.0.1"], 60), Reply::Denied);
        rig.at(121, Reply::Denied, Reply::Denied);
        assert!(rig.has(&["10.0.0.1"]));
        // Failing to ask does not stop the clock of a denial.
        rig.at(151, failed(), failed());
        assert!(rig.has(&[]));
    }

    #[test]
    fn retries_back_off_and_success_starts_anew() {
        let mut rig = Rig::new();
        let waits: Vec<_> = (0..9).map(|second| rig.at(second, failed(), failed())).collect();
        assert_eq!(
            waits,
            [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0].map(Duration::from_secs_f64)
        );
        assert!(!rig.0.is_good());
        rig.at(100, found(&["10.0.0.1"], 60), failed());
        assert!(rig.0.is_good());
        assert_eq!(rig.at(160, Reply::Denied, failed()), FIRST_RETRY);
    }

    #[test]
    fn the_error_names_the_failure_before_the_denial() {
        let outcome = Outcome {
            v4: Reply::Denied,
            v6: failed(),
        };
        assert_eq!(outcome.error(), Some("timed out"));
        assert!(
            Outcome {
                v4: failed(),
                v6: found(&["::1"], 1)
            }
            .error()
            .is_none()
        );
        assert!(
            Outcome {
                v4: Reply::Denied,
                v6: Reply::Denied
            }
            .error()
            .is_some()
        );
    }
}
