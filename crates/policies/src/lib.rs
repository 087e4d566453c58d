//! The built-in policies: one file each, and the list of them.
//!
//! A new policy is a file here and a line in [`KINDS`]; the document, the schema, the reference and the
//! tests find it by that line.

pub mod auth;
mod headers;
pub mod limit;
pub mod store;

use gatehouse_core::policy::Kind;

pub use headers::Headers;
pub use limit::{Concurrency, Quota, RateLimit};

/// Every built-in policy. The order here is the order in the reference.
pub const KINDS: &[Kind] = &[
    // Limits.
    Kind::of::<RateLimit>(),
    Kind::of::<Quota>(),
    Kind::of::<Concurrency>(),
    // What is changed.
    Kind::of::<Headers>(),
];
