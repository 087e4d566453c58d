//! The control plane: health and metrics over HTTP, on a listener of its own.
//!
//! An ordinary web application on the background runtime; the data plane runs the same without it. It sees
//! the gateway through [`AdminState`] only, shows no secrets and no configuration, and is bounded itself:
//! connections, heads and times, so that a stuck scraper costs nothing but its own slot.

mod routes;
mod server;

use std::{fmt, sync::Arc};

pub use server::{Limits, Listener, serve};

/// What the admin listener shows of a gateway.
#[derive(Clone)]
pub struct AdminState {
    /// All metrics in the Prometheus text format. May take milliseconds; never called twice at once.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether traffic should be sent here, and if not, why: no plan yet, draining. Reasons are shown to
    /// whoever asks, so they name no secrets.
    pub readiness: Arc<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminState")
    }
}
