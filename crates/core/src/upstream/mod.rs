//! Where requests go: endpoints, how their addresses are found, and which one takes the next request.

pub mod balance;
pub mod endpoint;
pub mod resolve;
