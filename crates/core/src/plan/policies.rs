//! Chains of policies: inline ones by their path, named ones by their name.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::{Context, Routes};
use crate::config::{Config, Diagnostic, PolicyEntry, closest};
use crate::policy::{Chain, Compile, Kind, Policy, Preflight, Stage};

/// Where a chain is attached. An exchange meets at most one of each, so each place has one range of
/// slots, as wide as its longest chain.
#[derive(Clone, Copy)]
pub(super) enum Attached {
    Everywhere,
    Route,
    Upstream,
}

/// Compiles chains. A named policy is compiled once and shared.
pub(super) struct Chains {
    named: HashMap<String, Option<Arc<dyn Policy>>>,
    route_base: usize,
    upstream_base: usize,
}

impl Chains {
    pub fn new(config: &Config, routes: &Routes) -> Self {
        let route_base = config.policies.len();
        let longest = routes.values().map(|route| route.policies.len()).max();
        Self {
            named: HashMap::new(),
            route_base,
            upstream_base: route_base + longest.unwrap_or(0),
        }
    }

    /// The chain at `path`; what is wrong with it is noted in the context.
    pub fn chain(
        &mut self,
        cx: &mut Context<'_>,
        attached: Attached,
        path: &str,
        entries: &[PolicyEntry],
    ) -> Chain {
        let base = match attached {
            Attached::Everywhere => 0,
            Attached::Route => self.route_base,
            Attached::Upstream => self.upstream_base,
        };
        let mut policies = Vec::with_capacity(entries.len());
        for (i, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{i}]");
            policies.extend(match entry {
                PolicyEntry::Use(name) => self.named(cx, name),
                PolicyEntry::Inline { .. } => compile(cx, &path, &path, entry),
            });
        }
        Chain::new(base, policies).answering(preflight(cx, entries))
    }

    fn named(&mut self, cx: &mut Context<'_>, name: &str) -> Option<Arc<dyn Policy>> {
        if let Some(policy) = self.named.get(name) {
            return policy.clone();
        }
        let policy = cx.config.named_policies.get(name).and_then(|entry| {
            compile(
                cx,
                &format!("named_policies.{name}"),
                &format!("named:{name}"),
                entry,
            )
        });
        self.named.insert(name.to_owned(), policy.clone());
        policy
    }
}

/// Which policy of a list answers preflights, and where somebody asks who calls before it.
fn preflight(cx: &Context<'_>, entries: &[PolicyEntry]) -> Option<Preflight> {
    let kind_of = |entry: &PolicyEntry| {
        let named = match entry {
            PolicyEntry::Use(name) => cx.config.named_policies.get(name)?,
            PolicyEntry::Inline { .. } => entry,
        };
        let PolicyEntry::Inline { kind: name, .. } = named else {
            return None;
        };
        cx.inputs.kinds.iter().find(|kind| kind.name == name)
    };
    let at = |is: &dyn Fn(&Kind) -> bool| {
        let mut kinds = entries.iter().map(kind_of);
        kinds.position(|kind| kind.is_some_and(is))
    };
    let answered_by = at(&|kind| kind.answers_preflight)?;
    let asks = |kind: &Kind| matches!(kind.stage, Stage::Authenticate | Stage::Authorize);
    let asked_at = at(&asks).filter(|asked_at| *asked_at < answered_by);
    let between = asked_at.map_or(0..0, |asked_at| asked_at..answered_by);
    let admits = |at: &usize| {
        let kind = entries.get(*at).and_then(kind_of);
        kind.is_some_and(|kind| kind.stage == Stage::Admit)
    };
    Some(Preflight {
        asked_at,
        heard: between.filter(admits).chain([answered_by]).collect(),
    })
}

/// Compiles named policies that nobody uses, so that their mistakes are found too.
pub(super) fn check_unused(cx: &mut Context<'_>, chains: &mut Chains) {
    for name in cx.config.named_policies.keys() {
        chains.named(cx, name);
    }
}

fn compile(cx: &mut Context<'_>, path: &str, identity: &str, entry: &PolicyEntry) -> Option<Arc<dyn Policy>> {
    let PolicyEntry::Inline { kind: name, settings } = entry else {
        cx.diagnostics.push(Diagnostic::error(
            path,
            "a named policy cannot refer to another by `use`",
        ));
        return None;
    };
    let kinds = cx.inputs.kinds;
    let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
        let unknown = Diagnostic::error(
            format!("{path}.{name}"),
            format!("there is no policy kind `{name}`"),
        )
        .at_key();
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        cx.diagnostics.push(match closest(name, names.iter().copied()) {
            Some(near) => unknown.hint(format!("did you mean `{near}`?")),
            None => unknown.help(format!("kinds are `{}`", names.join("`, `"))),
        });
        return None;
    };
    let mut answered = Vec::new();
    let mut policy = Compile {
        path: format!("{path}.{name}"),
        identity: identity.to_owned(),
        states: cx.inputs.states,
        reader: cx.inputs.reader,
        consumers: &cx.consumers,
        stores: &cx.config.stores,
        background: cx.inputs.background,
        metrics: cx.inputs.metrics,
        shared: &cx.shared,
        reserved: &mut cx.reserved,
        answered: &mut answered,
    };
    let compiled = (kind.compile)(settings, &mut policy);
    match compiled {
        Ok(policy) => {
            cx.answers.add(path, answered);
            Some(policy)
        }
        Err(diagnostics) => {
            for one in diagnostics {
                // What several policies share, such as a store, is told once.
                let is_told = |told: &Diagnostic| told.path == one.path && told.message == one.message;
                if !cx.diagnostics.iter().any(is_told) {
                    cx.diagnostics.push(one);
                }
            }
            None
        }
    }
}
