//! TLS on both sides: what is configured, made into what rustls works with.
//!
//! Everything here is made when a plan is compiled, never on a worker.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub mod client;

/// The cryptography of all TLS, on either side.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
