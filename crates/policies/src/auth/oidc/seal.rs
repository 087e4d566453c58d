//! Encrypts what browsers keep for us, so that they can neither read nor change it, nor show it anywhere else.
//!
//! AES-256-GCM-SIV (RFC 8452) with random nonces: keys are shared by gateways and last for months, and nobody counts
//! what was encrypted with them, which plain GCM would need. What it is for, and whose client's it is, is authenticated
//! along: a session is no login under way, and that of one client is nothing to another.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The fewest bytes of a secret.
const SHORTEST: usize = 32;

/// The most secrets.
const MOST_KEYS: usize = 8;

/// Keys for one purpose.
pub struct Sealer {
    /// The first encrypts.
    keys: Vec<LessSafeKey>,
    /// What it is for.
    bound_to: Vec<u8>,
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        AES_256_GCM_SIV.key_len()
    }
}

impl Sealer {
    /// Keys of these secrets, for a purpose and whatever else it is bound to.
    ///
    /// # Errors
    /// Says which secret cannot be used, by its place, and why.
    pub fn new(secrets: &[Vec<u8>], purpose: &str, bound_to: &[&str]) -> Result<Self, (usize, String)> {
        if secrets.is_empty() {
            return Err((
                0,
                "there is no key; expected at least one secret of 32 bytes".to_owned(),
            ));
        }
        if secrets.len() > MOST_KEYS {
            return Err((
                MOST_KEYS,
                format!("there are more than {MOST_KEYS} keys; take out the old ones"),
            ));
        }
        let mut keys = Vec::with_capacity(secrets.len());
        for (at, secret) in secrets.iter().enumerate() {
            if secret.len() < SHORTEST {
                let length = secret.len();
                return Err((
                    at,
                    format!(
                        "the key has {length} bytes; expected at least {SHORTEST}, such as of `openssl rand -base64 32`"
                    ),
                ));
            }
            let key = derive(secret, purpose).ok_or((at, "no key can be made of it".to_owned()))?;
            keys.push(key);
        }
        let mut bound = Vec::new();
        for part in std::iter::once(&purpose).chain(bound_to) {
            bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound.extend_from_slice(part.as_bytes());
        }
        Ok(Self {
            keys,
            bound_to: bound,
        })
    }

    /// Encrypts, as text that may stand in a cookie. None if there is no randomness.
    pub fn seal(&self, mut plain: Vec<u8>) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let key = self.keys.first()?;
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&self.bound_to),
            &mut plain,
        )
        .ok()?;
        plain.splice(..0, nonce);
        Some(URL_SAFE_NO_PAD.encode(plain))
    }

    /// Decrypts what was encrypted here, or by another with the same keys.
    pub fn open(&self, text: &[u8]) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        self.keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut sealed = sealed.to_vec();
            let length = key
                .open_in_place(nonce, Aad::from(&self.bound_to), &mut sealed)
                .ok()?
                .len();
            sealed.truncate(length);
            Some(sealed)
        })
    }
}

fn derive(secret: &[u8], purpose: &str) -> Option<LessSafeKey> {
    let pseudorandom = Salt::new(HKDF_SHA256, b"gatehouse oidc").extract(secret);
    let info = [purpose.as_bytes()];
    let expanded = pseudorandom.expand(&info, KeyLength).ok()?;
    let mut bytes = [0; 32];
    expanded.fill(&mut bytes).ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secrets: &[u8], purpose: &str, bound_to: &[&str]) -> Sealer {
        let secrets: Vec<_> = secrets.iter().map(|byte| vec![*byte; 32]).collect();
        Sealer::new(&secrets, purpose, bound_to).unwrap_or_else(|(_, why)| panic!("{why}"))
    }

    #[test]
    fn what_was_sealed_is_opened_with_any_of_the_keys() {
        let sealed = sealer(b"ab", "session", &["client"])
            .seal(b"text".to_vec())
            .unwrap();
        for keys in [&b"a"[..], b"ab", b"ca"] {
            let opened = sealer(keys, "session", &["client"]).open(sealed.as_bytes());
            assert_eq!(opened.as_deref(), Some(&b"text"[..]), "{keys:?}");
        }
        assert_eq!(
            sealer(b"b", "session", &["client"]).open(sealed.as_bytes()),
            None,
            "only the first encrypts"
        );
    }

    #[test]
    fn it_is_bound_to_what_it_is_for() {
        let sealed = sealer(b"a", "session", &["client", "x"])
            .seal(b"text".to_vec())
            .unwrap();
        for (purpose, bound) in [
            ("login", &["client", "x"][..]),
            ("session", &["other", "x"]),
            ("session", &["clien", "tx"]),
            ("session", &["client"]),
        ] {
            assert_eq!(
                sealer(b"a", purpose, bound).open(sealed.as_bytes()),
                None,
                "{purpose} {bound:?}"
            );
        }
    }

    #[test]
    fn any_other_bit_is_noticed() {
        let sealer = sealer(b"a", "session", &[]);
        let sealed = sealer.seal(b"text".to_vec()).unwrap().into_bytes();
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open(&other), None, "{at}");
            assert_eq!(sealer.open(&sealed[..at]), None, "{at}");
        }
        assert_ne!(sealer.seal(b"text".to_vec()), sealer.seal(b"text".to_vec()));
    }

    #[test]
    fn short_secrets_are_refused() {
        let of = |secrets: &[&[u8]]| {
            let secrets: Vec<_> = secrets.iter().map(|secret| secret.to_vec()).collect();
            Sealer::new(&secrets, "x", &[]).err().map(|(at, _)| at)
        };
        assert_eq!(of(&[&[1; 32], &[1; 31]]), Some(1));
        assert_eq!(of(&[]), Some(0));
        assert_eq!(of(&[&[1; 32]]), None);
    }
}
