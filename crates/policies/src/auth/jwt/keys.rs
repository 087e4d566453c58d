//! The keys of an issuer that are fetched: kept fresh by a task of their own, and never looked up while a request waits
//! but in one case: a token names a key that is not known, and the last look was long enough ago.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::digest::{SHA256, digest};
use gatehouse_core::state::Task;
use gatehouse_core::telemetry::metrics::{Count, Tally};
use reqwest::Url;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::auth::jose::KeySet;
use crate::fetch::{self, Fetcher};

/// The shortest time between two fetches, unless the longest is shorter.
const SHORTEST: Duration = Duration::from_secs(10);

/// Where keys come from and how often.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the set is. None: where the issuer's discovery document says.
    pub url: Option<Url>,
    /// The issuer, and where its discovery document is.
    pub discovery: Option<(String, Url)>,
    /// Whether what is discovered may be in the clear.
    pub allow_http: bool,
    /// The time for each answer.
    pub timeout: Duration,
    /// The longest time between two fetches.
    pub refresh: Duration,
    /// The shortest time between a fetch and one for the sake of an unknown key.
    pub refetch: Duration,
    /// How long keys are used that could not be fetched again.
    pub stale: Duration,
}

/// What is counted.
pub struct Meters {
    /// Fetches that brought keys.
    pub good: Arc<Tally>,
    /// Those that did not.
    pub failed: Arc<Tally>,
    /// When keys were last fetched, in seconds since 1970.
    pub fetched: Arc<Count>,
}

/// The keys of an issuer, and the task that fetches them.
pub struct Remote {
    shared: Arc<Shared>,
    _task: Task,
}

struct Shared {
    name: String,
    settings: Settings,
    keys: ArcSwapOption<Fetched>,
    pace: Mutex<Pace>,
    wake: Notify,
    rounds: watch::Sender<u64>,
}

/// When keys were fetched.
#[derive(Default)]
struct Pace {
    /// Whether a fetch is under way, or about to be.
    is_busy: bool,
    /// When the last one ended.
    ended: Option<Instant>,
}

/// Keys as they were fetched.
pub struct Fetched {
    /// The keys.
    pub set: KeySet,
    /// Another number for each other set, also after a restart of the task.
    pub generation: u64,
    /// What the issuer says of itself, if its keys were found by that.
    pub issuer: Option<Discovered>,
    at: Instant,
}

impl Remote {
    /// Begins to fetch.
    pub fn start(on: &Handle, settings: Settings, fetcher: Arc<Fetcher>, meters: Meters) -> Self {
        let url = settings
            .url
            .as_ref()
            .or(settings.discovery.as_ref().map(|(_, url)| url));
        let shared = Arc::new(Shared {
            name: url.map(Url::to_string).unwrap_or_default(),
            settings,
            keys: ArcSwapOption::empty(),
            pace: Mutex::new(Pace {
                is_busy: true,
                ended: None,
            }),
            wake: Notify::new(),
            rounds: watch::Sender::new(0),
        });
        let task = Task::spawn(on, keep_fresh(shared.clone(), fetcher, meters));
        Self { shared, _task: task }
    }

    /// Where they come from, for logs.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The keys, if there are any that are not too old.
    pub fn keys(&self, now: Instant) -> Guard<Option<Arc<Fetched>>> {
        let keys = self.shared.keys.load();
        if keys
            .as_ref()
            .is_some_and(|keys| now.saturating_duration_since(keys.at) > self.shared.settings.stale)
        {
            return Guard::from_inner(None);
        }
        keys
    }

    /// Waits for a fetch that is under way, or for one begun now if `is_wanted` and the last was long enough ago.
    /// False, at once, if there is none to wait for. All who wait share the one fetch.
    pub async fn next(&self, is_wanted: bool) -> bool {
        let mut rounds = {
            // Under the lock that a fetch ends under: either its end is waited for, or another is begun.
            let mut pace = self.shared.pace();
            if !pace.is_busy {
                let is_early = pace
                    .ended
                    .is_some_and(|at| at.elapsed() < self.shared.settings.refetch);
                if !is_wanted || is_early {
                    return false;
                }
                pace.is_busy = true;
                self.shared.wake.notify_one();
            }
            self.shared.rounds.subscribe()
        };
        rounds.changed().await.is_ok()
    }
}

