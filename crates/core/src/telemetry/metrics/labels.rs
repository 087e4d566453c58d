//! Closed lists of label values: why, when and in which phase something happened.
//!
//! Each list is an enum with its names beside it, in the same order, so that counting is an array access.

/// What was waited for when a timeout ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The end of a TLS handshake.
    Handshake,
    /// The rest of a request's head.
    ClientHead,
    /// The next piece of a request's body.
    ClientBody,
    /// A client slower than the minimum rate.
    ClientRate,
    /// The next request on an idle client connection. No failure: the connection ends.
    KeepAlive,
    /// Room to write to the client.
    ClientWrite,
    /// The end of a client connection's request, from its first byte.
    ClientTotal,
    /// A connection to an endpoint.
    Connect,
    /// The first byte of an upstream's answer.
    FirstByte,
    /// The next byte to or from an upstream.
    UpstreamIdle,
    /// The end of an attempt.
    UpstreamTotal,
    /// The end of the exchange, every attempt included.
    Exchange,
    /// The end of connections when shutting down.
    Drain,
}

impl Phase {
    /// Label values, in the order of the enum.
    pub const NAMES: [&'static str; 13] = [
        "tls_handshake",
        "client_head",
        "client_body",
        "client_rate",
        "keep_alive",
        "client_write",
        "client_total",
        "connect",
        "first_byte",
        "upstream_idle",
        "upstream_total",
        "exchange",
        "drain",
    ];
}

/// Why a client connection was closed as soon as it was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The listener has all the connections it may.
    Total,
    /// The client has all the connections it may.
    PerClient,
    /// The PROXY protocol header is missing or malformed.
    ProxyProtocol,
    /// The process has no file descriptor or memory left for it.
    Resources,
    /// The gateway is shutting down.
    Draining,
}

impl Refused {
    /// Label values, in the order of the enum.
    pub const NAMES: [&'static str; 5] = ["total", "per_client", "proxy_protocol", "resources", "draining"];
}

/// Why a TLS handshake came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unshaken {
    /// It was not over in time.
    Timeout,
    /// The client left, or the connection broke.
    Gone,
    /// There were as many on the worker as there may be.
    TooMany,
    /// The client spoke HTTP in the clear.
    Plain,
    /// What the client sent was not TLS, or broke its rules.
    Protocol,
    /// Nothing that both sides can do: versions, cipher suites, signatures, application protocols.
    NothingInCommon,
    /// The client asked for a name that no certificate has.
    Name,
    /// The client had to show a certificate and did not.
    NoCertificate,
    /// The client's certificate was not accepted.
    BadCertificate,
    /// The client did not accept our certificate, or ended the handshake for another reason of its own.
    Alert,
}

impl Unshaken {
    /// Label values, in the order of the enum.
    pub const NAMES: [&'static str; 10] = [
        "timeout",
        "gone",
        "too_many",
        "plain_http",
        "protocol",
        "nothing_in_common",
        "name",
        "no_client_certificate",
        "bad_client_certificate",
        "alert",
    ];
}

/// What sort of handshake succeeded: the version, and whether a session was resumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shaken {
    /// True for TLS 1.3, false for TLS 1.2.
    pub is_tls13: bool,
    /// True if the client came back with a ticket.
    pub resumed: bool,
}

impl Shaken {
    /// The version and the kind of each count, in their order.
    pub(super) const LABELS: [[&'static str; 2]; 4] = [
        ["TLSv1.2", "full"],
        ["TLSv1.2", "resumed"],
        ["TLSv1.3", "full"],
        ["TLSv1.3", "resumed"],
    ];

    pub(super) fn index(self) -> usize {
        usize::from(self.is_tls13) * 2 + usize::from(self.resumed)
    }
}

/// Why a connection of HTTP/2 was closed for what the client did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Http2Closed {
    /// It took too many of its requests back.
    Resets,
    /// Too many frames that bring no request on.
    ControlFrames,
    /// Too many malformed requests.
    Malformed,
    /// Another bound of the protocol: continuations, heads far too large, small pieces of data.
    Calm,
    /// More data than it had room for.
    FlowControl,
    /// A head that cannot be decompressed.
    Compression,
    /// A frame that is too large or too small.
    FrameSize,
    /// A request that went on after its end.
    StreamClosed,
    /// Any other breach of the protocol.
    Protocol,
}

