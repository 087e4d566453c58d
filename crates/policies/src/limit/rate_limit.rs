//! Limits how many requests a client may make in a window of time.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Span, Template};
use gatehouse_core::failure::Code;
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::state::meter::DEFAULT_CAPACITY;
use gatehouse_core::telemetry::metrics::Family;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limiter::{self, Limiter};
use super::queue::{LimitQueue, WAITING};
use super::rules::{self, Algorithm, RuleSet, Tier, WindowLimit};
use super::shared::{Mode, OnFailure, Shared, Sharing, WITHOUT};
use super::{Cost, FinalCost, Keys, LimitHeaders};
use crate::store;

/// Limits how many requests a client may make in a window of time.
///
/// Requests over the limit get `429` with `Retry-After`; every answer says what is left. Of several limits
/// (`limits`) each has to have room: if one refuses, the request is counted by none. What is refused is not counted.
///
/// Counts are kept in this process's memory, in a bounded number of entries. They survive a change of the
/// configuration as long as the policy keeps its place or name, its `key`, `max_keys`, `algorithm` and windows;
/// another `limit` is in force at once.
///
/// With a `store`, all gateways that have the policy at the same place, or under the same name, count together: each
/// decision is one step in the store, by the store's clock. Keys are there as digests only.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed in each window.
    #[serde(default)]
    pub limit: Option<NonZeroU64>,
    /// Length of the window. Absent: `1s`.
    #[serde(default)]
    pub window: Option<Span>,
    /// Of a token bucket: requests allowed at once. Absent: as many as `limit`.
    #[serde(default)]
    pub burst: Option<NonZeroU64>,
    /// Several limits at once, in place of `limit`, such as 100 a second and 10,000 a day. At most 6.
    #[serde(default)]
    pub limits: Vec<WindowLimit>,
    /// How requests are counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// What is counted together. Of a list, all parts have to be the same. Requests that have nothing of what is asked
    /// for, such as a header, are counted together.
    #[serde(default)]
    pub key: Keys,
    /// So many bits of an IPv6 address make a client: who has one such address has all that begin like it.
    #[serde(default = "RateLimit::ipv6_prefix")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Other limits for some callers, by the name of their tier or of one of their groups. The others have those above.
    #[serde(default)]
    pub tiers: IndexMap<String, Tier>,
    /// Where the name of the tier stands, such as `${claims.plan}`. Absent: it is the consumer's `tier`, or if there are
    /// no limits for that, the first of its `groups` that there are limits for.
    #[serde(default)]
    pub tier: Option<Template>,
    /// Where a limit of the caller's own may stand, such as `${consumer.label.limit}` or `${claims.rate}`. A whole number
    /// from 1 takes the place of the first limit; anything else does not.
    #[serde(default)]
    pub limit_from: Option<Template>,
    /// What a request uses of the limits: a number, or a text with variables that says one. What says no number
    /// costs 1; what says 0 is free.
    #[serde(default)]
    pub cost: Cost,
    /// What the answer says a request has cost, such as tokens of a language model. Absent: what `cost` says.
    #[serde(default)]
    pub final_cost: Option<FinalCost>,
    /// Of a token bucket: has requests that come too soon wait for their turn. Absent: they are refused at once.
    #[serde(default)]
    pub queue: Option<LimitQueue>,
    /// Counts and lets through: what would be refused is counted in the metric as `shadow`, and nobody is told.
    #[serde(default)]
    pub shadow: bool,
    /// What clients and metrics call it. Absent: clients see `default` or the window, metrics its place in the document.
    #[serde(default)]
    pub name: Option<String>,
    /// The store in which gateways count together, one of `stores`. Absent: each gateway counts for itself.
    #[serde(default)]
    pub store: Option<String>,
    /// What happens while the store does not answer.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How many gateways share the store, for `on_failure: local` and `mode: approximate`: each then counts to its share.
    #[serde(default = "RateLimit::nodes")]
    pub nodes: NonZeroU32,
    /// How exactly gateways count together.
    #[serde(default)]
    pub mode: Mode,
    /// Which fields tell clients of the limit.
    #[serde(default)]
    pub headers: LimitHeaders,
    /// Keys kept in memory, about 90 bytes each and 24 more for each further limit; if there are more, those not seen
    /// for longest are forgotten and counted in `gatehouse_window_evictions_total`.
    #[serde(default = "RateLimit::max_keys")]
    pub max_keys: NonZeroU32,
}

