//! Stores: where counts and sessions are kept that several gateways share.

use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{Secret, Span};

/// A store outside of this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// A Redis, or what speaks as it does.
    pub redis: Redis,
}

/// How a Redis is reached.
///
/// One connection serves all policies that name the store; what they ask at the same moment travels together. While the
/// Redis cannot be reached nobody waits for it: the gateway looks for it in the background, and policies do what their
/// `on_failure` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Where it is, such as `10.0.0.5:6379`: the server, or for `sentinel` and `cluster` some of their nodes.
    pub addresses: Vec<String>,
    /// How it is set up.
    #[serde(default)]
    pub mode: RedisMode,
    /// What the sentinels call the set, for `sentinel`.
    #[serde(default)]
    pub master: Option<String>,
    /// The number of the database. A cluster has only 0.
    #[serde(default)]
    pub database: u16,
    /// The name to log in with. Absent: Redis' `default`.
    #[serde(default)]
    pub username: Option<String>,
    /// The password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// TLS towards it. Absent: in the clear.
    #[serde(default)]
    pub tls: Option<RedisTls>,
    /// The beginning of all keys.
    #[serde(default = "Redis::prefix")]
    pub prefix: String,
    /// How long one command may take, waiting for its turn included.
    #[serde(default = "Redis::timeout")]
    pub timeout: Span,
    /// Commands that may be under way at once; those past it fail at once.
    #[serde(default = "Redis::max_pending")]
    pub max_pending: NonZeroU32,
    /// So many failures in a row, and nobody asks any more until a probe is answered. A connection that breaks is
    /// enough by itself.
    #[serde(default = "Redis::failures")]
    pub failures: NonZeroU32,
    /// How long after a failed attempt to reach it the next one is made. At most 1s.
    #[serde(default = "Redis::retry")]
    pub retry: Span,
}

/// TLS towards a Redis.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTls {
    /// A PEM file with the authorities that its certificate must come from. Absent: the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate we show when asked for one, and those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the private key of `certificate`.
    pub key: Option<PathBuf>,
}

impl Redis {
    fn prefix() -> String {
        "gatehouse:".to_owned()
    }

    fn timeout() -> Span {
        Span::from_millis(100)
    }

    fn max_pending() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(9_999)
    }

    fn failures() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(4)
    }

    fn retry() -> Span {
        Span::from_millis(250)
    }
}

/// How a Redis is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedisMode {
    /// One server.
    #[default]
    Single,
    /// A server that sentinels name, and another when it fails.
    Sentinel,
    /// A cluster.
    Cluster,
}
