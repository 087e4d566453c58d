//! What several methods have found, in one answer.

use std::sync::Arc;

use gatehouse_core::failure::Failure;
use gatehouse_core::identity::{Identity, Proof};

use super::{Combined, Needs, Part};
use crate::auth::{Shown, refused, required};

/// What the methods have found so far.
#[derive(Default)]
pub(super) struct Sum {
    found: Option<Identity>,
    /// The gravest refusal, and what its method wants to be shown.
    refused: Option<(Failure, String)>,
    /// What the first method that was shown nothing wants.
    missing: Option<String>,
}

impl Sum {
    /// Adds what one method found. True if the others need not be asked.
    pub fn add(&mut self, needs: Needs, shown: Shown, challenge: &str) -> bool {
        match shown {
            Ok(Some(identity)) => match self.found.take() {
                Some(first) => match merged(first, identity) {
                    Ok(both) => self.found = Some(both),
                    Err(failure) => self.refused = Some((failure, challenge.to_owned())),
                },
                None => self.found = Some(identity),
            },
            Ok(None) => self.missing = self.missing.take().or_else(|| Some(challenge.to_owned())),
            Err(failure) => {
                // That something could not be checked at all is worth more than that it is wrong.
                let is_graver =
                    |(known, _): &(Failure, String)| failure.status() >= 500 && known.status() < 500;
                if self.refused.as_ref().is_none_or(is_graver) {
                    self.refused = Some((failure, challenge.to_owned()));
                }
            }
        }
        match needs {
            Needs::Any => self.found.is_some(),
            Needs::All => self.refused.is_some(),
        }
    }

    pub fn conclude(self, combined: &Combined) -> Shown {
        match (combined.needs, self) {
            (
                Needs::Any,
                Self {
                    found: Some(found), ..
                },
            ) => Ok(Some(found)),
            (
                needs,
                Self {
                    refused: Some((failure, own)),
                    ..
                },
            ) => Err(match needs {
                Needs::All => failure,
                Needs::Any => with_others(failure, &own, combined),
            }),
            (
                Needs::All,
                Self {
                    found: Some(found),
                    missing: None,
                    ..
                },
            ) => Ok(Some(found)),
            // Something was shown, but not all of it.
            (
                Needs::All,
                Self {
                    found: Some(_),
                    missing: Some(missing),
                    ..
                },
            ) => Err(required(&missing)),
            _ => Ok(None),
        }
    }
}

/// A refusal says itself what its method wants; others would do as well.
fn with_others(failure: Failure, own: &str, combined: &Combined) -> Failure {
    let parts = combined.parts.iter().map(Part::challenge);
    let others = parts.filter(|challenge| !challenge.is_empty() && *challenge != own);
    if failure.status() != 401 {
        return failure;
    }
    others.fold(failure, |failure, challenge| {
        failure.header("www-authenticate", challenge)
    })
}

/// One caller of two proofs.
fn merged(first: Identity, second: Identity) -> Result<Identity, Failure> {
    let names = [&first, &second].map(|one| one.consumer.as_ref().map(|consumer| &consumer.name));
    if let [Some(one), Some(other)] = names
        && one != other
    {
        let detail = format!("the credentials are those of consumers `{one}` and `{other}`");
        return Err(refused("Credentials of different callers", "").detail(detail));
    }
    let mut claims = second.proof.claims.clone();
    if !claims.is_empty() {
        claims.extend(first.proof.claims.clone());
    }
    let proof = if claims.is_empty() || first.proof.claims.len() == claims.len() {
        first.proof
    } else {
        Arc::new(Proof {
            claims,
            ..(*first.proof).clone()
        })
    };
    Ok(Identity {
        method: first.method,
        proof,
        consumer: first.consumer.or(second.consumer),
    })
}
