//! Asks another service whether a request may go on.

mod cache;
mod question;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use gatehouse_core::config::{Diagnostic, Size, Span, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_http1 as http1;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth;
use cache::Cache;
use question::{Answer, Asker};

/// Asks another service over HTTP whether a request may go on.
///
/// The service gets a `GET` (a `POST`, if the body is sent along) with the fields listed in `send`, and with
/// `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto`, `-For` and `X-Request-Id`, which say what the client asked for. If it answers with
/// 2xx, the request goes on, with the fields of the answer listed in `accept`; clients cannot send those fields
/// themselves, on any route. With 401 the client gets `401` (`unauthenticated`) and the service's `WWW-Authenticate`; with any other
/// 3xx or 4xx `403` (`forbidden`); or in both cases the answer of the service itself, if `relay` says so.
///
/// An answer of 5xx, no answer in time, and no connection are failures: `on_failure` decides.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalAuth {
    /// Where the service is: `http://auth.internal:9000/check`.
    pub url: String,
    /// Fields of the request that the service sees.
    #[serde(default = "ExternalAuth::credentials")]
    pub send: Vec<String>,
    /// Fields of the service's answer that the upstream gets in the request.
    #[serde(default)]
    pub accept: Vec<String>,
    /// The field of the answer that names the caller: it makes the caller known to policies that follow and to the
    /// access log.
    #[serde(default)]
    pub subject: Option<String>,
    /// Sends the body along, if it has at most so many bytes; a longer one gets `413`.
    #[serde(default)]
    pub body: Option<Size>,
    /// Whether the client gets the service's own answer if it refuses: status, `Location`, `Set-Cookie`,
    /// `WWW-Authenticate`, `Content-Type`, and up to 64 KiB of body. For redirects to a login.
    #[serde(default)]
    pub relay: bool,
    /// How long the service may take; at most `1m`.
    #[serde(default = "ExternalAuth::two_seconds")]
    pub timeout: Span,
    /// What happens if the service does not answer or fails: `closed` refuses with `500` (`policy_failed`), `open` lets
    /// the request through as it is.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Remembers answers.
    #[serde(default)]
    pub cache: Option<Remember>,
}

/// What happens if there is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The request is refused.
    #[default]
    Closed,
    /// The request goes on.
    Open,
}

/// Which answers are remembered, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remember {
    /// What an answer depends on, such as `${request.header.Authorization} ${method} ${path}`. Requests for which it is
    /// empty are always asked about. Must name everything that the service looks at.
    pub key: Template,
    /// For how long; at most `1h`.
    pub ttl: Span,
    /// How many answers are kept at most.
    #[serde(default = "Remember::ten_thousand")]
    pub entries: u32,
}

impl Remember {
    fn ten_thousand() -> u32 {
        10_000
    }
}

impl ExternalAuth {
    fn credentials() -> Vec<String> {
        vec!["Authorization".to_owned(), "Cookie".to_owned()]
    }

    fn two_seconds() -> Span {
        Span::from_secs(2)
    }
}

const ANSWERS: Family = Family::counter(
    "gatehouse_external_auth_total",
    &["policy", "outcome"],
    "Decisions of `external_auth`: `allowed` and `refused` by the service, `cached`, and `failed_open` or `failed_closed` if it gave none.",
);

impl PolicyConfig for ExternalAuth {
    const NAME: &'static str = "external_auth";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "url: http://127.0.0.1:9000/check\nsend: [Authorization]\naccept: [X-User-Id, X-Scopes]\ntimeout: 500ms\ncache: { key: \"${request.header.Authorization} ${method} ${path}\", ttl: 30s }\n";
    const METRICS: &'static [Family] = &[ANSWERS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let url = Url::parse(&self.url)
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()));
        let Some(url) = url.filter(Url::has_host) else {
            let message = format!(
                "`{}` is no address of a service; expected such as `http://127.0.0.1:9000/check`",
                self.url
            );
            return Err(cx.error("url", message));
        };
        let lists = [("send", &self.send), ("accept", &self.accept)];
        let names = lists.iter().flat_map(|(field, names)| {
            names
                .iter()
                .enumerate()
                .map(move |(i, name)| (format!("{field}[{i}]"), name))
        });
        let subject = self.subject.iter().map(|name| ("subject".to_owned(), name));
        for (field, name) in names.chain(subject) {
            question::check_name(name).map_err(|why| cx.error(&field, why))?;
        }
        for (field, span, most) in [
            ("timeout", Some(self.timeout), Duration::from_mins(1)),
            (
                "cache.ttl",
                self.cache.as_ref().map(|cache| cache.ttl),
                Duration::from_hours(1),
            ),
        ] {
            if let Some(span) = span.filter(|span| span.get().is_zero() || span.get() > most) {
                let message =
                    format!("`{span}` is out of range; expected more than nothing and at most {most:?}");
                return Err(cx.error(field, message));
            }
        }
        for name in &self.accept {
            cx.reserve(name);
        }
        let cache = self.cache.as_ref().map(|remember| {
            let shape = format!("{} {} {:?} {}", self.url, remember.key, self.accept, remember.ttl);
            let cache = cx.state(&shape, || {
                Cache::new(remember.ttl.get(), remember.entries.max(1) as usize)
            });
            (remember.key.clone(), cache)
        });
        let asker = Asker::new(url, &self, cx).map_err(|why| cx.error("url", why))?;
        let identity = cx.identity.clone();
        let count = |outcome| cx.tally(&ANSWERS, &[&identity, outcome]);
        Ok(Arc::new(External {
            asker,
            cache,
            subject: self.subject.map(|name| name.to_ascii_lowercase().into()),
            body: self.body.map(Size::get),
            relay: self.relay,
            on_failure: self.on_failure,
            allowed: count("allowed"),
            refused: count("refused"),
            cached: count("cached"),
            failed: count(match self.on_failure {
                OnFailure::Open => "failed_open",
                OnFailure::Closed => "failed_closed",
            }),
        }))
    }
}

