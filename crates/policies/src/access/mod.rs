//! Decides what a caller may do.

mod rule;

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Percent};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::Identity;
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth;
use rule::Rule;

/// Decides what a caller may do, by scopes, roles, groups, claims and conditions, all of which must hold.
///
/// A caller who may not gets `403` (`forbidden`). If nobody is known to call, because no authentication found anybody, and
/// a rule that asks who calls does not hold, the answer is `401` (`unauthenticated`). Which rule it was, and what was
/// missing, is told to the log only, at the level `debug`.
///
/// Conditions are written in the [Common Expression Language](https://cel.dev). They see
/// `request.method`, `.host`, `.path`, `.query`, `.scheme`, `.headers['name']`, `.params['name']`; `source.ip`, `.country`;
/// `route.name`; `consumer.name`, `.tier`, `.groups`, `.labels`; `identity.known`, `.subject`, `.scopes`, `.method`,
/// `.credential`; and `claims`. Besides the standard functions there is `in_cidr(source.ip, '10.0.0.0/8')`. They are compiled
/// when the configuration is loaded: names that do not exist and operands that never fit are errors then. A condition
/// that asks for something that is not there, such as a claim, does not hold; `has(claims.team)` asks whether it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Scopes of the caller.
    pub scopes: Names,
    /// Roles of the caller, as the claim `role_claim` has them.
    pub roles: Names,
    /// The claim that lists roles: a list, or a text with spaces or commas between. Dots lead into objects:
    /// `realm_access.roles`.
    pub role_claim: RoleClaim,
    /// Groups of the consumer.
    pub groups: Names,
    /// Names of consumers. `all` makes no sense here.
    pub consumers: Names,
    /// Claims by their path, and what they must be: a value, or a list of values of which one is enough. Of a claim that
    /// is a list, one element is enough.
    pub claims: IndexMap<String, Value>,
    /// Conditions by name; each must be true.
    pub conditions: IndexMap<String, String>,
    /// Decides, counts and logs, but lets everybody through.
    pub dry_run: bool,
    /// Which share of the decisions is written to the log, at the level `debug`.
    pub log_share: LogShare,
}

/// Names of which a caller has some.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Names {
    /// At least one of these.
    pub any: Vec<String>,
    /// Every one of these.
    pub all: Vec<String>,
    /// None of these.
    pub none: Vec<String>,
}

/// The claim that lists roles.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct RoleClaim(String);

impl Default for RoleClaim {
    fn default() -> Self {
        Self("roles".to_owned())
    }
}

/// A share of decisions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct LogShare(Percent);

impl Default for LogShare {
    fn default() -> Self {
        Self(Percent::ALL)
    }
}

const DECISIONS: Family = Family::counter(
    "gatehouse_access_decisions_total",
    &["policy", "rule", "outcome"],
    "Decisions of `access` policies: `allowed`, `denied`, `unauthenticated`, or `would_deny` in a dry run, with the rule that did not hold.",
);

impl PolicyConfig for Access {
    const NAME: &'static str = "access";
    const STAGE: Stage = Stage::Authorize;
    const EXAMPLE: &'static str = "scopes: { all: [orders:write] }\ngroups: { any: [partners, staff], none: [suspended] }\nclaims: { email_verified: true }\nconditions:\n  own_tenant: \"request.headers['X-Tenant'] == claims.tenant\"\n";
    const METRICS: &'static [Family] = &[DECISIONS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let tests = rule::compile(&self, cx)?;
        if tests.is_empty() {
            let message = "everybody is let through; give `scopes`, `roles`, `groups`, `consumers`, `claims` or `conditions`";
            return Err(cx.error("scopes", message));
        }
        let identity = cx.identity.clone();
        let count = |rule: &str, outcome| cx.tally(&DECISIONS, &[&identity, rule, outcome]);
        let refused = if self.dry_run { "would_deny" } else { "denied" };
        let rules = tests.into_iter().map(|(name, test)| Rule {
            denied: count(&name, refused),
            unauthenticated: count(&name, if self.dry_run { refused } else { "unauthenticated" }),
            name,
            test,
        });
        Ok(Arc::new(Decider {
            rules: rules.collect(),
            allowed: count("", "allowed"),
            dry_run: self.dry_run,
            log_share: self.log_share.0,
            policy: cx.identity.as_str().into(),
        }))
    }
}

struct Decider {
    rules: Box<[Rule]>,
    allowed: Arc<Tally>,
    dry_run: bool,
    log_share: Percent,
    policy: Box<str>,
}

impl Decider {
    fn decide(&self, ex: &Exchange) -> Outcome {
        for rule in &self.rules {
            let Err(why) = rule.test.holds(ex) else { continue };
            let nobody = ex.identity.is_none() && rule.test.asks_identity();
            if nobody {
                &rule.unauthenticated
            } else {
                &rule.denied
            }
            .count(ex);
            let outcome = match (self.dry_run, nobody) {
                (true, _) => "would_deny",
                (false, true) => "unauthenticated",
                (false, false) => "denied",
            };
            self.log(ex, &rule.name, outcome, &why);
            if self.dry_run {
                return Ok(Verdict::Continue);
            }
            if nobody {
                return Err(auth::required(""));
            }
            let detail = format!("{}: rule `{}`: {why}", self.policy, rule.name);
            return Err(Failure::new(Code::Forbidden).detail(detail));
        }
        self.allowed.count(ex);
        self.log(ex, "", "allowed", "");
        Ok(Verdict::Continue)
    }

    fn log(&self, ex: &Exchange, rule: &str, outcome: &str, why: &str) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let share = u64::from(self.log_share.millionths());
        if share < u64::from(Percent::WHOLE) && ex.random() % u64::from(Percent::WHOLE) >= share {
            return;
        }
        tracing::debug!(
            policy = &*self.policy,
            rule,
            outcome,
            caller = ex.identity.as_ref().map_or("", Identity::name),
            request_id = ex.ids.request.as_str(),
            why,
            "access decision"
        );
    }
}

impl Policy for Decider {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }
}
