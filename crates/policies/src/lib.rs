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
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod geo;
mod headers;
mod idempotency;
mod ip_filter;
pub mod limit;
mod maintenance;
mod origin;
mod query;
mod security_headers;
mod size_limit;
pub mod store;
mod values;

use gatehouse_core::policy::Kind;

pub use access::Access;
pub use auth::basic::BasicAuth;
pub use auth::certificate::CertificateAuth;
pub use auth::combine::Authenticate;
pub use auth::introspection::Introspection;
pub use auth::jwt::Jwt;
pub use auth::key::KeyAuth;
pub use auth::ldap::LdapAuth;
pub use auth::oidc::Oidc;
pub use auth::signature::HttpSignature;
pub use cors::Cors;
pub use csrf::Csrf;
pub use external_auth::ExternalAuth;
pub use fault::Fault;
pub use geo::Geo;
pub use headers::Headers;
pub use idempotency::Idempotency;
pub use ip_filter::IpFilter;
pub use limit::{Concurrency, Quota, RateLimit};
pub use maintenance::Maintenance;
pub use query::Query;
pub use security_headers::SecurityHeaders;
pub use size_limit::SizeLimit;

/// Every built-in policy. The order here is the order in the reference.
pub const KINDS: &[Kind] = &[
    // Who calls.
    Kind::of::<Jwt>(),
    Kind::of::<Introspection>(),
    Kind::of::<KeyAuth>(),
    Kind::of::<BasicAuth>(),
    Kind::of::<LdapAuth>(),
    Kind::of::<HttpSignature>(),
    Kind::of::<CertificateAuth>(),
    Kind::of::<ExternalAuth>(),
    Kind::of::<Oidc>(),
    Kind::of::<Authenticate>(),
    // What they may do.
    Kind::of::<Access>(),
    // How often.
    Kind::of::<RateLimit>(),
    Kind::of::<Quota>(),
    Kind::of::<Concurrency>(),
    Kind::of::<Idempotency>(),
    // Who and what comes in at all.
    Kind::of::<Cors>(),
    Kind::of::<Csrf>(),
    Kind::of::<IpFilter>(),
    Kind::of::<Geo>(),
    Kind::of::<SizeLimit>(),
    Kind::of::<Maintenance>(),
    // What is changed on the way.
    Kind::of::<Headers>(),
    Kind::of::<Query>(),
    Kind::of::<SecurityHeaders>(),
    Kind::of::<Fault>(),
];
