//! What is said of a document only if somebody asks: routes that let anybody in, as often and as long as they like.
//!
//! There are good reasons for each of these, so they are no part of the ordinary warnings.

use super::{Facts, FactsOf};
use crate::config::{Config, Diagnostic, PolicyEntry, Route};
use crate::policy::Stage;

/// How long a request may take at most, unless something is said about it.
const LONG: std::time::Duration = std::time::Duration::from_mins(10);

/// Routes that forward without authentication, without a limit, or without a bound on time worth the name.
pub fn strict(config: &Config, facts: FactsOf<'_>) -> Vec<Diagnostic> {
    let everywhere = stages(config, &config.policies, facts);
    let mut out = Vec::new();
    for (name, route) in &config.routes {
        if route.forward.is_none() {
            continue;
        }
        let mut stages = stages(config, &route.policies, facts);
        stages.extend(&everywhere);
        let path = format!("routes.{name}");
        let mut say = |message: String, help: &'static str| {
            out.push(Diagnostic::warning(path.clone(), message).at_key().help(help));
        };
        if !stages.contains(&Stage::Authenticate) {
            say(
                format!("anybody may call route `{name}`: nothing asks who it is"),
                "put an authentication into its `policies`, or into those for every request",
            );
        }
        if !stages.contains(&Stage::Limit) {
            say(
                format!("route `{name}` may be called as often as anybody likes"),
                "put a limit, such as `rate_limit`, into its `policies`, or into those for every request",
            );
        }
        if let Some(time) = longest(config, route).filter(|time| *time > LONG) {
            say(
                format!(
                    "a request to route `{name}` may take {} minutes",
                    time.as_secs() / 60
                ),
                "set `timeout` in the route or in its upstream",
            );
        }
    }
    out
}

fn stages(config: &Config, policies: &[PolicyEntry], facts: FactsOf<'_>) -> Vec<Stage> {
    let kinds = policies.iter().filter_map(|entry| match entry {
        PolicyEntry::Use(name) => match config.named_policies.get(name)? {
            PolicyEntry::Inline { kind, .. } => Some(kind),
            PolicyEntry::Use(_) => None,
        },
        PolicyEntry::Inline { kind, .. } => Some(kind),
    });
    kinds
        .filter_map(|kind| facts(kind))
        .map(|facts: Facts| facts.stage)
        .collect()
}

/// How long a request to the route may take.
fn longest(config: &Config, route: &Route) -> Option<std::time::Duration> {
    let total = config.client.timeouts.total.get();
    if let Some(timeout) = route.timeout {
        return Some(timeout.get().min(total));
    }
    let forward = route.forward.as_ref()?;
    let names = forward
        .upstream
        .iter()
        .chain(forward.split.iter().map(|part| &part.upstream));
    let times = names
        .filter_map(|name| config.upstreams.get(name))
        .map(|upstream| upstream.total_timeout().get());
    times.max().map(|time| time.min(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;

    fn facts(kind: &str) -> Option<Facts> {
        let stage = match kind {
            "key_auth" => Stage::Authenticate,
            "rate_limit" => Stage::Limit,
            _ => return None,
        };
        Some(Facts {
            stage,
            answers_preflight: false,
        })
    }

    #[test]
    fn open_routes_are_told() {
        let text = "
listeners: { main: { address: 127.0.0.1:0 } }
named_policies: { who: { key_auth: {} } }
routes:
  open: { match: { path: /open }, forward: { upstream: slow } }
  keyed: { match: { path: /keyed }, policies: [ use: who ], timeout: 5s, forward: { upstream: slow } }
  good: { match: { path: /good }, policies: [ use: who, rate_limit: {} ], forward: { upstream: quick } }
  reply: { match: { path: /reply }, reply: { body: hi } }
upstreams: { slow: { endpoints: [ http://a ] }, quick: { endpoints: [ http://a ], timeout: 10s } }
";
        let loaded = load_str(text, "test");
        assert!(!loaded.diagnostics.has_errors());
        let said = strict(&loaded.config, &facts);
        let said: Vec<_> = said.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "anybody may call route `open`: nothing asks who it is",
                "route `open` may be called as often as anybody likes",
                "a request to route `open` may take 60 minutes",
                "route `keyed` may be called as often as anybody likes",
            ]
        );
    }
}
