//! Tokens that are not good any more before they expire: a file, and a stream that several gateways read.
//!
//! A file is there after a restart, and a change of it is in force as soon as it is noticed. A stream is looked at every
//! now and then for what is new; what was read of it stays in force until its time is over, whatever becomes of the store.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::identity::Proof;
use gatehouse_core::policy::Compile;
use gatehouse_core::state::Task;
use gatehouse_core::telemetry::metrics::{Count, Family};
use tokio::time::sleep;

use super::config::{RevokedIn, Unread};
use crate::store::{Redis, Unavailable};

/// How many values are known.
pub const KNOWN: Family = Family::gauge(
    "gatehouse_jwt_revoked",
    &["stream"],
    "Values (`jti`, `sub`, `kid`) that were revoked, as read from a stream.",
);

/// When the stream was read.
pub const READ: Family = Family::gauge(
    "gatehouse_jwt_revoked_read_seconds",
    &["stream"],
    "When the stream of what was revoked was last read to its end, in seconds since 1970; 0 if never.",
);

/// Entries that are read at once.
const PAGE: usize = 1_000;
/// The longest value that is kept; a claim that is longer is never found.
const LONGEST: usize = 1_024;

/// What was revoked.
#[derive(Default)]
pub struct Revoked {
    file: Option<List>,
    stream: Option<Arc<Stream>>,
    accepts_unread: bool,
}

/// What is said of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nothing of it was revoked.
    Good,
    /// Something was: for the log.
    Revoked(&'static str),
    /// Nobody knows.
    Unknown,
}

const KINDS: [(&str, &str); 3] = [
    ("jti", "the token was revoked (`jti`)"),
    ("sub", "all tokens of its subject were revoked (`sub`)"),
    ("kid", "all tokens of its key were revoked (`kid`)"),
];

impl Revoked {
    /// What the settings `revoked` and `revoked_in` name.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn compile(
        file: Option<&Path>,
        stream: Option<&RevokedIn>,
        cx: &mut Compile<'_>,
    ) -> Result<Self, Diagnostic> {
        let file = match file {
            None => None,
            Some(path) => {
                let text = cx
                    .read(path)
                    .map_err(|why| format!("cannot read `{}`: {why}", path.display()));
                let text = text
                    .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "the file is no text".to_owned()));
                let list = text.and_then(|text| List::parse(&text));
                Some(list.map_err(|why| cx.error("revoked", why))?)
            }
        };
        Ok(Self {
            file,
            accepts_unread: stream.is_some_and(|stream| stream.unread == Unread::Accept),
            stream: stream.map(|stream| Stream::compile(stream, cx)).transpose()?,
        })
    }

    /// What of a token was revoked, if anything was.
    pub fn of(&self, proof: &Proof, key_id: Option<&str>, now: u64) -> Judged {
        if self.file.is_none() && self.stream.is_none() {
            return Judged::Good;
        }
        for (kind, (name, why)) in KINDS.into_iter().enumerate() {
            let value = match name {
                "kid" => key_id,
                claim => proof.claims.get(claim).and_then(|value| value.as_str()),
            };
            let Some(value) = value else { continue };
            let in_file = self.file.as_ref().is_some_and(|file| file.has(kind, value));
            if in_file
                || self
                    .stream
                    .as_ref()
                    .is_some_and(|list| list.has(kind, value, now))
            {
                return Judged::Revoked(why);
            }
        }
        match &self.stream {
            Some(stream) if !self.accepts_unread && !stream.is_read.load(Relaxed) => Judged::Unknown,
            _ => Judged::Good,
        }
    }
}

/// The list of a file, by kind.
#[derive(Debug, Default)]
struct List([HashSet<Box<str>>; 3]);

