use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Algorithm, Decision, Meters, Rule};
use crate::telemetry::metrics::Count;

const WINDOW: Duration = Duration::from_secs(10);
/// A time of day in the middle of a minute.
const DAY: Duration = Duration::from_secs(1_700_000_010);

/// Counters and a clock that says what it is told.
struct Bench {
    meters: Meters,
    epoch: Instant,
    evicted: Arc<Count>,
}

/// What a single sliding window says.
struct Used {
    admitted: bool,
    spent: u64,
    remaining: u64,
    resets_in: Duration,
    retry_after: Option<Duration>,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let (epoch, evicted) = (Instant::now(), Arc::<Count>::default());
        Bench {
            meters: Meters::new(3, capacity, epoch, DAY, Arc::clone(&evicted)),
            epoch,
            evicted,
        }
    }

    fn all(&self, key: &str, rules: &[Rule], cost: u64, at: Duration) -> Decision {
        self.meters.count(key.as_bytes(), rules, cost, self.epoch + at)
    }

    fn at(&self, key: &str, limit: u64, cost: u64, at: Duration) -> Used {
        let decision = self.all(key, &[sliding(limit)], cost, at);
        let report = decision.reports()[0];
        assert_eq!(decision.admitted, report.fits);
        Used {
            admitted: decision.admitted,
            spent: limit - report.remaining,
            remaining: report.remaining,
            resets_in: report.resets_in,
            retry_after: report.retry_after,
        }
    }
}

fn rule(algorithm: Algorithm, limit: u64, window: Duration) -> Rule {
    let window = u64::try_from(window.as_nanos()).unwrap();
    Rule {
        algorithm,
        limit,
        window,
        burst: limit,
        ahead: 0,
    }
}

