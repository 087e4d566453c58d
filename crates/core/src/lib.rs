//! The gateway engine: configuration, plan, routing, the policy trait, upstreams.
//!
//! The engine names no policy: kinds are handed in as a list (see [`policy::Kind`]). `ARCHITECTURE.md`
//! walks one request through these modules; start reading at `proxy.rs`.

pub mod action;
#[doc(hidden)]
pub mod benching;
pub mod body;
mod buffered;
pub mod config;
pub mod consumer;
pub mod exchange;
pub mod failure;
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod io;
pub mod listen;
mod parameters;
pub mod plan;
pub mod policy;
pub mod proxy;
pub mod route;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod timer;
pub mod tls;
pub mod tunnel;
pub mod upstream;
mod variables;
pub mod worker;
