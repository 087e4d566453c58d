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

/// The most lines of a list: a bound on the memory that it takes while it is read, 32 bytes for each at most.
const MOST_LINES: usize = 4_000_000;
/// The widest blocks of a list, by their prefix: a line that was cut short must not be half of the world.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 16;

/// A list of addresses that is fetched, and fetched again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressFeed {
    /// Where it is. What is there has a block or an address on each line, at most 4,000,000; what follows `#` or `;` is a
    /// comment. Blocks wider than /8 (IPv6: /16), an answer of nothing at all, one of unknown length and a redirect are
    /// taken for a mistake, and what was fetched before stays.
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
        // What was fetched outlives a change of how it is fetched.
        let list = cx.common_state(&identity, "", ArcSwapOption::empty);
        Ok(Some(cx.common_state(&identity, &shape, || Feed {
            list: list.clone(),
            _task: Task::spawn(background, source.keep_fresh(fetcher, list)),
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
    list: Arc<ArcSwapOption<Fetched>>,
    _task: Task,
}

impl Feed {
    /// Whether the address is in what was fetched last.
    pub fn have(&self, ip: IpAddr) -> bool {
        self.list
            .load()
            .as_ref()
            .is_some_and(|list| list.addresses.have(ip))
    }
}

/// A list as it was fetched.
struct Fetched {
    addresses: Addresses,
    /// What names this version of it.
    tag: Option<HeaderValue>,
}

struct Meters {
    good: Arc<Tally>,
    failed: Arc<Tally>,
    fetched: Arc<Count>,
    blocks: Arc<Count>,
}

/// Reads what was answered: strictly, as nobody looks at it before it is in force.
fn read_list(body: &[u8]) -> Result<Addresses, String> {
    // A server that lost its list says nothing at all; one that has nobody in it can say so in a comment.
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err("the list is empty; a comment (`# none`) would say that this is meant".to_owned());
    }
    let mut gathering = Gathering::default();
    if body.split(|byte| *byte == b'\n').nth(MOST_LINES).is_some() {
        return Err(format!("the list has more than {MOST_LINES} lines"));
    }
    gathering.read_if(body, |block| {
        let (prefix, widest) = match block.net() {
            ipnet::IpNet::V4(net) => (net.prefix_len(), WIDEST_V4),
            ipnet::IpNet::V6(net) => (net.prefix_len(), WIDEST_V6),
        };
        if prefix >= widest {
            return Ok(());
        }
        Err(format!(
            "`{block}` is wider than /{widest}, which is more likely a mistake; write it into `allow` or `deny`"
        ))
    })?;
    Ok(gathering.finish())
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
    async fn keep_fresh(self, fetcher: Arc<Fetcher>, list: Arc<ArcSwapOption<Fetched>>) {
        let mut retry = FIRST_RETRY;
        loop {
            let tag = list.load().as_ref().and_then(|list| list.tag.clone());
            let wait = match self.fetch(&fetcher, tag.as_ref()).await {
                Ok(fetched) => {
                    if let Some(fetched) = fetched {
                        let blocks = fetched.addresses.blocks();
                        tracing::info!(feed = self.name, blocks, "a list of addresses was fetched");
                        self.meters.blocks.set(blocks as u64);
                        list.store(Some(Arc::new(fetched)));
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
    async fn fetch(&self, fetcher: &Fetcher, tag: Option<&HeaderValue>) -> Result<Option<Fetched>, String> {
        let request = fetcher.get_text(self.url.clone(), tag);
        let answer = fetch::send_for(request, self.timeout, self.largest).await?;
        match answer.status {
            200 if answer.is_measured => {}
            200 => {
                return Err("nobody knows whether that was all of it: the answer has no length".to_owned());
            }
            304 if tag.is_some() => return Ok(None),
            other => return Err(format!("the answer is {other}")),
        }
        // A million lines take a quarter of a second: others on this runtime go on.
        let read = tokio::task::spawn_blocking(move || {
            let addresses = read_list(&answer.body)?;
            let tag = answer.tag;
            Ok(Fetched { addresses, tag })
        });
        read.await.map_err(|why| why.to_string())?.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_likely_a_mistake_is_none() {
        for good in ["# none", "10.0.0.0/8\n2001::/16", "192.0.2.1"] {
            assert!(read_list(good.as_bytes()).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "empty"),
            (" \r\n\n", "empty"),
            (
                "192.0.2.0/24\n64.0.0.0/2",
                "line 2: `64.0.0.0/2` is wider than /8",
            ),
            ("::/0", "wider than /16"),
            ("<html>", "line 1"),
        ] {
            let told = read_list(bad.as_bytes()).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let long = read_list(&vec![b'x'; 1 << 20]).unwrap_err();
        assert!(long.len() < 400, "{}", long.len());
    }
}
