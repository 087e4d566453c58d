//! Limits on how often, how much and how many at once: what they share, and the kinds.
//!
//! A limit has a key (what is counted together), rules (how much in which time) and a place where it is counted. The
//! arithmetic is `gatehouse_core::state::meter`'s.

mod cost;
mod key;
mod limiter;
mod rate_limit;
mod rules;
mod show;

pub use cost::Cost;
pub use key::Keys;
pub use rate_limit::RateLimit;
pub use rules::{Algorithm, Tier, WindowLimit};
pub use show::LimitHeaders;
