//! The built-in policies: one file each, and the list of them.
//!
//! A new policy is a file here and a line in [`KINDS`]; the document, the schema, the reference and the
//! tests find it by that line.

mod access;
mod addresses;
pub mod auth;
mod cors;
mod csrf;
mod expression;
mod external_auth;
mod fault;
mod geo;
mod headers;
mod idempotency;
mod ip_filter;
mod maintenance;
mod origin;
mod query;
mod rate_limit;
mod security_headers;
mod size_limit;
mod values;

use gatehouse_core::policy::Kind;

pub use access::Access;
pub use cors::Cors;
pub use csrf::Csrf;
pub use external_auth::ExternalAuth;
pub use fault::Fault;
pub use geo::Geo;
pub use headers::Headers;
pub use idempotency::Idempotency;
pub use ip_filter::IpFilter;
pub use maintenance::Maintenance;
pub use query::Query;
pub use rate_limit::RateLimit;
pub use security_headers::SecurityHeaders;
pub use size_limit::SizeLimit;

/// Every built-in policy. The order here is the order in the reference.
pub const KINDS: &[Kind] = &[
    // Who calls, and what they may do.
    Kind::of::<ExternalAuth>(),
    Kind::of::<Access>(),
    // Limits.
    Kind::of::<RateLimit>(),
    Kind::of::<Idempotency>(),
    // The edge.
    Kind::of::<Cors>(),
    Kind::of::<Csrf>(),
    Kind::of::<IpFilter>(),
    Kind::of::<Geo>(),
    Kind::of::<SizeLimit>(),
    Kind::of::<Maintenance>(),
    // Transforms.
    Kind::of::<Headers>(),
    Kind::of::<Query>(),
    Kind::of::<SecurityHeaders>(),
    Kind::of::<Fault>(),
];