impl RateLimit {
    fn ipv6_prefix() -> u8 {
        64
    }

    fn nodes() -> NonZeroU32 {
        NonZeroU32::MIN
    }

    fn max_keys() -> NonZeroU32 {
        u32::try_from(DEFAULT_CAPACITY)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MAX)
    }
}

/// What became of requests.
pub(super) const OUTCOMES: Family = Family::counter(
    "gatehouse_rate_limit_total",
    &["policy", "outcome"],
    "Requests that met a rate limit: allowed, delayed, refused, or shadow for those let through that would have been refused.",
);

impl PolicyConfig for RateLimit {
    const NAME: &'static str = "rate_limit";
    const STAGE: Stage = Stage::Limit;
    const EXAMPLE: &'static str = "limit: 100\nwindow: 1m\nkey: client_ip\n";
    const METRICS: &'static [Family] = &[OUTCOMES, WAITING, WITHOUT, store::UP, store::COMMANDS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        self.key.check(cx)?;
        if !(1..=128).contains(&self.ipv6_prefix) {
            return Err(cx.error(
                "ipv6_prefix",
                "an IPv6 address has 128 bits; expected a number from 1 to 128",
            ));
        }
        if self.tier.is_some() && self.tiers.is_empty() {
            return Err(cx.error(
                "tier",
                "`tier` says where the name of a tier stands, but there are no `tiers`",
            ));
        }
        if let Some(queue) = &self.queue {
            queue.check(&self, cx)?;
        }
        let common = rules::Common {
            algorithm: self.algorithm,
            name: self.name.as_deref(),
            window: self.window,
        };
        let own = Tier {
            limit: self.limit,
            window: self.window,
            burst: self.burst,
            limits: self.limits,
        };
        let own = RuleSet::compile(&own, "", "", &common, cx)?;
        let mut tiers = IndexMap::with_capacity(self.tiers.len());
        for (name, tier) in &self.tiers {
            let path = format!("tiers.{name}");
            tiers.insert(
                name.as_str().into(),
                RuleSet::compile(tier, name, &path, &common, cx)?,
            );
        }
        let most = tiers.values().map(|set: &RuleSet| set.rules.len()).max();
        let most = most.unwrap_or_default().max(own.rules.len());
        // The key is part of the shape: counts of addresses mean nothing to counts of headers.
        let shape = format!("key={} ipv6={}", self.key, self.ipv6_prefix);
        let sharing = Sharing {
            store: self.store.as_deref(),
            on_failure: self.on_failure,
            nodes: self.nodes,
            mode: self.mode,
        };
        let max_keys = usize::try_from(self.max_keys.get()).unwrap_or(usize::MAX);
        let label = self.name.clone().unwrap_or_else(|| cx.identity.clone());
        let max_leases = max_keys;
        Ok(Arc::new(Limiter {
            shared: Shared::compile(&sharing, &label, max_leases, cx)?,
            meters: cx.meters(&shape, most, max_keys),
            key: self.key,
            ipv6_prefix: self.ipv6_prefix,
            own,
            tiers,
            tier: self.tier,
            limit_from: self.limit_from,
            cost: self.cost,
            final_cost: match self.final_cost {
                Some(last) => Some(last.compile(cx)?),
                None => None,
            },
            shadow: self.shadow,
            headers: self.headers,
            outcomes: limiter::Outcomes::new(cx, &OUTCOMES, &label, self.queue.is_some()),
            code: Code::RateLimited,
            calendar: None,
            queue: self.queue.map(|queue| queue.compile(&label, cx)),
            warn: None,
        }))
    }
}
