//! The decision of a rate limit, and what the answer says of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse_core::config::Template;
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, Step, Verdict};
use gatehouse_core::state::Meters;
use gatehouse_core::state::meter::{Algorithm, Decision, MOST_RULES, Rule};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use indexmap::IndexMap;

use super::calendar::Calendar;
use super::cost::{Settlement, number};
use super::leases::Leased;
use super::queue::{Queue, Turn, Waiting};
use super::rules::RuleSet;
use super::shared::{OnFailure, Shared};
use super::{Cost, Keys, LimitHeaders, show};

/// A compiled rate limit.
pub struct Limiter {
    /// Where gateways count together, if they do.
    pub shared: Option<Shared>,
    pub meters: Arc<Meters>,
    pub key: Keys,
    pub ipv6_prefix: u8,
    /// The rules of whoever has no tier of their own.
    pub own: RuleSet,
    pub tiers: IndexMap<Box<str>, RuleSet>,
    pub tier: Option<Template>,
    pub limit_from: Option<Template>,
    pub cost: Cost,
    /// What an answer says of the cost.
    pub final_cost: Option<Settlement>,
    pub shadow: bool,
    pub headers: LimitHeaders,
    pub outcomes: Outcomes,
    /// What a refusal is called.
    pub code: Code,
    /// Where the bounds of windows stand, if they follow the calendar.
    pub calendar: Option<Calendar>,
    /// Where requests wait that come too soon.
    pub queue: Option<Queue>,
    /// From how many percent on callers are warned, and the count of them.
    pub warn: Option<(u8, Arc<Tally>)>,
}

/// Counters of what was decided.
pub struct Outcomes {
    allowed: Arc<Tally>,
    refused: Arc<Tally>,
    shadow: Arc<Tally>,
    /// There if there is a queue.
    delayed: Option<Arc<Tally>>,
}

impl Outcomes {
    /// The counters of a policy.
    pub fn new(cx: &Compile<'_>, family: &'static Family, policy: &str, has_queue: bool) -> Self {
        Self {
            allowed: cx.tally(family, &[policy, "allowed"]),
            refused: cx.tally(family, &[policy, "refused"]),
            shadow: cx.tally(family, &[policy, "shadow"]),
            delayed: has_queue.then(|| cx.tally(family, &[policy, "delayed"])),
        }
    }
}

/// What a request asks of a limit.
struct Asked {
    key: Vec<u8>,
    cost: u64,
    /// Which tier's rules; none for the policy's own.
    tier: Option<usize>,
    /// The limit that takes the place of the first.
    limit: Option<u64>,
}

/// What was used, until the answer says what it was worth.
struct Used {
    key: Vec<u8>,
    cost: u64,
    at: Instant,
    /// Whether it was counted in the store.
    in_store: bool,
}

/// What the answer says of the limit.
struct Shown {
    used: Option<Used>,
    decision: Decision,
    tier: Option<usize>,
    limit: Option<u64>,
}

/// What was decided, and whether the request has to wait for its turn.
struct Decided<'a> {
    outcome: Outcome,
    turn: Option<Turn<'a>>,
}

impl<'a> Decided<'a> {
    fn at_once(outcome: Outcome) -> Self {
        Self { outcome, turn: None }
    }

    fn step(self) -> Step<'a> {
        match self.turn {
            None => self.outcome.into(),
            Some(_) => Step::wait(self.wait()),
        }
    }

    async fn wait(self) -> Outcome {
        if let Some(turn) = self.turn {
            turn.wait().await;
        }
        self.outcome
    }
}

impl Limiter {
    fn ask(&self, ex: &Exchange) -> Asked {
        let tier = if self.tiers.is_empty() {
            None
        } else {
            self.tier_of(ex)
        };
        let mut key = ex.scratch();
        key.extend_from_slice(&self.set(tier).salt);
        self.key.render(ex, self.ipv6_prefix, &mut key);
        let limit = self.limit_from.as_ref().and_then(|text| number(text, ex));
        Asked {
            key,
            cost: self.cost.of(ex),
            tier,
            limit: limit.filter(|limit| *limit > 0),
        }
    }

    fn set(&self, tier: Option<usize>) -> &RuleSet {
        let tier = tier.and_then(|tier| self.tiers.get_index(tier));
        tier.map_or(&self.own, |(_, set)| set)
    }

    fn tier_of(&self, ex: &Exchange) -> Option<usize> {
        if let Some(text) = &self.tier {
            let mut name = Vec::with_capacity(16);
            text.render(&mut name, &mut |variable, out| ex.variable(variable, out));
            return self.tiers.get_index_of(str::from_utf8(&name).ok()?);
        }
        let consumer = ex.identity.as_ref()?.consumer.as_ref()?;
        let tier = consumer.tier.as_deref();
        let mut names = tier
            .into_iter()
            .chain(consumer.groups.iter().map(|group| &**group));
        names.find_map(|name| self.tiers.get_index_of(name))
    }

