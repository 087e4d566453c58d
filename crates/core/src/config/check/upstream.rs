//! Upstreams and their endpoints.

use super::Check;
use crate::config::types::Size;
use crate::config::upstream::{Upstream, UpstreamTimeouts};
use std::collections::HashSet;

impl Check<'_> {
    pub(super) fn upstreams(&mut self) {
        for (name, upstream) in &self.config.upstreams {
            let path = format!("upstreams.{name}");
            self.endpoints(&path, name, upstream);
            self.upstream_tls(&path, name, upstream);
            let timeouts = &upstream.timeouts;
            let spans = [
                ("connect", timeouts.connect),
                ("first_byte", timeouts.first_byte),
                ("idle", timeouts.idle),
                ("total", timeouts.total),
            ];
            self.longer_than_nothing(&format!("{path}.timeouts"), spans);
            if let Some(timeout) = upstream.timeout {
                self.longer_than_nothing(&path, [("timeout", timeout)]);
                if timeouts.total != UpstreamTimeouts::default().total {
                    let message = format!(
                        "upstream `{name}` has both `timeout` and `timeouts.total`; keep one, they are the same"
                    );
                    self.halves(format!("{path}.timeout"), message);
                }
            }
            self.longer_than_nothing(
                &format!("{path}.pool"),
                [
                    ("idle_timeout", upstream.pool.idle_timeout),
                    ("max_age", upstream.pool.max_age),
                ],
            );
            self.in_range(
                &format!("{path}.limits"),
                "head",
                upstream.limits.head,
                Size::kib(1),
                Size::mib(1),
            );
            self.policies(&format!("{path}.policies"), &upstream.policies);
        }
    }

    fn endpoints(&mut self, path: &str, name: &str, upstream: &Upstream) {
        let mut seen = HashSet::new();
        for (index, endpoint) in upstream.endpoints.iter().enumerate() {
            let path = format!("{path}.endpoints[{index}]");
            if !seen.insert(&endpoint.url) {
                self.halves(
                    path,
                    format!(
                        "`{}` is written twice; give it a `weight` to have more requests sent there",
                        endpoint.url
                    ),
                );
            }
        }
        if !upstream.endpoints.is_empty() && upstream.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            let message =
                format!("all endpoints of upstream `{name}` have the weight `0`; expected one with more");
            self.halves(format!("{path}.endpoints"), message);
        }
    }
}
