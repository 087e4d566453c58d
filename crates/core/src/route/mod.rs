//! Routing: which rule answers a request, in one documented, deterministic order.
//!
//! The first rule in this order that fits the request wins. Rows are compared from the top; the first difference
//! decides. It is the order of the Gateway API, which knows exact paths, prefixes and regular expressions.
//!
//! | what | order |
//! |---|---|
//! | host | a name, then `*.suffix` (the longest first), then any |
//! | path | patterns by segments, then regular expressions, then any path (`/**` or none given) |
//! | path by segments | at the first segment that differs: the end of the pattern, a literal, `{param}`, `/**` |
//! | regular expressions | the longest text first, then bytewise |
//! | method | given before not given |
//! | headers | the most conditions first; cookies, and each of client, listeners and version, count as one too |
//! | query | the most conditions first |
//! | `HEAD` | rules that name it before those that take it along with `GET` |
//! | name | bytewise |
//!
//! So an exact path beats a template, a template beats a prefix, and a longer prefix beats a shorter one. When nothing
//! under the most specific host fits, wider hosts are asked. Paths are compared in normal form (`http::normalize`);
//! see [`Table::resolve`] for paths whose form depends on the route.

mod build;
mod conditions;
mod host;
mod index;
mod miss;
mod path;
mod predicate;
#[cfg(test)]
mod random;
mod resolve;
mod table;
mod version;

pub use build::{BuildError, Rule};
pub use conditions::HeaderConditions;
pub use miss::Miss;
pub use path::{Captures, MAX_CAPTURES, MAX_SEGMENTS};
pub use predicate::{cookies, decode, query_values};
pub use table::{Found, Query, Row, Table};
pub use version::Versions;

#[cfg(test)]
pub(crate) use random::Random;
#[cfg(test)]
mod tests;