    /// Counts in this process, to a share of the limits if that is said.
    fn decide<'a>(&'a self, ex: &mut Exchange, asked: Asked, shared: Option<&Shared>) -> Decided<'a> {
        let mut own = None;
        let rules = self.rules(ex, asked.tier, asked.limit, &mut own);
        let mut share = None;
        let rules = shared.map_or(rules, |shared| shared.share(rules, share.insert(NO_RULES)));
        let place = self.enter();
        let mut ahead = None;
        let rules = place
            .as_ref()
            .map_or(rules, |place| place.ahead(ex, rules, ahead.insert(NO_RULES)));
        // Who waits, waits from now on.
        let at = if place.is_some() { now() } else { ex.exact_now() };
        let decision = self.meters.count(&asked.key, rules, asked.cost, at);
        let turn = place.and_then(|place| place.turn(rules, &decision));
        self.conclude(ex, asked, &decision, false, turn)
    }

    fn enter(&self) -> Option<Waiting<'_>> {
        self.queue.as_ref().and_then(Queue::enter)
    }

    /// Decides with other gateways. What this one may give out by itself it does at once.
    fn decide_together<'a>(&'a self, shared: &'a Shared, ex: &'a mut Exchange) -> Step<'a> {
        let asked = self.ask(ex);
        let ahead = match shared.leased(&asked.key, asked.cost, now()) {
            Leased::Decided(decision) => return self.conclude(ex, asked, &decision, true, None).step(),
            Leased::Ask { ahead } => ahead,
        };
        if !shared.is_up() {
            return self.decide_alone(shared, ex, asked).step();
        }
        Step::wait(async move {
            let mut own = None;
            let rules = self.rules(ex, asked.tier, asked.limit, &mut own);
            let place = self.enter();
            let mut early = [NO_RULE; MOST_RULES];
            let rules = place
                .as_ref()
                .map_or(rules, |place| place.ahead(ex, rules, &mut early));
            let counted = shared.count(&asked.key, rules, asked.cost, ahead, now()).await;
            let decided = if let Ok(decision) = counted {
                let turn = place.and_then(|place| place.turn(rules, &decision));
                self.conclude(ex, asked, &decision, true, turn)
            } else {
                drop(place);
                self.decide_alone(shared, ex, asked)
            };
            decided.wait().await
        })
    }

    /// Decides while the store does not answer.
    fn decide_alone<'a>(&'a self, shared: &Shared, ex: &mut Exchange, asked: Asked) -> Decided<'a> {
        shared.without.count(ex);
        match shared.on_failure {
            OnFailure::Local => self.decide(ex, asked, Some(shared)),
            OnFailure::Closed if !self.shadow => {
                let failure = Failure::new(Code::Overloaded).detail("the store of a limit does not answer");
                Decided::at_once(Err(failure.header("retry-after", "1")))
            }
            OnFailure::Open | OnFailure::Closed => Decided::at_once(Ok(Verdict::Continue)),
        }
    }

    /// The rules of a tier, with a caller's own limit in the place of the first, and the bounds of the calendar.
    fn rules<'r>(
        &'r self,
        ex: &Exchange,
        tier: Option<usize>,
        limit: Option<u64>,
        own: &'r mut Option<Own>,
    ) -> &'r [Rule] {
        let rules = &self.set(tier).rules;
        if limit.is_none() && self.calendar.is_none() {
            return rules;
        }
        let own = own.insert(NO_RULES);
        for (own, rule) in own.iter_mut().zip(rules) {
            *own = *rule;
        }
        if let Some(first) = own.first_mut() {
            if let Some(limit) = limit {
                if first.burst == first.limit {
                    first.burst = limit;
                }
                first.limit = limit;
            }
            if let Some(calendar) = &self.calendar {
                first.algorithm = calendar.algorithm(ex.unix_seconds(), first.limit);
            }
        }
        own.get(..rules.len()).unwrap_or_default()
    }

    fn conclude<'a>(
        &'a self,
        ex: &mut Exchange,
        asked: Asked,
        decision: &Decision,
        in_store: bool,
        turn: Option<Turn<'a>>,
    ) -> Decided<'a> {
        let Asked {
            key,
            cost,
            tier,
            limit,
        } = asked;
        let used = if self.final_cost.is_some() && decision.admitted {
            // What has come back by itself while the request waited is not its own.
            let at = now() + turn.as_ref().map_or(Duration::ZERO, Turn::time);
            Some(Used {
                key,
                cost,
                at,
                in_store,
            })
        } else {
            ex.give_back(key);
            None
        };
        if self.headers.any() || self.warn.is_some() || self.final_cost.is_some() {
            ex.keep(Shown {
                used,
                decision: turn
                    .as_ref()
                    .map_or(*decision, |turn| decision.later(turn.time())),
                tier,
                limit,
            });
        }
        if self.shadow {
            let outcome = if decision.admitted {
                &self.outcomes.allowed
            } else {
                &self.outcomes.shadow
            };
            outcome.count(ex);
            return Decided::at_once(Ok(Verdict::Continue));
        }
        if decision.admitted {
            let delayed = self.outcomes.delayed.as_ref().filter(|_| turn.is_some());
            delayed.unwrap_or(&self.outcomes.allowed).count(ex);
            let outcome = Ok(Verdict::Continue);
            return Decided { outcome, turn };
        }
        self.outcomes.refused.count(ex);
        let failure = Failure::new(self.code);
        let names = &self.set(tier).names;
        let refusal = show::refusal(failure, self.headers, decision.reports(), names);
        Decided::at_once(Err(refusal))
    }

    /// Counts what the answer says it cost in the place of what was counted before.
    fn settle(
        &self,
        ex: &Exchange,
        response: &mut Response,
        used: Option<&Used>,
        tier: Option<usize>,
        limit: Option<u64>,
    ) {
        let Some(cost) = self.final_cost.as_ref().and_then(|last| last.of(response)) else {
            return;
        };
        let Some(used) = used.filter(|used| used.cost != cost) else {
            return;
        };
        let mut own = None;
        let rules = self.rules(ex, tier, limit, &mut own);
        match &self.shared {
            Some(shared) if used.in_store => {
                shared.settle(&used.key, rules, used.cost, cost, used.at.elapsed());
            }
            _ => self
                .meters
                .settle(&used.key, rules, used.cost, cost, used.at, now()),
        }
    }

    fn show(&self, ex: &Exchange, response: &mut Response) {
        let Some(shown) = ex.keeps::<Shown>() else {
            return;
        };
        let (decision, tier, limit) = (&shown.decision, shown.tier, shown.limit);
        self.settle(ex, response, shown.used.as_ref(), tier, limit);
        if self.shadow {
            return;
        }
        let set = self.set(tier);
        // What the period before left is part of what may be used in this one.
        let carried = decision.reports().first().map_or(0, |report| report.carried);
        let limit = match (limit, set.rules.first()) {
            (None, Some(first)) if carried > 0 => Some(first.limit.saturating_add(carried)),
            (limit, _) => limit.map(|limit| limit.saturating_add(carried)),
        };
        let mut own = None;
        let rules = match limit {
            // What the calendar says is not shown.
            None => &set.rules,
            Some(_) => self.rules(ex, tier, limit, &mut own),
        };
        if let (Some((from, warned)), Some((rule, report))) =
            (&self.warn, rules.iter().zip(decision.reports()).next())
            && decision.admitted
            && is_used(rule.limit, report.remaining, *from)
        {
            warned.count(ex);
            let used = percent(rule.limit, report.remaining);
            response
                .headers_mut()
                .set_name(b"x-quota-warning", used.to_string().as_bytes());
        }
        show::show(
            self.headers,
            response,
            ex.unix_seconds(),
            rules,
            &set.names,
            Some(&set.told).filter(|_| limit.is_none()),
            decision.reports(),
        );
    }
}

