//! How much in which time: as written, and as the meter wants it.

use std::num::NonZeroU64;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use gatehouse_core::config::{Diagnostic, Span};
use gatehouse_core::policy::Compile;
use gatehouse_core::state::meter::{self, MOST_RULES, Rule};
use gatehouse_http1::Headers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::show;

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LimitAlgorithm")]
pub enum Algorithm {
    /// A key's window begins with its first request; what was used in the window before counts by the part of it that
    /// is still in sight, so nobody waits longer than a window.
    #[default]
    SlidingWindow,
    /// Requests come back evenly, one by one (GCRA): at most `burst` at once, and `limit` for each window in the long
    /// run.
    TokenBucket,
    /// Windows follow the clock: those of `1m` begin with the minute. Around the end of a window twice the limit may
    /// come through.
    FixedWindow,
}

/// A limit on the requests of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowLimit {
    /// Requests allowed in each window.
    pub limit: NonZeroU64,
    /// Length of the window.
    pub window: Span,
    /// Of a token bucket: requests allowed at once. Absent: as many as `limit`.
    #[serde(default)]
    pub burst: Option<NonZeroU64>,
    /// What clients are told it is called. Absent: made of the policy's `name` and the window.
    #[serde(default)]
    pub name: Option<String>,
}

/// Limits of some callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Requests allowed in each window.
    #[serde(default)]
    pub limit: Option<NonZeroU64>,
    /// Length of the window. Absent: the policy's `window`.
    #[serde(default)]
    pub window: Option<Span>,
    /// Of a token bucket: requests allowed at once. Absent: as many as `limit`.
    #[serde(default)]
    pub burst: Option<NonZeroU64>,
    /// Several limits at once, in place of `limit`.
    #[serde(default)]
    pub limits: Vec<WindowLimit>,
}

/// The rules that a caller is held to together, and how they are told.
#[derive(Debug)]
pub struct RuleSet {
    /// The beginning of keys: callers under other rules, or under windows of other lengths, are counted anew. A digest of
    /// what says so, since each key is hashed with it.
    pub salt: [u8; 8],
    /// At least one.
    pub rules: Box<[Rule]>,
    /// What the rules are called, in their order.
    pub names: Box<[Box<str>]>,
    /// `RateLimit-Policy`, written once.
    pub told: Headers,
}

/// What rule sets of a policy have in common.
pub struct Common<'a> {
    /// How they count.
    pub algorithm: Algorithm,
    /// What the policy is called.
    pub name: Option<&'a str>,
    /// The window of those that have none of their own.
    pub window: Option<Span>,
}

impl RuleSet {
    /// Makes a set of the settings at `path`: of the policy itself if it is empty, else of a tier.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn compile(
        written: &Tier,
        tier: &str,
        path: &str,
        common: &Common<'_>,
        cx: &Compile<'_>,
    ) -> Result<Self, Diagnostic> {
        let at = |field: &str| {
            if path.is_empty() {
                field.to_owned()
            } else {
                format!("{path}.{field}")
            }
        };
        let only;
        let limits = match (written.limit, written.limits.as_slice()) {
            (Some(_), [_, ..]) => {
                let message = "there are both `limit` and `limits`; write one of the two";
                return Err(cx.error(&at("limits"), message));
            }
            (None, []) => {
                let message =
                    "there is no limit; write `limit` and `window`, or `limits` for several at once";
                return Err(cx.error(&at("limit"), message));
            }
            (None, limits) if limits.len() > MOST_RULES => {
                return Err(cx.error(&at("limits"), format!("there are more than {MOST_RULES} limits")));
            }
            (None, limits) => limits,
            (Some(limit), []) => {
                only = [WindowLimit {
                    limit,
                    window: written.window.or(common.window).unwrap_or(Span::from_secs(1)),
                    burst: written.burst,
                    name: None,
                }];
                &only
            }
        };
        let single = written.limits.is_empty();
        let mut rules = Vec::with_capacity(limits.len());
        let mut names: Vec<Box<str>> = Vec::with_capacity(limits.len());
        for (i, limit) in limits.iter().enumerate() {
            let at = |field: &str| {
                if single {
                    at(field)
                } else {
                    at(&format!("limits[{i}].{field}"))
                }
            };
            if limit.window.is_zero() {
                let message = "a window of no length counts nothing; expected such as `1s` or `1m`";
                return Err(cx.error(&at("window"), message));
            }
            if limit.burst.is_some() && common.algorithm != Algorithm::TokenBucket {
                let message =
                    "only a token bucket has a burst; write `algorithm: token_bucket`, or take it out";
                return Err(cx.error(&at("burst"), message));
            }
            let name = match (&limit.name, common.name) {
                (Some(name), _) => name.clone(),
                (None, Some(name)) if single => name.to_owned(),
                (None, None) if single => "default".to_owned(),
                (None, Some(name)) => format!("{name}-{}", limit.window),
                (None, None) => limit.window.to_string(),
            };
            if !show::is_name(&name) {
                let message =
                    format!("`{name}` is no name for clients; use letters, digits, `-`, `_` and `.`");
                return Err(cx.error(&at("name"), message));
            }
            if names.iter().any(|known| **known == *name) {
                return Err(cx.error(&at("name"), format!("there are two limits called `{name}`")));
            }
            names.push(name.into());
            rules.push(rule(
                common.algorithm,
                limit.limit.get(),
                limit.window.get(),
                limit.burst,
            ));
        }
        let salt = limits
            .iter()
            .fold(format!("{tier}|{:?}", common.algorithm), |salt, limit| {
                format!("{salt}|{}", limit.window)
            });
        Ok(Self {
            salt: digested(&salt),
            told: show::policies(&rules, &names),
            rules: rules.into(),
            names: names.into(),
        })
    }
}

impl RuleSet {
    /// The one rule of a quota. Its bounds are found when it is needed; `length` is what clients are told of them.
    pub fn quota(limit: NonZeroU64, length: Option<u64>, name: &str, salt: &str) -> Self {
        // A window of less than a second is told to nobody.
        let rule = rule(
            Algorithm::FixedWindow,
            limit.get(),
            Duration::from_nanos(length.unwrap_or(1)),
            None,
        );
        let names: Box<[Box<str>]> = [name.into()].into();
        Self {
            salt: digested(salt),
            told: show::policies(&[rule], &names),
            rules: [rule].into(),
            names,
        }
    }
}

fn digested(text: &str) -> [u8; 8] {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

fn rule(algorithm: Algorithm, limit: u64, window: Duration, burst: Option<NonZeroU64>) -> Rule {
    Rule {
        algorithm: match algorithm {
            Algorithm::SlidingWindow => meter::Algorithm::SlidingWindow,
            Algorithm::TokenBucket => meter::Algorithm::TokenBucket,
            Algorithm::FixedWindow => meter::Algorithm::FixedWindow,
        },
        limit,
        window: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX),
        burst: burst.map_or(limit, NonZeroU64::get),
        ahead: 0,
    }
}
