//! The algorithms of limits: plain functions of a counter and a time.
//!
//! Times are whole nanoseconds since 1970. Nothing is rounded in a caller's favour: what does not fit by the smallest
//! part does not fit.

use std::time::Duration;

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// How it counts.
    pub algorithm: Algorithm,
    /// What may be used in a window. At least 1.
    pub limit: u64,
    /// The window's length in nanoseconds. At least 1.
    pub window: u64,
    /// Of a token bucket: what may be used at once.
    pub burst: u64,
    /// Of a token bucket: how long ahead of its turn a use is admitted, in nanoseconds. It is then told with the time
    /// until nothing counts any more, which is as much longer.
    pub ahead: u64,
}

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Each key's first window begins with its first use, and each that follows where the one before ends. What was used
    /// in the one before fades out evenly while the current one fills, each use in one piece: what is left of it then
    /// does not count. So at most the limit is admitted at once, all of it is there again within a window, use by use,
    /// and no more than twice that is admitted in any stretch as long as a window, which only a caller who spends
    /// everything just before a window ends can reach.
    SlidingWindow,
    /// Windows follow the clock: those of a minute begin with the minute.
    FixedWindow,
    /// What was used comes back evenly (GCRA), and at most the burst is there at once.
    TokenBucket,
    /// Stretches of time that the caller knows the bounds of, such as months, in nanoseconds since 1970.
    Period {
        /// When the one before began.
        previous: u64,
        /// When this one began.
        start: u64,
        /// When it ends.
        end: u64,
        /// When the one after it ends.
        next: u64,
        /// How much of what was left of the one before is added to the limit, at most. Never more than the limit.
        rollover: u64,
    },
}

/// What a rule says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Whether there was room.
    pub fits: bool,
    /// Left of the limit, or of the burst.
    pub remaining: u64,
    /// What the period before left, which the limit is higher by.
    pub carried: u64,
    /// Until nothing of it counts any more, if nothing else comes.
    pub resets_in: Duration,
    /// If there was no room: until there is, if nothing else comes. Never, if it is more than the whole limit.
    pub retry_after: Option<Duration>,
}

/// The counter of one rule for one key.
///
/// Of a token bucket, `start` is when it is full again, and `previous` the part of a nanosecond beyond, in fractions
/// of the limit. Of a period, `previous` is what the one before left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    /// When the window that `current` counts began.
    start: u64,
    previous: u64,
    current: u64,
}

impl Rule {
    /// When the window of that time began, and when it ends.
    fn bounds(&self, now: u64) -> (u64, u64) {
        let Algorithm::Period {
            previous,
            start,
            end,
            next,
            ..
        } = self.algorithm
        else {
            let start = now - now % self.window;
            return (start, start.saturating_add(self.window));
        };
        // Whoever found out the bounds may have a clock that is a little ahead or behind.
        if now < start {
            (previous, start)
        } else if now < end {
            (start, end)
        } else {
            (end, next)
        }
    }

    /// What may be carried from one period into the next.
    fn rollover(&self) -> u64 {
        match self.algorithm {
            Algorithm::Period { rollover, .. } => rollover.min(self.limit),
            _ => 0,
        }
    }

    /// How long a counter still says something after its window has ended.
    pub(super) fn outlasts(&self) -> u64 {
        match self.algorithm {
            Algorithm::Period { end, next, .. } if self.rollover() > 0 => next.saturating_sub(end),
            _ => 0,
        }
    }
}

impl Cell {
    /// Moves on to that time.
    pub(super) fn turn(&mut self, rule: &Rule, now: u64) {
        match rule.algorithm {
            Algorithm::SlidingWindow => self.slide(now, rule.window),
            Algorithm::FixedWindow | Algorithm::Period { .. } => {
                let (start, _) = rule.bounds(now);
                if self.start < start {
                    let carried = self.carried_to(rule, start);
                    (self.start, self.previous, self.current) = (start, carried, 0);
                }
            }
            Algorithm::TokenBucket => {
                if self.start < now {
                    (self.start, self.previous) = (now, 0);
                }
            }
        }
    }

    /// Whether that much is left.
    pub(super) fn fits(&self, rule: &Rule, cost: u64, now: u64) -> bool {
        match rule.algorithm {
            Algorithm::TokenBucket => {
                let most = wide(rule.burst, rule.window) + wide(rule.ahead, rule.limit);
                cost <= rule.burst && self.debt(rule, now) + wide(cost, rule.window) <= most
            }
            _ => self.used(rule, now).saturating_add(cost) <= self.allowance(rule),
        }
    }

