//! `basic_auth`: who calls, by a name and a password (RFC 7617).

mod hashing;
mod users;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use gatehouse_core::config::{Diagnostic, PasswordHash, Span, Template};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_http1::Known;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::directory::{self, Answer, Directory, LOOKUPS, Name};
use super::{AuthConfig, Authenticator, Common, Later, Shown, refused};
use hashing::{Fitting, Hashing};
use users::{User, Users};

/// Finds out who calls by a name and a password (RFC 7617).
///
/// Passwords belong to consumers (`consumers.NAME.credentials.passwords`) or stand in an htpasswd file, as hashes by
/// bcrypt or argon2id; faster ones are refused. A name in the file that is a consumer's is that consumer.
///
/// A hash takes long to compute, which is its purpose. It is done beside the traffic, for `concurrency` passwords at
/// once; `queue` more may wait, and others are answered with 503. A password that fitted is known for `remember`, so
/// that a client pays once. A name that nobody has takes as long as one with a wrong password, if all hashes are made
/// in the same way. Put a `rate_limit` by `client_ip` before it, so that nobody can try passwords for long.
///
/// A request without a password is answered with 401 `Authentication required`, one with a wrong one with 401
/// `Invalid username or password`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// A file with a line `NAME:HASH` for each user, as `htpasswd -B` writes it. It is watched.
    pub htpasswd: Option<PathBuf>,
    /// What browsers call the place when they ask for the password.
    pub realm: String,
    /// How many hashes are computed at once.
    pub concurrency: NonZeroU32,
    /// How many requests may wait for that.
    pub queue: u32,
    /// How long a password that fitted is known; of 10,000 at most. `0s`: never.
    pub remember: Span,
    /// Fields of the request that tell the upstream who calls; those without a value are not sent. From clients they
    /// are taken off, on every route.
    pub forward: IndexMap<String, Template>,
    /// Takes the password off the request, so that the upstream does not see it.
    pub hide_credential: bool,
    /// The consumer that callers are who show no password. Absent: they are refused.
    pub anonymous: Option<String>,
}

impl Default for BasicAuth {
    fn default() -> Self {
        Self {
            htpasswd: None,
            realm: "api".to_owned(),
            concurrency: NonZeroU32::MIN.saturating_add(1),
            queue: 64,
            remember: Span::from_secs(300),
            forward: super::forwarded(),
            hide_credential: true,
            anonymous: None,
        }
    }
}

const CHECKS: Family = Family::counter(
    "gatehouse_basic_auth_checks_total",
    &["result"],
    "Passwords checked: `known` (fitted a while ago), `fits`, `wrong`, `full` (too many wait).",
);

impl PolicyConfig for BasicAuth {
    const NAME: &'static str = "basic_auth";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "realm: orders\nremember: 5m\n";
    const METRICS: &'static [Family] = &[CHECKS, LOOKUPS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        super::policy(self, cx)
    }
}

/// Compared with when nobody has the name and there is no other hash to take.
const DECOY: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

