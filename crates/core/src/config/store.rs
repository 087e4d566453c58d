//! Stores: where counts and sessions are kept that several gateways share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{Secret, Span};
use super::upstream::UpstreamTls;

/// A store outside of this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// A Redis, or what speaks as it does.
    pub redis: Redis,
}

/// How a Redis is reached.
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
    /// The number of the database.
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
    pub tls: Option<UpstreamTls>,
    /// The beginning of all keys.
    #[serde(default = "Redis::prefix")]
    pub prefix: String,
    /// How long one command may take, waiting for a connection included.
    #[serde(default = "Redis::timeout")]
    pub timeout: Span,
    /// Commands that may be under way at once; those past it fail at once.
    #[serde(default = "Redis::max_pending")]
    pub max_pending: u32,
}

impl Redis {
    fn prefix() -> String {
        "gatehouse:".to_owned()
    }

    fn timeout() -> Span {
        Span::from_millis(100)
    }

    fn max_pending() -> u32 {
        10_000
    }
}

/// How a Redis is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