impl List {
    /// Reads a list: on each line `jti`, `sub` or `kid`, a space, and the value. `#` begins a comment.
    fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let kind = line.split_once(char::is_whitespace).and_then(|(name, value)| {
                let kind = KINDS.iter().position(|(known, _)| *known == name)?;
                Some((list.0.get_mut(kind)?, value.trim()))
            });
            let Some((set, value)) = kind else {
                let number = number + 1;
                return Err(format!(
                    "line {number}: expected `jti`, `sub` or `kid`, a space and a value"
                ));
            };
            set.insert(value.into());
        }
        Ok(list)
    }

    fn has(&self, kind: usize, value: &str) -> bool {
        self.0.get(kind).is_some_and(|set| set.contains(value))
    }
}

/// The list of a stream. State: outlives plans.
struct Stream {
    is_read: AtomicBool,
    /// How many values there are; 0 spares the lock.
    count: AtomicUsize,
    /// Until when each counts, by kind.
    values: RwLock<Values>,
    most: usize,
    known: Arc<Count>,
    read: Arc<Count>,
    task: RwLock<Option<Task>>,
}

type Values = [HashMap<Box<str>, u64>; 3];

impl Stream {
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    fn compile(settings: &RevokedIn, cx: &Compile<'_>) -> Result<Arc<Self>, Diagnostic> {
        let store = Redis::named(cx, "revoked_in.store", &settings.store)?;
        // Whether unread is accepted is the policy's own affair.
        let (name, every, most) = (&settings.stream, settings.every.get(), settings.most.get());
        let shape = format!("{name} {every:?} {most} {:?}", Arc::as_ptr(&store));
        let every = every.max(Duration::from_millis(50));
        let stream = cx.common_state("jwt.revoked_in", &shape, || Self {
            is_read: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            values: RwLock::default(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
            known: cx.gauge(&KNOWN, &[name]),
            read: cx.gauge(&READ, &[name]),
            task: RwLock::default(),
        });
        let mut task = stream.task.write().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(background)) = (&*task, cx.background) {
            // The task ends with the state: it holds it by a weak reference.
            let reading = read(Arc::downgrade(&stream), store, name.clone(), every);
            *task = Some(Task::spawn(background, reading));
        }
        drop(task);
        Ok(stream)
    }

    fn has(&self, kind: usize, value: &str, now: u64) -> bool {
        if self.count.load(Relaxed) == 0 || value.len() > LONGEST {
            return false;
        }
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        let until = values.get(kind).and_then(|values| values.get(value));
        until.is_some_and(|until| now < *until)
    }

    /// Takes in what was read, in its order.
    fn add(&self, entries: &[(String, Vec<(String, String)>)], now: u64) {
        if entries.is_empty() {
            return;
        }
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        for (id, fields) in entries {
            let of = |name: &str| {
                fields
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value)
            };
            let until = of("exp").map_or(Some(u64::MAX), |until| until.parse().ok());
            let mut named = KINDS
                .iter()
                .enumerate()
                .filter_map(|(kind, (name, _))| Some((kind, of(name)?)));
            match (named.next(), named.next(), until) {
                (Some((kind, value)), None, Some(until)) if value.len() <= LONGEST => {
                    if let Some(values) = values.get_mut(kind) {
                        if until <= now {
                            values.remove(value.as_str());
                        } else {
                            values.insert(value.as_str().into(), until);
                        }
                    }
                }
                _ => tracing::warn!(
                    id,
                    "an entry of the stream of revoked tokens is passed by: expected one of `jti`, `sub` and `kid`, and a number as `exp`"
                ),
            }
        }
        self.shrink(&mut values, now);
        let count = values.iter().map(HashMap::len).sum();
        self.count.store(count, Relaxed);
        self.known.set(count as u64);
    }

    /// Forgets what does not count any more; and if that is not enough, what would end first.
    fn shrink(&self, values: &mut Values, now: u64) {
        let count = |values: &Values| values.iter().map(HashMap::len).sum::<usize>();
        if count(values) <= self.most {
            return;
        }
        for values in values.iter_mut() {
            values.retain(|_, until| now < *until);
        }
        let surplus = count(values).saturating_sub(self.most);
        if surplus == 0 {
            return;
        }
        tracing::warn!(
            most = self.most,
            "more tokens are revoked than may be known; those that expire first are forgotten"
        );
        // An eighth goes at once, so that this is seldom.
        let goes = surplus.max(self.most / 8);
        let mut ends: Vec<u64> = values
            .iter()
            .flat_map(|values| values.values().copied())
            .collect();
        let at = goes.min(ends.len()).saturating_sub(1);
        let (_, last, _) = ends.select_nth_unstable(at);
        let last = *last;
        let mut left = goes;
        for values in values.iter_mut() {
            values.retain(|_, until| {
                let stays = *until > last || left == 0;
                left -= usize::from(!stays);
                stays
            });
        }
    }
}