impl AuthConfig for BasicAuth {
    const NAME: &'static str = <Self as PolicyConfig>::NAME;

    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        if !self
            .realm
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
        {
            let message =
                "the realm has characters that cannot stand in a field; use plain ASCII without quotes";
            return Err(cx.error("realm", message));
        }
        let consumers = cx.once(|| Users::of_consumers(cx));
        let file = match &self.htpasswd {
            Some(path) => {
                let users = Users::of_file(path, &consumers, cx);
                users.map_err(|why| cx.error("htpasswd", why))?
            }
            None => Users::default(),
        };
        let somebody = file
            .any()
            .or_else(|| consumers.any())
            .map(|user| user.hash.clone());
        let decoy = match somebody {
            Some(hash) => hash,
            None => Arc::new(DECOY.parse().map_err(|why: String| cx.error("", why))?),
        };
        let (at_once, queue) = (self.concurrency.get() as usize, self.queue as usize);
        let shape = format!("concurrency={at_once} queue={queue}");
        let hashing = cx.common_state("basic_auth", &shape, || Hashing::new(at_once, queue));
        let fitting = cx.common_state("basic_auth", "", Fitting::new);
        let authenticator = Passwords {
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", self.realm),
            consumers,
            in_store: Users::in_store(cx)?,
            file,
            decoy,
            hashing,
            fitting,
            remember: self.remember.get(),
            background: cx.background.cloned(),
            counts: Counts {
                known: cx.tally(&CHECKS, &["known"]),
                fits: cx.tally(&CHECKS, &["fits"]),
                wrong: cx.tally(&CHECKS, &["wrong"]),
                full: cx.tally(&CHECKS, &["full"]),
            },
        };
        let common = Common {
            forward: self.forward,
            hide_credential: self.hide_credential,
            anonymous: self.anonymous,
        };
        Ok((Arc::new(authenticator), common))
    }
}

struct Passwords {
    challenge: String,
    consumers: Arc<Users>,
    in_store: Option<Arc<Directory<User>>>,
    file: Users,
    /// What a password is compared with whose name nobody has.
    decoy: Arc<PasswordHash>,
    hashing: Arc<Hashing>,
    fitting: Arc<Option<Fitting>>,
    remember: Duration,
    background: Option<Handle>,
    counts: Counts,
}

struct Counts {
    known: Arc<Tally>,
    fits: Arc<Tally>,
    wrong: Arc<Tally>,
    full: Arc<Tally>,
}

/// A name and a password, as shown.
struct Pair {
    name: String,
    password: Vec<u8>,
}

impl Passwords {
    /// What the request shows; an error is for the log.
    fn shown(ex: &Exchange) -> Result<Option<Pair>, &'static str> {
        let mut fields = ex
            .request
            .head
            .headers
            .all(Known::Authorization)
            .filter_map(behind_scheme);
        let Some(text) = fields.next() else {
            return Ok(None);
        };
        if fields.next().is_some() {
            return Err("the request has several passwords");
        }
        pair(text).map(Some)
    }

    fn find(&self, name: &str) -> Option<&User> {
        self.file.find(name).or_else(|| self.consumers.find(name))
    }

    /// Whether this password has just fitted.
    fn is_known(&self, ex: &Exchange, pair: &Pair, user: &User) -> bool {
        let Some(fitting) = Option::as_ref(&self.fitting) else {
            return false;
        };
        let print = fitting.print(&pair.password, &user.hash);
        !self.remember.is_zero() && fitting.has(&print, ex.now())
    }

    fn wrong(&self, ex: &Exchange, why: &'static str) -> Failure {
        self.counts.wrong.count(ex);
        refused("Invalid username or password", &self.challenge).detail(why)
    }

    async fn check(&self, ex: &mut Exchange) -> Shown {
        let pair = match Self::shown(ex) {
            Ok(Some(pair)) => pair,
            Ok(None) => return Ok(None),
            Err(why) => return Err(self.wrong(ex, why)),
        };
        let mut held = None;
        if self.find(&pair.name).is_none()
            && let Some(store) = &self.in_store
        {
            let hash = store.hash([pair.name.as_bytes()]);
            held = match store
                .ask(hash, vec![Name::text(pair.name.clone())], ex.now())
                .await
            {
                Answer::Found(user) => Some(user),
                Answer::Missing => None,
                Answer::Unavailable => return Err(directory::unavailable()),
            };
        }
        let user = self.find(&pair.name).or(held.as_deref());
        let hash = user.map_or(&self.decoy, |user| &user.hash).clone();
        let print = user
            .zip(Option::as_ref(&self.fitting))
            .map(|(user, fitting)| fitting.print(&pair.password, &user.hash));
        let Some(background) = &self.background else {
            return Err(Failure::new(Code::Internal).detail("there is nothing to compute hashes on"));
        };
        let Ok(fits) = self.hashing.fits(background, pair.password, hash).await else {
            self.counts.full.count(ex);
            let full = Failure::new(Code::Overloaded).header("retry-after", "1");
            return Err(full.detail("too many passwords wait to be checked: see `basic_auth.queue`"));
        };
        match user {
            // The decoy's own password is nobody's.
            Some(user) if fits => {
                self.counts.fits.count(ex);
                if let (Some(print), Some(fitting)) = (print, Option::as_ref(&self.fitting)) {
                    fitting.add(print, ex.now(), self.remember);
                }
                Ok(Some(user.identity.clone()))
            }
            Some(_) => Err(self.wrong(ex, "the password is wrong")),
            None => Err(self.wrong(ex, "nobody has this name")),
        }
    }
}

