//! `certificate_auth`: who calls, by the certificate that the client showed in the TLS handshake.

use std::collections::HashMap;
use std::sync::Arc;

use gatehouse_core::config::{CertificateSubject, CredentialSort, Diagnostic, Sha256, Template};
use gatehouse_core::consumer::Consumer;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::Family;
use gatehouse_core::tls::{ClientCertificate, Name};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::directory::{self, Answer, Directory, LOOKUPS};
use super::{AuthConfig, Authenticator, Common, Later, Shown};

/// Finds out who calls by the certificate of the client.
///
/// The listener asks for certificates and verifies them (`listeners.NAME.tls.client_auth`); here they are held against
/// `consumers.NAME.credentials.certificates`, by fingerprint, subject or alternative name. Fields such as `Client-Cert`
/// that a request brings mean nothing.
///
/// A request without a certificate is answered with 401 `Authentication required`, one with a certificate that is no
/// consumer's with 403: it was verified, and another attempt will not make it anybody's.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateAuth {
    /// Fields of the request that tell the upstream who calls; those without a value are not sent. From clients they
    /// are taken off, on every route.
    pub forward: IndexMap<String, Template>,
    /// The consumer that callers are who show no certificate. Absent: they are refused.
    pub anonymous: Option<String>,
}

impl Default for CertificateAuth {
    fn default() -> Self {
        Self {
            forward: super::forwarded(),
            anonymous: None,
        }
    }
}

impl PolicyConfig for CertificateAuth {
    const NAME: &'static str = "certificate_auth";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "forward: { X-Partner: \"${consumer.name}\" }\n";
    const METRICS: &'static [Family] = &[LOOKUPS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        super::policy(self, cx)
    }
}

impl AuthConfig for CertificateAuth {
    const NAME: &'static str = <Self as PolicyConfig>::NAME;

    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        let index = cx.once(|| Index::of(cx));
        let common = Common {
            forward: self.forward,
            // It is nothing that the request has.
            hide_credential: false,
            anonymous: self.anonymous,
        };
        let in_store = in_store(cx)?;
        Ok((Arc::new(Certificates { index, in_store }), common))
    }
}

/// Certificates of consumers, each found by the narrowest thing that is said of it.
#[derive(Default)]
struct Index {
    fingerprints: Entries,
    subjects: Entries,
    names: Entries,
}

type Entries = HashMap<Box<str>, Vec<Entry>>;

struct Entry {
    wanted: CertificateSubject,
    identity: Identity,
}

impl Entry {
    fn new(consumer: &Arc<Consumer>, wanted: &CertificateSubject, key: &str) -> Self {
        let proof = Proof {
            subject: consumer.name.clone(),
            credential: Some(key.into()),
            ..Proof::default()
        };
        Self {
            wanted: wanted.clone(),
            identity: Identity {
                method: "certificate_auth",
                proof: Arc::new(proof),
                consumer: Some(consumer.clone()),
            },
        }
    }
}

/// Consumers in a store, by the fingerprint of a certificate.
#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn in_store(cx: &Compile<'_>) -> Result<Option<Arc<Directory<Entry>>>, Diagnostic> {
    Directory::of(
        cx,
        CredentialSort::Certificates,
        |consumer, credentials, digest: &str| {
            let is_it = |wanted: &&CertificateSubject| {
                wanted
                    .fingerprint
                    .is_some_and(|known| known.to_string() == digest)
            };
            let wanted = credentials.certificates.iter().find(is_it)?;
            Some(Entry::new(consumer, wanted, digest))
        },
    )
}

impl Index {
    fn of(cx: &Compile<'_>) -> Self {
        let mut index = Self::default();
        for (consumer, credentials) in cx.consumers.credentials() {
            for wanted in &credentials.certificates {
                let fingerprint = wanted.fingerprint.map(|digest| digest.to_string());
                let subject = wanted.subject.clone();
                let name = wanted.name.as_deref().map(str::to_ascii_lowercase);
                let (entries, key) = match (fingerprint, subject, name) {
                    (Some(key), _, _) => (&mut index.fingerprints, key),
                    (None, Some(key), _) => (&mut index.subjects, key),
                    (None, None, Some(key)) => (&mut index.names, key),
                    // The document is checked for those that say nothing.
                    (None, None, None) => continue,
                };
                let entry = Entry::new(consumer, wanted, &key);
                entries.entry(key.into()).or_default().push(entry);
            }
        }
        index
    }

