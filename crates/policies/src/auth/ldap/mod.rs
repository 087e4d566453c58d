//! `ldap_auth`: who calls, by a name and a password that a directory knows (RFC 4511, RFC 4513).

mod channel;
mod config;
mod directory;
mod names;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::Proof;
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_core::tls::client;
use ldap3::Scope;
use reqwest::Url;
use serde_json::{Map, Value};
use tokio::runtime::Handle;

pub use config::LdapAuth;

use super::basic::pair::{self, Pair, SCHEME};
use super::directory::LOOKUPS;
use super::remember::Cache;
use super::subjects::Callers;
use super::{AuthConfig, Authenticator, Common, Later, Place, Shown, refused};
use config::{Depth, GroupNames, Groups};
use directory::{Directory, Entry, Find, GroupSearch, Refusal, Settings};
use names::{Kind, Pattern};

const CHECKS: Family = Family::counter(
    "gatehouse_ldap_auth_checks_total",
    &["result"],
    "Passwords checked with a directory: `known` (was good a while ago), `good`, `wrong`, `full` (too many wait), `unavailable`.",
);

impl PolicyConfig for LdapAuth {
    const NAME: &'static str = "ldap_auth";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "url: ldaps://ldap.example.com\nsearch: { base: \"ou=people,dc=example,dc=org\", filter: \"(uid=${username})\", bind_dn: \"cn=gatehouse,dc=example,dc=org\", bind_password: change-me }\ngroups: { base: \"ou=groups,dc=example,dc=org\" }\nattributes: [mail]\n";
    const METRICS: &'static [Family] = &[CHECKS, LOOKUPS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        super::policy(self, cx)
    }
}

impl AuthConfig for LdapAuth {
    const NAME: &'static str = <Self as PolicyConfig>::NAME;

    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        let challenge = pair::challenge(&self.realm).map_err(|why| cx.error("realm", why))?;
        let mut shape = serde_json::to_vec(&self).unwrap_or_default();
        let settings = self.settings(&mut shape, cx)?;
        let shape = format!("{:?}", digest(&SHA256, &shape));
        let room = if self.remember.is_zero() {
            0
        } else {
            self.cache as usize
        };
        let of = |result| cx.tally(&CHECKS, &[result]);
        let authenticator = Passwords {
            challenge,
            directory: cx.state(&shape, || Directory::new(settings)),
            known: cx.state(&shape, || Remembered::new(room)),
            remember: self.remember.get(),
            subject: self.subject.to_ascii_lowercase(),
            attributes: self.attributes,
            groups: self.groups,
            callers: Callers::of(cx, <Self as AuthConfig>::NAME, self.require_consumer)?,
            background: cx.background.cloned(),
            counts: ["known", "good", "wrong", "full", "unavailable"].map(of),
        };
        let common = Common {
            forward: self.forward,
            hide_credential: self.hide_credential,
            anonymous: self.anonymous,
        };
        Ok((Arc::new(authenticator), common))
    }
}

