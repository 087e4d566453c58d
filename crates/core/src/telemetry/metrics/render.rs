//! The Prometheus text format, version 0.0.4: sums the shards and writes them down.
//!
//! Runs on the admin's thread. It may allocate and take its time; it never makes a worker wait.

use std::fmt::{Display, Write};
use std::sync::{Arc, PoisonError};

use super::{
    Metrics,
    histogram::{LABELS, Total},
    labels::{
        self, Closed, Http2Closed, LIMITS, Lookup, Phase, Refused, STATUSES, Shaken, TunnelEnd, Unshaken,
    },
    names::{self as n, Family},
    process::Process,
    series::{ListenerStats, NONE, SORTS, UpstreamShard, UpstreamStats},
    unix_seconds,
};
use crate::failure::Code;
use gatehouse_http1::Version;

impl Metrics {
    /// All metrics as text, for `/metrics`. Content type `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        let mut text = Text::default();
        self.render_routes(&mut text);
        self.render_protocols(&mut text);
        self.render_requests(&mut text);
        self.render_listeners(&mut text);
        self.render_upstreams(&mut text);
        self.render_endpoints(&mut text);
        self.render_events(&mut text);
        self.render_process(&mut text);
        self.extra().render(&mut text);
        text.into_string()
    }

    fn render_routes(&self, text: &mut Text) {
        let mut routes = self.routes.all();
        routes.push(self.unmatched());
        let totals: Vec<_> = routes
            .iter()
            .map(|route| {
                let mut statuses = [0_u64; STATUSES];
                let (mut duration, mut bytes) = (Total::default(), (0_u64, 0_u64));
                for shard in route.shards.iter() {
                    for (sum, status) in statuses.iter_mut().zip(shard.statuses.iter()) {
                        *sum += status.get();
                    }
                    shard.duration.add_to(&mut duration);
                    bytes.0 += shard.bytes_in.get();
                    bytes.1 += shard.bytes_out.get();
                }
                ([&*route.route, &*route.version], statuses, duration, bytes)
            })
            // A thousand routes nobody calls need no series; the two shared names are always there.
            .filter(|(labels, _, duration, _)| duration.count() > 0 || labels[0] == NONE)
            .collect();
        text.family(&n::REQUESTS);
        for ([route, version], statuses, ..) in &totals {
            for (i, &count) in statuses.iter().enumerate().filter(|(_, count)| **count > 0) {
                text.sample(&n::REQUESTS, &[route, version, &labels::status_label(i)], count);
            }
        }
        text.family(&n::REQUEST_DURATION);
        for (labels, _, duration, _) in &totals {
            text.histogram(&n::REQUEST_DURATION, labels, duration);
        }
        text.family(&n::REQUEST_BYTES);
        for (labels, .., bytes) in &totals {
            text.sample(&n::REQUEST_BYTES, labels, bytes.0);
        }
        text.family(&n::RESPONSE_BYTES);
        for (labels, .., bytes) in &totals {
            text.sample(&n::RESPONSE_BYTES, labels, bytes.1);
        }
    }

    fn render_protocols(&self, text: &mut Text) {
        const VERSIONS: [Version; 4] = [Version::Http10, Version::Http11, Version::Http2, Version::Http3];
        text.family(&n::PROTOCOLS);
        for version in VERSIONS {
            let count = self.sum(|shard| shard.protocols.at(version as usize).get());
            text.sample(&n::PROTOCOLS, &[version.as_str()], count);
        }
        text.family(&n::HTTP2_CLOSED);
        for (i, reason) in Http2Closed::NAMES.iter().enumerate() {
            let count = self.sum(|shard| shard.http2_closed.at(i).get());
            text.sample(&n::HTTP2_CLOSED, &[reason], count);
        }
    }

    fn render_requests(&self, text: &mut Text) {
        text.single(&n::IN_FLIGHT, gauge(self.in_flight()));
        let mut overhead = Total::default();
        self.shards
            .iter()
            .for_each(|shard| shard.overhead.add_to(&mut overhead));
        text.family(&n::OVERHEAD);
        text.histogram(&n::OVERHEAD, &[], &overhead);
        text.family(&n::FAILURES);
        for code in Code::ALL {
            let count = self.sum(|shard| shard.failures.at(code.index()).get());
            text.sample(&n::FAILURES, &[code.name(), code.fault().name()], count);
        }
        text.family(&n::TIMEOUTS);
        for (i, name) in Phase::NAMES.iter().enumerate() {
            text.sample(
                &n::TIMEOUTS,
                &[name],
                self.sum(|shard| shard.timeouts.at(i).get()),
            );
        }
        text.family(&n::LIMITS_HIT);
        for (i, name) in LIMITS.iter().enumerate() {
            text.sample(
                &n::LIMITS_HIT,
                &[name],
                self.sum(|shard| shard.limits.at(i).get()),
            );
        }
        text.family(&n::CLIENT_BYTES);
        text.sample(&n::CLIENT_BYTES, &["in"], self.sum(|shard| shard.bytes_in.get()));
        text.sample(
            &n::CLIENT_BYTES,
            &["out"],
            self.sum(|shard| shard.bytes_out.get()),
        );
        text.single(&n::SPLICED, self.sum(|shard| shard.spliced.get()));
    }

    fn render_listeners(&self, text: &mut Text) {
        let mut listeners = self.listeners.all();
        listeners
            .retain(|listener| &*listener.listener != super::OVERFLOW || listener.shards.iter().count() > 0);
        text.family(&n::ACCEPTED);
        for l in &listeners {
            text.sample(
                &n::ACCEPTED,
                &[&l.listener],
                l.shards.sum(|shard| shard.accepted.get()),
            );
        }
        text.family(&n::CONNECTIONS);
        for l in &listeners {
            text.sample(&n::CONNECTIONS, &[&l.listener], gauge(l.active()));
        }
        text.family(&n::REFUSED);
        for l in &listeners {
            for (i, reason) in Refused::NAMES.iter().enumerate() {
                let count = l.shards.sum(|shard| shard.refused.at(i).get());
                text.sample(&n::REFUSED, &[&l.listener, reason], count);
            }
        }
        text.family(&n::ADDRESS_CHECKS);
        text.sample(
            &n::ADDRESS_CHECKS,
            &[],
            self.sum(|shard| shard.address_checks.get()),
        );
        listeners.retain(|listener| listener.has_tls());
        self.render_tls(&listeners, text);
    }

    fn render_tls(&self, listeners: &[Arc<ListenerStats>], text: &mut Text) {
        text.family(&n::HANDSHAKES);
        for l in listeners {
            for (i, [version, kind]) in Shaken::LABELS.iter().enumerate() {
                let count = l.shards.sum(|shard| shard.shaken.at(i).get());
                text.sample(&n::HANDSHAKES, &[&l.listener, version, kind], count);
            }
        }
        text.family(&n::HANDSHAKE_FAILURES);
        for l in listeners {
            for (i, reason) in Unshaken::NAMES.iter().enumerate() {
                let count = l.shards.sum(|shard| shard.unshaken.at(i).get());
                text.sample(&n::HANDSHAKE_FAILURES, &[&l.listener, reason], count);
            }
        }
        text.family(&n::CERTIFICATE_EXPIRY);
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &*certificates {
            text.sample(&n::CERTIFICATE_EXPIRY, &[&one.listener, &one.file], one.not_after);
        }
    }

    fn render_upstreams(&self, text: &mut Text) {
        let mut upstreams = self.upstreams.all();
        upstreams.retain(|upstream| upstream.shards.iter().count() > 0);
        text.family(&n::UPSTREAM_DURATION);
        for u in &upstreams {
            let mut total = Total::default();
            u.shards
                .iter()
                .for_each(|shard| shard.duration.add_to(&mut total));
            text.histogram(&n::UPSTREAM_DURATION, &[&u.upstream], &total);
        }
        let mut each = |family: &Family, of: &dyn Fn(&UpstreamStats) -> u64| {
            text.family(family);
            for u in &upstreams {
                text.sample(family, &[&u.upstream], of(u));
            }
        };
        each(&n::ATTEMPTS, &|u| u.shards.sum(|s| s.attempts.get()));
        each(&n::RETRIES, &|u| u.shards.sum(|s| s.retries.get()));
        each(&n::UPSTREAM_IN_FLIGHT, &|u| {
            gauge(u.shards.sum(|s| s.in_flight.get()))
        });
        each(&n::OPENED, &|u| u.shards.sum(|s| s.opened.get()));
        each(&n::REUSED, &|u| u.shards.sum(|s| s.reused.get()));
        each(&n::IDLE, &|u| gauge(u.shards.sum(|s| s.idle.get())));
        each(&n::TUNNELS, &|u| gauge(u.shards.sum(|s| s.tunnels.get())));
        each(&n::TUNNELS_OPENED, &|u| u.shards.sum(|s| s.tunnels_opened.get()));
        let mut listed = |family: &Family, names: &[&str], sparse: bool, pick: Pick| {
            text.family(family);
            for u in &upstreams {
                for (i, name) in names.iter().enumerate() {
                    let count = u.shards.sum(|shard| pick(shard, i));
                    if count > 0 || !sparse {
                        text.sample(family, &[&u.upstream, name], count);
                    }
                }
            }
        };
        let classes: [&str; 6] = std::array::from_fn(labels::class_label);
        let codes = Code::ALL.map(Code::name);
        listed(&n::UPSTREAM_RESPONSES, &classes, true, |shard, i| {
            shard.classes.at(i).get()
        });
        listed(&n::UPSTREAM_FAILURES, &codes, true, |shard, i| {
            shard.failures.at(i).get()
        });
        listed(&n::TUNNELS_CLOSED, &TunnelEnd::NAMES, true, |shard, i| {
            shard.tunnels_closed.at(i).get()
        });
        listed(&n::CLOSED, &Closed::NAMES, false, |shard, i| {
            shard.closed.at(i).get()
        });
    }

    fn render_endpoints(&self, text: &mut Text) {
        let mut endpoints = self.endpoints.all();
        endpoints.retain(|endpoint| endpoint.shards.iter().count() > 0);
        text.family(&n::ENDPOINT_ATTEMPTS);
        for e in &endpoints {
            let count = e.shards.sum(|shard| shard.attempts.get());
            text.sample(&n::ENDPOINT_ATTEMPTS, &[&e.upstream, &e.endpoint], count);
        }
        text.family(&n::ENDPOINT_FAILURES);
        for e in &endpoints {
            let count = e.shards.sum(|shard| shard.failures.get());
            text.sample(&n::ENDPOINT_FAILURES, &[&e.upstream, &e.endpoint], count);
        }
    }

    fn render_events(&self, text: &mut Text) {
        let events = &self.events;
        text.single(&n::ACCESS_LINES, events.access_lines.get());
        text.single(&n::ACCESS_DROPPED, events.access_dropped.get());
        text.single(&n::ACCESS_ERRORS, events.access_errors.get());
        text.family(&n::DNS);
        for (i, result) in Lookup::NAMES.iter().enumerate() {
            text.sample(&n::DNS, &[result], events.lookups.at(i).get());
        }
        text.single(&n::EVICTIONS, events.evictions.get());
        text.family(&n::OVERFLOW);
        for (i, sort) in SORTS.iter().enumerate() {
            text.sample(&n::OVERFLOW, &[sort], events.overflow.at(i).get());
        }
        text.family(&n::RELOADS);
        text.sample(&n::RELOADS, &["ok"], events.reloads.at(0).get());
        text.sample(&n::RELOADS, &["failed"], events.reloads.at(1).get());
        text.single(&n::BEHIND, events.behind.get());
        text.family(&n::UPGRADES);
        text.sample(&n::UPGRADES, &["ok"], events.upgrades.at(0).get());
        text.sample(&n::UPGRADES, &["failed"], events.upgrades.at(1).get());
        let config = self.config();
        text.family(&n::CONFIG_APPLIED);
        if let Some(at) = config.at {
            text.sample(&n::CONFIG_APPLIED, &[], unix_seconds(at));
        }
        text.family(&n::CONFIG_INFO);
        if !config.hash.is_empty() {
            text.sample(&n::CONFIG_INFO, &[&config.hash], 1);
        }
    }

    fn render_process(&self, text: &mut Text) {
        text.single(&n::WORKERS, self.workers());
        text.family(&n::BUILD_INFO);
        text.sample(&n::BUILD_INFO, &[self.version], 1);
        let process = Process::now();
        text.family(&n::START_TIME);
        process
            .started
            .iter()
            .for_each(|value| text.sample(&n::START_TIME, &[], value));
        text.family(&n::CPU);
        process
            .cpu_seconds
            .iter()
            .for_each(|value| text.sample(&n::CPU, &[], value));
        text.family(&n::MEMORY);
        process
            .resident_bytes
            .iter()
            .for_each(|value| text.sample(&n::MEMORY, &[], value));
        text.family(&n::FILES);
        process
            .open_files
            .iter()
            .for_each(|value| text.sample(&n::FILES, &[], value));
    }
}