/// Reads the stream until nobody needs it any more.
async fn read(stream: std::sync::Weak<Stream>, store: Arc<Redis>, name: String, every: Duration) {
    let start = "0".to_owned();
    let mut after = start.clone();
    store.settle().await;
    loop {
        match store.entries(&name, &after, PAGE).await {
            Ok(entries) => {
                let Some(stream) = stream.upgrade() else { return };
                let now = now();
                stream.add(&entries, now);
                let is_whole = entries.len() < PAGE;
                if let Some((id, _)) = entries.into_iter().next_back() {
                    after = id;
                }
                if !is_whole {
                    continue;
                }
                stream.is_read.store(true, Relaxed);
                stream.read.set(now);
            }
            Err(why) => {
                if why == Unavailable::Refused {
                    tracing::warn!(stream = name, "what was revoked cannot be read: it is no stream");
                }
                // It may come back as another, with ids of its own: all of it is read again.
                after.clone_from(&start);
            }
        }
        sleep(every).await;
    }
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatehouse_core::telemetry::metrics::{Metrics, Options};

    #[test]
    fn a_list_has_a_kind_and_a_value_on_each_line() {
        let list = List::parse("# lost\n\njti a b\n  sub\tbob \nkid k1").unwrap();
        assert!(list.has(0, "a b") && list.has(1, "bob") && list.has(2, "k1"));
        assert!(!list.has(0, "bob"));
        assert!(List::parse("jti x\nbob").unwrap_err().starts_with("line 2:"));
    }

    fn stream(most: usize) -> Stream {
        let metrics = Metrics::new(&Options::default());
        Stream {
            is_read: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            values: RwLock::default(),
            most,
            known: metrics.extra().gauge(&KNOWN, &["s"]),
            read: metrics.extra().gauge(&READ, &["s"]),
            task: RwLock::default(),
        }
    }

    fn entry(fields: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ("1-1".to_owned(), fields.collect())
    }

    #[test]
    fn what_is_said_last_counts_until_its_time() {
        let stream = stream(10);
        stream.add(
            &[entry(&[("jti", "a"), ("exp", "100")]), entry(&[("sub", "bob")])],
            50,
        );
        assert!(stream.has(0, "a", 99) && !stream.has(0, "a", 100));
        assert!(stream.has(1, "bob", u64::MAX - 1), "without an end");
        stream.add(&[entry(&[("sub", "bob"), ("exp", "0")])], 50);
        assert!(!stream.has(1, "bob", 50), "taken back");
        stream.add(
            &[
                entry(&[("jti", "x"), ("sub", "y")]),
                entry(&[("jti", "z"), ("exp", "soon")]),
            ],
            50,
        );
        assert_eq!(stream.known.get(), 1, "what is unclear is passed by");
    }

    #[test]
    fn their_number_is_bounded_and_what_ends_first_goes() {
        let stream = stream(80);
        for i in 0..200_u32 {
            let (id, until) = (i.to_string(), (1_000 + i).to_string());
            stream.add(&[entry(&[("jti", &id), ("exp", &until)])], 50);
        }
        assert!(stream.known.get() <= 80);
        assert!(stream.has(0, "199", 60) && !stream.has(0, "0", 60));
    }
}
