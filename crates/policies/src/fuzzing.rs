//! What must hold for any bytes at all: the checks behind the fuzz targets in `fuzz/` and the tests of their seeds.
//!
//! Each function panics if its property does not hold. Not part of the interface of this crate.

use std::sync::OnceLock;

use crate::auth::jose::{Choice, KeySet, Token};
pub use crate::auth::oidc::fuzzing::cookies as oidc_cookies;
pub use crate::auth::signature::fuzzing::signature;

/// Keys whose tokens are known: each set, and what was ever signed with it.
const KNOWN: [(&str, &str); 3] = [
    (
        r#"{"kty":"oct","kid":"kid-aes-sign","alg":"HS256","k":"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE"}"#,
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtpZC1hZXMtc2lnbiJ9.Zm9v",
    ),
    (
        r#"{"kty":"EC","kid":"kid-ec-sign","crv":"P-256","x":"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY","y":"UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw"}"#,
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v",
    ),
    (
        r#"{"kty":"RSA","kid":"kid-rsa-sign","e":"AQAB","n":"kqGboBfAWttWPCA-0cGRgsY6SaYoIARt0B_PkaEcIq9HPYNdu9n6UuWHuuTHrjF_ZoQW97r5HaAorNvrMEGTGdxCHZdEtkHvNVVmrtxTBLiQCbCozXhFoIrVcr3qUBrdGnNn_M3jJi7Wg7p_-x62nS5gNG875oyheRkutHsQXikFZwsN3q_TsPNOVlCiHy8mxzaFTUQGm-X8UYexFyAivlDSjgDJLAZSWfxd7k9Gxuwa3AUfQqQcVcegmgKGCaErQ3qQbh1x7WB6iopE3_-GZ8HMAVtR9AmrVscqYsnjhaCehfAI0iKKs8zXr8tISc0ORbaalrkk03H1ZrsEnDKEWQ"}"#,
        "eyJhbGciOiJSUzI1NiIsImtpZCI6ImtpZC1yc2Etc2lnbiJ9.Zm9v",
    ),
];

/// Any token: what is believed was signed. (A signature of ECDSA has a second form, so the texts may differ.)
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(signed) = believed(text) {
        assert_eq!(text.rsplit_once('.').map(|(message, _)| message), Some(signed));
    }
}

/// What was signed with the key that verifies this token, if one of the known keys does.
pub fn believed(text: &str) -> Option<&'static str> {
    static SETS: OnceLock<Vec<(KeySet, &str)>> = OnceLock::new();
    let sets = SETS.get_or_init(|| {
        let sets = KNOWN
            .iter()
            .filter_map(|(key, signed)| Some((KeySet::read(key.as_bytes(), false).ok()?.0, *signed)));
        sets.collect()
    });
    assert!(sets.len() == KNOWN.len() && sets.iter().all(|(set, _)| set.len() == 1));
    let token = Token::parse(text).ok()?;
    let header = token.header().ok()?;
    let verifies = |set: &KeySet| {
        matches!(
            set.verify(&header, token.message(), token.signature()),
            Choice::Verified(_)
        )
    };
    sets.iter()
        .find(|(set, _)| verifies(set))
        .map(|(_, signed)| *signed)
}
