//! Telemetry: metrics and access log, and how an exchange reports to them.

pub mod access;
pub mod json;
pub mod metrics;
