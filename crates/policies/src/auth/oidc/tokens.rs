//! Asks the provider for tokens, on the background runtime: one question for a refresh token at a time, however many
//! requests wait for it, and only so many at once.
//!
//! What came of a refresh is remembered for a while. Providers take a refresh token once, and a browser that had several
//! requests under way goes on to show the session of before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatehouse_core::state::Task;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::auth::client::Client;
use crate::auth::remember::Cache;
use crate::fetch::{self, Fetcher};

/// How long tokens are remembered that were refreshed.
const REMEMBERED: Duration = Duration::from_mins(1);

/// How long a provider that did not answer is left alone with the same question.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// How many refreshed tokens are remembered.
const ROOM: usize = 2_000;

/// What is exchanged for tokens.
pub enum Grant {
    /// The code of a login, the secret half of its challenge, and where the browser was sent back to.
    Code {
        code: String,
        verifier: String,
        redirect: String,
    },
    /// A refresh token.
    Refresh(String),
}

/// A question.
pub struct Question {
    /// What is exchanged.
    pub grant: Grant,
    /// Where.
    pub token_endpoint: Url,
    /// Where more is to be learnt, if it is wanted.
    pub userinfo_endpoint: Option<Url>,
}

/// What the provider answered.
#[derive(Debug)]
pub enum Said {
    /// These tokens.
    Tokens(Box<Tokens>),
    /// That what was shown is not good: an error of RFC 6749 5.2.
    Refused(String),
    /// Nothing that could be used; why is for the log.
    Nothing(String),
    /// It was not asked: there are too many questions.
    Full,
}

/// Tokens, and what came with them (RFC 6749 5.1, OpenID Connect Core 3.1.3.3).
#[derive(Debug, Deserialize)]
pub struct Tokens {
    /// For the upstream.
    pub access_token: String,
    /// How it is shown.
    pub token_type: String,
    /// How long it is good, in seconds.
    #[serde(default)]
    pub expires_in: Option<Seconds>,
    /// For new tokens.
    #[serde(default)]
    pub refresh_token: Option<String>,
    /// Who logged in.
    #[serde(default)]
    pub id_token: Option<String>,
    /// What the access token is for; absent: what was asked for.
    #[serde(default)]
    pub scope: Option<String>,
    /// What the userinfo endpoint said.
    #[serde(skip)]
    pub userinfo: Option<Map<String, Value>>,
}

/// Some providers write the number as a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Seconds {
    Number(u64),
    Text(String),
}

