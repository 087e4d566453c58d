//! Limits that several gateways count together, and what each does while the store does not answer.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use gatehouse_core::config::Diagnostic;
use gatehouse_core::policy::Compile;
use gatehouse_core::state::meter::{Algorithm, Decision, MOST_RULES, Rule};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::leases::{Leased, Leases};
use crate::store::{self, Redis, Unavailable};

/// What happens while the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Each gateway counts for itself, to the limit divided by `nodes`.
    #[default]
    Local,
    /// Everything is let through.
    Open,
    /// Everything is refused with `503`.
    Closed,
}

impl OnFailure {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// How exactly gateways count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The store is asked for each request: never more than the limit.
    #[default]
    Exact,
    /// A gateway takes some of the limit ahead and gives it out by itself, so that the store is asked less often: at most
    /// a tenth of the limit for all gateways together (`nodes`). In any window at most a tenth more than the limit comes
    /// through, and at most a tenth of it may lie unused at gateways. A limit below 10 for each gateway is counted
    /// exactly.
    Approximate,
}

/// Decisions that were made without the store.
pub(super) const WITHOUT: Family = Family::counter(
    "gatehouse_limit_without_store_total",
    &["policy", "decided"],
    "Requests decided while a limit's store did not answer, by what `on_failure` says.",
);

/// How a policy counts together with others, as written.
pub struct Sharing<'a> {
    /// The store's name.
    pub store: Option<&'a str>,
    /// What happens while it does not answer.
    pub on_failure: OnFailure,
    /// How many gateways there are.
    pub nodes: NonZeroU32,
    /// How exactly they count.
    pub mode: Mode,
}

/// How a policy counts together with others.
pub struct Shared {
    store: Arc<Redis>,
    /// Whose counts they are, the same at all gateways.
    scope: Box<str>,
    nodes: u64,
    leases: Option<Arc<Leases>>,
    background: Option<Handle>,
    /// What happens while the store does not answer.
    pub on_failure: OnFailure,
    /// Counts that.
    pub without: Arc<Tally>,
}

impl Shared {
    /// Finds the store. None if there is none to be found.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn compile(
        written: &Sharing<'_>,
        label: &str,
        max_leases: usize,
        cx: &Compile<'_>,
    ) -> Result<Option<Self>, Diagnostic> {
        let Some(name) = written.store else {
            let message = "only a limit with a `store` has it; take it out, or name one of `stores`";
            return match (written.mode, written.on_failure) {
                (Mode::Exact, OnFailure::Local) => Ok(None),
                (Mode::Approximate, _) => Err(cx.error("mode", message)),
                _ => Err(cx.error("on_failure", message)),
            };
        };
        let leases = || cx.state(&format!("leases={max_leases}"), || Leases::new(max_leases));
        Ok(Some(Self {
            store: Redis::named(cx, "store", name)?,
            scope: cx.identity.as_str().into(),
            nodes: u64::from(written.nodes.get()),
            leases: (written.mode == Mode::Approximate).then(leases),
            background: cx.background.cloned(),
            on_failure: written.on_failure,
            without: cx.tally(&WITHOUT, &[label, written.on_failure.name()]),
        }))
    }

    /// Whether the store is worth asking.
    pub fn is_up(&self) -> bool {
        self.store.is_up()
    }

    /// What this gateway may decide by itself, if anything.
    pub fn leased(&self, key: &[u8], cost: u64, now: Instant) -> Leased {
        match &self.leases {
            Some(leases) => leases.decide(key, cost, now),
            None => Leased::Ask { ahead: false },
        }
    }

    /// Asks the store; for some ahead if that is said.
    pub async fn count(
        &self,
        key: &[u8],
        rules: &[Rule],
        cost: u64,
        ahead: bool,
        now: Instant,
    ) -> Result<Decision, Unavailable> {
        let share = |rule: &Rule| rule.limit.min(rule.burst) / 10 / self.nodes;
        let ahead = if ahead {
            rules.iter().map(share).min()
        } else {
            None
        };
        let name = self.name(key);
        let asked = store::Asked {
            key: &name,
            rules,
            cost,
            most: cost.saturating_add(ahead.unwrap_or_default()),
        };
        let (taken, decision) = self.store.count(&asked).await?;
        // What costs more may be refused where a usual request is not.
        if let Some(leases) = self
            .leases
            .as_ref()
            .filter(|_| ahead > Some(0) && (decision.admitted || cost <= 1))
        {
            let shortest = rules.iter().map(|rule| rule.window).min().unwrap_or_default();
            let lasts = Duration::from_nanos(shortest);
            leases.keep(key, taken.saturating_sub(cost), lasts, &decision, now);
        }
        Ok(decision)
    }

    /// Puts the final cost in the place of what a request used, beside the traffic. What the store does not take is lost.
    pub fn settle(&self, key: &[u8], rules: &[Rule], used: u64, cost: u64, ago: Duration) {
        let Some(background) = self.background.clone() else {
            return;
        };
        let (store, name, rules) = (self.store.clone(), self.name(key), rules.to_vec());
        // The store bounds how many are under way, and each of them in time.
        background.spawn(async move {
            let asked = store::Asked {
                key: &name,
                rules: &rules,
                cost,
                most: 0,
            };
            let _ = store.recount(&asked, used, ago).await;
        });
    }

    /// The rules for a gateway that is alone with its share.
    pub fn share<'r>(&self, rules: &[Rule], share: &'r mut [Rule; MOST_RULES]) -> &'r [Rule] {
        for (share, rule) in share.iter_mut().zip(rules) {
            *share = Rule {
                limit: (rule.limit / self.nodes).max(1),
                burst: (rule.burst / self.nodes).max(1),
                ..*rule
            };
            // What the period before left, only the store knows.
            if let Algorithm::Period { rollover, .. } = &mut share.algorithm {
                *rollover = 0;
            }
        }
        share.get(..rules.len()).unwrap_or_default()
    }

    /// What the store calls a key: of one size whatever a caller sends, and nobody reads there who called.
    fn name(&self, key: &[u8]) -> String {
        let mut whole = Vec::with_capacity(self.scope.len() + 1 + key.len());
        whole.extend_from_slice(self.scope.as_bytes());
        whole.push(0);
        whole.extend_from_slice(key);
        let mut name = String::with_capacity(38);
        name.push_str("limit:");
        for byte in digest(&SHA256, &whole).as_ref().iter().take(16) {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}