impl Shared {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_fresh(shared: Arc<Shared>, fetcher: Arc<Fetcher>, meters: Meters) {
    let settings = &shared.settings;
    let mut failures = 0_u32;
    loop {
        shared.pace().is_busy = true;
        let next = match fetch_keys(settings, &fetcher).await {
            Ok(found) => {
                failures = 0;
                let Found {
                    set,
                    body,
                    fresh,
                    issuer,
                } = found;
                let generation = generation(&body);
                let known = shared.keys.load().as_ref().map(|keys| keys.generation);
                if known != Some(generation) {
                    tracing::info!(source = shared.name, keys = set.len(), "keys were fetched");
                }
                let at = Instant::now();
                shared.keys.store(Some(Arc::new(Fetched {
                    set,
                    generation,
                    issuer,
                    at,
                })));
                meters.good.add_shared(1);
                meters.fetched.set(
                    SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .map_or(0, |time| time.as_secs()),
                );
                let longest = settings.refresh;
                fresh.unwrap_or(longest).clamp(SHORTEST.min(longest), longest)
            }
            Err(why) => {
                failures += 1;
                meters.failed.add_shared(1);
                let kept = if shared.keys.load().is_some() {
                    "those from before stay"
                } else {
                    "there are none; tokens are refused with 503"
                };
                tracing::warn!(source = shared.name, why, "keys could not be fetched: {kept}");
                // 1, 2, 4 ... 32 seconds.
                Duration::from_secs(1 << (failures - 1).min(5)).min(settings.refresh)
            }
        };
        {
            let mut pace = shared.pace();
            *pace = Pace {
                is_busy: false,
                ended: Some(Instant::now()),
            };
            shared.rounds.send_modify(|round| *round += 1);
        }
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = shared.wake.notified() => {}
        }
    }
}

/// A number that the same keys have again, and others never.
fn generation(body: &[u8]) -> u64 {
    let digest = digest(&SHA256, body);
    digest
        .as_ref()
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// What a discovery document says that is of interest here (OIDC Discovery 3).
#[derive(Debug, Clone, Deserialize)]
pub struct Discovered {
    /// Its name.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where browsers are sent to log in.
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    /// Where codes and refresh tokens are exchanged.
    #[serde(default)]
    pub token_endpoint: Option<String>,
    /// Where more is to be learnt of who logged in.
    #[serde(default)]
    pub userinfo_endpoint: Option<String>,
    /// Where browsers are sent to log out.
    #[serde(default)]
    pub end_session_endpoint: Option<String>,
}

/// What a fetch brought.
struct Found {
    set: KeySet,
    body: Vec<u8>,
    fresh: Option<Duration>,
    issuer: Option<Discovered>,
}

async fn fetch_keys(settings: &Settings, fetcher: &Fetcher) -> Result<Found, String> {
    let (url, issuer) = match (&settings.url, &settings.discovery) {
        (Some(url), _) => (url.clone(), None),
        (None, Some((issuer, url))) => {
            let answer = get(fetcher, url.clone(), settings.timeout).await?;
            let document: Discovered = serde_json::from_slice(&answer.body).map_err(|_| {
                "the discovery document is not one: it has no `issuer` or no `jwks_uri`".to_owned()
            })?;
            if document.issuer != *issuer {
                return Err(format!(
                    "the discovery document is of another issuer: `{}`",
                    document.issuer
                ));
            }
            (
                fetch::url(&document.jwks_uri, settings.allow_http)?,
                Some(document),
            )
        }
        (None, None) => return Err("nothing says where the keys are".to_owned()),
    };
    let answer = get(fetcher, url.clone(), settings.timeout).await?;
    let (set, wrong) = KeySet::read(&answer.body, true)
        .map_err(|why| format!("what is at {url} is no set of keys: {why}"))?;
    for why in wrong {
        tracing::warn!(source = %url, why, "a key cannot be used");
    }
    if set.is_empty() {
        return Err(format!("what is at {url} has no key for signatures"));
    }
    Ok(Found {
        set,
        body: answer.body,
        fresh: answer.fresh,
        issuer,
    })
}

async fn get(fetcher: &Fetcher, url: Url, timeout: Duration) -> Result<fetch::Answer, String> {
    let answer = fetch::send(fetcher.get(url.clone()), timeout).await?;
    if answer.status != 200 {
        return Err(format!("{url} answered {}", answer.status));
    }
    Ok(answer)
}
