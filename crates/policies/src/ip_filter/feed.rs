//! Lists of addresses that others publish, fetched by a task of their own. Requests only look at what is there.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use gatehouse_core::config::{Diagnostic, Size, Span};
use gatehouse_core::policy::Compile;
use gatehouse_core::state::Task;
use gatehouse_core::telemetry::metrics::{Count, Family, Tally};
use reqwest::Url;
use reqwest::header::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addresses::{Addresses, Gathering};
use crate::fetch::{self, Fetcher};

/// How soon a fetch that failed is tried again for the first time; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// A list of addresses that is fetched, and fetched again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressFeed {
    /// Where it is. What is there has a block or an address on each line; what follows `#` or `;` is a comment.
    pub url: String,
    /// The time between two fetches. A list that is the same as before (`ETag`) is not sent again. What failed is tried again
    /// after 1, 2, 4 ... seconds, at most this long.
    #[serde(default = "AddressFeed::an_hour")]
    pub refresh: Span,
    /// The time for each answer.
    #[serde(default = "AddressFeed::half_a_minute")]
    pub timeout: Span,
    /// The largest list that is taken.
    #[serde(default = "AddressFeed::largest")]
    pub max_size: Size,
    /// A file of certificates in PEM: the authorities that the server's certificate must be from. Absent: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Whether an address of HTTP, in the clear, is allowed. One of this machine always is.
    #[serde(default)]
    pub allow_http: bool,
}

impl AddressFeed {
    fn an_hour() -> Span {
        Span::from_secs(3600)
    }

    fn half_a_minute() -> Span {
        Span::from_secs(30)
    }

    fn largest() -> Size {
        Size::mib(64)
    }

    /// Begins to fetch it; policies that name the same list share it. None if the document is only checked.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub(super) fn compile(&self, at: &str, cx: &mut Compile<'_>) -> Result<Option<Arc<Feed>>, Diagnostic> {
        let url = fetch::url(&self.url, self.allow_http);
        let url = url.map_err(|why| cx.error(&format!("{at}.url"), why))?;
        for (field, span) in [("refresh", self.refresh), ("timeout", self.timeout)] {
            if span.is_zero() {
                return Err(cx.error(&format!("{at}.{field}"), "expected more than no time at all"));
            }
        }
        let fetcher = Fetcher::compile(cx, &format!("{at}.ca"), self.ca.as_deref())?;
        let Some(background) = cx.background else {
            return Ok(None);
        };
        // What is asked for in a query may be a secret.
        let name = format!(
            "{}{}",
            url.host_str().unwrap_or_default(),
            url.path().trim_end_matches('/')
        );
        let source = Source {
            meters: Meters {
                good: cx.tally(&FETCHES, &[&name, "ok"]),
                failed: cx.tally(&FETCHES, &[&name, "failed"]),
                fetched: cx.gauge(&FETCHED, &[&name]),
                blocks: cx.gauge(&BLOCKS, &[&name]),
            },
            name,
            url,
            refresh: self.refresh.get(),
            timeout: self.timeout.get(),
            largest: usize::try_from(self.max_size.get()).unwrap_or(usize::MAX),
        };
        let shape = format!(
            "{:?} {:?} {:?} {:?}",
            source.refresh,
            source.timeout,
            source.largest,
            Arc::as_ptr(&fetcher)
        );
        let identity = format!("addresses at {}", source.url);
        Ok(Some(cx.common_state(&identity, &shape, || {
            let list = Arc::new(ArcSwapOption::empty());
            Feed {
                list: list.clone(),
                _task: Task::spawn(background, source.keep_fresh(fetcher, list)),
            }
        })))
    }
}

pub(super) const FETCHES: Family = Family::counter(
    "gatehouse_ip_filter_feed_fetches_total",
    &["feed", "result"],
    "Fetches of lists of addresses: ok or failed.",
);
pub(super) const FETCHED: Family = Family::gauge(
    "gatehouse_ip_filter_feed_fetched_seconds",
    &["feed"],
    "When a list of addresses was last fetched, in seconds since 1970.",
);
pub(super) const BLOCKS: Family = Family::gauge(
    "gatehouse_ip_filter_feed_blocks",
    &["feed"],
    "Blocks of a fetched list of addresses, those that touch made one.",
);

/// A list that is fetched, as requests see it.
pub(super) struct Feed {
    list: Arc<ArcSwapOption<Addresses>>,
    _task: Task,
}

impl Feed {
    /// Whether the address is in what was fetched last.
    pub fn have(&self, ip: IpAddr) -> bool {
        self.list.load().as_ref().is_some_and(|list| list.have(ip))
    }
}

struct Meters {
    good: Arc<Tally>,
    failed: Arc<Tally>,
    fetched: Arc<Count>,
    blocks: Arc<Count>,
}

/// Where a list comes from, and how often.
struct Source {
    name: String,
    url: Url,
    refresh: Duration,
    timeout: Duration,
    largest: usize,
    meters: Meters,
}

impl Source {
    async fn keep_fresh(self, fetcher: Arc<Fetcher>, list: Arc<ArcSwapOption<Addresses>>) {
        let mut tag = None;
        let mut retry = FIRST_RETRY;
        loop {
            let wait = match self.fetch(&fetcher, tag.as_ref()).await {
                Ok(fetched) => {
                    if let Some((addresses, its_tag)) = fetched {
                        let blocks = addresses.blocks();
                        tracing::info!(feed = self.name, blocks, "a list of addresses was fetched");
                        self.meters.blocks.set(blocks as u64);
                        list.store(Some(Arc::new(addresses)));
                        tag = its_tag;
                    }
                    let now = SystemTime::now().duration_since(UNIX_EPOCH);
                    self.meters.fetched.set(now.map_or(0, |time| time.as_secs()));
                    self.meters.good.add_shared(1);
                    retry = FIRST_RETRY;
                    self.refresh
                }
                Err(why) => {
                    self.meters.failed.add_shared(1);
                    let kept = if list.load().is_some() {
                        "the one from before stays in force"
                    } else {
                        "there is none yet"
                    };
                    tracing::warn!(
                        feed = self.name,
                        why,
                        "a list of addresses could not be fetched: {kept}"
                    );
                    let wait = retry.min(self.refresh);
                    retry = retry.saturating_mul(2).min(self.refresh);
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The list, unless it is the one of this tag.
    async fn fetch(
        &self,
        fetcher: &Fetcher,
        tag: Option<&HeaderValue>,
    ) -> Result<Option<(Addresses, Option<HeaderValue>)>, String> {
        let request = fetcher.get_text(self.url.clone(), tag);
        let answer = fetch::send_for(request, self.timeout, self.largest).await?;
        match answer.status {
            200 => {}
            304 if tag.is_some() => return Ok(None),
            other => return Err(format!("the answer is {other}")),
        }
        // A million lines take a quarter of a second: others on this runtime go on.
        let read = tokio::task::spawn_blocking(move || {
            let mut gathering = Gathering::default();
            gathering.read(&answer.body)?;
            Ok((gathering.finish(), answer.tag))
        });
        read.await.map_err(|why| why.to_string())?.map(Some)
    }
}
