//! Compiles what is written of `jwt`: issuers and their keys.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use gatehouse_core::config::Diagnostic;
use gatehouse_core::policy::Compile;
use reqwest::Url;
use tokio::runtime::Handle;

use super::claims::Rules;
use super::keys::{Meters, Remote, Settings};
use super::{Bearer, Checker, Counts, FETCHED, FETCHES, Issuer, Jwks, Jwt, Revoked, StaticKey};
use crate::auth::jose::{Algorithm, Key, KeySet};
use crate::auth::remember::Cache;
use crate::auth::subjects::Callers;
use crate::auth::{AuthConfig, Authenticator, Common, bearer};
use crate::fetch::{self, Fetcher};

/// An issuer whose tokens are taken.
pub struct Trusted {
    /// Its name; none: whoever used the keys.
    pub name: Option<String>,
    /// Whom tokens may be for; empty: anybody.
    pub audiences: Vec<String>,
    /// What is allowed.
    pub algorithms: Vec<Algorithm>,
    /// What verifies.
    pub keys: Keys,
}

/// The keys of an issuer.
pub enum Keys {
    /// As the document has them.
    Fixed(KeySet),
    /// As they were last fetched.
    Remote(Arc<Remote>),
}

impl AuthConfig for Jwt {
    const NAME: &'static str = "jwt";

