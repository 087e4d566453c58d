//! Stores outside of this process, which several gateways share: Redis, and what speaks as it does.
//!
//! A [`Redis`] is state: all policies that name the store share one, and with it one connection on the background
//! runtime. Workers hand it what they ask and wait for the answer; what is asked at the same moment travels together.
//! It is asked only while it answers: after a broken connection or several failures in a row, [`Redis::is_up`] is false
//! and nobody waits, until a probe in the background has been answered.

mod connect;
mod count;
mod drive;
mod values;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::policy::Compile;
use gatehouse_core::state::Task;
use gatehouse_core::telemetry::metrics::{Count, Family, Tally};
use redis::Value;
use tokio::sync::{mpsc, oneshot, watch};

use connect::{CONNECT, Target};
pub use count::Asked;

/// Whether stores answer.
pub const UP: Family = Family::gauge(
    "gatehouse_store_up",
    &["store"],
    "1 while the store answers, else 0.",
);

/// What became of commands.
pub const COMMANDS: Family = Family::counter(
    "gatehouse_store_commands_total",
    &["store", "result"],
    "Commands for a store: answered, failed, timed_out, or refused because too many were under way.",
);

/// A script with its name at the server.
pub struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self {
            source,
            hash: redis::Script::new(source).get_hash().to_owned(),
        }
    }
}

/// What is asked of the store.
enum Call {
    /// A script over one key.
    Script {
        script: Arc<Script>,
        key: Vec<u8>,
        arguments: Vec<Vec<u8>>,
    },
    /// A command of Redis.
    Command(redis::Cmd),
}

struct Job {
    call: Call,
    answer: oneshot::Sender<Result<Value, Unavailable>>,
}

/// Why there is no answer. The policy says what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// It cannot be reached, or the connection broke.
    Down,
    /// It took too long.
    TimedOut,
    /// Too much was under way already.
    Busy,
    /// It answered with an error.
    Refused,
}

/// A Redis that policies share.
pub struct Redis {
    prefix: Box<str>,
    timeout: Duration,
    most: u32,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    counter: Arc<Script>,
    swapper: Arc<Script>,
    _task: Option<Task>,
}

/// What the task in the background and those who ask have in common.
struct Shared {
    name: Box<str>,
    is_up: AtomicBool,
    /// Whether the first attempt to reach it has ended.
    settled: watch::Sender<bool>,
    pending: AtomicU32,
    up: Arc<Count>,
    answered: Arc<Tally>,
    failed: Arc<Tally>,
    timed_out: Arc<Tally>,
    refused: Arc<Tally>,
}

impl Shared {
    fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Relaxed);
        self.up.set(u64::from(is_up));
    }
}

impl Redis {
    /// The store of that name. `field` is the setting that names it.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn named(cx: &Compile<'_>, field: &str, name: &str) -> Result<Arc<Self>, Diagnostic> {
        let Some(store) = cx.stores.get(name) else {
            let known: Vec<&str> = cx.stores.keys().map(String::as_str).collect();
            let help = match known.as_slice() {
                [] => "there are no `stores` in the document".to_owned(),
                known => format!("stores are `{}`", known.join("`, `")),
            };
            return Err(cx.error(field, format!("there is no store `{name}`")).help(help));
        };
        let settings = &store.redis;
        let path = format!("stores.{name}.redis");
        let target = Target::of(settings, &path, cx)?;
        let mut hasher = DefaultHasher::new();
        (format!("{settings:?}"), target.fingerprint()).hash(&mut hasher);
        let shape = format!("{:016x}", hasher.finish());
        Ok(cx.common_state(&path, &shape, || {
            let tally = |result| cx.tally(&COMMANDS, &[name, result]);
            let shared = Arc::new(Shared {
                name: name.into(),
                is_up: AtomicBool::new(false),
                settled: watch::Sender::new(false),
                pending: AtomicU32::new(0),
                up: cx.gauge(&UP, &[name]),
                answered: tally("answered"),
                failed: tally("failed"),
                timed_out: tally("timed_out"),
                refused: tally("refused"),
            });
            let most = settings.max_pending.get();
            let (jobs, inbox) = mpsc::channel(most as usize);
            let pace = drive::Pace {
                timeout: settings.timeout.get(),
                failures: settings.failures.get(),
                retry: settings
                    .retry
                    .get()
                    .clamp(Duration::from_millis(10), Duration::from_secs(1)),
            };
            let driven = drive::drive(target, shared.clone(), inbox, pace);
            Self {
                prefix: settings.prefix.as_str().into(),
                timeout: settings.timeout.get(),
                most,
                jobs,
                shared,
                counter: Arc::new(Script::new(count::SOURCE)),
                swapper: Arc::new(Script::new(values::SWAP)),
                _task: cx.background.map(|handle| Task::spawn(handle, driven)),
            }
        }))
    }

    /// Whether it is worth asking.
    pub fn is_up(&self) -> bool {
        self.shared.is_up.load(Relaxed)
    }

    /// Whether it is known if it answers: not in the first moments after the start.
    pub fn is_settled(&self) -> bool {
        *self.shared.settled.borrow()
    }

    /// Waits until that is known, no longer than a connection may take.
    pub async fn settle(&self) {
        if !self.is_settled() {
            let mut settled = self.shared.settled.subscribe();
            let _ = tokio::time::timeout(CONNECT * 2, settled.wait_for(|is| *is)).await;
        }
    }

    /// Asks and waits, no longer than the timeout.
    async fn ask(&self, call: Call) -> Result<Value, Unavailable> {
        if !self.is_up() {
            return Err(Unavailable::Down);
        }
        let _place = Place::take(&self.shared, self.most).ok_or_else(|| {
            self.shared.refused.add_shared(1);
            Unavailable::Busy
        })?;
        let (answer, answered) = oneshot::channel();
        if self.jobs.try_send(Job { call, answer }).is_err() {
            self.shared.refused.add_shared(1);
            return Err(Unavailable::Busy);
        }
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Unavailable::Down),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }
}

/// One of the commands that may be under way.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared, most: u32) -> Option<Self> {
        let before = shared.pending.fetch_add(1, Relaxed);
        let place = Self(shared);
        (before < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}
