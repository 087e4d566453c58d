//! Asks the server about tokens, on the background runtime: one question for a token at a time, however many wait for it,
//! and only so many at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gatehouse_core::state::Task;
use reqwest::Url;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::auth::client::Client;
use crate::fetch::{self, Fetcher};

/// Where to ask, and as whom.
pub struct Settings {
    /// Where.
    pub url: Url,
    /// Who we are there.
    pub client: Client,
    /// The time for an answer.
    pub timeout: Duration,
    /// The most questions at once.
    pub most: usize,
}

/// What the server says of a token.
#[derive(Debug, Clone)]
pub enum Said {
    /// It is good, and this is known of it.
    Active(Arc<Map<String, Value>>),
    /// It is not good, or not for us to know.
    Inactive,
    /// Nothing that could be used; why is in the log.
    Nothing,
}

/// The questions under way, and the task that puts them.
pub struct Server {
    shared: Arc<Shared>,
    questions: mpsc::UnboundedSender<Question>,
    _task: Task,
}

struct Shared {
    settings: Settings,
    under_way: Mutex<HashMap<u128, watch::Receiver<Option<Said>>>>,
}

struct Question {
    hash: u128,
    token: String,
    answer: watch::Sender<Option<Said>>,
}

impl Server {
    /// Ready to be asked.
    pub fn start(on: &Handle, settings: Settings, fetcher: Arc<Fetcher>) -> Self {
        // Bounded by the questions that may be under way.
        let (questions, asked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            settings,
            under_way: Mutex::default(),
        });
        let task = Task::spawn(on, put(shared.clone(), fetcher, asked));
        Self {
            shared,
            questions,
            _task: task,
        }
    }

    /// Asks about a token, or waits for who has asked already. None if there are too many questions.
    pub async fn ask(&self, hash: u128, token: &str) -> Option<Said> {
        let mut answer = self.question(hash, token)?;
        let said = answer.wait_for(Option::is_some).await;
        said.ok().and_then(|said| said.clone()).or(Some(Said::Nothing))
    }

    fn question(&self, hash: u128, token: &str) -> Option<watch::Receiver<Option<Said>>> {
        let mut under_way = self
            .shared
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = under_way.get(&hash) {
            return Some(answer.clone());
        }
        if under_way.len() >= self.shared.settings.most {
            return None;
        }
        let (sender, answer) = watch::channel(None);
        let question = Question {
            hash,
            token: token.to_owned(),
            answer: sender,
        };
        self.questions.send(question).ok()?;
        under_way.insert(hash, answer.clone());
        Some(answer)
    }
}

/// Puts all questions; ends, with those under way, when the server is dropped.
async fn put(shared: Arc<Shared>, fetcher: Arc<Fetcher>, mut asked: mpsc::UnboundedReceiver<Question>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            question = asked.recv() => {
                let Some(question) = question else { return };
                let (shared, fetcher) = (shared.clone(), fetcher.clone());
                tasks.spawn(async move {
                    let said = put_one(&shared.settings, &fetcher, &question.token).await.unwrap_or_else(|why| {
                        tracing::error!(source = %shared.settings.url, why, "a token could not be asked about; it is refused with 503");
                        Said::Nothing
                    });
                    shared.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&question.hash);
                    question.answer.send_replace(Some(said));
                });
            }
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

async fn put_one(settings: &Settings, fetcher: &Fetcher, token: &str) -> Result<Said, String> {
    let form = vec![("token", token), ("token_type_hint", "access_token")];
    let request = fetcher.post(settings.url.clone());
    let request = settings.client.prove(request, form);
    let answer = fetch::send(request, settings.timeout).await?;
    if answer.status != 200 {
        return Err(format!("it answered {}", answer.status));
    }
    let said: Map<String, Value> =
        serde_json::from_slice(&answer.body).map_err(|_| "the answer is no JSON object".to_owned())?;
    match said.get("active") {
        Some(Value::Bool(true)) => Ok(Said::Active(Arc::new(said))),
        Some(Value::Bool(false)) => Ok(Said::Inactive),
        _ => Err("the answer does not say whether the token is `active`".to_owned()),
    }
}
