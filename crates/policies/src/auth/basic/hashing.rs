//! The slow work: comparing a password with a hash, on threads of its own, never too much at once; and remembering
//! for a while what fitted, so that it is not done for each request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordVerifier as _};
use aws_lc_rs::hmac;
use gatehouse_core::config::{HashMethod, PasswordHash};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Where hashes are computed: a bound on how many at once, and on how many wait.
pub struct Hashing {
    at_once: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// Too many wait already.
#[derive(Debug)]
pub struct Full;

impl Hashing {
    /// So many at once, and so many that wait.
    pub fn new(at_once: usize, most_waiting: usize) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(at_once)),
            waiting: AtomicUsize::new(0),
            most_waiting,
        }
    }

    /// Whether the password is the one that was hashed.
    pub async fn fits(
        &self,
        background: &Handle,
        password: Vec<u8>,
        hash: Arc<PasswordHash>,
    ) -> Result<bool, Full> {
        let permit = if let Ok(permit) = self.at_once.clone().try_acquire_owned() {
            permit
        } else {
            let _place = Place::take(self).ok_or(Full)?;
            // Nobody closes it.
            self.at_once.clone().acquire_owned().await.map_err(|_| Full)?
        };
        // The permit goes along: a client that gives up does not make room for more work than there may be.
        let work = background.spawn_blocking(move || {
            let fits = compare(&password, &hash);
            drop(permit);
            fits
        });
        Ok(work.await.unwrap_or(false))
    }
}

/// A place among those who wait.
struct Place<'a>(&'a Hashing);

impl<'a> Place<'a> {
    fn take(hashing: &'a Hashing) -> Option<Self> {
        let before = hashing.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(hashing);
        (before < hashing.most_waiting).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes long, by design. A hash that cannot be read fits no password.
fn compare(password: &[u8], hash: &PasswordHash) -> bool {
    match hash.method() {
        HashMethod::Bcrypt => bcrypt::verify(password, hash.as_str()).unwrap_or(false),
        HashMethod::Argon2id => Argon2::default().verify_password(password, hash.as_str()).is_ok(),
    }
}

/// Passwords that fitted a while ago, as digests under a key that never leaves the process.
///
/// The hash is part of what is digested, so that an entry says nothing once the password was changed.
pub struct Fitting {
    key: hmac::Key,
    shards: [Mutex<HashMap<Print, Instant>>; SHARDS],
}

/// What is kept of a password and its hash.
pub type Print = [u8; 16];

const SHARDS: usize = 16;

/// Entries in each shard.
const ROOM: usize = 640;

impl Fitting {
    /// Nothing has fitted yet. None if the system has no randomness.
    pub fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new()).ok()?;
        Some(Self {
            key,
            shards: Default::default(),
        })
    }

    /// The print of a password and its hash.
    pub fn print(&self, password: &[u8], hash: &PasswordHash) -> Print {
        let mut context = hmac::Context::with_key(&self.key);
        // A hash has no zero byte, so nothing else gives the same bytes.
        context.update(hash.as_str().as_bytes());
        context.update(&[0]);
        context.update(password);
        let tag = context.sign();
        let mut print = [0; 16];
        print
            .iter_mut()
            .zip(tag.as_ref())
            .for_each(|(out, byte)| *out = *byte);
        print
    }

    /// Whether it fitted, and not too long ago.
    pub fn has(&self, print: &Print, now: Instant) -> bool {
        let shard = self.shard(print).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(print).is_some_and(|until| now < *until)
    }

    /// Remembers that it fits.
    pub fn add(&self, print: Print, now: Instant, span: Duration) {
        let mut shard = self.shard(&print).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= ROOM && !shard.contains_key(&print) {
            shard.retain(|_, until| now < *until);
            // Still full: whoever would have been forgotten first goes.
            let first = shard
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(print, _)| *print);
            if let Some(first) = first.filter(|_| shard.len() >= ROOM) {
                shard.remove(&first);
            }
        }
        shard.insert(print, now + span);
    }

    fn shard(&self, print: &Print) -> &Mutex<HashMap<Print, Instant>> {
        // The remainder is below their number.
        &self.shards[usize::from(print[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> PasswordHash {
        text.parse().unwrap()
    }

    /// Hashes that others have made: htpasswd of Apache 2.4, argon2 of the reference implementation.
    #[test]
    fn hashes_of_other_programs_fit() {
        let argon2 = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(compare(b"password", &hash(argon2)));
        assert!(!compare(b"Password", &hash(argon2)));
        let bcrypt = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        assert!(compare(b"U*U", &hash(bcrypt)));
        assert!(!compare(b"U*V", &hash(bcrypt)));
    }

    #[test]
    fn what_fitted_is_known_for_a_while_and_not_for_another_hash() {
        let fitting = Fitting::new().unwrap();
        let (now, minute) = (Instant::now(), Duration::from_mins(1));
        let one = hash("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
        let other = hash("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeX");
        let print = fitting.print(b"U*U", &one);
        fitting.add(print, now, minute);
        assert!(fitting.has(&fitting.print(b"U*U", &one), now));
        assert!(!fitting.has(&print, now + minute));
        assert!(!fitting.has(&fitting.print(b"U*U", &other), now));
        assert!(!fitting.has(&fitting.print(b"U*V", &one), now));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let fitting = Fitting::new().unwrap();
        let now = Instant::now();
        let one = hash("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
        for i in 0..30_000_u32 {
            fitting.add(
                fitting.print(&i.to_le_bytes(), &one),
                now,
                Duration::from_secs(u64::from(i)),
            );
        }
        let kept: usize = fitting
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert!(kept <= SHARDS * ROOM, "{kept}");
        assert!(fitting.has(&fitting.print(&29_999_u32.to_le_bytes(), &one), now));
    }
}
