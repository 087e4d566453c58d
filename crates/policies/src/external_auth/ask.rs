//! Puts questions to the service, away from the workers: bounded in time and number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::policy::Compile;
use reqwest::{Certificate, Client, Url};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::answer::Answer;
use super::config::{ExternalAuth, Protocol};
use super::{grpc, http};

/// Questions of one policy that may be open at once.
const MOST_OPEN: usize = 1024;

/// Asks one service.
pub struct Asker {
    client: Client,
    url: Url,
    protocol: Protocol,
    /// None: all fields.
    send: Option<Box<[Box<str>]>>,
    context: HashMap<String, String>,
    wanted: Arc<Wanted>,
    timeout: Duration,
    background: Option<Handle>,
    open: Arc<Semaphore>,
}

/// What of an answer is read.
pub struct Wanted {
    /// Fields for the upstream, in lower case.
    pub accept: Box<[Box<str>]>,
    /// Fields for the client of a request that goes on, in lower case.
    pub accept_response: Box<[Box<str>]>,
    /// The field that names the caller, in lower case.
    pub subject: Option<Box<str>>,
    /// Whether the client gets what the service says when it refuses.
    pub relay: bool,
}

/// What is sent of a request's body.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// The body, or its start.
    pub body: Bytes,
    /// Whether that is only its start; none if no body is sent at all.
    pub is_partial: Option<bool>,
    /// How long the body is, if it is known.
    pub size: Option<u64>,
}

struct Places(Arc<Semaphore>);

impl Asker {
    /// Makes it; asks nothing yet. The error names the field it is about.
    pub fn new(
        url: Url,
        settings: &ExternalAuth,
        cx: &mut Compile<'_>,
    ) -> Result<Self, (&'static str, String)> {
        let lower = |names: &[String]| -> Box<[Box<str>]> {
            names
                .iter()
                .map(|name| name.to_ascii_lowercase().into())
                .collect()
        };
        let send = match (&settings.send, settings.protocol) {
            (Some(names), _) => Some(lower(names)),
            (None, Protocol::Http) => Some(["authorization", "cookie"].map(Box::from).into()),
            (None, Protocol::Grpc) => None,
        };
        Ok(Self {
            client: client(settings, cx)?,
            url: match settings.protocol {
                Protocol::Http => url,
                Protocol::Grpc => url.join(grpc::PATH).map_err(|error| ("url", error.to_string()))?,
            },
            protocol: settings.protocol,
            send,
            context: settings
                .context
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            wanted: Arc::new(Wanted {
                accept: lower(&settings.accept),
                accept_response: lower(&settings.accept_response),
                subject: settings
                    .subject
                    .as_ref()
                    .map(|name| name.to_ascii_lowercase().into()),
                relay: settings.relay,
            }),
            timeout: settings.timeout.get(),
            background: cx.background.cloned(),
            open: cx
                .state::<Places>("", || Places(Arc::new(Semaphore::new(MOST_OPEN))))
                .0
                .clone(),
        })
    }

    /// What the service says of a request. The error is for the log.
    pub async fn ask(&self, ex: &Exchange, sent: Sent) -> Result<Answer, String> {
        let Some(background) = &self.background else {
            return Err("nothing is asked while a document is only checked".to_owned());
        };
        let place = self.open.clone().try_acquire_owned();
        let place = place.map_err(|_| format!("{MOST_OPEN} questions are open already"))?;
        let send = self.send.as_deref();
        let request = match self.protocol {
            Protocol::Http => {
                http::question(&self.client, self.url.clone(), ex, send.unwrap_or_default(), sent)
            }
            Protocol::Grpc => self
                .client
                .post(self.url.clone())
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("grpc-timeout", format!("{}m", self.timeout.as_millis().max(1)))
                .body(grpc::question(ex, send, sent, &self.context)),
        };
        let (wanted, timeout, protocol) = (self.wanted.clone(), self.timeout, self.protocol);
        let work = async move {
            let asking = async {
                match protocol {
                    Protocol::Http => http::ask(request, &wanted).await,
                    Protocol::Grpc => grpc::ask(request, &wanted).await,
                }
            };
            let answer = tokio::time::timeout(timeout, asking).await;
            drop(place);
            answer.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
        };
        // A client that leaves takes its question along.
        let mut task = AbortOnDrop(background.spawn(work));
        (&mut task.0).await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// One for all policies that want the same of it, so that they share connections.
fn client(settings: &ExternalAuth, cx: &mut Compile<'_>) -> Result<Client, (&'static str, String)> {
    // Redirects are for clients to follow.
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent("gatehouse")
        .connect_timeout(Duration::from_secs(5))
        .pool_max_idle_per_host(64);
    let mut shape = format!("{:?}", settings.protocol);
    builder = match settings.protocol {
        Protocol::Http => builder.http1_only(),
        // A connection that has gone dumb is noticed, also while nobody asks.
        Protocol::Grpc => builder
            .http2_prior_knowledge()
            .http2_keep_alive_interval(Duration::from_secs(10))
            .http2_keep_alive_timeout(Duration::from_secs(5)),
    };
    if let Some(ca) = &settings.ca {
        let pem = cx
            .read(ca)
            .map_err(|why| ("ca", format!("cannot read `{}`: {why}", ca.display())))?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|all| !all.is_empty());
        let certificates =
            certificates.ok_or_else(|| ("ca", format!("`{}` has no certificate in PEM", ca.display())))?;
        builder = builder.tls_certs_only(certificates);
        shape.push_str(&String::from_utf8_lossy(&pem));
    }
    let client = cx.common_state("external_auth", &shape, || {
        builder.build().map_err(|error| error.to_string())
    });
    client.as_ref().clone().map_err(|why| ("url", why))
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An error with its causes, and without the address.
pub fn said(error: reqwest::Error) -> String {
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
