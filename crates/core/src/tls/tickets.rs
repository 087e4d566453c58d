//! Session tickets: who comes back with one is spared the signature and the certificates (RFC 5077, RFC 8446 4.6.1).
//!
//! The keys are the process's own and roll over by themselves, or come from a file that nodes share. A ticket is the
//! name of its key, a salt, a nonce and the sealed session. Each ticket is sealed under a key of its own, derived from
//! the salt, so that chance nonces never meet. What the listener asks of clients goes into the derivation too: a
//! session that began under other rules (an authority or a list of revoked certificates that has changed) is not
//! resumed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use rustls::server::ProducesTickets;

use super::base64;

const NAME: usize = 16;
const SALT: usize = 16;
/// Keys in a file.
const MOST_KEYS: usize = 16;

/// A key and the name that tickets know it by.
struct Key {
    name: [u8; NAME],
    secret: hmac::Key,
}

impl Key {
    /// From random bytes: the first are the name.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (name, secret) = bytes.split_at_checked(NAME)?;
        Some(Self {
            name: name.try_into().ok()?,
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
        })
    }

    /// A new one. `None` if the system has no random bytes.
    fn fresh() -> Option<Self> {
        let mut bytes = [0; NAME + 32];
        rand::fill(&mut bytes).ok()?;
        Self::of(&bytes)
    }

    /// The key of one ticket.
    fn derive(&self, salt: &[u8], rules: &[u8]) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(salt);
        context.update(rules);
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref())
            .ok()
            .map(LessSafeKey::new)
    }
}

/// Keys that the process made for itself; they live as long as their listener.
pub struct OwnKeys {
    keys: ArcSwap<Rolled>,
    rotate: Duration,
}

struct Rolled {
    /// None if the system had no random bytes: then there are no tickets for a while.
    current: Option<Arc<Key>>,
    previous: Option<Arc<Key>>,
    since: Instant,
}

impl OwnKeys {
    /// A first key, which is replaced after so long.
    pub fn new(rotate: Duration) -> Self {
        let first = Rolled {
            current: Key::fresh().map(Arc::new),
            previous: None,
            since: Instant::now(),
        };
        Self {
            keys: ArcSwap::from_pointee(first),
            rotate,
        }
    }

    /// The keys of this moment: the current one, and the one before while its tickets are good.
    fn now(&self, now: Instant) -> Arc<Rolled> {
        let keys = self.keys.load_full();
        let age = now.saturating_duration_since(keys.since);
        if age < self.rotate {
            return keys;
        }
        let next = Rolled {
            current: Key::fresh().map(Arc::new),
            // A key lives twice as long as it encrypts.
            previous: keys.current.clone().filter(|_| age < self.rotate * 2),
            since: now,
        };
        // Of several that find the key too old at once one wins, and all use its key.
        self.keys.compare_and_swap(&keys, Arc::new(next));
        self.keys.load_full()
    }
}

/// Where the keys come from.
#[derive(Clone)]
enum Keys {
    Own(Arc<OwnKeys>),
    Shared(Arc<[Key]>),
}

/// Makes and opens the tickets of a listener.
pub struct Tickets {
    keys: Keys,
    rules: [u8; 32],
    lifetime: Duration,
}

impl Tickets {
    /// Tickets under our own keys. `rules` stands for what clients had to prove.
    pub fn own(keys: Arc<OwnKeys>, rules: [u8; 32]) -> Self {
        Self {
            lifetime: keys.rotate,
            keys: Keys::Own(keys),
            rules,
        }
    }

    /// Tickets under the keys of a file; `lifetime` is how long they are said to be good.
    pub fn shared(file: &[u8], rules: [u8; 32], lifetime: Duration) -> Result<Self, String> {
        let keys = parse(file)?;
        Ok(Self {
            keys: Keys::Shared(keys.into()),
            rules,
            lifetime,
        })
    }

    fn seal(&self, key: &Key, plain: &[u8]) -> Option<Vec<u8>> {
        let mut chance = [0; SALT + NONCE_LEN];
        rand::fill(&mut chance).ok()?;
        let (salt, nonce) = chance.split_at_checked(SALT)?;
        let sealing = key.derive(salt, &self.rules)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let head = NAME + chance.len();
        let mut ticket = Vec::with_capacity(head + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&chance);
        ticket.extend_from_slice(plain);
        let tag = sealing
            .seal_in_place_separate_tag(nonce, Aad::from(key.name), ticket.get_mut(head..)?)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, key: &Key, ticket: &[u8]) -> Option<Vec<u8>> {
        let (_, rest) = ticket.split_at_checked(NAME)?;
        let (salt, rest) = rest.split_at_checked(SALT)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let opening = key.derive(salt, &self.rules)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let len = opening
            .open_in_place(nonce, Aad::from(key.name), &mut sealed)
            .ok()?
            .len();
        sealed.truncate(len);
        Some(sealed)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // RFC 8446 4.6.1: at most seven days.
        u32::try_from(self.lifetime.as_secs())
            .unwrap_or(u32::MAX)
            .min(604_800)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Own(own) => {
                let keys = own.now(Instant::now());
                self.seal(keys.current.as_ref()?, plain)
            }
            Keys::Shared(keys) => self.seal(keys.first()?, plain),
        }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        // Names are no secrets: they stand in every ticket.
        let name = ticket.get(..NAME)?;
        let is_named = |key: &&Key| key.name == name;
        match &self.keys {
            Keys::Own(own) => {
                let keys = own.now(Instant::now());
                let mut known = keys.current.iter().chain(&keys.previous).map(|key| &**key);
                self.open(known.find(is_named)?, ticket)
            }
            Keys::Shared(keys) => self.open(keys.iter().find(is_named)?, ticket),
        }
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No keys in a log.
        f.debug_struct("Tickets")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// The keys of a file: lines of base64, or 48 or 80 bytes as they are.
fn parse(file: &[u8]) -> Result<Vec<Key>, String> {
    const EXPECTED: &str = "expected 48 or 80 random bytes, such as `openssl rand -base64 48` prints";
    let is_text = file.is_ascii()
        && file
            .iter()
            .all(|b| !b.is_ascii_control() || b.is_ascii_whitespace());
    if matches!(file.len(), 48 | 80) && !is_text {
        return Ok(Key::of(file).into_iter().collect());
    }
    let text = std::str::from_utf8(file).map_err(|_| format!("has no keys; {EXPECTED}"))?;
    let mut keys: Vec<Key> = Vec::new();
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bytes = base64::decode(line).filter(|bytes| matches!(bytes.len(), 48 | 80));
        let Some(key) = bytes.and_then(|bytes| Key::of(&bytes)) else {
            return Err(format!("has no key in line {}; {EXPECTED}", number + 1));
        };
        if keys.iter().any(|known| known.name == key.name) {
            return Err(format!("has the key of line {} twice", number + 1));
        }
        keys.push(key);
    }
    match keys.len() {
        0 => Err(format!("has no keys; {EXPECTED}")),
        1..=MOST_KEYS => Ok(keys),
        more => Err(format!("has {more} keys; expected at most {MOST_KEYS}")),
    }
}

#[cfg(test)]
mod tests;
