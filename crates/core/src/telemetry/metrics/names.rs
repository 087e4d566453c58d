//! Every metric, declared once: name, type, labels, help. The exposition and the reference read this.
//!
//! Also the closed lists of label values. No label ever takes a value a client can choose.

use std::fmt::Write;

/// How a metric behaves over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Only grows, until the process or what it describes ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations in buckets.
    Histogram,
}

impl Type {
    /// The word after `# TYPE`.
    pub const fn name(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        }
    }
}

/// One metric and what it means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// As exposed.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Type,
    /// Its labels, in the order they are written.
    pub labels: &'static [&'static str],
    /// One sentence; units included.
    pub help: &'static str,
}

impl Family {
    /// One that only grows.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Family {
            name,
            kind: Type::Counter,
            labels,
            help,
        }
    }

    /// One that goes up and down.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Family {
            name,
            kind: Type::Gauge,
            labels,
            help,
        }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family::counter(name, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family::gauge(name, labels, help)
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family {
        name,
        kind: Type::Histogram,
        labels,
        help,
    }
}

const ROUTE: &[&str] = &["route", "version"];
const UPSTREAM: &[&str] = &["upstream"];
const ENDPOINT: &[&str] = &["upstream", "endpoint"];

pub(super) const REQUESTS: Family = counter(
    "gatehouse_requests_total",
    &["route", "version", "status"],
    "Requests answered. Uncommon statuses are counted by class, as 4xx.",
);
pub(super) const PROTOCOLS: Family = counter(
    "gatehouse_protocol_requests_total",
    &["protocol"],
    "Requests answered, by the protocol they came in.",
);
pub(super) const HTTP2_CLOSED: Family = counter(
    "gatehouse_http2_connections_closed_total",
    &["reason"],
    "Client connections of HTTP/2 closed for what the client did, by reason.",
);
pub(super) const REQUEST_DURATION: Family = histogram(
    "gatehouse_request_duration_seconds",
    ROUTE,
    "Time from the first byte of a request to the last byte of its answer.",
);
pub(super) const REQUEST_BYTES: Family = counter(
    "gatehouse_request_bytes_total",
    ROUTE,
    "Bytes of request bodies received.",
);
pub(super) const RESPONSE_BYTES: Family = counter(
    "gatehouse_response_bytes_total",
    ROUTE,
    "Bytes of response bodies sent.",
);
pub(super) const IN_FLIGHT: Family = gauge(
    "gatehouse_requests_in_flight",
    &[],
    "Requests begun and not yet finished.",
);
pub(super) const OVERHEAD: Family = histogram(
    "gatehouse_overhead_seconds",
    &[],
    "Time the gateway itself spent on a request: its duration without waiting for upstream and client.",
);
pub(super) const FAILURES: Family = counter(
    "gatehouse_failures_total",
    &["code", "fault"],
    "Exchanges that failed, by failure code and whose fault it was.",
);
pub(super) const TIMEOUTS: Family = counter(
    "gatehouse_timeouts_total",
    &["phase"],
    "Timeouts that ran out, by what was waited for.",
);
pub(super) const LIMITS_HIT: Family = counter(
    "gatehouse_limits_hit_total",
    &["setting"],
    "Bounds that were hit, by the key of the setting that sets them, with `*` for a name.",
);
pub(super) const CLIENT_BYTES: Family = counter(
    "gatehouse_client_bytes_total",
    &["direction"],
    "Bytes read from and written to client connections, heads included.",
);
pub(super) const SPLICED: Family = counter(
    "gatehouse_spliced_bytes_total",
    &[],
    "Bytes of bodies that went from socket to socket through a pipe, without being copied; in both directions.",
);
pub(super) const ACCEPTED: Family = counter(
    "gatehouse_connections_accepted_total",
    &["listener"],
    "Client connections accepted.",
);
pub(super) const CONNECTIONS: Family = gauge(
    "gatehouse_connections_active",
    &["listener"],
    "Client connections open.",
);
pub(super) const REFUSED: Family = counter(
    "gatehouse_connections_refused_total",
    &["listener", "reason"],
    "Client connections closed at once, by reason.",
);
pub(super) const ADDRESS_CHECKS: Family = counter(
    "gatehouse_http3_address_checks_total",
    &[],
    "HTTP/3 clients that were asked to show that they get what is sent to their address (Retry).",
);
pub(super) const HANDSHAKES: Family = counter(
    "gatehouse_tls_handshakes_total",
    &["listener", "version", "kind"],
    "TLS handshakes with clients that succeeded, by version, and whether a session was resumed.",
);
pub(super) const HANDSHAKE_FAILURES: Family = counter(
    "gatehouse_tls_handshake_failures_total",
    &["listener", "reason"],
    "TLS handshakes with clients that came to nothing, by reason.",
);
pub(super) const CERTIFICATE_EXPIRY: Family = gauge(
    "gatehouse_certificate_expiry_timestamp_seconds",
    &["listener", "certificate"],
    "When a certificate in use expires, in seconds since 1970; the label is its file as configured.",
);
pub(super) const UPSTREAM_DURATION: Family = histogram(
    "gatehouse_upstream_duration_seconds",
    UPSTREAM,
    "Time from the start of an attempt to the last byte of the upstream's answer.",
);
pub(super) const ATTEMPTS: Family = counter(
    "gatehouse_upstream_attempts_total",
    UPSTREAM,
    "Requests sent to the upstream, retries included.",
);
pub(super) const RETRIES: Family = counter(
    "gatehouse_upstream_retries_total",
    UPSTREAM,
    "Attempts after the first of an exchange.",
);
pub(super) const UPSTREAM_RESPONSES: Family = counter(
    "gatehouse_upstream_responses_total",
    &["upstream", "class"],
    "Final answers of the upstream, by class of status.",
);
pub(super) const UPSTREAM_FAILURES: Family = counter(
    "gatehouse_upstream_failures_total",
    &["upstream", "code"],
    "Attempts that failed, by failure code.",
);
pub(super) const UPSTREAM_IN_FLIGHT: Family = gauge(
    "gatehouse_upstream_requests_in_flight",
    UPSTREAM,
    "Attempts begun and not yet finished.",
);
pub(super) const OPENED: Family = counter(
    "gatehouse_upstream_connections_opened_total",
    UPSTREAM,
    "Connections to the upstream established.",
);
pub(super) const REUSED: Family = counter(
    "gatehouse_upstream_connections_reused_total",
    UPSTREAM,
    "Attempts sent on a connection kept from before.",
);
pub(super) const CLOSED: Family = counter(
    "gatehouse_upstream_connections_closed_total",
    &["upstream", "reason"],
    "Connections to the upstream closed, by reason.",
);
pub(super) const IDLE: Family = gauge(
    "gatehouse_upstream_connections_idle",
    UPSTREAM,
    "Connections kept for the next request.",
);
pub(super) const TUNNELS: Family = gauge(
    "gatehouse_tunnels",
    UPSTREAM,
    "Connections that have switched protocols and are open: WebSockets, mostly.",
);
pub(super) const TUNNELS_OPENED: Family = counter(
    "gatehouse_tunnels_opened_total",
    UPSTREAM,
    "Connections that have switched protocols.",
);
pub(super) const TUNNELS_CLOSED: Family = counter(
    "gatehouse_tunnels_closed_total",
    &["upstream", "reason"],
    "Connections that had switched protocols and have ended, by reason.",
);
pub(super) const ENDPOINT_ATTEMPTS: Family = counter(
    "gatehouse_endpoint_attempts_total",
    ENDPOINT,
    "Requests sent to the endpoint.",
);
pub(super) const ENDPOINT_FAILURES: Family = counter(
    "gatehouse_endpoint_failures_total",
    ENDPOINT,
    "Attempts at the endpoint that failed.",
);
pub(super) const ACCESS_LINES: Family = counter(
    "gatehouse_access_log_lines_total",
    &[],
    "Access log lines written.",
);
pub(super) const ACCESS_DROPPED: Family = counter(
    "gatehouse_access_log_dropped_total",
    &[],
    "Access log lines lost: the writer could not keep up, or writing failed.",
);
pub(super) const ACCESS_ERRORS: Family = counter(
    "gatehouse_access_log_errors_total",
    &[],
    "Failed attempts to open or write the access log.",
);
pub(super) const DNS: Family = counter(
    "gatehouse_dns_lookups_total",
    &["result"],
    "Name lookups; stale means failed, and the last known addresses were used.",
);
pub(super) const EVICTIONS: Family = counter(
    "gatehouse_window_evictions_total",
    &[],
    "Keys dropped from full rate-limit windows before their time.",
);
pub(super) const OVERFLOW: Family = counter(
    "gatehouse_metric_series_overflow_total",
    &["label"],
    "Names that got no series of their own because there are too many; they are counted as `_overflow`.",
);
pub(super) const RELOADS: Family = counter(
    "gatehouse_config_reloads_total",
    &["result"],
    "Configurations loaded after the first.",
);
pub(super) const BEHIND: Family = gauge(
    "gatehouse_config_behind",
    &[],
    "1 while the configuration as written is not the one in use, because it has errors; else 0.",
);
pub(super) const UPGRADES: Family = counter(
    "gatehouse_upgrades_total",
    &["result"],
    "Binaries that took over from another (in the new process), or failed to (in the old).",
);
pub(super) const CONFIG_APPLIED: Family = gauge(
    "gatehouse_config_applied_timestamp_seconds",
    &[],
    "When the configuration in use was applied, in seconds since 1970.",
);
pub(super) const CONFIG_INFO: Family = gauge(
    "gatehouse_config_info",
    &["hash"],
    "Always 1; the label identifies the configuration in use.",
);
pub(super) const WORKERS: Family = gauge("gatehouse_workers", &[], "Worker threads.");
pub(super) const BUILD_INFO: Family = gauge(
    "gatehouse_build_info",
    &["version"],
    "Always 1; the label is the version of the program.",
);
pub(super) const START_TIME: Family = gauge(
    "process_start_time_seconds",
    &[],
    "When the process started, in seconds since 1970.",
);
pub(super) const CPU: Family = counter(
    "process_cpu_seconds_total",
    &[],
    "CPU time used, user and system, in seconds.",
);
pub(super) const MEMORY: Family = gauge("process_resident_memory_bytes", &[], "Memory in RAM, in bytes.");
pub(super) const FILES: Family = gauge("process_open_fds", &[], "Open file descriptors.");

