//! Asks another service whether a request may go on.

mod answer;
mod ask;
mod cache;
mod config;
mod grpc;
mod http;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use gatehouse_core::config::{Diagnostic, Template, Variable};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_http1 as http1;
use reqwest::Url;

pub use config::ExternalAuth;

use crate::{auth, query};
use answer::{Answer, check_name};
use ask::{Asker, Sent};
use cache::Cache;
use config::{OnFailure, Protocol};

/// The most of a body that may be sent along.
const MOST_BODY: u64 = 64 * 1024 * 1024;

const ANSWERS: Family = Family::counter(
    "gatehouse_external_auth_total",
    &["policy", "outcome"],
    "Decisions of `external_auth`: `allowed` and `refused` by the service, `cached`, and `failed_open` or `failed_closed` if it gave none.",
);

impl PolicyConfig for ExternalAuth {
    const NAME: &'static str = "external_auth";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "url: http://127.0.0.1:9000/check\nsend: [Authorization]\naccept: [X-User-Id, X-Scopes]\ntimeout: 500ms\ncache: { key: \"${method} ${host} ${path} ${request.query} ${request.header.Authorization}\", ttl: 30s }\n";
    const METRICS: &'static [Family] = &[ANSWERS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let url = self.checked(cx)?;
        for name in &self.accept {
            cx.reserve(name);
        }
        let cache = self.cache.as_ref().map(|remember| {
            // Whatever is asked or read differently makes old answers worthless.
            let shape = serde_json::to_string(&self).unwrap_or_default();
            let cache = cx.state(&shape, || {
                Cache::new(remember.ttl.get(), remember.entries.max(1) as usize)
            });
            Cached::new(remember.key.clone(), cache)
        });
        let asker = Asker::new(url, &self, cx).map_err(|(field, why)| cx.error(field, why))?;
        let identity = cx.identity.clone();
        let count = |outcome| cx.tally(&ANSWERS, &[&identity, outcome]);
        Ok(Arc::new(External {
            asker,
            cache,
            has_subject: self.subject.is_some(),
            body: self.body.map(|most| (most.get(), self.allow_partial)),
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

impl ExternalAuth {
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    fn checked(&self, cx: &Compile<'_>) -> Result<Url, Diagnostic> {
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
        if self.protocol == Protocol::Grpc && (url.path() != "/" || url.query().is_some()) {
            let message =
                "a service of gRPC has no path of its own; expected such as `http://127.0.0.1:9000`";
            return Err(cx.error("url", message));
        }
        if self.protocol == Protocol::Http && !self.context.is_empty() {
            let message =
                "over HTTP there is no context; write `protocol: grpc`, or put it into the path of `url`";
            return Err(cx.error("context", message));
        }
        if let Some(size) = self.body.filter(|size| size.get() > MOST_BODY) {
            return Err(cx.error(
                "body",
                format!("`{size}` is out of range; expected at most `64MiB`"),
            ));
        }
        if self.allow_partial && self.body.is_none() {
            return Err(cx.error(
                "allow_partial",
                "no body is sent; say in `body` how much of it may be",
            ));
        }
        let lists = [
            ("send", self.send.as_deref().unwrap_or_default()),
            ("accept", &self.accept),
            ("accept_response", &self.accept_response),
        ];
        let names = lists.into_iter().flat_map(|(field, names)| {
            names
                .iter()
                .enumerate()
                .map(move |(i, name)| (format!("{field}[{i}]"), name))
        });
        let subject = self.subject.iter().map(|name| ("subject".to_owned(), name));
        for (field, name) in names.chain(subject) {
            check_name(name).map_err(|why| cx.error(&field, why))?;
        }
        let ttl = self.cache.as_ref().map(|cache| cache.ttl);
        for (field, span, most) in [
            ("timeout", Some(self.timeout), Duration::from_mins(1)),
            ("cache.ttl", ttl, Duration::from_hours(1)),
        ] {
            if let Some(span) = span.filter(|span| span.get().is_zero() || span.get() > most) {
                let message =
                    format!("`{span}` is out of range; expected more than nothing and at most {most:?}");
                return Err(cx.error(field, message));
            }
        }
        Ok(url)
    }
}

/// What is remembered, and by what.
struct Cached {
    key: Template,
    /// Whether the key is never empty.
    has_text: bool,
    answers: Arc<Cache>,
}

impl Cached {
    fn new(key: Template, answers: Arc<Cache>) -> Self {
        let mut text = Vec::new();
        key.render(&mut text, &mut |_, _| {});
        let has_text = text.iter().any(|byte| *byte != b' ');
        Self {
            key,
            has_text,
            answers,
        }
    }

    /// What the answer is remembered by: a digest, since it may be made of secrets. None if it cannot be told what
    /// the service will look at.
    fn key(&self, ex: &Exchange) -> Option<cache::Key> {
        if self.key.variables().any(|variable| is_repeated(variable, ex)) {
            return None;
        }
        let mut text = Vec::with_capacity(128);
        let mut has_text = self.has_text;
        self.key.render(&mut text, &mut |variable, out| {
            let start = out.len();
            ex.variable(variable, out);
            has_text |= out.iter().skip(start).any(|byte| *byte != b' ');
            // With its length behind it no value can look like the end of one and the beginning of the next.
            let length = out.len() - start;
            out.extend_from_slice(&length.to_le_bytes());
        });
        if !has_text {
            return None;
        }
        digest::digest(&SHA256, &text).as_ref().try_into().ok()
    }
}

/// Whether the request has several of it: the key would name the first, and the service may look at another.
fn is_repeated(variable: &Variable, ex: &Exchange) -> bool {
    match variable {
        Variable::Header(name) => ex.request.head.headers.find_all(name.as_bytes()).nth(1).is_some(),
        Variable::QueryParam(name) => ex.query_values(name).nth(1).is_some(),
        Variable::Cookie(name) => ex.cookies(name).nth(1).is_some(),
        _ => false,
    }
}

struct External {
    asker: Asker,
    cache: Option<Cached>,
    has_subject: bool,
    /// How much of the body is sent along, and whether a longer one is cut.
    body: Option<(u64, bool)>,
    relay: bool,
    on_failure: OnFailure,
    allowed: Arc<Tally>,
    refused: Arc<Tally>,
    cached: Arc<Tally>,
    failed: Arc<Tally>,
}

/// What the client gets beside the upstream's response.
struct Told(Arc<Answer>);

impl External {
    fn remembered(&self, ex: &Exchange, key: &cache::Key) -> Option<Arc<Answer>> {
        let answer = self.cache.as_ref()?.answers.get(key, ex.now())?;
        self.cached.count(ex);
        Some(answer)
    }

    /// What of the body is sent along.
    async fn sent(&self, ex: &mut Exchange) -> Result<Sent, Failure> {
        let size = ex.request.body.exact_len();
        let (body, is_whole) = match self.body {
            None => {
                return Ok(Sent {
                    size,
                    ..Sent::default()
                });
            }
            Some((most, true)) => ex.peek_body(usize::try_from(most).unwrap_or(usize::MAX)).await?,
            Some((most, false)) => (ex.buffer_body(most, "external_auth.body").await?, true),
        };
        Ok(Sent {
            size: if is_whole { Some(body.len() as u64) } else { size },
            body,
            is_partial: Some(!is_whole),
        })
    }

    async fn ask(&self, ex: &mut Exchange, mut key: Option<cache::Key>) -> Outcome {
        let sent = self.sent(ex).await?;
        if let (Some(known), Some(is_partial)) = (key, sent.is_partial) {
            // What was said of one body says nothing of another.
            let whole = [known.as_slice(), &[u8::from(is_partial)], &sent.body].concat();
            key = digest::digest(&SHA256, &whole).as_ref().try_into().ok();
            if let Some(answer) = key.and_then(|key| self.remembered(ex, &key)) {
                return self.conclude(ex, answer);
            }
        }
        match self.asker.ask(ex, sent).await {
            Ok(answer) => {
                if answer.is_allowed {
                    &self.allowed
                } else {
                    &self.refused
                }
                .count(ex);
                let answer = Arc::new(answer);
                if let (Some(key), Some(cache), false) = (key, &self.cache, answer.is_personal()) {
                    cache.answers.put(key, answer.clone(), ex.now());
                }
                self.conclude(ex, answer)
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

    fn conclude(&self, ex: &mut Exchange, answer: Arc<Answer>) -> Outcome {
        if !answer.is_allowed {
            return self.refuse(&answer);
        }
        let head = &mut ex.request.head;
        for name in &answer.removed {
            head.headers.remove_name(name.as_bytes());
        }
        for edit in &answer.accepted {
            edit.apply(&mut head.headers);
        }
        if !answer.unset.is_empty() || !answer.set.is_empty() {
            let query = query::edited(head.query().unwrap_or_default(), &answer.unset, &answer.set);
            head.set_query(query.as_deref());
        }
        if let Some(subject) = answer.subject.as_deref().filter(|_| self.has_subject) {
            ex.identity = Some(Identity {
                method: "external_auth",
                proof: Arc::new(Proof {
                    subject: subject.into(),
                    ..Proof::default()
                }),
                consumer: None,
            });
        }
        if !answer.relayed.is_empty() {
            ex.keep(Told(answer));
        }
        Ok(Verdict::Continue)
    }

    fn refuse(&self, answer: &Answer) -> Outcome {
        if self.relay {
            let mut response = Response::new(answer.status);
            for edit in &answer.relayed {
                edit.apply(response.headers_mut());
            }
            response
                .headers_mut()
                .set(http1::Known::CacheControl, b"no-store");
            response.body = answer.body.clone().into();
            return Ok(Verdict::Respond(Box::new(response)));
        }
        if answer.status == 401 {
            let challenge = answer.field("www-authenticate").map(String::from_utf8_lossy);
            return Err(auth::required(&challenge.unwrap_or_default()));
        }
        Err(Failure::new(Code::Forbidden)
            .detail(format!("external_auth: the service answered {}", answer.status)))
    }
}

impl Policy for External {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        let key = self.cache.as_ref().and_then(|cache| cache.key(ex));
        if let (Some(key), None) = (&key, self.body)
            && let Some(answer) = self.remembered(ex, key)
        {
            return self.conclude(ex, answer).into();
        }
        Step::wait(self.ask(ex, key))
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        if let Some(Told(answer)) = ex.kept() {
            for edit in &answer.relayed {
                edit.apply(response.headers_mut());
            }
        }
        Step::CONTINUE
    }
}
