//! The built-in policies: one file each, and the list of them.
//!
//! A new policy is a file here and a line in [`KINDS`]; the document, the schema, the reference and the
//! tests find it by that line.

pub mod auth;
mod cors;
mod headers;
mod origin;
mod rate_limit;

use gatehouse_core::policy::Kind;

pub use cors::Cors;
pub use headers::Headers;
pub use rate_limit::RateLimit;

/// Every built-in policy. The order here is the order in the reference.
pub const KINDS: &[Kind] = &[
    // Limits.
    Kind::of::<RateLimit>(),
    // The edge.
    Kind::of::<Cors>(),
    // Transforms.
    Kind::of::<Headers>(),
];
