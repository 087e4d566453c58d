//! Where connections come in: sockets, the PROXY header, and how many may be open.

pub mod admission;
pub mod proxy_protocol;
pub mod socket;
