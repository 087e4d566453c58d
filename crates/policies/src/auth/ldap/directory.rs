//! The directory: connections to it, and what it is asked about a name and a password.
//!
//! All of this runs on the background runtime. A connection serves one question at a time, because a bind changes who
//! speaks on it; one that failed is never used again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatehouse_core::state::Task;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions, StdStream};
use reqwest::Url;
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::channel;
use super::names::Pattern;

/// Failures in a row after which the directory is left alone.
const FAILURES: u32 = 3;
/// For how long.
const PAUSE: Duration = Duration::from_secs(2);
/// Connections that idled for longer are not used again: what stands between may have forgotten them without a word.
const IDLE: Duration = Duration::from_mins(1);
/// Groups of one caller that are read at most.
const MOST_GROUPS: i32 = 1000;

/// Where the directory is and how it is asked.
pub struct Settings {
    pub url: Url,
    pub start_tls: bool,
    pub tls: Option<Arc<ClientConfig>>,
    pub connect_timeout: Duration,
    pub timeout: Duration,
    pub connections: usize,
    pub queue: usize,
    pub find: Find,
    /// Attributes of the entry that are wanted.
    pub attributes: Vec<String>,
    pub groups: Option<GroupSearch>,
}

/// How the entry of a name is known.
pub enum Find {
    /// By its form.
    Bind(Pattern),
    /// By a search, as somebody.
    Search {
        base: String,
        filter: Pattern,
        scope: Scope,
        /// A name and its password; none for nobody.
        as_whom: Option<(String, String)>,
    },
}

/// How groups are searched for.
pub struct GroupSearch {
    pub base: String,
    pub filter: Pattern,
}

/// What the directory knows of somebody whose password is good.
#[derive(Debug, Default)]
pub struct Entry {
    /// The values of the attributes that were wanted, by names in lower case.
    pub attributes: HashMap<String, Vec<String>>,
    /// The names of the groups that were searched for.
    pub groups: Vec<String>,
}

/// Why nobody is let in.
#[derive(Debug)]
pub enum Refusal {
    /// The name or the password is wrong; why is for the log.
    Wrong(&'static str),
    /// Too many wait already.
    Full,
    /// It could not be found out; why is for the log.
    Unavailable(String),
}

/// Connections to the directory.
pub struct Directory {
    settings: Settings,
    places: Semaphore,
    waiting: AtomicUsize,
    /// Those that idle, and since when: of searches, and of binds.
    idle: [Mutex<Vec<(Connection, Instant)>>; 2],
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    failures: u32,
    until: Option<Instant>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Search,
    Bind,
}

struct Connection {
    ldap: Ldap,
    is_fresh: bool,
    _tasks: [Task; 2],
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Directory {
    /// Connects to nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            places: Semaphore::new(settings.connections),
            waiting: AtomicUsize::new(0),
            idle: Default::default(),
            health: Mutex::default(),
            settings,
        }
    }

    /// What is known of somebody, if the password is theirs.
    pub async fn check(&self, username: &str, password: &str) -> Result<Entry, Refusal> {
        let whole = timeout(self.settings.timeout, self.check_unbounded(username, password)).await;
        let result = whole.unwrap_or_else(|_| {
            // Of those that idle none is known to be any better.
            self.idle.iter().for_each(|idle| lock(idle).clear());
            Err(Refusal::Unavailable(format!(
                "no answer within {:?}",
                self.settings.timeout
            )))
        });
        if !matches!(result, Err(Refusal::Full)) {
            self.note(matches!(result, Err(Refusal::Unavailable(_))));
        }
        result
    }

    async fn check_unbounded(&self, username: &str, password: &str) -> Result<Entry, Refusal> {
        let _place = if let Ok(place) = self.places.try_acquire() {
            place
        } else {
            let before = self.waiting.fetch_add(1, Ordering::Relaxed);
            let _waiting = Waiting(&self.waiting);
            if before >= self.settings.queue {
                return Err(Refusal::Full);
            }
            let place = self.places.acquire().await;
            place.map_err(|_| Refusal::Full)?
        };
        self.is_up()?;
        // What idled may have been closed by the other side since: then once more, on a new one.
        for _ in 0..=self.settings.connections {
            let mut is_stale = false;
            match self.ask(username, password, &mut is_stale).await {
                Err(Refusal::Unavailable(_)) if is_stale => {}
                result => return result,
            }
        }
        Err(Refusal::Unavailable("every connection was closed".to_owned()))
    }

