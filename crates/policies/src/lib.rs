//! The built-in policies: one file each, and the list of them.
//!
//! A new policy is a file here and a line in [`KINDS`]; the document, the schema, the reference and the
//! tests find it by that line.

pub mod auth;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
pub mod limit;
pub mod store;

use gatehouse_core::policy::Kind;

pub use auth::basic::BasicAuth;
pub use auth::certificate::CertificateAuth;
pub use auth::combine::Authenticate;
pub use auth::introspection::Introspection;
pub use auth::jwt::Jwt;
pub use auth::key::KeyAuth;
pub use auth::signature::HttpSignature;
pub use headers::Headers;
pub use limit::{Concurrency, Quota, RateLimit};

/// Every built-in policy. The order here is the order in the reference.
pub const KINDS: &[Kind] = &[
    // Who calls.
    Kind::of::<Jwt>(),
    Kind::of::<Introspection>(),
    Kind::of::<KeyAuth>(),
    Kind::of::<BasicAuth>(),
    Kind::of::<HttpSignature>(),
    Kind::of::<CertificateAuth>(),
    Kind::of::<Authenticate>(),
    // How often.
    Kind::of::<RateLimit>(),
    Kind::of::<Quota>(),
    Kind::of::<Concurrency>(),
    // What is changed on the way.
    Kind::of::<Headers>(),
];