    /// Uses that much.
    pub(super) fn take(&mut self, rule: &Rule, cost: u64) {
        if rule.algorithm == Algorithm::TokenBucket {
            let limit = u128::from(rule.limit.max(1));
            let total = u128::from(self.previous) + wide(cost, rule.window);
            self.start = self.start.saturating_add(narrow(total / limit));
            self.previous = narrow(total % limit);
        } else {
            self.current = self.current.saturating_add(cost);
        }
    }

    /// Puts the final cost in the place of what was used `then`. More is used whether there is room or not; less is given
    /// back only where it still counts.
    pub(super) fn settle(&mut self, rule: &Rule, used: u64, cost: u64, then: u64, now: u64) {
        let Some(back) = used.checked_sub(cost).filter(|back| *back > 0) else {
            return self.take(rule, cost.saturating_sub(used));
        };
        if rule.algorithm == Algorithm::TokenBucket {
            // What has come back by itself in the meantime is not given back again.
            let faded = wide(now.saturating_sub(then), rule.limit);
            let back = wide(back, rule.window).saturating_sub(faded) / u128::from(rule.limit.max(1));
            self.start = self.start.saturating_sub(narrow(back));
        } else if self.start <= then {
            self.current = self.current.saturating_sub(back);
        }
    }

    /// What to say of it.
    pub(super) fn report(&self, rule: &Rule, fits: bool, cost: u64, now: u64) -> Report {
        let (remaining, resets_in, wait) = match rule.algorithm {
            Algorithm::SlidingWindow => {
                let elapsed = now.saturating_sub(self.start).min(rule.window);
                let to_end = rule.window - elapsed;
                let resets_in = match (self.previous, self.current) {
                    (0, 0) => 0,
                    (_, 0) => to_end,
                    (..) => to_end.saturating_add(rule.window),
                };
                let wait = if fits {
                    None
                } else {
                    self.wait(rule.limit, cost, elapsed, rule.window)
                };
                (rule.limit.saturating_sub(self.used(rule, now)), resets_in, wait)
            }
            Algorithm::FixedWindow | Algorithm::Period { .. } => {
                let to_end = rule.bounds(now).1.saturating_sub(now);
                let left = self.allowance(rule).saturating_sub(self.current);
                let next = rule.limit.saturating_add(left.min(rule.rollover()));
                (left, to_end, (cost <= next).then_some(to_end))
            }
            Algorithm::TokenBucket => {
                let (debt, full) = (self.debt(rule, now), wide(rule.burst, rule.window));
                let limit = u128::from(rule.limit.max(1));
                let remaining = full.saturating_sub(debt) / u128::from(rule.window);
                let most = full + wide(rule.ahead, rule.limit);
                let over = (debt + wide(cost, rule.window)).saturating_sub(most);
                let wait = (!fits && cost <= rule.burst).then(|| narrow(over.div_ceil(limit)));
                (narrow(remaining), narrow(debt.div_ceil(limit)), wait)
            }
        };
        Report {
            fits,
            remaining,
            carried: self.carried(rule),
            resets_in: Duration::from_nanos(resets_in),
            retry_after: wait.filter(|_| !fits).map(Duration::from_nanos),
        }
    }

    /// What this period's limit is higher by.
    fn carried(&self, rule: &Rule) -> u64 {
        // Other algorithms keep something else there, and carry nothing.
        self.previous.min(rule.rollover())
    }

    /// What may be used in the window.
    fn allowance(&self, rule: &Rule) -> u64 {
        rule.limit.saturating_add(self.carried(rule))
    }

    /// What is left for the period that begins at `start`, later than the one that is counted.
    fn carried_to(&self, rule: &Rule, start: u64) -> u64 {
        let before = match rule.algorithm {
            Algorithm::Period {
                start: current,
                previous,
                ..
            } if current == start => previous,
            Algorithm::Period {
                start: current, end, ..
            } if end == start => current,
            // Of the one before that nobody said when it began: then it is the one that is counted.
            _ => 0,
        };
        match self.start {
            // Nobody saved anything before the first request.
            0 => 0,
            // The whole of the one before was left.
            counted if counted < before => rule.rollover(),
            _ => {
                let left = self.allowance(rule).saturating_sub(self.current);
                left.min(rule.rollover())
            }
        }
    }

    /// Moves on to the sliding window of that time.
    fn slide(&mut self, now: u64, window: u64) {
        // Nothing if another thread has seen a later time: nothing has faded since.
        let elapsed = now.saturating_sub(self.start);
        let counts = self.previous > 0 || self.current > 0;
        if elapsed < window && counts {
            return;
        }
        if elapsed / window == 1 && self.current > 0 {
            (self.previous, self.current) = (self.current, 0);
            self.start += window;
            return;
        }
        // Nothing counts any more: a new window begins with what comes now.
        (self.previous, self.current) = (0, 0);
        self.start = self.start.max(now);
    }

