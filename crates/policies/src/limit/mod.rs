//! Limits on how often, how much and how many at once: what they share, and the kinds.
//!
//! A limit has a key (what is counted together), rules (how much in which time) and a place where it is counted. The
//! arithmetic is `gatehouse_core::state::meter`'s.

mod calendar;
mod concurrency;
mod cost;
mod key;
mod leases;
mod limiter;
mod queue;
mod quota;
mod rate_limit;
mod rollover;
mod rules;
mod shared;
mod show;

pub use calendar::Period;
pub use concurrency::Concurrency;
pub use cost::{Cost, FinalCost};
pub use key::Keys;
pub use queue::LimitQueue;
pub use quota::Quota;
pub use rate_limit::RateLimit;
pub use rollover::Rollover;
pub use rules::{Algorithm, Tier, WindowLimit};
pub use shared::{Mode, OnFailure};
pub use show::LimitHeaders;