fn sliding(limit: u64) -> Rule {
    rule(Algorithm::SlidingWindow, limit, WINDOW)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn just_before(at: Duration) -> Duration {
    at.saturating_sub(Duration::from_nanos(1))
}

#[test]
fn a_key_has_its_limit_and_learns_when_to_come_back() {
    let bench = Bench::new(100);
    for i in 1..=3 {
        let used = bench.at("a", 3, 1, seconds(2.0));
        assert_eq!(
            (used.admitted, used.spent, used.remaining, used.retry_after),
            (true, i, 3 - i, None)
        );
    }
    let refused = bench.at("a", 3, 1, seconds(4.0));
    assert!(!refused.admitted);
    assert_eq!(
        (refused.spent, refused.remaining, refused.resets_in),
        (3, 0, seconds(18.0))
    );
    // Eight seconds to the end of its window, which began with the first use.
    let wait = refused.retry_after.unwrap();
    assert_eq!(wait, seconds(8.0));
    assert!(!bench.at("a", 3, 1, just_before(seconds(4.0) + wait)).admitted);
    assert!(bench.at("a", 3, 1, seconds(4.0) + wait).admitted);
    assert!(
        bench.at("b", 3, 1, seconds(4.0)).admitted,
        "others are not concerned"
    );
}

#[test]
fn refusals_are_not_counted_and_silence_forgives() {
    let bench = Bench::new(100);
    assert!(bench.at("a", 1, 1, seconds(0.0)).admitted);
    for i in 1..10 {
        let used = bench.at("a", 1, 1, seconds(f64::from(i)));
        assert!(!used.admitted, "{i}");
        assert_eq!(used.retry_after, Some(seconds(f64::from(10 - i))));
    }
    let used = bench.at("a", 1, 1, seconds(10.0));
    assert_eq!((used.admitted, used.spent), (true, 1));
    let untouched = bench.at("a", 1, 0, seconds(100.0));
    assert_eq!((untouched.spent, untouched.resets_in), (0, Duration::ZERO));
}

#[test]
fn waiting_is_exact_whatever_the_cost() {
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let bench = Bench::new(100_000);
    let mut refusals = 0;
    for key in 0..200 {
        let key = format!("key {key}");
        let (limit, mut now) = (1 + next(50), Duration::ZERO);
        for _ in 0..100 {
            now += Duration::from_millis(next(1_500));
            let cost = 1 + next(limit.min(7));
            let used = bench.at(&key, limit, cost, now);
            assert!(used.spent <= limit);
            assert_eq!(used.admitted, used.retry_after.is_none());
            if let Some(wait) = used.retry_after {
                refusals += 1;
                assert!(cost > 1 || wait <= WINDOW, "{wait:?}");
                assert!(!bench.at(&key, limit, cost, just_before(now + wait)).admitted);
                now += wait;
                assert!(bench.at(&key, limit, cost, now).admitted);
            }
        }
    }
    assert!(refusals > 1_000, "{refusals}");
}

#[test]
fn no_stretch_of_a_window_admits_twice_the_limit() {
    let bench = Bench::new(100);
    // The worst a caller can do: one to begin a window, the rest at its end, then whatever it gets.
    assert!(bench.at("a", 100, 1, seconds(0.0)).admitted);
    let mut admitted = Vec::new();
    for tenth in 99..400_u32 {
        let at = Duration::from_millis(u64::from(tenth) * 100);
        while bench.at("a", 100, 1, at).admitted {
            admitted.push(at);
        }
    }
    let most = admitted.iter().map(|&from| {
        admitted
            .iter()
            .filter(|&&at| at >= from && at < from + WINDOW)
            .count()
    });
    let most = most.max().unwrap();
    assert!((190..=200).contains(&most), "{most}");
    // In the long run it is the limit for each window.
    let long = admitted.iter().filter(|&&at| at >= seconds(20.0)).count();
    assert!((195..=200).contains(&long), "{long}");
}

#[test]
fn what_exceeds_the_whole_limit_never_fits() {
    let bench = Bench::new(100);
    let used = bench.at("a", 5, 6, seconds(0.0));
    assert_eq!((used.admitted, used.retry_after, used.spent), (false, None, 0));
    assert!(!bench.at("a", 0, 1, seconds(0.0)).admitted);
    assert!(bench.at("a", u64::MAX, u64::MAX, seconds(0.0)).admitted);
}

#[test]
fn a_limit_may_change_while_counts_stay() {
    let bench = Bench::new(100);
    assert!(bench.at("a", 10, 5, seconds(0.0)).admitted);
    let used = bench.at("a", 3, 1, seconds(1.0));
    assert_eq!((used.admitted, used.remaining), (false, 0));
    assert!(bench.at("a", 6, 1, seconds(1.0)).admitted);
}

#[test]
fn a_clock_behind_the_others_admits_nothing_more() {
    let bench = Bench::new(100);
    assert!(bench.at("a", 4, 4, seconds(9.0)).admitted);
    assert_eq!(bench.at("a", 4, 0, seconds(24.0)).spent, 1);
    let used = bench.at("a", 4, 2, seconds(18.5));
    assert_eq!((used.admitted, used.spent), (false, 3));
}

#[test]
fn the_number_of_keys_is_bounded_and_the_active_stay() {
    let bench = Bench::new(80);
    assert!(bench.at("busy", 1, 1, seconds(0.0)).admitted);
    for i in 0..1_000_u32 {
        let at = Duration::from_millis(u64::from(i));
        assert!(bench.at(&format!("stranger {i}"), 1, 1, at).admitted);
        assert!(
            !bench.at("busy", 1, 1, at).admitted,
            "not forgotten after {i} others"
        );
        assert!(bench.meters.len() <= 80);
    }
    assert_eq!(bench.evicted.get() + bench.meters.len() as u64, 1_001);
    // Those that count for nothing go first and are not missed.
    let before = bench.evicted.get();
    for i in 0..70 {
        bench.at(&format!("later {i}"), 1, 1, seconds(60.0));
    }
    assert_eq!(bench.evicted.get(), before);
}

#[test]
fn keys_seen_at_the_same_moment_go_one_by_one() {
    let bench = Bench::new(16);
    for i in 0..17 {
        bench.at(&i.to_string(), 1, 1, seconds(1.0));
    }
    assert_eq!((bench.meters.len(), bench.evicted.get()), (15, 2));
}

#[test]
fn many_threads_get_no_more_than_one() {
    let bench = Bench::new(100_000);
    let admitted: Vec<AtomicU64> = (0..20).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for thread in 0..64_u64 {
            let (bench, admitted) = (&bench, &admitted);
            scope.spawn(move || {
                for (window, admitted) in (0..).zip(admitted) {
                    for i in 0..50 {
                        // Times of different threads interleave within the window.
                        let at = WINDOW * (3 * window) + Duration::from_micros(thread * 50 + i);
                        if bench.at("shared", 1_000, 1, at).admitted {
                            admitted.fetch_add(1, Relaxed);
                        }
                    }
                }
            });
        }
    });
    let total: u64 = admitted.iter().map(|count| count.load(Relaxed)).sum();
    // Threads may be in different windows at once; one that lags finds a later window's counts and gets
    // what is left there. Never is more than the limit counted in any window.
    assert!(total <= 20 * 1_000, "{total}");
    let first = Bench::new(100_000);
    let got = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..50 {
                    got.fetch_add(
                        u64::from(first.at("shared", 1_000, 1, seconds(1.0)).admitted),
                        Relaxed,
                    );
                }
            });
        }
    });
    assert_eq!(got.load(Relaxed), 1_000);
}