    /// An error if the directory is being left alone.
    fn is_up(&self) -> Result<(), Refusal> {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match health.until {
            Some(until) if Instant::now() < until => Err(Refusal::Unavailable(
                "it has failed before, and is left alone for a while".to_owned(),
            )),
            Some(_) => {
                // One goes and looks; the others wait for what it finds.
                health.until = Some(Instant::now() + PAUSE);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn note(&self, has_failed: bool) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if !has_failed {
            *health = Health::default();
            return;
        }
        health.failures = health.failures.saturating_add(1);
        if health.failures >= FAILURES && health.until.is_none() {
            health.until = Some(Instant::now() + PAUSE);
        }
    }

    async fn ask(&self, username: &str, password: &str, is_stale: &mut bool) -> Result<Entry, Refusal> {
        match &self.settings.find {
            Find::Bind(pattern) => {
                let dn = pattern.render(username, "");
                let mut connection = self.bound(&dn, password, is_stale).await?;
                let mut entry = Entry::default();
                if !self.settings.attributes.is_empty() {
                    // As the caller, who may not be allowed to see all of it.
                    let found = self
                        .search(
                            &mut connection,
                            &dn,
                            Scope::Base,
                            "(objectClass=*)",
                            &self.settings.attributes,
                            1,
                        )
                        .await?;
                    entry.attributes = found.into_iter().next().map(attributes).unwrap_or_default();
                }
                entry.groups = self.groups(&mut connection, username, &dn).await?;
                self.give_back(Use::Bind, connection);
                Ok(entry)
            }
            Find::Search {
                base,
                filter,
                scope,
                as_whom,
            } => {
                let mut connection = self.take(Use::Search, is_stale).await?;
                if connection.is_fresh
                    && let Some((name, password)) = as_whom
                {
                    let code = self.bind(&mut connection, name, password, &mut false).await?;
                    if code != 0 {
                        return Err(Refusal::Unavailable(format!(
                            "`search.bind_dn` cannot log in: result {code}"
                        )));
                    }
                }
                connection.is_fresh = false;
                let filter = filter.render(username, "");
                let found = self
                    .search(
                        &mut connection,
                        base,
                        *scope,
                        &filter,
                        &self.settings.attributes,
                        2,
                    )
                    .await;
                let found = match found {
                    Err(refusal @ Refusal::Unavailable(_)) => return Err(refusal),
                    other => other?,
                };
                *is_stale = false;
                let mut found = found.into_iter();
                let (entry, other) = (found.next(), found.next());
                let Some(found) = entry.filter(|entry| !entry.dn.is_empty()) else {
                    self.give_back(Use::Search, connection);
                    return Err(Refusal::Wrong("nobody has this name"));
                };
                if other.is_some() {
                    self.give_back(Use::Search, connection);
                    return Err(Refusal::Wrong("several entries have this name"));
                }
                let bound = self.bound(&found.dn, password, is_stale).await;
                let bound = match bound {
                    Ok(bound) => bound,
                    Err(refusal) => {
                        self.give_back(Use::Search, connection);
                        return Err(refusal);
                    }
                };
                self.give_back(Use::Bind, bound);
                let groups = self.groups(&mut connection, username, &found.dn).await?;
                self.give_back(Use::Search, connection);
                Ok(Entry {
                    attributes: attributes(found),
                    groups,
                })
            }
        }
    }

    /// A connection on which this entry speaks, if the password is its.
    async fn bound(&self, dn: &str, password: &str, is_stale: &mut bool) -> Result<Connection, Refusal> {
        let mut connection = self.take(Use::Bind, is_stale).await?;
        connection.is_fresh = false;
        let code = self.bind(&mut connection, dn, password, is_stale).await?;
        *is_stale = false;
        match code {
            0 => Ok(connection),
            // Constraint violation, no such object, invalid name, inappropriate or invalid credentials, insufficient
            // rights, unwilling: about this caller (RFC 4511 appendix A).
            19 | 32 | 34 | 48 | 49 | 50 | 53 => {
                self.give_back(Use::Bind, connection);
                Err(Refusal::Wrong("the directory refuses the password"))
            }
            other => Err(Refusal::Unavailable(format!(
                "the bind ended with result {other}"
            ))),
        }
    }

    async fn bind(
        &self,
        connection: &mut Connection,
        dn: &str,
        password: &str,
        is_stale: &mut bool,
    ) -> Result<u32, Refusal> {
        // Without a name or a password it would be no bind at all, and succeed (RFC 4513 5.1).
        if dn.is_empty() || password.is_empty() {
            return Err(Refusal::Wrong("the password is empty"));
        }
        let result = connection.ldap.simple_bind(dn, password).await;
        match result {
            Ok(result) => Ok(result.rc),
            Err(error) => {
                *is_stale &= is_gone(&error);
                Err(said(&error))
            }
        }
    }

    async fn search(
        &self,
        connection: &mut Connection,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[String],
        most: i32,
    ) -> Result<Vec<SearchEntry>, Refusal> {
        // Nothing but the name: `1.1` (RFC 4511 4.5.1.8).
        let nothing = ["1.1".to_owned()];
        let attributes = if attributes.is_empty() {
            &nothing
        } else {
            attributes
        };
        // Nobody waits for longer, so that it need not look any further.
        let seconds = self.settings.timeout.as_secs().saturating_add(1);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let found = connection
            .ldap
            .with_search_options(SearchOptions::new().sizelimit(most).timelimit(seconds))
            .search(base, scope, filter, attributes)
            .await
            .map_err(|error| said(&error))?;
        // Size limit exceeded, no such object, insufficient rights: what came counts. After the time limit it does not: some
        // may be missing.
        if ![0, 4, 32, 50].contains(&found.1.rc) {
            return Err(Refusal::Unavailable(format!(
                "the search ended with result {}",
                found.1.rc
            )));
        }
        let entries = found
            .0
            .into_iter()
            .filter(|entry| !entry.is_ref() && !entry.is_intermediate())
            .take(usize::try_from(most).unwrap_or_default());
        Ok(entries.map(SearchEntry::construct).collect())
    }

    async fn groups(
        &self,
        connection: &mut Connection,
        username: &str,
        dn: &str,
    ) -> Result<Vec<String>, Refusal> {
        let Some(groups) = &self.settings.groups else {
            return Ok(Vec::new());
        };
        let filter = groups.filter.render(username, dn);
        let found = self
            .search(
                connection,
                &groups.base,
                Scope::Subtree,
                &filter,
                &[],
                MOST_GROUPS,
            )
            .await?;
        Ok(found.into_iter().map(|entry| entry.dn).collect())
    }

    /// A connection that idles, or a new one. `is_stale` becomes true for one that may have been closed.
    async fn take(&self, wanted: Use, is_stale: &mut bool) -> Result<Connection, Refusal> {
        let idle = lock(&self.idle[wanted as usize]).pop();
        if let Some((mut connection, since)) = idle
            && since.elapsed() < IDLE
            && !connection.ldap.is_closed()
        {
            *is_stale = true;
            return Ok(connection);
        }
        let settings = &self.settings;
        let opened = channel::open(&settings.url, settings.start_tls, settings.tls.clone());
        let opened = timeout(settings.connect_timeout, opened).await;
        let (stream, carried) = opened
            .map_err(|_| Refusal::Unavailable("it cannot be connected to in time".to_owned()))?
            .map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let options = LdapConnSettings::new().set_std_stream(StdStream::Unix(stream));
        let (connection, ldap) = LdapConnAsync::with_settings(options, "ldapi://pair")
            .await
            .map_err(|error| said(&error))?;
        let drive = async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a connection to a directory broke");
            }
        };
        let carry = async move {
            if let Err(error) = carried.await {
                tracing::debug!(%error, "a connection to a directory broke");
            }
        };
        Ok(Connection {
            ldap,
            is_fresh: true,
            _tasks: [
                Task::spawn(&Handle::current(), drive),
                Task::spawn(&Handle::current(), carry),
            ],
        })
    }

    fn give_back(&self, used: Use, connection: Connection) {
        let mut idle = lock(&self.idle[used as usize]);
        if idle.len() < self.settings.connections {
            idle.push((connection, Instant::now()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn attributes(entry: SearchEntry) -> HashMap<String, Vec<String>> {
    let attributes = entry.attrs.into_iter();
    attributes
        .map(|(name, values)| (name.to_ascii_lowercase(), values))
        .collect()
}

/// Whether the other side has closed the connection.
fn is_gone(error: &LdapError) -> bool {
    !matches!(error, LdapError::Timeout { .. })
}

fn said(error: &LdapError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}
