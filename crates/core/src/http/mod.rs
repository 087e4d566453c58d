//! Protocols on the client side, and what is done to heads on their way through.

pub mod address;
pub mod client_ip;
pub(crate) mod date;
pub(crate) mod edge;
pub mod h1;
pub(crate) mod h2;
#[cfg(feature = "http3")]
pub mod h3;
pub mod hop;
pub mod id;
pub mod normalize;
#[cfg(feature = "http3")]
pub(crate) mod parts;
pub mod reserved;
pub(crate) mod respond;
pub(crate) mod screen;
pub mod upgrade;
