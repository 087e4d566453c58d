//! First answers by key in a store that gateways share.
//!
//! A key has one of two values there: a claim (somebody is at it, until the claim ends or is renewed) or an answer. All
//! changes of a value but the first are made only if it is still the claim of whoever makes them, so that one whose
//! claim has ended undoes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aws_lc_rs::rand;
use gatehouse_core::state::Task;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::store::{Digest, Stored};
use crate::auth::directory::hex;
use crate::store::{Redis, Unavailable};

/// What a claim begins with, and what an answer does. The second byte is the version of what follows.
const CLAIM: [u8; 2] = *b"C1";
const ANSWER: [u8; 2] = *b"A1";
/// Times between two looks at a claim of somebody else.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);
/// Between two attempts to store an answer that the store did not take.
const AGAIN: Duration = Duration::from_millis(250);
/// Answers that wait for the store to come back.
const MOST_LATE: usize = 256;

/// Answers that gateways share.
pub struct Shared {
    pub store: Arc<Redis>,
    pub background: Handle,
    /// Whose answers they are, the same at all gateways.
    pub scope: Box<str>,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// How long a claim holds that nobody renews.
    pub lease: Duration,
    pub late: Arc<AtomicUsize>,
}

/// What a request finds.
pub enum Claimed {
    /// It is the first, and has the claim.
    Ours(Lease),
    /// The first was answered.
    Here(Stored),
    /// Another gateway is at it.
    UnderWay,
    /// Another request has used the key.
    Other,
}

impl Shared {
    /// Claims the key for a request, or finds what became of the one that came first; waits no longer than `wait` for it.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn claim(
        &self,
        key: &Digest,
        request: &Digest,
        wait: Duration,
    ) -> Result<(Claimed, bool), Unavailable> {
        self.store.settle().await;
        let name = self.name(key);
        let mut token = [0; 16];
        // Cannot fail once the library has started; two claims that are alike would both be believed.
        rand::fill(&mut token).map_err(|_| Unavailable::Refused)?;
        let claim: Arc<[u8]> = [CLAIM.as_slice(), request, &token].concat().into();
        let until = Instant::now() + wait;
        let (mut pause, mut has_waited) = (FIRST_LOOK, false);
        loop {
            let found = match self.store.set_if_absent(&name, &claim, self.lease).await {
                Ok(found) => found,
                Err(why) => {
                    // It may have been taken all the same; nobody is to wait for it.
                    let store = self.store.clone();
                    self.background
                        .spawn(async move { store.release(&name, &claim).await });
                    return Err(why);
                }
            };
            let Some(value) = found else {
                return Ok((Claimed::Ours(self.lease(name, claim)), has_waited));
            };
            match read(&value, request) {
                Some(Value::UnderWay) => {}
                Some(Value::Other) => return Ok((Claimed::Other, has_waited)),
                Some(Value::Here(stored)) => return Ok((Claimed::Here(stored), has_waited)),
                None => {
                    tracing::warn!("what the store has of an idempotency key cannot be read");
                    return Err(Unavailable::Refused);
                }
            }
            if Instant::now() + pause > until {
                return Ok((Claimed::UnderWay, has_waited));
            }
            has_waited = true;
            sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    fn lease(&self, name: String, claim: Arc<[u8]>) -> Lease {
        let (store, held, kept, lasts) = (self.store.clone(), claim.clone(), name.clone(), self.lease);
        let renewing = async move {
            loop {
                sleep(lasts / 3).await;
                // One that fails is made up for by the next.
                if let Ok(false) = store.extend(&kept, &held, lasts).await {
                    tracing::warn!(
                        "the claim of an idempotency key ended while its request was under way: it may be done twice"
                    );
                    return;
                }
            }
        };
        Lease {
            held: Some(Held {
                store: self.store.clone(),
                name,
                claim,
            }),
            ttl: self.ttl,
            lasts: self.lease,
            background: self.background.clone(),
            late: self.late.clone(),
            renewing: Some(Task::spawn(&self.background, renewing)),
        }
    }

    fn name(&self, key: &Digest) -> String {
        let whole = [self.scope.as_bytes(), &[0], key].concat();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &whole);
        format!("idempotency:{}", hex(digest.as_ref()))
    }
}