    /// Whose certificate it is: the narrowest that is said of it decides.
    fn find(&self, certificate: &ClientCertificate) -> Option<&Identity> {
        let by_name = || {
            let mut names = certificate.names.iter();
            names.find_map(|name| find(&self.names, &text(name), certificate))
        };
        find(&self.fingerprints, &certificate.fingerprint, certificate)
            .or_else(|| find(&self.subjects, &certificate.subject, certificate))
            .or_else(by_name)
    }
}

fn find<'e>(entries: &'e Entries, key: &str, certificate: &ClientCertificate) -> Option<&'e Identity> {
    let mut found = entries.get(key)?.iter();
    let entry = found.find(|entry| fits(&entry.wanted, certificate))?;
    Some(&entry.identity)
}

/// Whether the certificate has all that is wanted.
fn fits(wanted: &CertificateSubject, certificate: &ClientCertificate) -> bool {
    let has_fingerprint = |digest: Sha256| digest.to_string() == *certificate.fingerprint;
    let has_name = |wanted: &String| {
        let mut names = certificate.names.iter();
        names.any(|name| text(name).eq_ignore_ascii_case(wanted))
    };
    wanted.fingerprint.is_none_or(has_fingerprint)
        && wanted
            .subject
            .as_ref()
            .is_none_or(|subject| **subject == *certificate.subject)
        && wanted.name.as_ref().is_none_or(has_name)
}

/// A name as it is looked up: in lower case.
fn text(name: &Name) -> String {
    match name {
        Name::Dns(text) | Name::Uri(text) | Name::Email(text) => text.to_ascii_lowercase(),
        Name::Ip(ip) => ip.to_string(),
    }
}

struct Certificates {
    index: Arc<Index>,
    in_store: Option<Arc<Directory<Entry>>>,
}

impl Certificates {
    fn conclude(certificate: &ClientCertificate, answer: &Answer<Entry>) -> Shown {
        match answer {
            Answer::Found(entry) if fits(&entry.wanted, certificate) => Ok(Some(entry.identity.clone())),
            Answer::Unavailable => Err(directory::unavailable()),
            Answer::Found(_) | Answer::Missing => Err(unknown(certificate)),
        }
    }
}

fn unknown(certificate: &ClientCertificate) -> Failure {
    let subject = &certificate.subject;
    Failure::new(Code::Forbidden)
        .safe_detail("Unknown client certificate")
        .detail(format!("no consumer has the certificate `{subject}`"))
}

/// The certificate that the client showed.
fn shown(ex: &Exchange) -> Option<&ClientCertificate> {
    ex.connection.tls.as_deref()?.client.as_ref()
}

impl Authenticator for Certificates {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        let Some(certificate) = shown(ex) else {
            return Some(Ok(None));
        };
        if let Some(identity) = self.index.find(certificate) {
            return Some(Ok(Some(identity.clone())));
        }
        let Some(store) = &self.in_store else {
            return Some(Err(unknown(certificate)));
        };
        let hash = store.hash([certificate.fingerprint.as_bytes()]);
        let answer = store.known(hash, ex.now())?;
        Some(Self::conclude(certificate, &answer))
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(async move {
            let (Some(certificate), Some(store)) = (shown(ex), &self.in_store) else {
                return Ok(None);
            };
            let hash = store.hash([certificate.fingerprint.as_bytes()]);
            let name = directory::Name::digest(certificate.fingerprint.to_string());
            let answer = store.ask(hash, vec![name], ex.now()).await;
            Self::conclude(certificate, &answer)
        })
    }

    fn challenge(&self) -> &'static str {
        ""
    }

    fn forget(&self, _: &mut Exchange) {}
}