    fn used(&self, rule: &Rule, now: u64) -> u64 {
        let previous = match rule.algorithm {
            Algorithm::SlidingWindow => {
                let elapsed = now.saturating_sub(self.start).min(rule.window);
                faded(self.previous, elapsed, rule.window)
            }
            _ => 0,
        };
        previous.saturating_add(self.current)
    }

    /// What a token bucket lacks, in uses times nanoseconds of the window.
    fn debt(&self, rule: &Rule, now: u64) -> u128 {
        wide(self.start.saturating_sub(now), rule.limit) + u128::from(self.previous)
    }

    /// Nanoseconds until `cost` fits a sliding window, if it ever does.
    fn wait(&self, limit: u64, cost: u64, elapsed: u64, window: u64) -> Option<u64> {
        let room = limit.checked_sub(cost)?;
        if let Some(room) = room.checked_sub(self.current) {
            // In this window, when enough of the previous one has faded.
            return Some(fades_to(self.previous, room, window).saturating_sub(elapsed));
        }
        // In the next, when enough of this one has.
        Some((window - elapsed).saturating_add(fades_to(self.current, room, window)))
    }
}

/// What is left of the previous window's use: whole uses only, so that the first is free as the window begins.
fn faded(previous: u64, elapsed: u64, window: u64) -> u64 {
    if previous == 0 {
        return 0;
    }
    narrow(wide(previous, (window - elapsed).saturating_sub(1)) / u128::from(window))
}

/// The least part of a window after which no more than `room` of `previous` is left.
fn fades_to(previous: u64, room: u64, window: u64) -> u64 {
    if previous <= room {
        return 0;
    }
    // With `room + 1` at most `previous`, the share is at most the window.
    let share = ((u128::from(room) + 1) * u128::from(window)).div_ceil(u128::from(previous));
    window.saturating_sub(narrow(share))
}

fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

fn narrow(n: u128) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_cost_takes_the_place_of_what_was_used() {
        let window = 10_000_000_000;
        for algorithm in [
            Algorithm::SlidingWindow,
            Algorithm::FixedWindow,
            Algorithm::TokenBucket,
        ] {
            let rule = Rule {
                algorithm,
                limit: 10,
                window,
                burst: 10,
                ahead: 0,
            };
            // At the beginning of a window of the clock.
            let (at, second) = (1_000 * window, 1_000_000_000);
            let left = |cell: &Cell, now| cell.report(&rule, true, 0, now).remaining;
            let mut cell = Cell::default();
            cell.turn(&rule, at);
            cell.take(&rule, 4);
            cell.settle(&rule, 4, 9, at, at);
            assert_eq!(left(&cell, at), 1, "{algorithm:?}: more");
            cell.settle(&rule, 9, 2, at, at);
            assert_eq!(left(&cell, at), 8, "{algorithm:?}: less");
            cell.settle(&rule, 2, 30, at, at);
            assert!(!cell.fits(&rule, 1, at), "{algorithm:?}: more than there is");
            // What was used long ago is not given back to what was used since.
            let mut cell = Cell::default();
            cell.turn(&rule, at);
            cell.take(&rule, 8);
            let later = at + 2 * window + second;
            cell.turn(&rule, later);
            cell.take(&rule, 5);
            cell.settle(&rule, 8, 0, at, later);
            assert_eq!(left(&cell, later), 5, "{algorithm:?}: too late");
        }
    }

    #[test]
    fn what_is_admitted_ahead_has_its_turns_one_by_one() {
        // Ten in a second, one at once, and up to a quarter of a second ahead.
        let rule = Rule {
            algorithm: Algorithm::TokenBucket,
            limit: 10,
            window: 1_000_000_000,
            burst: 1,
            ahead: 250_000_000,
        };
        let (mut cell, now) = (Cell::default(), 5_000_000_000);
        for turn in 0..3 {
            cell.turn(&rule, now);
            assert!(cell.fits(&rule, 1, now));
            cell.take(&rule, 1);
            let report = cell.report(&rule, true, 1, now);
            assert_eq!(report.resets_in, Duration::from_millis(100 * (turn + 1)));
            assert_eq!(report.remaining, 0);
        }
        assert!(!cell.fits(&rule, 1, now), "its turn would be in 300 ms");
        let report = cell.report(&rule, false, 1, now);
        assert_eq!(report.retry_after, Some(Duration::from_millis(50)));
        assert!(cell.fits(&rule, 1, now + 50_000_000));
        // Nobody has more at once than the burst, however long they would wait.
        assert!(!Cell::default().fits(&rule, 2, now));
    }
}
