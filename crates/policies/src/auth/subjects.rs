//! Which consumer an issuer's subject is: an index of the document's `credentials.subjects`.

use std::collections::HashMap;
use std::sync::Arc;

use gatehouse_core::consumer::{Consumer, Consumers};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::{Identity, Proof};

use super::Shown;

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

    /// Who it is whose proof is good.
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
        let issuer = proof
            .claims
            .get("iss")
            .and_then(|issuer| issuer.as_str())
            .unwrap_or_default();
        let consumer = self.find(issuer, &proof.subject).cloned();
        if consumer.is_none() && must_be_known {
            let subject = &proof.subject;
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
}
