//! Who may call: consumers and how they prove it.

use std::num::NonZeroU32;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Cidr;
use super::types::{PasswordHash, Secret, Sha256, Span, Timestamp};

/// Somebody who calls: a partner, an application, a team.
///
/// One consumer may have many credentials, so that a key can be replaced while the old one still works.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Consumer {
    /// Groups it belongs to, for `access` and for limits.
    pub groups: Vec<String>,
    /// Its plan, such as `free` or `paid`: limits may differ by it.
    pub tier: Option<String>,
    /// What else is to be known of it: `${consumer.label.NAME}` in templates.
    pub labels: IndexMap<String, String>,
    /// How it proves who it is.
    pub credentials: Credentials,
}

/// Consumers that are not in the document: thousands of them in a file, or any number in a Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumersFrom {
    /// A file with a consumer on each line, as JSON: what an item of `consumers` has, and its `name`. Relative to the
    /// document. It is watched: a change takes effect at once and cuts no connection, and a file with a mistake
    /// changes nothing. At most 256 MiB.
    ///
    /// ```json
    /// {"name": "acme", "tier": "gold", "credentials": {"keys": [{"id": "key_1a9ecf81", "sha256": "1a9e…"}]}}
    /// ```
    pub file: Option<PathBuf>,
    /// A Redis that has consumers, asked when a credential is shown that neither the document nor the file knows.
    pub redis: Option<ConsumersInRedis>,
}

/// Consumers in a Redis, however many. Nothing is loaded at the start: a consumer is asked for when its credential is
/// shown, by two keys behind the store's prefix.
///
/// - `consumer-of:SORT:DIGEST` has the name of the consumer. `SORT` is `key`, `user`, `subject` or `certificate`;
///   `DIGEST` is a SHA-256 in hex: of the API key, of the name to log in with, of the issuer, a line feed and the subject
///   (without issuer just the line feed and the subject), of the certificate (its fingerprint).
/// - `consumer:NAME` has the consumer, as a line of `file` has it. The credential has to be among its own.
///
/// What was found is used for `refresh`, then asked for again: a change or a removal is in force after that time at the
/// latest. While the store does not answer, consumers that were found before are used for `stale`; others get `503`
/// (`auth_unavailable`). Not looked for there: signing keys, subjects and names of certificates, `anonymous`, and the
/// names of an htpasswd file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumersInRedis {
    /// Which of `stores`.
    pub store: String,
    /// The sorts of credentials that are looked for there. `subjects` makes every subject of a token that nobody knows a
    /// question.
    #[serde(default = "ConsumersInRedis::keys")]
    pub credentials: Vec<CredentialSort>,
    /// How long a consumer that was found is used before it is asked for again.
    #[serde(default = "ConsumersInRedis::refresh")]
    pub refresh: Span,
    /// How long it is known that nobody has a credential. A new one may be refused for so long if it was tried before.
    #[serde(default = "ConsumersInRedis::missing")]
    pub missing: Span,
    /// How long after it was found a consumer is used while the store does not answer. `0s`: not beyond `refresh`.
    #[serde(default = "ConsumersInRedis::stale")]
    pub stale: Span,
    /// Consumers remembered, for each sort of credential; about 1 KiB each. Those used least lately go first.
    #[serde(default = "ConsumersInRedis::cache")]
    pub cache: NonZeroU32,
}

impl ConsumersInRedis {
    fn keys() -> Vec<CredentialSort> {
        vec![CredentialSort::Keys]
    }

    fn refresh() -> Span {
        Span::from_secs(10)
    }

    fn missing() -> Span {
        Span::from_secs(5)
    }

    fn stale() -> Span {
        Span::from_secs(3600)
    }

    fn cache() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(99_999)
    }
}

/// A sort of credentials, as `credentials` of a consumer calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialSort {
    /// API keys, for `key_auth`.
    Keys,
    /// Names and passwords, for `basic_auth`.
    Passwords,
    /// What issuers of tokens call consumers.
    Subjects,
    /// Fingerprints of client certificates, for `certificate_auth`.
    Certificates,
}

/// A consumer with its name, as a line of `consumers_from.file` and a Redis have it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedConsumer {
    /// The name; no other consumer has it.
    pub name: String,
    /// As in [`Consumer`].
    #[serde(default)]
    pub groups: Vec<String>,
    /// As in [`Consumer`].
    #[serde(default)]
    pub tier: Option<String>,
    /// As in [`Consumer`].
    #[serde(default)]
    pub labels: IndexMap<String, String>,
    /// As in [`Consumer`].
    #[serde(default)]
    pub credentials: Credentials,
}

/// How a consumer proves who it is: any one of these will do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// API keys, for `key_auth`.
    pub keys: Vec<ApiKey>,
    /// Names and hashes of passwords, for `basic_auth`.
    pub passwords: Vec<Password>,
    /// Secrets that both sides have, to sign requests with, for `http_signature`.
    pub secrets: Vec<SharedSecret>,
    /// Public keys of those who sign requests, for `http_signature`.
    pub public_keys: Vec<PublicKey>,
    /// What an issuer of tokens calls it, for `jwt`, `introspection`, `oidc` and `ldap_auth`.
    pub subjects: Vec<Subject>,
    /// Client certificates, for `certificate_auth`.
    pub certificates: Vec<CertificateSubject>,
}

/// An API key. The key itself is nowhere: only its SHA-256.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// What logs call it; unlike the key, it is no secret.
    pub id: String,
    /// The SHA-256 of the key: `gatehouse key new` makes both.
    pub sha256: Sha256,
    /// Until when it is good. Absent: for ever.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// What it may be used for, as the scopes of a token.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Addresses it may be used from. Empty: any.
    #[serde(default)]
    pub addresses: Vec<Cidr>,
}

/// A name and the hash of a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// The name to log in with. Absent: the consumer's.
    #[serde(default)]
    pub username: Option<String>,
    /// The hash of the password.
    pub hash: PasswordHash,
}

/// A secret that both sides have, to sign requests with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedSecret {
    /// What the client calls it (`keyid`).
    pub id: String,
    /// The secret.
    pub secret: Secret,
}

/// One half of a pair of keys: who has the other signs requests with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// What the client calls it (`keyid`).
    pub id: String,
    /// How it is signed with this key.
    pub algorithm: SignatureAlgorithm,
    /// The public key as PEM, in place or in a file.
    pub key: Secret,
}

/// A way to sign with a pair of keys (RFC 9421 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// The Edwards curve over 2^255 - 19 (RFC 8032).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// RSA-PSS with SHA-512, keys of 2048 bits or more.
    #[serde(rename = "rsa-pss-sha512")]
    RsaPssSha512,
}

impl SignatureAlgorithm {
    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::RsaPssSha512 => "rsa-pss-sha512",
        }
    }
}

/// What an issuer of tokens calls a consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The issuer (`iss`). Absent: any that the policy trusts.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The name the issuer gives (`sub`, `client_id` or another claim that the policy names).
    pub subject: String,
}

/// A client certificate; whoever shows one that fits and was verified is the consumer. All that are set must fit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateSubject {
    /// The SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: Option<Sha256>,
    /// The subject, such as `CN=orders,O=Example`.
    pub subject: Option<String>,
    /// One of its alternative names.
    pub name: Option<String>,
}
