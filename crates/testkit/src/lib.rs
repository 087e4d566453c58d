//! Real backends, real clients and the real binary: what the black-box tests are written with.
//!
//! It knows three things about the gateway and nothing else: the command line, the YAML and the wire. Blocking
//! sockets and threads, a deadline on every wait, no sleeps: a test waits for a condition, or for a [`gate::Gate`]
//! it opens itself. A failed expectation panics at the line of the test that had it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "in a test kit a broken expectation is a failed test, and no string is built often enough to matter"
)]

pub mod backend;
pub mod browser;
pub mod case;
pub mod client;
pub mod clock;
pub mod countries;
pub mod digest;
pub mod gate;
pub mod gateway;
pub mod h2;
pub mod h3;
pub mod headers;
pub mod login_provider;
pub mod metrics;
pub mod proxy_protocol;
pub mod raw;
pub mod redis;
pub mod slapd;
pub mod temp;
pub mod tls;
pub mod wait;
pub mod websocket;
pub mod wire;
pub mod yaml;

pub use backend::h2::{H2Backend, H2Call, H2Settings};
pub use backend::http::HttpBackend;
pub use backend::reply::Reply;
pub use backend::tls::TlsFront;
pub use browser::Browser;
pub use client::{Client, Request};
pub use clock::Clock;
pub use gate::{Feed, Gate};
pub use gateway::Gateway;
pub use headers::Headers;
pub use login_provider::LoginProvider;
pub use raw::Raw;
pub use redis::Redis;
pub use slapd::Slapd;
pub use tls::{Authority, TlsClient};
pub use websocket::{EchoBackend, WebSocket};
pub use wire::Response;
