//! Chains of policies: inline ones by their path, named ones by their name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::compile::Context;
use crate::config::{Diagnostic, PolicyEntry, nearest};
use crate::policy::{Chain, Compile, Policy};

/// Compiles chains. A named policy is compiled once and shared; slots never overlap.
#[derive(Default)]
pub(super) struct Chains {
    named: HashMap<String, Option<Arc<dyn Policy>>>,
    used: HashSet<String>,
    slots: usize,
}

impl Chains {
    /// The chain at `path`; what is wrong with it is noted in the context.
    pub fn chain(&mut self, cx: &mut Context<'_>, path: &str, entries: &[PolicyEntry]) -> Chain {
        let base = if entries.is_empty() { 0 } else { self.slots };
        let mut policies = Vec::with_capacity(entries.len());
        for (i, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{i}]");
            policies.extend(match entry {
                PolicyEntry::Use(name) => self.named(cx, name),
                PolicyEntry::Inline { .. } => compile(cx, &path, &path, entry),
            });
        }
        // Routes never share an exchange, so only the widest chain of each place needs slots of its
        // own; counting all of them would make every exchange carry slots for every route.
        if path == "policies" {
            self.slots = entries.len();
        }
        Chain::new(base, policies)
    }

    fn named(&mut self, cx: &mut Context<'_>, name: &str) -> Option<Arc<dyn Policy>> {
        self.used.insert(name.to_owned());
        if let Some(policy) = self.named.get(name) {
            return policy.clone();
        }
        let policy = cx.config.named_policies.get(name).and_then(|entry| {
            compile(cx, &format!("named_policies.{name}"), &format!("named:{name}"), entry)
        });
        self.named.insert(name.to_owned(), policy.clone());
        policy
    }
}

/// Compiles named policies that nobody uses, so that their mistakes are found too.
pub(super) fn check_unused(cx: &mut Context<'_>, chains: &mut Chains) {
    for name in cx.config.named_policies.keys() {
        chains.named(cx, name);
    }
}

fn compile(cx: &mut Context<'_>, path: &str, identity: &str, entry: &PolicyEntry) -> Option<Arc<dyn Policy>> {
    let PolicyEntry::Inline { kind: name, settings } = entry else {
        cx.diagnostics.push(Diagnostic::error(path, "a named policy cannot refer to another by `use`"));
        return None;
    };
    let kinds = cx.inputs.kinds;
    let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
        let unknown = Diagnostic::error(format!("{path}.{name}"), format!("there is no policy kind `{name}`")).at_key();
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        cx.diagnostics.push(match nearest(name, &names) {
            Some(near) => unknown.hint(format!("did you mean `{near}`?")),
            None => unknown.help(format!("kinds are `{}`", names.join("`, `"))),
        });
        return None;
    };
    let mut policy = Compile {
        path: format!("{path}.{name}"),
        identity: identity.to_owned(),
        states: cx.inputs.states,
        files: &mut cx.files,
    };
    match (kind.compile)(settings, &mut policy) {
        Ok(policy) => Some(policy),
        Err(diagnostics) => {
            cx.diagnostics.extend(diagnostics);
            None
        }
    }
}
