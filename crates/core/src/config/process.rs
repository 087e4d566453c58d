//! What belongs to the process: logs, name resolution, the admin listener, threads.

use super::types::{Address, DnsServer, Size, Span, SyslogTarget};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// One line of JSON for each request. Goes to standard output unless `file` or `syslog` is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Whether there is one.
    pub enabled: bool,
    /// A file to append to. It is opened anew when it was moved away.
    pub file: Option<PathBuf>,
    /// A syslog daemon to send to.
    pub syslog: Option<SyslogTarget>,
    /// How many bytes may wait to be written. Above it, lines are dropped and counted.
    pub buffer: Size,
    /// How long a line waits at most.
    pub flush: Span,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            enabled: true,
            file: None,
            syslog: None,
            buffer: Size::mib(1),
            flush: Span::from_millis(200),
        }
    }
}

/// How names of endpoints are resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Name servers to ask. None: those of the system.
    pub servers: Vec<DnsServer>,
    /// An answer is kept at least so long, whatever its own lifetime.
    pub min_ttl: Span,
    /// An answer is kept at most so long.
    pub max_ttl: Span,
    /// How long an answer that ran out still serves when no new one can be had.
    pub stale: Span,
    /// How long one question may take.
    pub timeout: Span,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: Span::from_secs(5),
            max_ttl: Span::from_secs(300),
            stale: Span::from_secs(24 * 3600),
            timeout: Span::from_secs(2),
        }
    }
}

/// The listener for probes and metrics: `/livez`, `/readyz`, `/startupz`, `/metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens, or `off`. It asks nobody who they are: keep it where only you can reach it.
    #[serde(serialize_with = "write_or_off", deserialize_with = "read_or_off")]
    #[schemars(with = "String", extend("examples" = ["127.0.0.1:9900", "off"]))]
    pub address: Option<Address>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: Some(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9900)))),
        }
    }
}

fn read_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    let text: String =
        super::types::from_text(deserializer, "an address such as `127.0.0.1:9900`, or `off`")?;
    if text == "off" {
        Ok(None)
    } else {
        text.parse().map(Some).map_err(D::Error::custom)
    }
}

// The signature is serde's.
#[allow(clippy::ref_option)]
fn write_or_off<S: Serializer>(address: &Option<Address>, serializer: S) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => address.serialize(serializer),
        None => serializer.serialize_str("off"),
    }
}

/// What needs a restart to change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Threads that serve requests. Absent: one for each core.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u16>,
    /// How the process ends.
    pub drain: Drain,
    /// How the process is replaced by another binary (`gatehouse upgrade`, SIGUSR2).
    pub upgrade: Upgrade,
    /// A file that holds the id of the process that serves, removed at the end. Absent: none.
    pub pid_file: Option<PathBuf>,
    /// The log of the process itself, on standard error.
    pub log: Log,
}

/// How the process ends after SIGTERM, or once another has taken its place. Read again with each change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long `/readyz` says no, and everything else goes on, before new connections are no longer taken: the time
    /// load balancers need to notice. Only after SIGTERM and SIGINT.
    pub delay: Span,
    /// How long exchanges and tunnels may still run after that. What is left is cut.
    pub timeout: Span,
    /// How long a kept connection on which nothing happens is still waited for, since its next request may be on its
    /// way. A request that comes is answered, with `Connection: close`.
    pub idle: Span,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Span::ZERO,
            timeout: Span::from_secs(30),
            idle: Span::from_secs(1),
        }
    }
}

/// How the process is replaced by another binary without losing a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Upgrade {
    /// The path of a Unix socket on which the process waits for `gatehouse upgrade`; only its own user and root may
    /// use it. Absent: SIGUSR2 is the only way.
    pub socket: Option<PathBuf>,
    /// How long the new process may take to be ready. Then it is killed, and the old one goes on.
    pub timeout: Span,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self {
            socket: None,
            timeout: Span::from_secs(60),
        }
    }
}

/// The log of the process itself, on standard error.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least grave thing that is still said.
    pub level: Level,
    /// How it is said.
    pub format: LogFormat,
}

/// How grave a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is said.
    Off,
    /// Something failed that should not.
    Error,
    /// Something is odd and may need somebody.
    Warn,
    /// What a reader should know happened.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// Every step.
    Trace,
}

impl Level {
    /// The word for it in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How the process log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// Lines of JSON.
    Json,
}