type Pick = fn(&UpstreamShard, usize) -> u64;

/// A gauge read while two workers write can be below zero for a moment; nobody wants to see 2^64.
fn gauge(sum: u64) -> u64 {
    if i64::try_from(sum).is_ok() { sum } else { 0 }
}

#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    pub(super) fn family(&mut self, family: &Family) {
        let (name, help, kind) = (family.name, family.help, family.kind.name());
        // Writing to a string cannot fail, here and below.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn single(&mut self, family: &Family, value: impl Display) {
        self.family(family);
        self.sample(family, &[], value);
    }

    pub(super) fn sample(&mut self, family: &Family, values: &[&str], value: impl Display) {
        self.line(family, "", values, None, value);
    }

    fn histogram(&mut self, family: &Family, values: &[&str], total: &Total) {
        let mut cumulative = 0;
        for (le, count) in LABELS.into_iter().zip(total.buckets) {
            cumulative += count;
            self.line(family, "_bucket", values, Some(le), cumulative);
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "a sum of seconds is good to fifteen digits"
        )]
        self.line(family, "_sum", values, None, total.sum as f64 / 1e9);
        self.line(family, "_count", values, None, cumulative);
    }

    fn line(
        &mut self,
        family: &Family,
        suffix: &str,
        values: &[&str],
        le: Option<&str>,
        value: impl Display,
    ) {
        debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
        self.0.push_str(family.name);
        self.0.push_str(suffix);
        let labels = family
            .labels
            .iter()
            .zip(values)
            .map(|(name, value)| (*name, *value));
        let mut separator = '{';
        for (name, value) in labels.chain(le.map(|le| ("le", le))) {
            self.0.push(separator);
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.escaped(value);
            self.0.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests;
