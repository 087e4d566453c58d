//! Puts the question to the service, away from the workers, and reads what of its answer counts.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::policy::Compile;
use gatehouse_http1 as http1;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::ExternalAuth;

/// Questions of one policy that may be open at once.
const MOST_OPEN: usize = 1024;

/// The most that is read of the body of an answer.
const MOST_BODY: usize = 64 * 1024;

/// Fields of an answer that a client may get.
const RELAYED: [&str; 5] = [
    "location",
    "set-cookie",
    "www-authenticate",
    "content-type",
    "retry-after",
];

/// What the service said, as far as it counts.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Fields for the upstream.
    pub accepted: Vec<(Box<str>, Box<[u8]>)>,
    /// Who calls.
    pub subject: Option<Box<str>>,
    /// Fields for the client, if it refuses.
    pub relayed: Vec<(Box<str>, Box<[u8]>)>,
    /// The body for the client, if it refuses.
    pub body: Bytes,
}

impl Answer {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A field that can be sent, and taken over, without changing what a message is.
pub fn check_name(name: &str) -> Result<(), String> {
    const OWN: [&str; 8] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
    ];
    if !http1::is_token(name.as_bytes()) {
        return Err(format!("`{name}` cannot be the name of a header field"));
    }
    if OWN.contains(&&*name.to_ascii_lowercase()) {
        return Err(format!("`{name}` is the gateway's own and cannot be handed on"));
    }
    Ok(())
}

/// Asks one service.
pub struct Asker {
    client: Client,
    url: Url,
    send: Box<[Box<str>]>,
    wanted: Arc<Wanted>,
    timeout: Duration,
    background: Option<Handle>,
    open: Arc<Semaphore>,
}

/// What of an answer is read.
struct Wanted {
    accept: Box<[Box<str>]>,
    subject: Option<Box<str>>,
    relay: bool,
}

impl Asker {
    /// Makes it; asks nothing yet.
    pub fn new(url: Url, settings: &ExternalAuth, cx: &Compile<'_>) -> Result<Self, String> {
        let lower = |names: &[String]| {
            names
                .iter()
                .map(|name| name.to_ascii_lowercase().into())
                .collect()
        };
        // One for all policies, so that they share connections; redirects are for clients to follow.
        let client = cx.common_state("external_auth", "client", || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .user_agent("gatehouse")
                .pool_max_idle_per_host(64)
                .build()
                .map_err(|error| error.to_string())
        });
        let shape = format!("{MOST_OPEN}");
        Ok(Self {
            client: client.as_ref().clone()?,
            url,
            send: lower(&settings.send),
            wanted: Arc::new(Wanted {
                accept: lower(&settings.accept),
                subject: settings
                    .subject
                    .as_ref()
                    .map(|name| name.to_ascii_lowercase().into()),
                relay: settings.relay,
            }),
            timeout: settings.timeout.get(),
            background: cx.background.cloned(),
            open: cx
                .state::<Places>(&shape, || Places(Arc::new(Semaphore::new(MOST_OPEN))))
                .0
                .clone(),
        })
    }

    /// What the service says of a request. The error is for the log.
    pub async fn ask(&self, ex: &Exchange, body: Bytes) -> Result<Answer, String> {
        let Some(background) = &self.background else {
            return Err("nothing is asked while a document is only checked".to_owned());
        };
        let place = self.open.clone().try_acquire_owned();
        let place = place.map_err(|_| format!("{MOST_OPEN} questions are open already"))?;
        let method = if body.is_empty() {
            Method::GET
        } else {
            Method::POST
        };
        let request = self
            .client
            .request(method, self.url.clone())
            .headers(self.fields(ex))
            .body(body);
        let (wanted, timeout) = (self.wanted.clone(), self.timeout);
        let work = async move {
            let answer = tokio::time::timeout(timeout, answer(request, &wanted)).await;
            drop(place);
            answer.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
        };
        // A client that leaves takes its question along.
        let mut task = AbortOnDrop(background.spawn(work));
        (&mut task.0).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn fields(&self, ex: &Exchange) -> HeaderMap {
        let head = &ex.request.head;
        let mut fields = HeaderMap::with_capacity(self.send.len() + 8);
        let mut add = |name: &str, value: &[u8]| {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
                fields.append(name, value);
            }
        };
        for name in &self.send {
            for value in head.headers.find_all(name.as_bytes()) {
                add(name, value);
            }
        }
        let mut target = head.path().to_owned();
        if let Some(query) = head.query() {
            target.push('?');
            target.push_str(query);
        }
        add("x-forwarded-method", head.method.as_str().as_bytes());
        add("x-forwarded-uri", target.as_bytes());
        add("x-forwarded-host", head.authority().as_bytes());
        add("x-forwarded-proto", ex.client.scheme.as_bytes());
        add("x-forwarded-for", ex.client_text().as_bytes());
        add("x-request-id", ex.ids.request.as_bytes());
        fields
    }
}

struct Places(Arc<Semaphore>);

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(request: reqwest::RequestBuilder, wanted: &Wanted) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(said)?;
    let status = response.status().as_u16();
    if !(200..500).contains(&status) {
        return Err(format!("the service answered {status}"));
    }
    let mut answer = Answer {
        status,
        ..Answer::default()
    };
    let fields = response.headers();
    if answer.is_allowed() {
        answer.accepted = taken(fields, &wanted.accept);
        let subject = wanted.subject.as_ref().and_then(|name| fields.get(&**name));
        answer.subject = subject
            .and_then(|value| value.to_str().ok())
            .filter(|name| !name.is_empty())
            .map(Box::from);
        return Ok(answer);
    }
    answer.relayed = taken(fields, &RELAYED.map(Box::from));
    if wanted.relay {
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(said)? {
            if body.len() + piece.len() > MOST_BODY {
                return Err(format!("the body of the answer has more than {MOST_BODY} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        answer.body = body.freeze();
    }
    Ok(answer)
}

/// An error with its causes, and without the address.
fn said(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn taken(fields: &HeaderMap, names: &[Box<str>]) -> Vec<(Box<str>, Box<[u8]>)> {
    let mut taken = Vec::new();
    for name in names {
        let values = fields.get_all(&**name).iter();
        taken.extend(values.map(|value| (name.clone(), value.as_bytes().into())));
    }
    taken
}