impl Seconds {
    /// The number, if it is one.
    pub fn get(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// Questions under way, what came of those just answered, and the task that puts them.
pub struct Exchanger {
    shared: Arc<Shared>,
    questions: mpsc::UnboundedSender<(u128, Question, watch::Sender<Answer>)>,
    _task: Task,
}

type Answer = Option<Arc<Said>>;

struct Shared {
    client: Client,
    timeout: Duration,
    most: usize,
    under_way: Mutex<HashMap<u128, watch::Receiver<Answer>>>,
    refreshed: Cache<(Instant, Arc<Said>)>,
}

impl Exchanger {
    /// Ready to ask, up to `most` questions at once.
    pub fn start(on: &Handle, client: Client, timeout: Duration, most: usize, fetcher: Arc<Fetcher>) -> Self {
        // Bounded by the questions that may be under way.
        let (questions, asked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            client,
            timeout,
            most,
            under_way: Mutex::default(),
            refreshed: Cache::new(ROOM),
        });
        let task = Task::spawn(on, put(shared.clone(), fetcher, asked));
        Self {
            shared,
            questions,
            _task: task,
        }
    }

    /// What came of a refresh a moment ago.
    pub fn known(&self, refresh_token: &str, now: Instant) -> Option<Arc<Said>> {
        let (at, said) = self
            .shared
            .refreshed
            .get(self.shared.refreshed.hash(refresh_token))?;
        let kept = match *said {
            Said::Nothing(_) | Said::Full => LEFT_ALONE,
            Said::Tokens(_) | Said::Refused(_) => REMEMBERED,
        };
        (now.saturating_duration_since(at) < kept).then_some(said)
    }

    /// Asks, or waits for who has asked the same already.
    pub async fn ask(&self, question: Question) -> Arc<Said> {
        let Some(mut answer) = self.put(question) else {
            return Arc::new(Said::Full);
        };
        let said = answer.wait_for(Option::is_some).await;
        let said = said.ok().and_then(|said| said.clone());
        said.unwrap_or_else(|| Arc::new(Said::Nothing("the question was dropped".to_owned())))
    }

    fn put(&self, question: Question) -> Option<watch::Receiver<Answer>> {
        let key = self.shared.refreshed.hash(match &question.grant {
            Grant::Code { code, .. } => code,
            Grant::Refresh(token) => token,
        });
        let mut under_way = self
            .shared
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = under_way.get(&key) {
            return Some(answer.clone());
        }
        // It may have been answered since it was looked for.
        if let Grant::Refresh(token) = &question.grant
            && let Some(said) = self.known(token, Instant::now())
        {
            return Some(watch::channel(Some(said)).1);
        }
        if under_way.len() >= self.shared.most {
            return None;
        }
        let (sender, answer) = watch::channel(None);
        self.questions.send((key, question, sender)).ok()?;
        under_way.insert(key, answer.clone());
        Some(answer)
    }
}

/// Puts all questions; ends, with those under way, when the exchanger is dropped.
async fn put(
    shared: Arc<Shared>,
    fetcher: Arc<Fetcher>,
    mut asked: mpsc::UnboundedReceiver<(u128, Question, watch::Sender<Answer>)>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            asked = asked.recv() => {
                let Some((key, question, answer)) = asked else { return };
                let (shared, fetcher) = (shared.clone(), fetcher.clone());
                tasks.spawn(async move {
                    let said = put_one(&shared, &fetcher, &question).await;
                    let said = Arc::new(said.unwrap_or_else(Said::Nothing));
                    if let Said::Nothing(why) = &*said {
                        tracing::error!(source = %question.token_endpoint, why, "the login provider did not give tokens");
                    }
                    if matches!(question.grant, Grant::Refresh(_)) {
                        shared.refreshed.put(key, (Instant::now(), said.clone()));
                    }
                    shared.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                    answer.send_replace(Some(said));
                });
            }
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

async fn put_one(shared: &Shared, fetcher: &Fetcher, question: &Question) -> Result<Said, String> {
    let form = match &question.grant {
        Grant::Code {
            code,
            verifier,
            redirect,
        } => vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
        ],
        Grant::Refresh(token) => vec![("grant_type", "refresh_token"), ("refresh_token", token)],
    };
    let request = shared
        .client
        .prove(fetcher.post(question.token_endpoint.clone()), form);
    let answer = fetch::send(request, shared.timeout).await?;
    if matches!(answer.status, 400 | 401) {
        return refusal(&answer.body)
            .ok_or_else(|| format!("it answered {} without an error code", answer.status));
    }
    if answer.status != 200 {
        return Err(format!("it answered {}", answer.status));
    }
    let mut tokens: Tokens = serde_json::from_slice(&answer.body)
        .map_err(|_| "the answer has no `access_token` and `token_type`".to_owned())?;
    if !tokens.token_type.eq_ignore_ascii_case("bearer") {
        return Err(format!(
            "it gave a token of type `{}`",
            tokens.token_type.escape_debug()
        ));
    }
    if let Some(url) = &question.userinfo_endpoint {
        let request = fetcher.get(url.clone()).bearer_auth(&tokens.access_token);
        let answer = fetch::send(request, shared.timeout).await?;
        if answer.status != 200 {
            return Err(format!("its userinfo endpoint answered {}", answer.status));
        }
        let said = serde_json::from_slice(&answer.body);
        tokens.userinfo =
            Some(said.map_err(|_| "what its userinfo endpoint answered is no JSON object".to_owned())?);
    }
    Ok(Said::Tokens(Box::new(tokens)))
}

/// The error of an answer that refuses. That our own password is wrong is nobody's refusal.
fn refusal(body: &[u8]) -> Option<Said> {
    let said: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let error = said.get("error")?.as_str()?;
    let error: String = error.escape_debug().take(100).collect();
    Some(match error.as_str() {
        "invalid_client"
        | "unauthorized_client"
        | "unsupported_grant_type"
        | "invalid_request"
        | "invalid_scope" => Said::Nothing(format!("it refused our question: `{error}`")),
        _ => Said::Refused(error),
    })
}
