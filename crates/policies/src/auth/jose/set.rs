//! The keys of an issuer, and which of them a token may be verified with.

use serde_json::Value;

use super::{Algorithm, Header, Key, jwk};

/// The most keys of a set.
const MOST_KEYS: usize = 200;

/// The most keys that are tried for one token, where it does not say which.
const MOST_TRIES: usize = 8;

/// Keys, all secrets or all public.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// What a set says of a token.
pub enum Choice<'s> {
    /// This key signed it.
    Verified(&'s Key),
    /// None of the keys that may have signed it did.
    Wrong,
    /// There is no key that may have signed it; another set, or a later one, may have it.
    Unknown,
}

impl KeySet {
    /// A set of these keys.
    ///
    /// # Errors
    /// Says why they cannot be told apart.
    pub fn of(keys: Vec<Key>) -> Result<Self, String> {
        if keys.len() > MOST_KEYS {
            return Err(format!(
                "there are {} keys; at most {MOST_KEYS} are read",
                keys.len()
            ));
        }
        if keys.iter().any(Key::is_secret) && !keys.iter().all(Key::is_secret) {
            return Err("there are secrets and public keys in one set; who may publish the one must not have the other".to_owned());
        }
        for (at, key) in keys.iter().enumerate() {
            let before = keys
                .iter()
                .take(at)
                .filter(|one| one.id().is_some() && one.id() == key.id());
            for other in before {
                if other
                    .algorithms()
                    .any(|one| key.algorithms().any(|also| also == one))
                {
                    return Err(format!("two keys have the id `{}`", key.id().unwrap_or_default()));
                }
            }
        }
        Ok(Self { keys })
    }

    /// Reads a set of keys, or a single one, in JSON. `public_only` leaves out secrets: a secret that
    /// anyone can fetch is none. Keys that are of no use here are left out; what is wrong with others is returned.
    ///
    /// # Errors
    /// Says why there is no set.
    pub fn read(json: &[u8], public_only: bool) -> Result<(Self, Vec<String>), String> {
        let value: Value = serde_json::from_slice(json).map_err(|_| "it is not JSON".to_owned())?;
        let single = [value];
        let [value] = &single;
        let keys = match value.get("keys") {
            Some(Value::Array(keys)) => keys.as_slice(),
            Some(_) => return Err("its `keys` is no list".to_owned()),
            None if value.get("kty").is_some() => &single,
            None => return Err("it is neither a key nor a set of keys".to_owned()),
        };
        if keys.len() > MOST_KEYS {
            return Err(format!(
                "there are {} keys; at most {MOST_KEYS} are read",
                keys.len()
            ));
        }
        let (mut read, mut wrong) = (Vec::new(), Vec::new());
        for (at, key) in keys.iter().enumerate() {
            let name = || {
                key["kid"]
                    .as_str()
                    .map_or_else(|| format!("key {at}"), |id| format!("key `{id}`"))
            };
            match jwk::read(key) {
                Ok(Some(key)) if public_only && key.is_secret() => {
                    wrong.push(format!("{}: it is a secret, and anyone can fetch it", name()));
                }
                Ok(Some(key)) => read.push(key),
                Ok(None) => {}
                Err(why) => wrong.push(format!("{}: {why}", name())),
            }
        }
        Ok((Self::of(read)?, wrong))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys themselves.
    pub fn into_keys(self) -> Vec<Key> {
        self.keys
    }

    /// The algorithms that any of them can be used with.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.keys.iter().flat_map(Key::algorithms)
    }

    /// Looks for the key that signed.
    ///
    /// A key that has an id is only for tokens that name it or name none; one without an id is for any.
    pub fn verify(&self, header: &Header<'_>, message: &[u8], signature: &[u8]) -> Choice<'_> {
        let mut choice = Choice::Unknown;
        let mut tries = 0;
        for key in &self.keys {
            let is_named = match (&header.key_id, key.id()) {
                (Some(wanted), Some(id)) => **wanted == *id,
                _ => true,
            };
            if !is_named || !key.algorithms().any(|known| known == header.algorithm) {
                continue;
            }
            if key.verifies(header.algorithm, message, signature) {
                return Choice::Verified(key);
            }
            choice = Choice::Wrong;
            tries += 1;
            if tries == MOST_TRIES {
                break;
            }
        }
        choice
    }
}