/// Every metric, in the order they are exposed.
pub const FAMILIES: &[Family] = &[
    REQUESTS,
    PROTOCOLS,
    REQUEST_DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    IN_FLIGHT,
    OVERHEAD,
    FAILURES,
    TIMEOUTS,
    LIMITS_HIT,
    CLIENT_BYTES,
    SPLICED,
    ACCEPTED,
    CONNECTIONS,
    REFUSED,
    ADDRESS_CHECKS,
    HANDSHAKES,
    HANDSHAKE_FAILURES,
    CERTIFICATE_EXPIRY,
    HTTP2_CLOSED,
    UPSTREAM_DURATION,
    ATTEMPTS,
    RETRIES,
    UPSTREAM_RESPONSES,
    UPSTREAM_FAILURES,
    UPSTREAM_IN_FLIGHT,
    OPENED,
    REUSED,
    CLOSED,
    IDLE,
    TUNNELS,
    TUNNELS_OPENED,
    TUNNELS_CLOSED,
    ENDPOINT_ATTEMPTS,
    ENDPOINT_FAILURES,
    ACCESS_LINES,
    ACCESS_DROPPED,
    ACCESS_ERRORS,
    DNS,
    EVICTIONS,
    OVERFLOW,
    RELOADS,
    BEHIND,
    UPGRADES,
    CONFIG_APPLIED,
    CONFIG_INFO,
    WORKERS,
    BUILD_INFO,
    START_TIME,
    CPU,
    MEMORY,
    FILES,
];