    fn authenticator(mut self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        // What a remembered token was held against; one of these differs, and it is looked at anew.
        let mut shape = Context::new(&SHA256);
        shape.update(&serde_json::to_vec(&self).unwrap_or_default());
        if self.issuers.is_empty() {
            return Err(cx.error("issuers", "nobody is trusted; expected at least one issuer"));
        }
        let mut names = HashSet::new();
        let mut issuers = Vec::with_capacity(self.issuers.len());
        for (at, issuer) in std::mem::take(&mut self.issuers).into_iter().enumerate() {
            let place = format!("issuers[{at}]");
            if !names.insert(issuer.issuer.clone()) {
                let message = match &issuer.issuer {
                    Some(name) => {
                        format!("the issuer `{name}` is there twice; expected it once, with all its keys")
                    }
                    None => "there is more than one issuer without a name; expected `issuer`".to_owned(),
                };
                return Err(cx.error(&place, message));
            }
            issuers.push(trusted(issuer, &place, cx, &mut shape)?);
        }
        let revoked = Revoked::compile(self.revoked.as_deref(), self.revoked_in.as_ref(), cx)?;
        let shape = format!("{:?}", shape.finish());
        let room = usize::try_from(self.cache).unwrap_or(usize::MAX);
        let bearer = Bearer {
            place: self.token,
            challenge: bearer::challenge(&self.realm),
            checker: Checker {
                issuers,
                rules: Rules {
                    leeway: self.leeway.get().as_secs(),
                    require_expiry: self.require_expiry,
                    claims: self.claims,
                },
                scopes: self.scopes,
                kinds: self.types.iter().map(|kind| kind.to_ascii_lowercase()).collect(),
                subject: self.subject,
                scope_claim: self.scope_claim,
            },
            cache: cx.state(&shape, || Cache::new(room)),
            revoked,
            callers: Callers::of(cx, <Self as AuthConfig>::NAME, self.require_consumer)?,
            counts: Counts::of(cx),
        };
        let common = Common {
            forward: self.forward,
            hide_credential: self.hide_credential,
            anonymous: self.anonymous,
        };
        Ok((Arc::new(bearer), common))
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn trusted(
    issuer: Issuer,
    place: &str,
    cx: &mut Compile<'_>,
    shape: &mut Context,
) -> Result<Trusted, Diagnostic> {
    let (keys, usable) = match (&issuer.jwks, issuer.keys.as_slice()) {
        (Some(jwks), []) => {
            let usable = Algorithm::ALL.into_iter().skip(3).collect(); // what is fetched is public
            (remote(&issuer, jwks, place, cx)?, usable)
        }
        (None, [_, ..]) => {
            let keys = fixed(&issuer.keys, place, cx, shape)?;
            let usable: Vec<_> = keys.algorithms().collect();
            (Keys::Fixed(keys), usable)
        }
        _ => return Err(cx.error(place, "expected exactly one of `keys` and `jwks`")),
    };
    for algorithm in &issuer.algorithms {
        if !usable.contains(algorithm) {
            return Err(cx.error(
                &format!("{place}.algorithms"),
                format!("no key is for {algorithm}; leave it out, or add a key of that sort"),
            ));
        }
    }
    let algorithms = if issuer.algorithms.is_empty() {
        usable
    } else {
        issuer.algorithms
    };
    Ok(Trusted {
        name: issuer.issuer,
        audiences: issuer.audiences,
        algorithms,
        keys,
    })
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn fixed(
    written: &[StaticKey],
    place: &str,
    cx: &mut Compile<'_>,
    shape: &mut Context,
) -> Result<KeySet, Diagnostic> {
    let mut keys = Vec::new();
    for (at, key) in written.iter().enumerate() {
        let (field, bytes, read) = match (&key.secret, &key.pem, &key.jwks) {
            (Some(secret), None, None) => ("secret", secret, read_secret as Read),
            (None, Some(pem), None) => ("pem", pem, read_pem as Read),
            (None, None, Some(jwks)) => ("jwks", jwks, read_jwks as Read),
            _ => {
                return Err(cx.error(
                    &format!("{place}.keys[{at}]"),
                    "expected exactly one of `secret`, `pem` and `jwks`",
                ));
            }
        };
        let bytes = bytes.read(cx.reader);
        let bytes = bytes.map_err(|why| cx.error(&format!("{place}.keys[{at}].{field}"), why))?;
        shape.update(&bytes);
        let read = read(key, &bytes).map_err(|why| cx.error(&format!("{place}.keys[{at}].{field}"), why))?;
        keys.extend(read);
    }
    KeySet::of(keys).map_err(|why| cx.error(&format!("{place}.keys"), why))
}

type Read = fn(&StaticKey, &[u8]) -> Result<Vec<Key>, String>;

fn read_secret(key: &StaticKey, bytes: &[u8]) -> Result<Vec<Key>, String> {
    let id = key.id.as_deref();
    if !key.base64 {
        return Ok(vec![Key::secret(id, bytes, key.algorithm)?]);
    }
    // Both alphabets, with padding or without.
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text: Vec<u8> = bytes
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    let secret = GeneralPurpose::new(&alphabet::STANDARD, config).decode(text);
    let secret = secret.map_err(|_| "the secret is not base64".to_owned())?;
    Ok(vec![Key::secret(id, &secret, key.algorithm)?])
}

fn read_pem(key: &StaticKey, bytes: &[u8]) -> Result<Vec<Key>, String> {
    Ok(vec![Key::pem(key.id.as_deref(), bytes, key.algorithm)?])
}

fn read_jwks(key: &StaticKey, bytes: &[u8]) -> Result<Vec<Key>, String> {
    if key.id.is_some() || key.algorithm.is_some() {
        return Err("keys in JSON say themselves how they are called and what they are for: leave `id` and `algorithm` out".to_owned());
    }
    let (set, wrong) = KeySet::read(bytes, false)?;
    if let Some(why) = wrong.into_iter().next() {
        return Err(why);
    }
    if set.is_empty() {
        return Err("there is no key for signatures in it".to_owned());
    }
    Ok(set.into_keys())
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn remote(issuer: &Issuer, jwks: &Jwks, place: &str, cx: &mut Compile<'_>) -> Result<Keys, Diagnostic> {
    let at = |field: &str| format!("{place}.jwks.{field}");
    let mut settings = Settings {
        url: None,
        discovery: None,
        allow_http: jwks.allow_http,
        timeout: jwks.timeout.get(),
        refresh: jwks.refresh.get(),
        refetch: jwks.refetch.get(),
        stale: jwks.stale.get(),
    };
    for (field, span) in [
        ("timeout", settings.timeout),
        ("refresh", settings.refresh),
        ("stale", settings.stale),
    ] {
        if span.is_zero() {
            return Err(cx.error(&at(field), "expected more than no time at all"));
        }
    }
    match (&jwks.url, &issuer.issuer) {
        (Some(url), _) => {
            settings.url = Some(fetch::url(url, jwks.allow_http).map_err(|why| cx.error(&at("url"), why))?);
        }
        (None, Some(name)) => {
            let url = discovery(name, jwks.allow_http).map_err(|why| {
                cx.error(
                    &format!("{place}.issuer"),
                    format!(
                        "without `jwks.url` the keys are discovered by the name of the issuer, and {why}"
                    ),
                )
            })?;
            settings.discovery = Some((name.clone(), url));
        }
        (None, None) => return Err(cx.error(
            &at("url"),
            "nothing says where the keys are; expected `url`, or the name of the issuer to discover them by",
        )),
    }
    let fetcher = Fetcher::compile(cx, &at("ca"), jwks.ca.as_deref())?;
    let Some(background) = cx.background else {
        return Ok(Keys::Fixed(KeySet::default())); // only checked
    };
    Ok(Keys::Remote(share(&settings, &fetcher, background, cx)))
}

/// Where an issuer's discovery document is (OIDC Discovery 4).
///
/// # Errors
/// Says what is wrong with the name of the issuer.
pub fn discovery(issuer: &str, allow_http: bool) -> Result<Url, String> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    fetch::url(&url, allow_http)
}

/// What fetches these keys: policies that name the same source share it, with its keys and its requests.
pub fn share(
    settings: &Settings,
    fetcher: &Arc<Fetcher>,
    background: &Handle,
    cx: &Compile<'_>,
) -> Arc<Remote> {
    let source = settings
        .url
        .as_ref()
        .or(settings.discovery.as_ref().map(|(_, url)| url))
        .map(ToString::to_string);
    let source = source.unwrap_or_default();
    let shape = format!("{settings:?} {:?}", Arc::as_ptr(fetcher));
    let meters = || Meters {
        good: cx.tally(&FETCHES, &[&source, "ok"]),
        failed: cx.tally(&FETCHES, &[&source, "failed"]),
        fetched: cx.gauge(&FETCHED, &[&source]),
    };
    cx.common_state(&format!("keys of {source}"), &shape, || {
        Remote::start(background, settings.clone(), fetcher.clone(), meters())
    })
}
