//! Periods that follow the calendar: hours, days, weeks and months of a time zone.

use std::sync::Arc;

use arc_swap::ArcSwap;
use gatehouse_core::state::meter::Algorithm;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rollover;

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "QuotaPeriod")]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// From the first of the month, or from `anchor`, to the day before it in the next.
    #[default]
    Month,
}

impl Period {
    /// The word in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Its length in nanoseconds, if it always is the same.
    pub fn length(self) -> Option<u64> {
        let hours = match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => return None,
        };
        Some(hours * 3_600 * 1_000_000_000)
    }
}

/// Four bounds of three periods that follow each other, the current one in the middle; seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    previous: i64,
    start: i64,
    end: i64,
    next: i64,
}

/// Knows which period it is.
pub struct Calendar {
    zone: TimeZone,
    period: Period,
    /// The day of the month on which months begin.
    anchor: i8,
    /// What of a period goes on into the next.
    rollover: Rollover,
    current: ArcSwap<Bounds>,
}

impl Calendar {
    /// A calendar of a time zone, by its name in the IANA's database. None if there is no such zone.
    pub fn new(zone: &str, period: Period, anchor: i8, rollover: Rollover) -> Option<Self> {
        let zone = if zone == "UTC" {
            TimeZone::UTC
        } else {
            TimeZone::get(zone).ok()?
        };
        let never = Bounds {
            previous: 0,
            start: 0,
            end: 0,
            next: 0,
        };
        Some(Self {
            zone,
            period,
            anchor,
            rollover,
            current: ArcSwap::from(Arc::new(never)),
        })
    }

    /// How a limit counts in the period of that time, in seconds since 1970.
    pub fn algorithm(&self, now: u64, limit: u64) -> Algorithm {
        let bounds = self.at(i64::try_from(now).unwrap_or_default());
        let nanos = |second: i64| {
            u64::try_from(second)
                .unwrap_or_default()
                .saturating_mul(1_000_000_000)
        };
        Algorithm::Period {
            previous: nanos(bounds.previous),
            start: nanos(bounds.start),
            end: nanos(bounds.end),
            next: nanos(bounds.next),
            rollover: self.rollover.of(limit),
        }
    }

    /// The period of that time, in seconds since 1970. Looked up in the calendar once a period.
    fn at(&self, now: i64) -> Bounds {
        let current = **self.current.load();
        if (current.start..current.end).contains(&now) {
            return current;
        }
        // No calendar goes past the year 9999; then days of UTC do.
        let found = self
            .find(now)
            .unwrap_or_else(|| even(now - now.rem_euclid(86_400), 86_400));
        self.current.store(Arc::new(found));
        found
    }

    fn find(&self, now: i64) -> Option<Bounds> {
        let now = Timestamp::from_second(now).ok()?;
        if self.period == Period::Hour {
            let local = now.as_second() + i64::from(self.zone.to_offset(now).seconds());
            return Some(even(now.as_second() - local.rem_euclid(3_600), 3_600));
        }
        let today = now.to_zoned(self.zone.clone()).date();
        let start = self.first_day(today)?;
        let end = self.first_day_after(start)?;
        let second = |day: Date| Some(day.to_zoned(self.zone.clone()).ok()?.timestamp().as_second());
        Some(Bounds {
            previous: second(self.first_day(start.yesterday().ok()?)?)?,
            start: second(start)?,
            end: second(end)?,
            next: second(self.first_day_after(end)?)?,
        })
    }

    /// The first day of the period that a day is in.
    fn first_day(&self, day: Date) -> Option<Date> {
        match self.period {
            Period::Hour | Period::Day => Some(day),
            Period::Week => {
                let since_monday = day.weekday().to_monday_zero_offset();
                day.checked_sub(jiff::Span::new().days(since_monday)).ok()
            }
            Period::Month => {
                let here = self.anchored(day)?;
                if here <= day {
                    return Some(here);
                }
                self.anchored(day.first_of_month().yesterday().ok()?)
            }
        }
    }

    /// The first day of the period after the one that begins on that day.
    fn first_day_after(&self, start: Date) -> Option<Date> {
        match self.period {
            Period::Hour | Period::Day => start.tomorrow().ok(),
            Period::Week => start.checked_add(jiff::Span::new().days(7)).ok(),
            Period::Month => self.anchored(start.last_of_month().tomorrow().ok()?),
        }
    }

    /// The day of that month on which a period begins: its last one if it has no such day.
    fn anchored(&self, day: Date) -> Option<Date> {
        day.with().day(self.anchor.min(day.days_in_month())).build().ok()
    }
}

/// Periods of the same length.
fn even(start: i64, length: i64) -> Bounds {
    Bounds {
        previous: start - length,
        start,
        end: start + length,
        next: start + 2 * length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(zone: &str, period: Period, anchor: i8, now: &str) -> [String; 4] {
        let now: Timestamp = now.parse().unwrap();
        let calendar = Calendar::new(zone, period, anchor, Rollover::default()).unwrap();
        let Bounds {
            previous,
            start,
            end,
            next,
        } = calendar.at(now.as_second());
        [previous, start, end, next].map(|second| Timestamp::from_second(second).unwrap().to_string())
    }

    #[test]
    fn periods_follow_the_calendar() {
        let day = bounds("UTC", Period::Day, 1, "2026-03-01T23:59:59Z");
        assert_eq!(day[1..3], ["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"]);
        let week = bounds("UTC", Period::Week, 1, "2026-03-01T12:00:00Z");
        assert_eq!(
            week[1..3],
            ["2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"],
            "Sunday ends it"
        );
        let month = bounds("UTC", Period::Month, 1, "2026-03-31T12:00:00Z");
        let firsts = [
            "2026-02-01T00:00:00Z",
            "2026-03-01T00:00:00Z",
            "2026-04-01T00:00:00Z",
            "2026-05-01T00:00:00Z",
        ];
        assert_eq!(month, firsts);
        let hour = bounds("Asia/Kolkata", Period::Hour, 1, "2026-03-01T12:00:00Z");
        assert_eq!(hour[1..3], ["2026-03-01T11:30:00Z", "2026-03-01T12:30:00Z"]);
    }

    #[test]
    fn months_may_begin_on_any_day() {
        let days = |now| bounds("UTC", Period::Month, 31, now);
        assert_eq!(
            days("2026-02-15T00:00:00Z"),
            [
                "2025-12-31T00:00:00Z",
                "2026-01-31T00:00:00Z",
                "2026-02-28T00:00:00Z",
                "2026-03-31T00:00:00Z"
            ]
        );
        assert_eq!(
            days("2026-02-28T00:00:00Z")[1..3],
            ["2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]
        );
        let billing = bounds("UTC", Period::Month, 15, "2026-01-14T23:00:00Z");
        assert_eq!(billing[1..3], ["2025-12-15T00:00:00Z", "2026-01-15T00:00:00Z"]);
    }

    #[test]
    fn days_are_as_long_as_the_zone_says() {
        // Clocks go forward in the night to the 29th of March.
        let day = bounds("Europe/Berlin", Period::Day, 1, "2026-03-29T10:00:00Z");
        assert_eq!(day[1..3], ["2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]);
        assert!(Calendar::new("Europe/Atlantis", Period::Day, 1, Rollover::default()).is_none());
    }
}