impl Http2Closed {
    /// Label values, in the order of the enum.
    pub const NAMES: [&'static str; 9] = [
        "resets",
        "control_frames",
        "malformed",
        "enhance_your_calm",
        "flow_control",
        "compression",
        "frame_size",
        "stream_closed",
        "protocol",
    ];

    /// The name as a label value.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Why an upstream connection was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// It idled for too long.
    Idle,
    /// It became too old.
    Age,
    /// It served as many requests as it may.
    Requests,
    /// There were enough idle ones.
    PoolFull,
    /// The endpoint closed it while it idled.
    Peer,
    /// The answer said `connection: close`, or its end was the end of the connection.
    NotReusable,
    /// Something failed on it: a timeout, a reset, a malformed answer, a client that left.
    Failed,
    /// The endpoint or the whole gateway went away.
    Removed,
}

impl Closed {
    /// Label values, in the order of the enum.
    pub const NAMES: [&'static str; 8] = [
        "idle",
        "age",
        "requests",
        "pool_full",
        "peer",
        "not_reusable",
        "failed",
        "removed",
    ];
}

/// Why a tunnel (a WebSocket, mostly) ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TunnelEnd {
    /// The client ended it first.
    Client,
    /// The endpoint ended it first.
    Endpoint,
    /// The client's connection broke.
    ClientBroke,
    /// The endpoint's connection broke.
    EndpointBroke,
    /// Nothing passed for too long.
    Idle,
    /// It became too old.
    MaxAge,
    /// A reload removed its route, or the route's upstream.
    Removed,
    /// The gateway or the listener went away.
    Drain,
}

impl TunnelEnd {
    /// Label values, in the order of the enum.
    pub const NAMES: [&'static str; 8] = [
        "client",
        "endpoint",
        "client_broke",
        "endpoint_broke",
        "idle",
        "max_age",
        "removed",
        "drain",
    ];
}

/// How a name lookup ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// Addresses were found.
    Ok,
    /// No addresses, and none from before.
    Failed,
    /// No addresses, but those from before were still good enough.
    Stale,
}

impl Lookup {
    /// Label values, in the order of the enum.
    pub const NAMES: [&'static str; 3] = ["ok", "failed", "stale"];
}

/// The settings whose bounds are counted when hit, by their keys in the document, `*` for any name; anything
/// else counts as the last one.
pub(super) const LIMITS: [&str; 17] = [
    "client.limits.handshakes",
    "client.limits.head",
    "client.limits.fields",
    "client.limits.target",
    "client.limits.body",
    "client.limits.min_rate",
    "client.http2.max_concurrent_streams",
    "client.http2.max_resets",
    "client.http2.max_malformed",
    "client.http2.max_control_frames",
    "routes.*.max_body",
    "client.http3.max_resets",
    "listeners.*.max_connections",
    "listeners.*.max_connections_per_client",
    "upstreams.*.limits.head",
    "upstreams.*.limits.fields",
    "other",
];

/// The place of a setting in [`LIMITS`].
pub(super) fn limit_index(setting: &str) -> usize {
    LIMITS
        .iter()
        .position(|&known| known == setting)
        .unwrap_or(LIMITS.len() - 1)
}

/// The statuses with a count of their own.
const COMMON: [u16; 43] = [
    101, 200, 201, 202, 203, 204, 206, 207, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408,
    409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 425, 429, 431, 499, 500, 501, 502, 503, 504, 505,
    508,
];

/// How many counts [`status_index`] tells apart: the common ones, five classes, and what is no status.
pub(super) const STATUSES: usize = COMMON.len() + 6;

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// The count a status belongs to.
#[inline]
pub(super) fn status_index(status: u16) -> usize {
    let past = usize::from(status).wrapping_sub(100);
    STATUS_INDEX
        .get(past)
        .map_or(STATUSES - 1, |&index| usize::from(index))
}

/// The label value of a count: `404`, or `4xx` for the rest of the class.
pub(super) fn status_label(index: usize) -> String {
    match COMMON.get(index) {
        Some(status) => status.to_string(),
        None => (*CLASSES.get(index - COMMON.len()).unwrap_or(&"other")).to_owned(),
    }
}

/// The place of a status in `CLASSES`.
#[inline]
pub(super) fn class_index(status: u16) -> usize {
    match status {
        100..=599 => usize::from(status) / 100 - 1,
        _ => 5,
    }
}

/// The label value of a class.
pub(super) fn class_label(index: usize) -> &'static str {
    CLASSES.get(index).unwrap_or(&"other")
}