#[test]
fn all_rules_count_or_none() {
    let bench = Bench::new(100);
    let rules = [sliding(2), rule(Algorithm::FixedWindow, 3, WINDOW * 6)];
    let remaining = |cost, at| {
        let decision = bench.all("a", &rules, cost, seconds(at));
        let reports = decision.reports().iter().map(|report| report.remaining);
        (decision.admitted, reports.collect::<Vec<_>>())
    };
    assert_eq!(remaining(1, 0.0), (true, vec![1, 2]));
    assert_eq!(remaining(1, 0.0), (true, vec![0, 1]));
    assert_eq!(
        remaining(1, 0.0),
        (false, vec![0, 1]),
        "the second had room and keeps it"
    );
    assert_eq!(remaining(1, 20.0), (true, vec![1, 0]));
    assert_eq!(
        remaining(1, 20.0),
        (false, vec![1, 0]),
        "the first had room and keeps it"
    );
    let refused = bench.all("a", &rules, 1, seconds(20.0));
    assert_eq!(refused.reports()[0].retry_after, None);
    assert_eq!(
        refused.reports()[1].retry_after,
        Some(seconds(10.0)),
        "the minute ends then"
    );
    assert_eq!(remaining(1, 30.0), (true, vec![1, 2]));
}

#[test]
fn fixed_windows_follow_the_clock() {
    let bench = Bench::new(100);
    let rules = [rule(Algorithm::FixedWindow, 1, Duration::from_mins(1))];
    assert!(bench.all("a", &rules, 1, seconds(0.0)).admitted);
    let refused = bench.all("a", &rules, 1, seconds(1.0));
    assert_eq!(refused.reports()[0].retry_after, Some(seconds(29.0)));
    assert!(!bench.all("a", &rules, 1, just_before(seconds(30.0))).admitted);
    assert!(bench.all("a", &rules, 1, seconds(30.0)).admitted);
}

#[test]
fn a_bucket_fills_evenly_and_loses_nothing_to_rounding() {
    let bench = Bench::new(100);
    // Seven in ten seconds: no whole number of nanoseconds for each.
    let mut bucket = rule(Algorithm::TokenBucket, 7, WINDOW);
    bucket.burst = 3;
    let rules = [bucket];
    for left in [2, 1, 0] {
        let decision = bench.all("a", &rules, 1, seconds(0.0));
        assert_eq!((decision.admitted, decision.reports()[0].remaining), (true, left));
    }
    let mut now = Duration::ZERO;
    for _ in 0..7_000 {
        let refused = bench.all("a", &rules, 1, now);
        let wait = refused.reports()[0].retry_after.unwrap();
        assert!(!bench.all("a", &rules, 1, just_before(now + wait)).admitted);
        now += wait;
        assert!(bench.all("a", &rules, 1, now).admitted);
    }
    assert_eq!(now, WINDOW * 1_000, "to the nanosecond");
    let whole = bench.all("b", &rules, 4, now);
    assert_eq!((whole.admitted, whole.reports()[0].retry_after), (false, None));
    let full = bench.all("a", &rules, 0, now + WINDOW);
    assert_eq!(
        (full.reports()[0].remaining, full.reports()[0].resets_in),
        (3, Duration::ZERO)
    );
}