struct Held {
    store: Arc<Redis>,
    name: String,
    claim: Arc<[u8]>,
}

/// A claim. Dropped without an answer, it is given up.
pub struct Lease {
    held: Option<Held>,
    ttl: Duration,
    lasts: Duration,
    background: Handle,
    late: Arc<AtomicUsize>,
    renewing: Option<Task>,
}

impl Lease {
    /// Stores the answer. If the store does not take it now, it is tried again for as long as the claim holds.
    pub async fn answer(mut self, request: &Digest, stored: &Stored) {
        let Some(held) = self.held.take() else { return };
        let value = write(request, stored);
        let ttl = self.ttl;
        if held
            .store
            .replace(&held.name, &held.claim, &value, ttl)
            .await
            .is_ok()
        {
            return;
        }
        if self.late.fetch_add(1, Relaxed) >= MOST_LATE {
            self.late.fetch_sub(1, Relaxed);
            tracing::warn!("an answer could not be stored for other gateways: its request may be done again");
            return;
        }
        let (late, renewing, until) = (
            self.late.clone(),
            self.renewing.take(),
            Instant::now() + self.lasts,
        );
        self.background.spawn(async move {
            let _renewing = renewing;
            while Instant::now() < until {
                sleep(AGAIN).await;
                let answered = held.store.replace(&held.name, &held.claim, &value, ttl).await;
                if answered.is_ok() {
                    late.fetch_sub(1, Relaxed);
                    return;
                }
            }
            late.fetch_sub(1, Relaxed);
            tracing::warn!("an answer could not be stored for other gateways: its request may be done again");
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        // If that fails, the claim ends by itself.
        self.background
            .spawn(async move { held.store.release(&held.name, &held.claim).await });
    }
}

enum Value {
    UnderWay,
    Here(Stored),
    Other,
}

/// Reads a value, for a request.
fn read(value: &[u8], request: &Digest) -> Option<Value> {
    let (kind, rest) = value.split_first_chunk::<2>()?;
    let (other, rest) = rest.split_first_chunk::<32>()?;
    let is_same = other == request;
    match *kind {
        CLAIM | ANSWER if !is_same => Some(Value::Other),
        CLAIM => Some(Value::UnderWay),
        ANSWER => stored(rest).map(Value::Here),
        _ => None,
    }
}

fn stored(bytes: &[u8]) -> Option<Stored> {
    let (status, bytes) = number(bytes)?;
    let (count, mut bytes) = number(bytes)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let (name, rest) = piece(bytes)?;
        let (value, rest) = piece(rest)?;
        headers.push((name.into(), value.into()));
        bytes = rest;
    }
    Some(Stored {
        status: u16::try_from(status)
            .ok()
            .filter(|status| (200..=599).contains(status))?,
        headers: headers.into(),
        body: bytes.to_vec().into(),
    })
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn piece(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn write(request: &Digest, stored: &Stored) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.body.len() + 512);
    let number = |out: &mut Vec<u8>, n: usize| {
        out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
    };
    out.extend_from_slice(&ANSWER);
    out.extend_from_slice(request);
    number(&mut out, usize::from(stored.status));
    number(&mut out, stored.headers.len());
    for (name, value) in &stored.headers {
        for piece in [name, value] {
            number(&mut out, piece.len());
            out.extend_from_slice(piece);
        }
    }
    out.extend_from_slice(&stored.body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_cut_short() {
        let answer = Stored {
            status: 201,
            headers: [(b"x-a".as_slice().into(), b"".as_slice().into())].into(),
            body: "done".into(),
        };
        let value = write(&[7; 32], &answer);
        let Some(Value::Here(again)) = read(&value, &[7; 32]) else {
            panic!("not read");
        };
        assert_eq!((again.status, &again.body[..]), (201, b"done".as_slice()));
        assert_eq!(again.headers, answer.headers);
        assert!(matches!(read(&value, &[8; 32]), Some(Value::Other)));
        let whole = value.len() - answer.body.len();
        for cut in 0..whole {
            assert!(read(&value[..cut], &[7; 32]).is_none(), "{cut}");
        }
        let mut huge = value;
        huge[38..42].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(
            read(&huge, &[7; 32]).is_none(),
            "more fields than there are bytes"
        );
    }
}
