//! Runs policies in the order written, and back.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::{Outcome, Policy, Step, Verdict};
use crate::exchange::{ClientSide, Exchange, Response};
use crate::failure::{Code, Failure};

/// How many policies of a chain ran their request hook; the way back visits the same ones.
#[derive(Debug, Default, Clone, Copy)]
pub struct Progress(usize);

impl Progress {
    /// True if none ran.
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

/// Policies in the order written. `base` keeps the slots of several chains of one exchange apart.
pub struct Chain {
    base: usize,
    policies: Box<[Arc<dyn Policy>]>,
    preflight: Option<Preflight>,
}

/// The policy of a chain that answers the preflights of CORS.
#[derive(Debug, Clone)]
pub(crate) struct Preflight {
    /// The place of the first that asks who calls, if that is before it: a preflight never says who sent it (Fetch
    /// 3.2.2), so it is answered before anybody asks. Those in between that decide who comes in at all are heard.
    pub asked_at: Option<usize>,
    /// The places of those in between that ask nobody who calls, and then its own.
    pub heard: Box<[usize]>,
}

impl Chain {
    /// A chain whose first policy has slot `base`.
    pub fn new(base: usize, policies: Vec<Arc<dyn Policy>>) -> Self {
        Self {
            base,
            policies: policies.into(),
            preflight: None,
        }
    }

    /// The same with a policy that answers preflights.
    #[must_use]
    pub(crate) fn answering(mut self, preflight: Option<Preflight>) -> Self {
        self.preflight = preflight;
        self
    }

    /// True if one of them answers the preflights of CORS.
    pub fn answers_preflight(&self) -> bool {
        self.preflight.is_some()
    }

    /// How many policies it has.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Runs the request hooks until one answers or fails; `progress` says how far it got.
    pub async fn on_request(
        &self,
        ex: &mut Exchange,
        progress: &mut Progress,
    ) -> Result<Option<Response>, Failure> {
        let detour = self
            .preflight
            .as_ref()
            .filter(|preflight| preflight.asked_at.is_some());
        let clock = ex.clock().clone();
        let client = ex.listener();
        for (i, policy) in self.policies.iter().enumerate() {
            if let Some(detour) = detour
                && detour.asked_at == Some(i)
                && ex.is_preflight()
            {
                for at in &detour.heard {
                    let Some(policy) = self.policies.get(*at) else {
                        continue;
                    };
                    ex.enter(self.base + at);
                    if let Step::Ready(outcome) = policy.on_request(ex)
                        && let Verdict::Respond(reply) = outcome?
                    {
                        return Ok(Some(*reply));
                    }
                }
            }
            ex.enter(self.base + i);
            progress.0 = i + 1;
            let outcome = match policy.on_request(ex) {
                Step::Ready(outcome) => outcome,
                Step::Pending(decision) => {
                    clock
                        .within_total(while_it_stays(client.as_deref(), decision))
                        .await?
                }
            };
            if let Verdict::Respond(reply) = outcome? {
                return Ok(Some(*reply));
            }
        }
        Ok(None)
    }

    /// Runs the response hooks in reverse, for the policies whose request hook ran.
    pub async fn on_response(
        &self,
        progress: Progress,
        ex: &mut Exchange,
        response: &mut Response,
    ) -> Result<(), Failure> {
        let clock = ex.clock().clone();
        for (i, policy) in self.policies.iter().enumerate().take(progress.0).rev() {
            ex.enter(self.base + i);
            let outcome = match policy.on_response(ex, response) {
                Step::Ready(outcome) => outcome,
                Step::Pending(decision) => clock.within_total(decision).await?,
            };
            if let Verdict::Respond(other) = outcome? {
                *response = *other;
            }
        }
        Ok(())
    }

    /// Runs the finish hooks in reverse, for the policies whose request hook ran.
    pub fn on_finish(&self, progress: Progress, ex: &mut Exchange) {
        for (i, policy) in self.policies.iter().enumerate().take(progress.0).rev() {
            ex.enter(self.base + i);
            policy.on_finish(ex);
        }
    }
}

/// Waits for a decision on a request, unless its client leaves: nobody then wants to know.
async fn while_it_stays(
    client: Option<&dyn ClientSide>,
    mut decision: Pin<Box<dyn Future<Output = Outcome> + '_>>,
) -> Outcome {
    poll_fn(|cx| match decision.as_mut().poll(cx) {
        Poll::Pending if client.is_some_and(|client| client.poll_gone(cx).is_ready()) => {
            let failure = Failure::new(Code::ClientGone).detail("the client left while a policy waited");
            Poll::Ready(Err(failure.close(true)))
        }
        other => other,
    })
    .await
}
