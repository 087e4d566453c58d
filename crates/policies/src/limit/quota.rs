//! Limits how much a client may use in an hour, a day, a week or a month of the calendar.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::failure::Code;
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::state::meter::DEFAULT_CAPACITY;
use gatehouse_core::telemetry::metrics::Family;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, Period};
use super::limiter::{Limiter, Outcomes};
use super::rules::RuleSet;
use super::shared::{Mode, OnFailure, Shared, Sharing};
use super::{Cost, FinalCost, Keys, LimitHeaders, Rollover, show};

/// Limits how much a client may use in an hour, a day, a week or a month of the calendar.
///
/// When all is used, requests get `429` (`quota_exceeded`) with `Retry-After` until the period ends. From `warn_at` percent
/// on, answers have `X-Quota-Warning` with the percentage used, and are counted as `warned`. What is refused is not
/// counted.
///
/// A quota belongs into a `store`: without one it is counted in the memory of each gateway, and begins again when that
/// is started anew. Either way counts belong to the place of the policy in the document, or to its name in
/// `named_policies`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// What may be used in a period: requests, or what `cost` says.
    pub limit: NonZeroU64,
    /// How long it has to last.
    #[serde(default)]
    pub period: Period,
    /// The zone whose clocks say when periods begin, such as `Europe/Berlin`.
    #[serde(default = "Quota::time_zone")]
    pub time_zone: String,
    /// Of months, the day on which they begin, as bills do; in months without it their last day.
    #[serde(default = "Quota::anchor")]
    #[schemars(range(min = 1, max = 31))]
    pub anchor: i8,
    /// How much of what a period left may be used in the next, at most: a number, or a share of the caller's limit such
    /// as `50%`. Absent: nothing.
    ///
    /// When a period begins, what was left of the one before is added to the limit: what was added to that one included,
    /// but never more than is said here, nor than the limit itself. It is used or left like the rest, and clients are
    /// told the sum. Reckoned by the limit that holds then. A caller who asked nothing in a whole period, or in several,
    /// left all of it. One who is new has saved nothing, nor has one who is forgotten: a store keeps what was left for
    /// about a dozen periods without a request, and memory while there is room. While a store does not answer nothing is
    /// added. What is given back for `final_cost` after the end of a period is not added to the next.
    #[serde(default)]
    pub rollover: Rollover,
    /// What is counted together; see `rate_limit`.
    #[serde(default = "Quota::key")]
    pub key: Keys,
    /// So many bits of an IPv6 address make a client.
    #[serde(default = "Quota::ipv6_prefix")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Other limits for some callers, by the name of their tier or of one of their groups.
    #[serde(default)]
    pub tiers: IndexMap<String, NonZeroU64>,
    /// Where the name of the tier stands, such as `${claims.plan}`. Absent: it is the consumer's `tier`, or if there is
    /// no limit for that, the first of its `groups` that there is a limit for.
    #[serde(default)]
    pub tier: Option<Template>,
    /// Where a limit of the caller's own may stand, such as `${consumer.label.quota}`. A whole number from 1 takes the
    /// place of the limit; anything else does not.
    #[serde(default)]
    pub limit_from: Option<Template>,
    /// What a request uses of it: a number, or a text with variables that says one. What says no number costs 1; what
    /// says 0 is free.
    #[serde(default)]
    pub cost: Cost,
    /// What the answer says a request has cost, such as tokens of a language model. Absent: what `cost` says.
    #[serde(default)]
    pub final_cost: Option<FinalCost>,
    /// From so many percent on, callers are warned. 100 warns nobody.
    #[serde(default = "Quota::warn_at")]
    #[schemars(range(min = 1, max = 100))]
    pub warn_at: u8,
    /// The store in which it is counted, one of `stores`. Absent: in memory.
    #[serde(default)]
    pub store: Option<String>,
    /// What happens while the store does not answer.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How many gateways share the store, for `on_failure: local`.
    #[serde(default = "Quota::nodes")]
    pub nodes: NonZeroU32,
    /// Counts and lets through.
    #[serde(default)]
    pub shadow: bool,
    /// What clients and metrics call it. Absent: clients see the period, metrics its place in the document.
    #[serde(default)]
    pub name: Option<String>,
    /// Which fields tell clients of it.
    #[serde(default)]
    pub headers: LimitHeaders,
    /// Keys kept in memory, about 90 bytes each; if there are more, those not seen for longest are forgotten.
    #[serde(default = "Quota::max_keys")]
    pub max_keys: NonZeroU32,
}

