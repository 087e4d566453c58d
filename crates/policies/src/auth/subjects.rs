//! Which consumer an issuer's subject is: an index of the document's `credentials.subjects`, and the store behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use gatehouse_core::config::{CredentialSort, Credentials, Diagnostic};
use gatehouse_core::consumer::{Consumer, Consumers};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::Compile;

use super::Shown;
use super::directory::{self, Answer, Directory, Name};

/// Consumers by what issuers call them. Made once a plan.
#[derive(Default)]
pub struct Subjects {
    by_name: HashMap<Box<str>, Vec<Named>>,
}

/// A consumer, and the issuer that calls it so; none: any.
type Named = (Option<Box<str>>, Arc<Consumer>);

impl Subjects {
    /// The index of these consumers.
    pub fn of(consumers: &Consumers) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<_>> = HashMap::new();
        for (consumer, credentials) in consumers.credentials() {
            for subject in &credentials.subjects {
                let issuer = subject.issuer.as_deref().map(Box::from);
                let named = by_name.entry(subject.subject.as_str().into()).or_default();
                named.push((issuer, consumer.clone()));
            }
        }
        Self { by_name }
    }

    /// The consumer that this issuer calls so; one that names the issuer comes before one that names none.
    pub fn find(&self, issuer: &str, subject: &str) -> Option<&Arc<Consumer>> {
        if self.by_name.is_empty() {
            return None;
        }
        let named = self.by_name.get(subject)?;
        let by_issuer = named.iter().find(|(known, _)| known.as_deref() == Some(issuer));
        let found = by_issuer.or_else(|| named.iter().find(|(known, _)| known.is_none()));
        found.map(|(_, consumer)| consumer)
    }

    /// Who it is whose proof is good, as far as the document and its file know.
    ///
    /// # Errors
    /// If it must be a consumer, and is none.
    pub fn identify(&self, method: &'static str, proof: &Arc<Proof>, must_be_known: bool) -> Shown {
        if self.by_name.is_empty() && !must_be_known {
            return Ok(Some(Identity {
                method,
                proof: proof.clone(),
                consumer: None,
            }));
        }
        let consumer = self.find(issuer(proof), &proof.subject).cloned();
        identity(method, proof, consumer, must_be_known)
    }
}

fn identity(
    method: &'static str,
    proof: &Arc<Proof>,
    consumer: Option<Arc<Consumer>>,
    must_be_known: bool,
) -> Shown {
    if consumer.is_none() && must_be_known {
        let (subject, issuer) = (&proof.subject, issuer(proof));
        return Err(Failure::new(Code::Forbidden)
            .safe_detail("the token is good, but its subject is not known here")
            .detail(format!("no consumer has the subject `{subject}` of `{issuer}`")));
    }
    Ok(Some(Identity {
        method,
        proof: proof.clone(),
        consumer,
    }))
}

fn issuer(proof: &Proof) -> &str {
    let issuer = proof.claims.get("iss").and_then(|issuer| issuer.as_str());
    issuer.unwrap_or_default()
}

/// Consumers by what issuers call them, in the document and in its store.
pub struct Callers {
    method: &'static str,
    must_be_known: bool,
    document: Arc<Subjects>,
    store: Option<Arc<Directory<Arc<Consumer>>>>,
}

impl Callers {
    /// Those of the document; `method` is the kind that asks, and `must_be_known` says whether a subject that is no
    /// consumer's is refused.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn of(cx: &Compile<'_>, method: &'static str, must_be_known: bool) -> Result<Self, Diagnostic> {
        let store = Directory::of(
            cx,
            CredentialSort::Subjects,
            |consumer: &Arc<Consumer>, credentials: &Credentials, wanted: &str| {
                let (issuer, subject) = wanted.split_once('\n')?;
                let issuer = Some(issuer).filter(|issuer| !issuer.is_empty());
                let mut subjects = credentials.subjects.iter();
                let has = subjects.any(|known| known.subject == subject && known.issuer.as_deref() == issuer);
                has.then(|| consumer.clone())
            },
        )?;
        let consumers = cx.consumers;
        Ok(Self {
            method,
            must_be_known,
            document: cx.once(|| Subjects::of(consumers)),
            store,
        })
    }

    /// Who it is whose proof is good. None: the store has to be asked.
    pub fn identify(&self, proof: &Arc<Proof>, now: Instant) -> Option<Shown> {
        let Some(store) = self.asked_for(proof) else {
            return Some(self.document.identify(self.method, proof, self.must_be_known));
        };
        let answer = store.known(Self::hash(store, proof), now)?;
        Some(self.conclude(proof, &answer))
    }

    /// The same, for which the store is asked.
    pub async fn identify_later(&self, proof: &Arc<Proof>, now: Instant) -> Shown {
        let Some(store) = self.asked_for(proof) else {
            return self.document.identify(self.method, proof, self.must_be_known);
        };
        let (issuer, subject) = (issuer(proof), &proof.subject);
        let mut names = Vec::with_capacity(2);
        if !issuer.is_empty() {
            names.push(Name::text(format!("{issuer}\n{subject}")));
        }
        names.push(Name::text(format!("\n{subject}")));
        let answer = store.ask(Self::hash(store, proof), names, now).await;
        self.conclude(proof, &answer)
    }

    /// The store, if it may know more than the document.
    fn asked_for(&self, proof: &Proof) -> Option<&Arc<Directory<Arc<Consumer>>>> {
        let store = self.store.as_ref()?;
        // A line feed would let one issuer speak for another.
        let is_plain = !issuer(proof).contains('\n') && !proof.subject.is_empty();
        let is_known = self.document.find(issuer(proof), &proof.subject).is_some();
        (is_plain && !is_known).then_some(store)
    }

    fn hash(store: &Directory<Arc<Consumer>>, proof: &Proof) -> u128 {
        store.hash([issuer(proof).as_bytes(), b"\n", proof.subject.as_bytes()])
    }

    fn conclude(&self, proof: &Arc<Proof>, answer: &Answer<Arc<Consumer>>) -> Shown {
        let consumer = match answer {
            Answer::Found(consumer) => Some(Arc::clone(&**consumer)),
            Answer::Missing => None,
            Answer::Unavailable => return Err(directory::unavailable()),
        };
        identity(self.method, proof, consumer, self.must_be_known)
    }
}
