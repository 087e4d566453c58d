//! How a client that makes us wait keeps up with the least rate: slow loris, in both directions.
//!
//! Only the time spent waiting for the client counts, so that a slow upstream is not the client's fault; and the
//! first idle time is free, so that one pause does no harm.

use std::time::{Duration, Instant};

/// The bytes of one message, and how long the client made us wait for them.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes a second; 0: any rate will do.
    rate: u64,
    grace: Duration,
    waited: Duration,
    since: Option<Instant>,
}

/// The client is slower than the least rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSlow {
    /// Bytes a second there must be.
    pub rate: u64,
    /// Bytes a second there were, waiting time only.
    pub measured: u64,
}

impl Pace {
    /// Nothing waited for yet.
    pub fn new(rate: u64, grace: Duration) -> Self {
        Self {
            rate,
            grace,
            waited: Duration::ZERO,
            since: None,
        }
    }

    /// Begins to wait, unless that has begun already. True once nothing has moved for the idle time.
    pub fn wait(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) >= self.grace
    }

    /// Something moved: a wait, if there was one, is over. `bytes` are those of the message so far.
    pub fn moved(&mut self, bytes: u64, now: impl FnOnce() -> Instant) -> Result<(), TooSlow> {
        let Some(since) = self.since.take() else {
            return Ok(());
        };
        self.waited += now().saturating_duration_since(since);
        let seconds = self.waited.as_secs();
        if self.rate == 0 || self.waited <= self.grace || bytes >= self.rate.saturating_mul(seconds) {
            return Ok(());
        }
        Err(TooSlow {
            rate: self.rate,
            measured: bytes / seconds.max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits so long, then says that so many bytes moved in all.
    fn step(pace: &mut Pace, seconds: u64, bytes: u64) -> Result<(), TooSlow> {
        let start = Instant::now();
        pace.wait(start);
        pace.moved(bytes, || start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_slow_client_is_told_from_a_pause() {
        let mut pace = Pace::new(100, Duration::from_secs(10));
        assert_eq!(step(&mut pace, 10, 1), Ok(()), "the first idle time is free");
        assert_eq!(step(&mut pace, 10, 2000), Ok(()), "fast enough over all");
        let slow = TooSlow {
            rate: 100,
            measured: 66,
        };
        assert_eq!(step(&mut pace, 10, 2001), Err(slow));
        assert_eq!(pace.moved(2002, Instant::now), Ok(()), "nobody waited");
    }

    #[test]
    fn nothing_at_all_is_told_after_the_idle_time() {
        let (mut pace, start) = (Pace::new(0, Duration::from_secs(10)), Instant::now());
        let mut wait = |seconds| pace.wait(start + Duration::from_secs(seconds));
        assert_eq!([wait(0), wait(9), wait(10)], [false, false, true]);
    }

    #[test]
    fn a_rate_of_nothing_is_no_limit() {
        let mut pace = Pace::new(0, Duration::ZERO);
        assert_eq!(step(&mut pace, 1000, 1), Ok(()));
    }
}