/// The text of `docs/reference/metrics.md`; `more` are the families of policies, of which some may be the same.
pub fn metrics_markdown(more: impl IntoIterator<Item = &'static Family>) -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         The admin listener serves these at `/metrics` in the Prometheus text format, version 0.0.4.\n\n\
         The number of series is bounded: labels come from the configuration, never from requests. Routes, \
         upstreams, endpoints and listeners beyond a fixed number share the series `_overflow`; requests that \
         no route matches are counted as `_none`. Routes that were never used have no series yet.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    let mut told = std::collections::HashSet::new();
    for family in FAMILIES
        .iter()
        .chain(more)
        .filter(|family| told.insert(family.name))
    {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            family.name,
            family.kind.name(),
            labels.join(", "),
            family.help,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for family in FAMILIES {
            assert!(seen.insert(family.name), "{} twice", family.name);
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == Type::Counter,
                "{}",
                family.name
            );
            if family.kind == Type::Histogram {
                assert!(family.name.ends_with("_seconds"), "{}", family.name);
            }
            assert!(
                family.help.ends_with('.') && !family.help.contains(['\n', '\\', '|']),
                "{}",
                family.name
            );
        }
    }

    #[test]
    fn the_reference_has_every_metric() {
        let text = metrics_markdown(&[]);
        for family in FAMILIES {
            assert!(text.contains(&format!("| `{}` |", family.name)));
        }
    }
}