impl LdapAuth {
    /// Adds to `shape` what the settings do not show.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    fn settings(&self, shape: &mut Vec<u8>, cx: &mut Compile<'_>) -> Result<Settings, Diagnostic> {
        let url = self.address().map_err(|why| cx.error("url", why))?;
        for (field, span) in [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
        ] {
            if span.is_zero() || span.get() > Duration::from_mins(1) {
                let message =
                    format!("`{span}` is out of range; expected more than nothing and at most `1m`");
                return Err(cx.error(field, message));
            }
        }
        let ca = match &self.ca {
            Some(path) => {
                let pem = cx.read(path);
                Some(pem.map_err(|why| cx.error("ca", format!("cannot read `{}`: {why}", path.display())))?)
            }
            None => None,
        };
        shape.extend_from_slice(ca.as_deref().unwrap_or_default());
        let tls = if self.is_secret(&url) {
            let config = client::trusting(cx.states, ca.as_deref());
            Some(Arc::new(config.map_err(|why| cx.error("ca", why))?))
        } else {
            None
        };
        let groups = self
            .groups
            .as_ref()
            .map(|groups| searched(groups, cx))
            .transpose()?
            .flatten();
        let mut attributes = self.attributes.clone();
        attributes.push(self.subject.clone());
        if let Some(groups) = self.groups.as_ref().filter(|groups| groups.filter.is_none()) {
            attributes.push(groups.attribute.clone());
        }
        Ok(Settings {
            url,
            start_tls: self.start_tls,
            tls,
            connect_timeout: self.connect_timeout.get(),
            timeout: self.timeout.get(),
            connections: self.connections.get() as usize,
            queue: self.queue as usize,
            find: self.find(shape, cx)?,
            attributes,
            groups,
        })
    }

    fn is_secret(&self, url: &Url) -> bool {
        self.start_tls || url.scheme() == "ldaps"
    }

    fn address(&self) -> Result<Url, String> {
        let text = &self.url;
        let url = Url::parse(text)
            .ok()
            .filter(|url| ["ldap", "ldaps"].contains(&url.scheme()));
        let url = url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
        let Some(url) = url else {
            return Err(format!(
                "`{text}` is no address of a directory; expected such as `ldaps://ldap.example.com`"
            ));
        };
        if !url.username().is_empty()
            || url.password().is_some()
            || !matches!(url.path(), "" | "/")
            || url.query().is_some()
        {
            return Err("only a host and a port can stand here".to_owned());
        }
        if self.start_tls && url.scheme() == "ldaps" {
            return Err("`ldaps://` is TLS from the beginning; leave `start_tls` out".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok();
        if self.is_secret(&url) && ip.is_some_and(|ip| ip.is_ipv6()) {
            return Err(format!(
                "`{host}` cannot be held against a certificate; write the name of the host"
            ));
        }
        let is_here = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
        if !self.is_secret(&url) && !is_here && !self.allow_plain {
            return Err(format!(
                "`{text}` is in the clear: whoever is on the way can read passwords; expected `ldaps://` or `start_tls: true`, or set `allow_plain: true`"
            ));
        }
        Ok(url)
    }

    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    fn find(&self, shape: &mut Vec<u8>, cx: &Compile<'_>) -> Result<Find, Diagnostic> {
        let search = match (&self.bind, &self.search) {
            (Some(bind), None) => {
                if !bind.contains('=') {
                    let message = format!(
                        "`{bind}` is not the name of an entry; expected one such as `uid=${{username}},ou=people,dc=example,dc=org`"
                    );
                    return Err(cx.error("bind", message));
                }
                let pattern = Pattern::parse(bind, Kind::Name, false);
                return Ok(Find::Bind(pattern.map_err(|why| cx.error("bind", why))?));
            }
            (None, Some(search)) => search,
            (None, None) => {
                return Err(cx.error(
                    "bind",
                    "how entries are found is missing; write `bind` or `search`",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(cx.error("search", "`bind` stands beside it; one of them is enough"));
            }
        };
        let filter = Pattern::parse(&search.filter, Kind::Filter, false);
        let filter = filter.and_then(|filter| checked(filter, &search.filter));
        let as_whom = match (&search.bind_dn, &search.bind_password) {
            (None, None) => None,
            (Some(dn), Some(password)) => {
                let password = password
                    .read(cx.reader)
                    .map_err(|why| cx.error("search.bind_password", why))?;
                shape.extend_from_slice(&password);
                let password = String::from_utf8(password)
                    .ok()
                    .filter(|password| !password.is_empty());
                let password = password
                    .ok_or_else(|| cx.error("search.bind_password", "the password is empty, or no text"))?;
                Some((dn.clone(), password))
            }
            (Some(_), None) => {
                return Err(cx.error("search.bind_dn", "its password is missing; write `bind_password`"));
            }
            (None, Some(_)) => {
                return Err(cx.error(
                    "search.bind_password",
                    "whose password it is is missing; write `bind_dn`",
                ));
            }
        };
        Ok(Find::Search {
            base: search.base.clone(),
            filter: filter.map_err(|why| cx.error("search.filter", why))?,
            scope: match search.scope {
                Depth::Subtree => Scope::Subtree,
                Depth::OneLevel => Scope::OneLevel,
            },
            as_whom,
        })
    }
}

/// How groups are searched for, if they are.
#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn searched(groups: &Groups, cx: &Compile<'_>) -> Result<Option<GroupSearch>, Diagnostic> {
    let Some(text) = &groups.filter else {
        return Ok(None);
    };
    let filter = Pattern::parse(text, Kind::Filter, true).and_then(|filter| checked(filter, text));
    let filter = filter.map_err(|why| cx.error("groups.filter", why))?;
    let Some(base) = groups.base.clone() else {
        return Err(cx.error(
            "groups.base",
            "where groups are searched for is missing; write the name of an entry",
        ));
    };
    Ok(Some(GroupSearch { base, filter }))
}

/// A filter that makes sense with some name in it.
fn checked(filter: Pattern, text: &str) -> Result<Pattern, String> {
    match ldap3::parse_filter(filter.render("name", "cn=name")) {
        Ok(_) => Ok(filter),
        Err(()) => Err(format!(
            "`{text}` is no filter of LDAP; expected such as `(uid=${{username}})`"
        )),
    }
}

/// Passwords that were good a while ago, and whose they are, by a hash under a key that never leaves the process.
struct Remembered {
    key: Option<hmac::Key>,
    proofs: Cache<(Instant, Arc<Proof>)>,
}

impl Remembered {
    fn new(room: usize) -> Self {
        Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            proofs: Cache::new(room),
        }
    }

    /// What a name and a password are found by; none if the system has no randomness.
    fn print(&self, pair: &Pair) -> Option<u128> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(pair.name.as_bytes());
        // A name has no control characters, so nothing else gives the same bytes.
        context.update(&[0]);
        context.update(&pair.password);
        let tag = context.sign();
        let half = tag.as_ref().first_chunk::<16>()?;
        Some(u128::from_le_bytes(*half))
    }
}