impl Quota {
    fn time_zone() -> String {
        "UTC".to_owned()
    }

    fn anchor() -> i8 {
        1
    }

    fn key() -> Keys {
        Keys::consumer()
    }

    fn ipv6_prefix() -> u8 {
        64
    }

    fn warn_at() -> u8 {
        80
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
const OUTCOMES: Family = Family::counter(
    "gatehouse_quota_total",
    &["policy", "outcome"],
    "Requests that met a quota: allowed, of these warned, refused, or shadow for those let through that would have been \
     refused.",
);

impl PolicyConfig for Quota {
    const NAME: &'static str = "quota";
    const STAGE: Stage = Stage::Limit;
    const EXAMPLE: &'static str =
        "limit: 10000\nperiod: month\nkey: consumer\ntiers: { paid: 1000000 }\ntime_zone: Europe/Berlin\n";
    const METRICS: &'static [Family] = &[OUTCOMES];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        self.key.check(cx)?;
        if self.anchor != 1 && self.period != Period::Month {
            return Err(cx.error(
                "anchor",
                "only months have an anchor; write `period: month`, or take it out",
            ));
        }
        if self.tier.is_some() && self.tiers.is_empty() {
            return Err(cx.error(
                "tier",
                "`tier` says where the name of a tier stands, but there are no `tiers`",
            ));
        }
        let most = self.tiers.values().copied().fold(self.limit, NonZeroU64::max);
        if let Rollover::Number(number) = self.rollover
            && number > most.get()
            && self.limit_from.is_none()
        {
            let message = format!(
                "a period leaves at most its limit, {most}; write a smaller number, or `100%` for all that is left"
            );
            return Err(cx.error("rollover", message));
        }
        let calendar =
            Calendar::new(&self.time_zone, self.period, self.anchor, self.rollover).ok_or_else(|| {
                let zone = &self.time_zone;
                cx.error(
                    "time_zone",
                    format!("there is no time zone `{zone}`; expected such as `Europe/Berlin`"),
                )
            })?;
        let name = self.name.as_deref().unwrap_or(self.period.name());
        if !show::is_name(name) {
            let message = format!("`{name}` is no name for clients; use letters, digits, `-`, `_` and `.`");
            return Err(cx.error("name", message));
        }
        let salt = format!("{}|{}|{}", self.period.name(), self.time_zone, self.anchor);
        let set = |limit: NonZeroU64, tier: &str| {
            RuleSet::quota(limit, self.period.length(), name, &format!("{tier}|{salt}|"))
        };
        let own = set(self.limit, "");
        let tiers = self
            .tiers
            .iter()
            .map(|(tier, limit)| (tier.as_str().into(), set(*limit, tier)))
            .collect();
        let sharing = Sharing {
            store: self.store.as_deref(),
            on_failure: self.on_failure,
            nodes: self.nodes,
            mode: Mode::Exact,
        };
        let label = self.name.clone().unwrap_or_else(|| cx.identity.clone());
        let shape = format!("key={} ipv6={}", self.key, self.ipv6_prefix);
        let max_keys = usize::try_from(self.max_keys.get()).unwrap_or(usize::MAX);
        Ok(Arc::new(Limiter {
            shared: Shared::compile(&sharing, &label, max_keys, cx)?,
            meters: cx.meters(&shape, 1, max_keys),
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
            outcomes: Outcomes::new(cx, &OUTCOMES, &label, false),
            code: Code::QuotaExceeded,
            calendar: Some(calendar),
            queue: None,
            warn: (self.warn_at < 100).then(|| (self.warn_at, cx.tally(&OUTCOMES, &[&label, "warned"]))),
        }))
    }
}
