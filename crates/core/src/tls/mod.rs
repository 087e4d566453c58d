//! TLS: what is presented and believed, on either side. Cryptography is rustls' with aws-lc-rs.
//!
//! Configurations are made when a plan is compiled, from files read then; nothing here waits or does I/O. The
//! handshake itself is driven in `listen/`, the bytes of an established session in `io/`.

pub mod base64;
pub mod certificate;
pub mod client;
pub mod info;
pub mod server;
pub mod tickets;

pub use info::{ClientCertificate, Name, TlsInfo};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography of both sides: X25519MLKEM768 is the first choice for the exchange of keys.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
