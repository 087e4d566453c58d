//! Telemetry: what a gateway tells about itself, in numbers and in lines.
//!
//! Metrics and the access log are here; both are written by workers without waiting for anybody. The
//! process log is `tracing` events, which any part may emit off the hot path; the binary decides where they
//! go, and the engine sets up no subscriber, so that it can be embedded.

pub mod access;
pub mod json;
pub mod metrics;
pub(crate) mod record;

use std::{io, time::Duration};

use access::{AccessBuffer, AccessLog};
use metrics::Metrics;

/// What a gateway reports to.
#[derive(Debug)]
pub struct Telemetry {
    /// The numbers.
    pub metrics: Metrics,
    /// The access log. It runs even while no plan wants lines, so that the next may.
    pub access: AccessLog,
}

impl Telemetry {
    /// Starts reporting; one access buffer for each worker, in order. Fails if the output of the access log
    /// cannot be opened.
    pub fn start(
        metrics: &metrics::Options,
        access: &access::Options,
    ) -> io::Result<(Self, Vec<AccessBuffer>)> {
        let metrics = Metrics::new(metrics);
        let (access, buffers) = AccessLog::start(access, access::Counts::of(metrics.events()))?;
        Ok((Telemetry { metrics, access }, buffers))
    }

    /// Writes what is waiting, once the workers have ended. False if the output did not take it in time.
    pub fn close(&self, patience: Duration) -> bool {
        self.access.close(patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        fn moved<T: Send>() {}
        shared::<Telemetry>();
        moved::<AccessBuffer>();
    }
}
