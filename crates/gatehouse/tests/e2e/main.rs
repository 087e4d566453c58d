//! The real binary between real sockets: one module for each feature, one gateway for each test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_collect,
    reason = "tests"
)]

use gatehouse_testkit::gateway::Builder;
use gatehouse_testkit::{Gateway, HttpBackend};

mod access;
mod access_log;
mod backpressure;
mod basic_auth;
mod bodies;
mod certificate_auth;
mod cli;
mod concurrency;
mod consumers_file;
mod consumers_redis;
mod csrf;
mod dns;
mod drain;
mod early_response;
mod edge_policies;
mod examples;
mod expect;
mod external_auth;
mod external_auth_grpc;
mod grpc;
mod health;
mod hop_by_hop;
mod http2;
mod http2_ends;
mod http2_floods;
mod http2_strict;
mod http2_tunnels;
mod http3;
mod http_signature;
mod idempotency;
mod idempotency_redis;
mod introspection;
mod ipv6;
mod jwt;
mod keepalive;
mod key_auth;
mod ldap_auth;
mod limits;
mod metrics;
mod oidc;
mod pipelining;
mod pools;
mod proxy_protocol;
mod quota_rollover;
mod rate_limit;
mod raw_strict;
mod raw_strict_upstream;
mod reload;
mod reload_load;
mod retry;
mod shared_limits;
mod splice;
mod sse;
mod systemd;
mod takeover;
mod takeover_load;
mod timeouts;
mod timeouts_upstream;
mod tls;
mod unix;
mod upgrade;
mod upstream_h2;
mod upstream_h2_ends;
mod upstream_tls;
mod websocket;
mod websocket_life;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_gatehouse");

/// A gateway of this configuration, not yet started.
fn gateway(yaml: &str) -> Builder {
    Gateway::builder(BINARY, yaml)
}

/// The configuration of [`in_front_of`]: everything goes to one upstream, `${api}`.
const PLAIN: &str = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;

/// A gateway that forwards everything to one backend.
fn in_front_of(backend: &HttpBackend) -> Gateway {
    with(backend, "")
}

/// The same, with more sections in its configuration.
fn with(backend: &HttpBackend, sections: &str) -> Gateway {
    gateway(&format!("{PLAIN}{sections}"))
        .bind("api", backend.url())
        .start()
}

/// A gateway that forwards everything to one backend, with these settings of the upstream.
fn with_upstream(backend_url: &str, settings: &str) -> Gateway {
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
process: {{ workers: 1 }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["{backend_url}"], {settings} }} }}
"#
    );
    gateway(&yaml).start()
}