/// The time to the nanosecond. The worker's is up to 20 ms behind, a fiftieth of a window of a second: so much would be
/// lost each time one ends.
fn now() -> Instant {
    Instant::now()
}

/// Room for rules that are made for a request.
pub(super) type Own = [Rule; MOST_RULES];

const NO_RULES: Own = [NO_RULE; MOST_RULES];

/// Whether at least so many percent of a limit are used.
fn is_used(limit: u64, remaining: u64, percent: u8) -> bool {
    u128::from(limit.saturating_sub(remaining)) * 100 >= u128::from(limit) * u128::from(percent)
}

/// How much of a limit is used.
fn percent(limit: u64, remaining: u64) -> u64 {
    let used = u128::from(limit.saturating_sub(remaining)) * 100 / u128::from(limit.max(1));
    u64::try_from(used).unwrap_or(100)
}

pub(super) const NO_RULE: Rule = Rule {
    algorithm: Algorithm::SlidingWindow,
    limit: 1,
    window: 1,
    burst: 1,
    ahead: 0,
};

impl Policy for Limiter {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        match &self.shared {
            None => {
                let asked = self.ask(ex);
                self.decide(ex, asked, None).step()
            }
            Some(shared) => self.decide_together(shared, ex),
        }
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        self.show(ex, response);
        Step::CONTINUE
    }
}