struct External {
    asker: Asker,
    cache: Option<(Template, Arc<Cache>)>,
    subject: Option<Box<str>>,
    body: Option<u64>,
    relay: bool,
    on_failure: OnFailure,
    allowed: Arc<Tally>,
    refused: Arc<Tally>,
    cached: Arc<Tally>,
    failed: Arc<Tally>,
}

impl External {
    /// What the answer is remembered by: a digest, since it may be made of secrets.
    fn key(&self, ex: &Exchange) -> Option<cache::Key> {
        let (template, _) = self.cache.as_ref()?;
        let mut text = Vec::with_capacity(128);
        template.render(&mut text, &mut |variable, out| ex.variable(variable, out));
        if text.iter().all(|byte| *byte == b' ') {
            return None;
        }
        digest::digest(&digest::SHA256, &text).as_ref().try_into().ok()
    }

    async fn ask(&self, ex: &mut Exchange, key: Option<cache::Key>) -> Outcome {
        let body = match self.body {
            Some(limit) => ex.buffer_body(limit, "external_auth.body").await?,
            None => Bytes::new(),
        };
        match self.asker.ask(ex, body).await {
            Ok(answer) => {
                if answer.is_allowed() {
                    &self.allowed
                } else {
                    &self.refused
                }
                .count(ex);
                let answer = Arc::new(answer);
                if let (Some(key), Some((_, cache))) = (key, &self.cache) {
                    cache.put(key, answer.clone(), ex.now());
                }
                self.conclude(ex, &answer)
            }
            Err(why) => {
                self.failed.count(ex);
                tracing::debug!(
                    request_id = ex.ids.request.as_str(),
                    why = &*why,
                    "external_auth gave no decision"
                );
                match self.on_failure {
                    OnFailure::Open => Ok(Verdict::Continue),
                    OnFailure::Closed => {
                        Err(Failure::new(Code::PolicyFailed).detail(format!("external_auth: {why}")))
                    }
                }
            }
        }
    }

    fn conclude(&self, ex: &mut Exchange, answer: &Answer) -> Outcome {
        if !answer.is_allowed() {
            return self.refuse(answer);
        }
        let headers = &mut ex.request.head.headers;
        for (name, value) in &answer.accepted {
            headers.set_name(name.as_bytes(), value);
        }
        if let Some(subject) = answer.subject.as_deref().filter(|_| self.subject.is_some()) {
            ex.identity = Some(Identity {
                method: "external_auth",
                proof: Arc::new(Proof {
                    subject: subject.into(),
                    ..Proof::default()
                }),
                consumer: None,
            });
        }
        Ok(Verdict::Continue)
    }

    fn refuse(&self, answer: &Answer) -> Outcome {
        if self.relay {
            let mut response = Response::new(answer.status);
            for (name, value) in &answer.relayed {
                response.headers_mut().append_name(name.as_bytes(), value);
            }
            response
                .headers_mut()
                .set(http1::Known::CacheControl, b"no-store");
            response.body = answer.body.clone().into();
            return Ok(Verdict::Respond(Box::new(response)));
        }
        if answer.status == 401 {
            let challenge = answer
                .relayed
                .iter()
                .find(|(name, _)| **name == *"www-authenticate");
            let challenge = challenge
                .map(|(_, value)| String::from_utf8_lossy(value))
                .unwrap_or_default();
            return Err(auth::required(&challenge));
        }
        Err(Failure::new(Code::Forbidden)
            .detail(format!("external_auth: the service answered {}", answer.status)))
    }
}

impl Policy for External {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        let key = self.key(ex);
        if let (Some(key), Some((_, cache))) = (&key, &self.cache)
            && let Some(answer) = cache.get(key, ex.now())
        {
            self.cached.count(ex);
            return self.conclude(ex, &answer).into();
        }
        Step::wait(self.ask(ex, key))
    }
}
