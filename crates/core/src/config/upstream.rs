//! Upstreams: endpoints that serve the same thing, and how we speak to them.

mod tls;

pub use tls::{UpstreamProtocol, UpstreamTls};

use super::policy::PolicyEntry;
use super::types::{EndpointUrl, Size, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A set of endpoints that serve the same thing.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Addresses of the endpoints, such as `http://10.0.0.1:8080`. At least one.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<EndpointSpec>,
    /// Which HTTP the endpoints are spoken to.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// How `https` endpoints are recognised, and how they recognise us.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is chosen for a request.
    #[serde(default)]
    pub balance: Balance,
    /// Short for `timeouts.total`.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How long each part of an attempt may take.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Connections that wait for their next request.
    #[serde(default)]
    pub pool: Pool,
    /// How much an endpoint may send.
    #[serde(default)]
    pub limits: UpstreamLimits,
    /// Policies for each attempt, in the order written.
    #[serde(default)]
    pub policies: Vec<PolicyEntry>,
}

impl Upstream {
    /// An upstream of these endpoints, everything else as by default.
    pub fn of(endpoints: Vec<EndpointSpec>) -> Self {
        Self {
            endpoints,
            protocol: UpstreamProtocol::default(),
            tls: None,
            balance: Balance::default(),
            timeout: None,
            timeouts: UpstreamTimeouts::default(),
            pool: Pool::default(),
            limits: UpstreamLimits::default(),
            policies: Vec::new(),
        }
    }

    /// How long a whole attempt may take: `timeout`, else `timeouts.total`.
    pub fn total_timeout(&self) -> Span {
        self.timeout.unwrap_or(self.timeouts.total)
    }
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each in turn, as often as its weight says.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way, for its weight.
    LeastRequest,
}

/// How long each part of an attempt may take. All must be longer than nothing.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// Until a new connection is made.
    pub connect: Span,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Span,
    /// Between two pieces, in either direction.
    pub idle: Span,
    /// For the whole attempt, to the last byte of the response.
    pub total: Span,
    /// How long a body is held back for `100 Continue`, after which it is sent anyway.
    pub expect_continue: Span,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: Span::from_secs(2),
            first_byte: Span::from_secs(30),
            idle: Span::from_secs(60),
            total: Span::from_secs(3600),
            expect_continue: Span::from_secs(1),
        }
    }
}

/// Connections that wait for their next request.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// How many may wait, for each worker and endpoint. `0`: a new connection for each request.
    pub max_idle: u32,
    /// How long one waits before it is closed.
    pub idle_timeout: Span,
    /// How old one may get; it ends with the request under way.
    pub max_age: Span,
    /// How many requests one serves before it is closed. At least 1.
    #[schemars(range(min = 1))]
    pub max_requests: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_idle: 256,
            idle_timeout: Span::from_secs(30),
            max_age: Span::from_secs(3600),
            max_requests: 100_000,
        }
    }
}

/// How much an endpoint may send. Above: the attempt fails.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamLimits {
    /// Bytes of the head of a response.
    pub head: Size,
    /// Fields in a head. From 1 to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    pub fields: u32,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            head: Size::kib(32),
            fields: 200,
        }
    }
}

/// An endpoint: its URL, perhaps with a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where it is.
    pub url: EndpointUrl,
    /// Its share of the requests, relative to the others. `0` is none.
    pub weight: u32,
}

/// The written form of an endpoint with more than its URL.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Weighted {
    /// Where it is, such as `http://10.0.0.1:8080`.
    url: EndpointUrl,
    /// Its share of the requests, relative to the others. `0` is none.
    #[serde(default = "EndpointSpec::default_weight")]
    weight: u32,
}

impl EndpointSpec {
    const fn default_weight() -> u32 {
        1
    }
}

impl From<EndpointUrl> for EndpointSpec {
    fn from(url: EndpointUrl) -> Self {
        Self {
            url,
            weight: Self::default_weight(),
        }
    }
}

impl<'de> Deserialize<'de> for EndpointSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrWeighted;

        impl<'de> Visitor<'de> for UrlOrWeighted {
            type Value = EndpointSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an endpoint such as `http://10.0.0.1:8080` or `{ url: …, weight: 2 }`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EndpointSpec, E> {
                text.parse::<EndpointUrl>()
                    .map(EndpointSpec::from)
                    .map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointSpec, A::Error> {
                let Weighted { url, weight } = Weighted::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EndpointSpec { url, weight })
            }
        }

        deserializer.deserialize_any(UrlOrWeighted)
    }
}

impl Serialize for EndpointSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.weight == Self::default_weight() {
            return self.url.serialize(serializer);
        }
        let mut map = serializer.serialize_struct("EndpointSpec", 2)?;
        map.serialize_field("url", &self.url)?;
        map.serialize_field("weight", &self.weight)?;
        map.end()
    }
}

impl JsonSchema for EndpointSpec {
    fn schema_name() -> Cow<'static, str> {
        "EndpointSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (url, weighted) = (
            generator.subschema_for::<EndpointUrl>(),
            generator.subschema_for::<Weighted>(),
        );
        schemars::json_schema!({ "description": "The URL of an endpoint, or one with a weight.", "anyOf": [url, weighted] })
    }
}