#[test]
fn a_period_has_the_bounds_it_is_given() {
    let bench = Bench::new(100);
    let from = u64::try_from(DAY.as_nanos()).unwrap();
    let algorithm = Algorithm::Period {
        previous: from - 50,
        start: from,
        end: from + 50,
        next: from + 90,
        rollover: 0,
    };
    let rules = [rule(algorithm, 2, WINDOW)];
    let at = |cost, at| bench.all("a", &rules, cost, Duration::from_nanos(at));
    assert_eq!(at(2, 10).reports()[0].resets_in, Duration::from_nanos(40));
    assert!(!at(1, 49).admitted);
    let next = at(1, 50);
    assert!(next.admitted);
    assert_eq!(next.reports()[0].resets_in, Duration::from_nanos(40));
    assert!(!at(2, 49).admitted, "a clock that lags");
}

/// Periods of 100 ns that may carry that much.
fn carrying(limit: u64, rollover: u64, period: u64) -> Rule {
    let start = u64::try_from(DAY.as_nanos()).unwrap() + 100 * period;
    let algorithm = Algorithm::Period {
        previous: start - 100,
        start,
        end: start + 100,
        next: start + 200,
        rollover,
    };
    rule(algorithm, limit, WINDOW)
}

#[test]
fn what_a_period_leaves_is_carried_into_the_next() {
    let bench = Bench::new(100);
    let ask = |key, cost, rule: Rule, at| {
        let decision = bench.all(key, &[rule], cost, Duration::from_nanos(at));
        let report = decision.reports()[0];
        (decision.admitted, report.carried, report.remaining)
    };
    assert_eq!(ask("a", 4, carrying(10, 5, 0), 50), (true, 0, 6), "new");
    assert_eq!(
        ask("a", 0, carrying(10, 5, 1), 150),
        (true, 5, 15),
        "so much at most"
    );
    assert_eq!(ask("a", 12, carrying(10, 5, 1), 150), (true, 5, 3));
    assert_eq!(ask("a", 4, carrying(10, 5, 1), 199), (false, 5, 3));
    // Bounds of the period before: a clock that is ahead.
    assert_eq!(
        ask("a", 1, carrying(10, 5, 1), 200),
        (true, 3, 12),
        "what was carried counts"
    );
    assert_eq!(
        ask("a", 0, carrying(10, 2, 2), 250),
        (true, 2, 11),
        "less is carried at once"
    );
    assert_eq!(ask("a", 0, carrying(10, 0, 2), 250), (true, 0, 9));
    assert_eq!(ask("a", 13, carrying(10, 5, 2), 250), (false, 3, 12));
    assert_eq!(ask("a", 12, carrying(10, 5, 2), 250), (true, 3, 0));
    assert_eq!(
        ask("a", 1, carrying(10, 5, 3), 350),
        (true, 0, 9),
        "nothing was left"
    );
    assert_eq!(
        ask("a", 1, carrying(10, 5, 7), 750),
        (true, 5, 14),
        "whole periods were"
    );
    assert_eq!(
        ask("a", 1, carrying(10, 50, 8), 850),
        (true, 10, 19),
        "never more than the limit"
    );
    // Bounds of the period after: a clock that is behind.
    assert_eq!(ask("a", 1, carrying(10, 50, 10), 950), (true, 10, 19));
}

#[test]
fn a_request_is_told_to_wait_for_what_will_be_carried() {
    let bench = Bench::new(100);
    let wait = |cost, rollover| {
        let rules = [carrying(10, rollover, 0)];
        let refused = bench.all("a", &rules, cost, Duration::from_nanos(50));
        assert!(!refused.admitted);
        refused.reports()[0].retry_after
    };
    let end = Some(Duration::from_nanos(50));
    assert_eq!(
        (wait(11, 0), wait(11, 5), wait(15, 5), wait(16, 5)),
        (None, end, end, None)
    );
    bench.all("a", &[carrying(10, 5, 0)], 8, Duration::from_nanos(50));
    assert_eq!((wait(12, 5), wait(13, 5)), (end, None), "two are left");
}

#[test]
fn what_may_be_carried_is_not_dropped_for_others() {
    let bench = Bench::new(16);
    let at = Duration::from_nanos;
    bench.all("saver", &[carrying(10, 5, 0)], 1, at(50));
    for i in 0..14 {
        bench.all(&format!("other {i}"), &[carrying(10, 0, 0)], 1, at(40));
    }
    for i in 0..10 {
        bench.all(&format!("later {i}"), &[carrying(10, 0, 1)], 1, at(110));
    }
    let saver = bench.all("saver", &[carrying(10, 5, 1)], 1, at(120));
    assert_eq!((saver.reports()[0].carried, bench.evicted.get()), (5, 0));
}
