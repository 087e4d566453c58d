//! Tokens and keys for the tests, made by other libraries than the gateway reads them with.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, SignatureAlgorithm};
use serde_json::{Value, json};

pub const SECRET: &str = "a secret of the tests with 32 bytes and more, even as many as 64";

/// A key pair and what it is called.
pub struct Signer {
    pub id: String,
    pub algorithm: Algorithm,
    pair: KeyPair,
}

impl Signer {
    pub fn new(id: &str, algorithm: Algorithm) -> Self {
        let kind: &SignatureAlgorithm = match algorithm {
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            _ => &rcgen::PKCS_RSA_SHA256,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        Self {
            id: id.to_owned(),
            algorithm,
            pair,
        }
    }

    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The public key in JSON; of P-256 only.
    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key_raw();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "alg": "ES256", "x": part(1..33), "y": part(33..65) })
    }

    pub fn sign(&self, claims: &Value) -> String {
        let pem = self.pair.serialize_pem();
        let key = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        let header = Header {
            kid: Some(self.id.clone()),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &key.unwrap()).unwrap()
    }
}

/// A set of public keys.
pub fn set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A token of HMAC with these bytes and this header.
pub fn hmac(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// A token as most tests want it: HS256.
pub fn signed(claims: &Value) -> String {
    hmac(&Header::new(Algorithm::HS256), claims, SECRET.as_bytes())
}

/// A token with these parts, not encoded yet.
pub fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (header.to_string(), claims.to_string());
    format!(
        "{}.{}.{}",
        part(header.as_bytes()),
        part(claims.as_bytes()),
        part(signature)
    )
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that are good, with these changes; null takes one out.
pub fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.test", "sub": "alice", "aud": "orders", "exp": now() + 3600,
        "scope": "read:users write:users", "role": "admin", "email": "alice@example.com", "jti": "t-1",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}