/// For each status from 100 to 599: its count.
#[allow(clippy::cast_possible_truncation, reason = "there are 49 counts")]
const STATUS_INDEX: [u8; 500] = {
    let mut table = [0; 500];
    let mut i = 0;
    while i < table.len() {
        table[i] = (COMMON.len() + i / 100) as u8;
        i += 1;
    }
    let mut i = 0;
    while i < COMMON.len() {
        table[COMMON[i] as usize - 100] = i as u8;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_label() {
        let label = |status| status_label(status_index(status));
        for (status, expected) in [
            (200, "200"),
            (404, "404"),
            (418, "4xx"),
            (100, "1xx"),
            (599, "5xx"),
            (226, "2xx"),
            (399, "3xx"),
        ] {
            assert_eq!(label(status), expected);
        }
        for status in [0, 99, 600, 999, u16::MAX] {
            assert_eq!(
                (label(status).as_str(), class_label(class_index(status))),
                ("other", "other")
            );
        }
        assert_eq!(class_label(class_index(599)), "5xx");
    }

    #[test]
    fn every_status_the_gateway_makes_is_common() {
        for code in crate::failure::Code::ALL {
            assert_eq!(
                status_label(status_index(code.status())),
                code.status().to_string()
            );
        }
    }

    #[test]
    fn names_and_enums_have_the_same_length() {
        assert_eq!(Phase::Drain as usize + 1, Phase::NAMES.len());
        assert_eq!(Refused::Draining as usize + 1, Refused::NAMES.len());
        assert_eq!(Unshaken::Alert as usize + 1, Unshaken::NAMES.len());
        assert_eq!(Closed::Removed as usize + 1, Closed::NAMES.len());
        assert_eq!(TunnelEnd::Drain as usize + 1, TunnelEnd::NAMES.len());
        assert_eq!(Lookup::Stale as usize + 1, Lookup::NAMES.len());
        assert_eq!(limit_index("client.limits.target"), 3);
        assert_eq!(LIMITS[limit_index("something.new")], "other");
    }

    #[test]
    fn every_limit_is_a_key_of_the_document() {
        let schema = crate::config::schema::document(&[]);
        let resolve = |mut node: &serde_json::Value| {
            if let Some(branches) = node["anyOf"].as_array() {
                node = branches.first().unwrap();
            }
            let name = node["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/"));
            name.map_or(node, |name| &schema["$defs"][name]).clone()
        };
        for limit in LIMITS.iter().filter(|limit| **limit != "other") {
            let found = limit.split('.').fold(schema.clone(), |node, key| {
                resolve(match key {
                    "*" => &node["additionalProperties"],
                    key => &node["properties"][key],
                })
            });
            assert!(found.is_object(), "{limit}");
        }
    }
}
