//! To come.

pub mod client_ip;
pub mod hop;
pub mod normalize;