/// Finds out who calls by asking a directory.
struct Passwords {
    challenge: String,
    directory: Arc<Directory>,
    known: Arc<Remembered>,
    remember: Duration,
    /// In lower case.
    subject: String,
    attributes: Vec<String>,
    groups: Option<Groups>,
    callers: Callers,
    background: Option<Handle>,
    counts: [Arc<Tally>; 5],
}

impl Passwords {
    fn shown(&self, ex: &Exchange) -> Result<Option<Pair>, Failure> {
        let shown = pair::shown(ex).map_err(|why| self.wrong(ex, why))?;
        let Some(pair) = shown else { return Ok(None) };
        if pair.name.is_empty() || pair.name.trim() != pair.name {
            return Err(self.wrong(ex, "the name is empty, or has white space around it"));
        }
        if pair.password.is_empty() {
            return Err(self.wrong(ex, "the password is empty"));
        }
        Ok(Some(pair))
    }

    fn wrong(&self, ex: &Exchange, why: &'static str) -> Failure {
        let [_, _, wrong, ..] = &self.counts;
        wrong.count(ex);
        refused("Invalid username or password", &self.challenge).detail(why)
    }

    /// Who it is whose password was good a while ago.
    fn known(&self, ex: &Exchange, print: u128) -> Option<Arc<Proof>> {
        let (until, proof) = self.known.proofs.get(print)?;
        if ex.now() >= until {
            return None;
        }
        let [known, ..] = &self.counts;
        known.count(ex);
        Some(proof)
    }

