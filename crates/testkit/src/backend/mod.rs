//! Real servers for the gateway to talk to, each doing exactly what the test says.

pub mod call;
pub mod dns;
pub mod h2;
pub mod http;
pub mod reply;
pub mod tcp;
pub mod tls;
