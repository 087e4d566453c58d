//! The keys that requests are signed with, by the id that clients call them by.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use gatehouse_core::config::{Diagnostic, SignatureAlgorithm};
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::Compile;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

/// A key, and whose it is.
pub struct Known {
    pub key: Key,
    pub identity: Identity,
}

/// What signatures are verified with.
pub enum Key {
    /// HMAC with SHA-256.
    Shared(Box<hmac::Key>),
    /// One half of a pair.
    Public(SignatureAlgorithm, Box<ParsedPublicKey>),
}

impl Key {
    /// A secret that both sides have.
    pub fn shared(secret: &[u8]) -> Self {
        Self::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// A public key, as PEM.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn public(algorithm: SignatureAlgorithm, pem: &[u8]) -> Result<Self, String> {
        let wrong = || {
            format!(
                "this is no public key for `{}`; expected PEM that begins with `-----BEGIN PUBLIC KEY-----`",
                algorithm.name()
            )
        };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| wrong())?;
        let method: &'static dyn VerificationAlgorithm = match algorithm {
            SignatureAlgorithm::Ed25519 => &ED25519,
            SignatureAlgorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_FIXED,
            SignatureAlgorithm::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
        };
        let key = ParsedPublicKey::new(method, der.as_ref()).map_err(|_| wrong())?;
        Ok(Self::Public(algorithm, Box::new(key)))
    }

    /// What `alg` may say of it (RFC 9421 6.2.2).
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Shared(_) => "hmac-sha256",
            Self::Public(algorithm, _) => algorithm.name(),
        }
    }

    /// Whether this is the signature of these bytes. Takes the same time for any signature by HMAC.
    pub fn verify(&self, base: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Shared(key) => hmac::verify(key, base, signature).is_ok(),
            Self::Public(_, key) => key.verify_sig(base, signature).is_ok(),
        }
    }
}

/// All keys of all consumers.
pub struct Keys(HashMap<Box<str>, Known>);

impl Keys {
    /// The keys of the document; ids that are there twice were told before.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn of(cx: &Compile<'_>) -> Result<Self, Diagnostic> {
        let mut keys = HashMap::new();
        for (consumer, credentials) in cx.consumers.credentials() {
            let mut add = |id: &str, key: Key| {
                let proof = Arc::new(Proof {
                    subject: consumer.name.clone(),
                    credential: Some(id.into()),
                    ..Proof::default()
                });
                let identity = Identity {
                    method: "http_signature",
                    proof,
                    consumer: Some(consumer.clone()),
                };
                keys.insert(id.into(), Known { key, identity });
            };
            let path = |list: &str, i: usize| format!("consumers.{}.credentials.{list}[{i}]", consumer.name);
            for (i, secret) in credentials.secrets.iter().enumerate() {
                let bytes = secret.secret.read(cx.reader);
                let bytes =
                    bytes.map_err(|why| Diagnostic::error(format!("{}.secret", path("secrets", i)), why))?;
                add(&secret.id, Key::shared(&bytes));
            }
            for (i, public) in credentials.public_keys.iter().enumerate() {
                let key = public.key.read(cx.reader);
                let key = key.and_then(|pem| Key::public(public.algorithm, &pem));
                add(
                    &public.id,
                    key.map_err(|why| Diagnostic::halves(format!("{}.key", path("public_keys", i)), &why))?,
                );
            }
        }
        Ok(Self(keys))
    }

    /// One key, of nobody.
    pub fn one(id: &str, key: Key) -> Self {
        let identity = Identity {
            method: "http_signature",
            proof: Arc::default(),
            consumer: None,
        };
        Self(HashMap::from([(id.into(), Known { key, identity })]))
    }

    /// The key of this id.
    pub fn find(&self, id: &str) -> Option<&Known> {
        self.0.get(id)
    }
}