    async fn check(&self, ex: &mut Exchange) -> Shown {
        let Some(pair) = self.shown(ex)? else {
            return Ok(None);
        };
        let Some(background) = &self.background else {
            return Err(
                Failure::new(Code::Internal).detail("nobody is asked while a document is only checked")
            );
        };
        let print = self.known.print(&pair);
        if let Some(proof) = print.and_then(|print| self.known(ex, print)) {
            return self.callers.identify_later(&proof, ex.now()).await;
        }
        let Ok(password) = String::from_utf8(pair.password) else {
            return Err(self.wrong(ex, "the password is not UTF-8"));
        };
        let (directory, name) = (self.directory.clone(), pair.name.clone());
        // A client that leaves takes its question along, and the connection with it.
        let mut task = AbortOnDrop(background.spawn(async move { directory.check(&name, &password).await }));
        let checked = (&mut task.0).await;
        let checked = checked.unwrap_or_else(|error| Err(Refusal::Unavailable(error.to_string())));
        let [_, good, _, full, unavailable] = &self.counts;
        match checked {
            Ok(entry) => {
                good.count(ex);
                let proof = Arc::new(self.proof(&pair.name, entry));
                if let Some(print) = print {
                    self.known
                        .proofs
                        .put(print, (ex.now() + self.remember, proof.clone()));
                }
                self.callers.identify_later(&proof, ex.now()).await
            }
            Err(Refusal::Wrong(why)) => Err(self.wrong(ex, why)),
            Err(Refusal::Full) => {
                full.count(ex);
                let full = Failure::new(Code::Overloaded).header("retry-after", "1");
                Err(full.detail("too many passwords wait to be checked: see `ldap_auth.queue`"))
            }
            Err(Refusal::Unavailable(why)) => {
                unavailable.count(ex);
                Err(Failure::new(Code::AuthUnavailable)
                    .detail(format!(
                        "the directory did not say whether the password is good: {why}"
                    ))
                    .header("retry-after", "5"))
            }
        }
    }

    /// What the directory knows, as a proof.
    fn proof(&self, typed: &str, mut entry: Entry) -> Proof {
        let mut claims = Map::new();
        let named = entry
            .attributes
            .get(&self.subject)
            .and_then(|values| values.first());
        let subject = named.filter(|name| !name.is_empty()).cloned();
        for name in &self.attributes {
            let Some(values) = entry.attributes.get(&name.to_ascii_lowercase()) else {
                continue;
            };
            let value = match values.as_slice() {
                [one] => Value::from(one.as_str()),
                several => Value::from(several.to_vec()),
            };
            claims.insert(name.clone(), value);
        }
        if let Some(groups) = &self.groups {
            let attribute = groups.attribute.to_ascii_lowercase();
            let names = match groups.filter {
                Some(_) => entry.groups,
                None => entry.attributes.remove(&attribute).unwrap_or_default(),
            };
            let counts = |name: &String| {
                groups
                    .base
                    .as_ref()
                    .is_none_or(|base| names::is_below(name, base))
            };
            let names = names.into_iter().filter(counts);
            let names: Vec<String> = match groups.names {
                GroupNames::Full => names.collect(),
                GroupNames::Short => names.filter_map(|name| names::short(&name)).collect(),
            };
            claims.insert(groups.claim.clone(), Value::from(names));
        }
        let words = typed.split_whitespace().collect::<Vec<_>>();
        Proof {
            subject: subject.unwrap_or_else(|| words.join(" ").to_lowercase()).into(),
            credential: Some(typed.into()),
            claims,
            ..Proof::default()
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Authenticator for Passwords {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        let pair = match self.shown(ex) {
            Ok(Some(pair)) => pair,
            Ok(None) => return Some(Ok(None)),
            Err(failure) => return Some(Err(failure)),
        };
        let (until, proof) = self.known.proofs.get(self.known.print(&pair)?)?;
        if ex.now() >= until {
            return None;
        }
        let shown = self.callers.identify(&proof, ex.now())?;
        let [known, ..] = &self.counts;
        known.count(ex);
        Some(shown)
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(self.check(ex))
    }

    fn challenge(&self) -> &str {
        &self.challenge
    }

    fn places(&self) -> Vec<Place> {
        vec![Place::scheme(SCHEME)]
    }
}
