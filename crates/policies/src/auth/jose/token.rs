//! A signed token in its compact form (RFC 7515 3.1), taken apart and not yet believed.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Algorithm;

/// Longer tokens are refused unread.
pub const LONGEST: usize = 16 * 1024;

/// The parts of a token.
pub struct Token<'t> {
    message: &'t str,
    signature: Vec<u8>,
    payload: Vec<u8>,
    header: Vec<u8>,
}

/// What a token says of its own signature. Keys it may bring along are not read.
#[derive(Debug)]
pub struct Header<'t> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The name of the key.
    pub key_id: Option<Cow<'t, str>>,
    /// What sort of token it is, in lower case and without `application/`.
    pub kind: Option<String>,
}

/// A parameter that is there twice is an error (RFC 7515 4). What is not here is ignored, as it says.
#[derive(Deserialize)]
struct Written<'t> {
    #[serde(borrow)]
    alg: Cow<'t, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'t, str>>,
    #[serde(borrow, default)]
    typ: Option<Cow<'t, str>>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
    // Unencoded payloads (RFC 7797) come with `crit`, always: refused with it.
    #[serde(default)]
    b64: Option<IgnoredAny>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Says, for the log, why it is none.
    pub fn parse(text: &'t str) -> Result<Self, &'static str> {
        if text.len() > LONGEST {
            return Err("the token is longer than 16 KiB");
        }
        let (message, signature) = text
            .rsplit_once('.')
            .ok_or("it is no signed token in compact form")?;
        let (header, payload) = message
            .split_once('.')
            .ok_or("it is no signed token in compact form")?;
        if payload.contains('.') {
            return Err("it has more than three parts; encrypted tokens are not read");
        }
        // Strict: no padding, no other characters, and no bits that mean nothing.
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| "a part is not base64url")
        };
        Ok(Self {
            message,
            signature: decode(signature)?,
            payload: decode(payload)?,
            header: decode(header)?,
        })
    }

    /// What it says of its signature.
    ///
    /// # Errors
    /// Says, for the log, what cannot be accepted.
    pub fn header(&self) -> Result<Header<'_>, &'static str> {
        let written: Written<'_> = serde_json::from_slice(&self.header)
            .map_err(|_| "its header is malformed or says something twice")?;
        // RFC 7515 4.1.11: whoever does not understand an extension must refuse; we understand none.
        if written.crit.is_some() || written.b64.is_some() {
            return Err("its header demands an extension that is not known (`crit`)");
        }
        let algorithm =
            Algorithm::named(&written.alg).ok_or("its algorithm is not for signatures, or not known")?;
        let kind = written.typ.map(|kind| {
            let kind = kind.to_ascii_lowercase();
            kind.strip_prefix("application/")
                .map_or_else(|| kind.clone(), str::to_owned)
        });
        Ok(Header {
            algorithm,
            key_id: written.kid,
            kind,
        })
    }

    /// What was signed.
    pub fn message(&self) -> &'t [u8] {
        self.message.as_bytes()
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What it says; to be believed only once the signature was verified.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}