impl Authenticator for Passwords {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        let pair = match Self::shown(ex) {
            Ok(Some(pair)) => pair,
            Ok(None) => return Some(Ok(None)),
            Err(why) => return Some(Err(self.wrong(ex, why))),
        };
        let held = match (self.find(&pair.name), &self.in_store) {
            (None, Some(store)) => match store.known(store.hash([pair.name.as_bytes()]), ex.now())? {
                Answer::Found(user) => Some(user),
                Answer::Missing => None,
                Answer::Unavailable => return Some(Err(directory::unavailable())),
            },
            _ => None,
        };
        let user = self.find(&pair.name).or(held.as_deref());
        let user = user.filter(|user| self.is_known(ex, &pair, user))?;
        self.counts.known.count(ex);
        Some(Ok(Some(user.identity.clone())))
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(self.check(ex))
    }

    fn challenge(&self) -> &str {
        &self.challenge
    }

    fn forget(&self, ex: &mut Exchange) {
        let fields = &mut ex.request.head.headers;
        fields
            .retain(|known, _, value| known != Some(Known::Authorization) || behind_scheme(value).is_none());
    }
}

/// What follows `Basic` in a value of `Authorization`.
fn behind_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(5)?;
    let rest = rest.strip_prefix(b" ")?;
    scheme.eq_ignore_ascii_case(b"basic").then(|| rest.trim_ascii())
}

/// Clients disagree about the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The name up to the first colon, the password behind it (RFC 7617 2). Neither has control characters.
fn pair(text: &[u8]) -> Result<Pair, &'static str> {
    let bytes = BASE64.decode(text).map_err(|_| "the password is not in base64")?;
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("the password has control characters");
    }
    let at = bytes
        .iter()
        .position(|b| *b == b':')
        .ok_or("there is no colon behind the name")?;
    let (name, password) = bytes.split_at(at);
    let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8")?;
    Ok(Pair {
        name: name.to_owned(),
        password: password.get(1..).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_read() {
        let read = |text: &str| pair(text.as_bytes()).map(|pair| (pair.name, pair.password));
        let pair = |name: &str, password: &[u8]| Ok((name.to_owned(), password.to_vec()));
        // RFC 7617 2 and 2.1.
        assert_eq!(
            read("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            pair("Aladdin", b"open sesame")
        );
        assert_eq!(read("dGVzdDoxMjPCow=="), pair("test", "123£".as_bytes()));
        assert_eq!(read("dGVzdDoxMjPCow"), pair("test", "123£".as_bytes()));
        assert_eq!(read("YTpiOmM="), pair("a", b"b:c"));
        assert_eq!(read("Og=="), pair("", b""));
        for wrong in ["", "YQ==", "%%%", "YQpiOmM=", "/zpi"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_scheme_has_any_case() {
        assert_eq!(behind_scheme(b"bAsic  eA=="), Some(&b"eA=="[..]));
        for other in [&b"Bearer x"[..], b"Basic", b"Basicx y", b""] {
            assert_eq!(behind_scheme(other), None);
        }
    }
}
