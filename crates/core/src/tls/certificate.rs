//! Certificates, keys and lists from files: read, held against each other, and looked at for what is doubtful.
//!
//! Messages say what is wrong with a file in our words; whoever calls knows which setting names it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Authorities in one file; more is a mistake.
const MOST_AUTHORITIES: usize = 2000;
/// The TLS feature extension, by which a certificate wants to be stapled (RFC 7633).
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// What is known of a certificate besides its key.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The names it is for, in lower case: `example.com`, `*.example.com`.
    pub names: Vec<Box<str>>,
    /// From when it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// True if clients may insist on a stapled OCSP response.
    pub must_staple: bool,
    /// The sort of its key.
    pub algorithm: SignatureAlgorithm,
}

/// The certificates of a PEM file, at least one.
pub fn chain(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err("has no certificate; expected PEM with `BEGIN CERTIFICATE`".into())
        }
        Ok(chain) if chain.len() > MOST_AUTHORITIES => {
            Err(format!("has more than {MOST_AUTHORITIES} certificates"))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(broken_pem(&error)),
    }
}

/// The one private key of a PEM file.
pub fn key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound if bytes.windows(21).any(|at| at == b"ENCRYPTED PRIVATE KEY") => {
            "is encrypted; expected a key without a passphrase".into()
        }
        pem::Error::NoItemsFound => "has no private key; expected PEM with `BEGIN PRIVATE KEY`".into(),
        error => broken_pem(&error),
    })
}

/// The lists of a PEM file, at least one.
pub fn revocation_lists(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    match lists {
        Ok(lists) if lists.is_empty() => {
            Err("has no list of revoked certificates; expected PEM with `BEGIN X509 CRL`".into())
        }
        Ok(lists) => Ok(lists),
        Err(error) => Err(broken_pem(&error)),
    }
}

fn broken_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is cut short; expected a line with `END`".into(),
        pem::Error::Base64Decode(_) => "is broken PEM; expected lines of base64".into(),
        _ => "is broken PEM".into(),
    }
}

/// Why a certificate and a key are of no use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The certificate is not one.
    Certificate,
    /// The key is of no sort we know.
    Key,
    /// They do not belong together.
    Mismatch,
}

/// Puts a certificate and its key together.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Facts), Unfit> {
    let leaf = chain.first().ok_or(Unfit::Certificate)?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| Unfit::Certificate)?;
    let (names, must_staple) = (names(&parsed), must_staple(&parsed));
    let (not_before, not_after) = (
        parsed.validity().not_before.timestamp(),
        parsed.validity().not_after.timestamp(),
    );
    let signing = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| Unfit::Key)?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => return Err(Unfit::Mismatch),
        Err(_) => return Err(Unfit::Certificate),
    }
    let facts = Facts {
        names,
        not_before,
        not_after,
        must_staple,
        algorithm: certified.key.algorithm(),
    };
    Ok((certified, facts))
}

/// The DNS names of a certificate. One of the old sort, without alternative names, has its common name.
fn names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    if let Some(alternative) = alternative {
        let dns = alternative
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
                _ => None,
            });
        return dns.collect();
    }
    let common = certificate.subject().iter_common_name();
    common
        .filter_map(|name| name.as_str().ok())
        .filter(|name| name.contains('.') && !name.contains(' '))
        .map(|name| name.to_ascii_lowercase().into())
        .collect()
}

fn must_staple(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| {
        matches!(
            extension.parsed_extension(),
            ParsedExtension::UnsupportedExtension { .. }
        ) && extension.oid.to_id_string() == TLS_FEATURE
    })
}

/// Whether these are the bytes of an OCSP response that says something (RFC 6960 4.2.1): a sequence that begins
/// with the status `successful`.
pub fn is_ocsp_response(der: &[u8]) -> bool {
    let Some(inside) = sequence(der) else {
        return false;
    };
    inside.starts_with(&[0x0a, 0x01, 0x00])
}

/// What is inside of a DER sequence that is all of `der`.
fn sequence(der: &[u8]) -> Option<&[u8]> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, inside) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (digits, inside) = rest
            .split_at_checked(count)
            .filter(|_| (1..=4).contains(&count))?;
        let len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        (len, inside)
    };
    (tag == 0x30 && inside.len() == len).then_some(inside)
}

/// Seconds since 1970.
pub fn unix(now: SystemTime) -> i64 {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
