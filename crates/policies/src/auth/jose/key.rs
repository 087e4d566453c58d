//! A key that verifies signatures, bound to the algorithms it is for.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Algorithm, roca};

/// A key, ready to verify.
pub struct Key {
    id: Option<Box<str>>,
    uses: Vec<(Algorithm, Verifier)>,
}

enum Verifier {
    Mac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// What comes before the point in the encoded key of a curve (RFC 5480 2, RFC 8410 4); lengths are fixed.
const POINTS: [(&str, &[u8], usize); 4] = [
    ("P-256", b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00", 65),
    ("P-384", b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00", 97),
    ("P-521", b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00", 133),
    ("Ed25519", b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 32),
];

impl Key {
    /// A secret that both sides have; for the algorithms it is long enough for, or the one it says.
    ///
    /// # Errors
    /// Says that it is too short.
    pub fn secret(id: Option<&str>, secret: &[u8], only: Option<Algorithm>) -> Result<Self, String> {
        let all = Algorithm::ALL
            .into_iter()
            .filter(|one| only.is_none_or(|only| only == *one));
        let uses: Vec<_> = all
            .filter_map(|one| Some((one, one.hmac()?)))
            .filter(|(_, (_, least))| secret.len() >= *least)
            .map(|(one, (function, _))| (one, Verifier::Mac(Box::new(hmac::Key::new(function, secret)))))
            .collect();
        if uses.is_empty() {
            let wanted = only.unwrap_or(Algorithm::HS256);
            let Some((_, least)) = wanted.hmac() else {
                return Err(format!("a secret is not for {wanted}"));
            };
            let length = secret.len();
            return Err(format!(
                "a secret of {length} bytes is too short for {wanted}; at least {least} are needed"
            ));
        }
        Ok(Self::of(id, uses))
    }

    /// A public key in PEM: `PUBLIC KEY`, or the one in a `CERTIFICATE` (whose dates and signer are not looked at).
    ///
    /// # Errors
    /// Says why it is none.
    pub fn pem(id: Option<&str>, pem: &[u8], only: Option<Algorithm>) -> Result<Self, String> {
        if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            return Self::spki(id, &key, only);
        }
        if let Ok(certificate) = CertificateDer::from_pem_slice(pem) {
            let parsed = rustls::server::ParsedCertificate::try_from(&certificate);
            let parsed = parsed.map_err(|_| "the certificate cannot be read".to_owned())?;
            return Self::spki(id, &parsed.subject_public_key_info(), only);
        }
        let text = String::from_utf8_lossy(pem);
        Err(if text.contains("PRIVATE KEY") {
            "it is a private key; expected the public one (`openssl pkey -pubout` makes it)".to_owned()
        } else if text.contains("RSA PUBLIC KEY") {
            "it is in the older form of RSA keys; expected `BEGIN PUBLIC KEY` (`openssl rsa -RSAPublicKey_in -pubout` makes it)".to_owned()
        } else {
            "expected a public key or a certificate in PEM".to_owned()
        })
    }

    fn spki(id: Option<&str>, der: &[u8], only: Option<Algorithm>) -> Result<Self, String> {
        for (curve, start, length) in POINTS {
            if let Some(point) = der.strip_prefix(start).filter(|point| point.len() == length) {
                return Self::point(id, curve, point, only);
            }
        }
        let no_key = || "expected a key of RSA, P-256, P-384, P-521 or Ed25519".to_owned();
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| no_key())?;
        let Ok(PublicKey::RSA(key)) = info.parsed() else {
            return Err(no_key());
        };
        Self::rsa(id, key.modulus, key.exponent, only)
    }

    /// A point of a curve: the bytes as in an encoded key.
    pub(super) fn point(
        id: Option<&str>,
        curve: &str,
        point: &[u8],
        only: Option<Algorithm>,
    ) -> Result<Self, String> {
        let (algorithm, parsed) = if curve == "Ed25519" {
            (Algorithm::EdDSA, ParsedPublicKey::new(&signature::ED25519, point))
        } else {
            let known = Algorithm::of_curve(curve);
            let (algorithm, function, _) =
                known.ok_or_else(|| format!("`{curve}` is no curve for signatures"))?;
            (algorithm, ParsedPublicKey::new(function, point))
        };
        let parsed = parsed.map_err(|_| format!("it is no point of {curve}"))?;
        if only.is_some_and(|only| only != algorithm) {
            return Err(format!("a key of {curve} is for {algorithm} only"));
        }
        Ok(Self::of(id, vec![(algorithm, Verifier::Public(parsed))]))
    }

    /// An RSA key of these numbers, big end first.
    pub(super) fn rsa(
        id: Option<&str>,
        modulus: &[u8],
        exponent: &[u8],
        only: Option<Algorithm>,
    ) -> Result<Self, String> {
        let unpadded = |number: &[u8]| {
            number
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect::<Vec<u8>>()
        };
        let (n, e) = (unpadded(modulus), unpadded(exponent));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(format!("an RSA key of {bits} bits; expected 2048 to 8192"));
        }
        if roca::has_fingerprint(&n) {
            return Err(
                "the RSA key was made by a faulty chip and can be factored (CVE-2017-15361)".to_owned(),
            );
        }
        let all = Algorithm::ALL
            .into_iter()
            .filter(|one| only.is_none_or(|only| only == *one));
        let key = RsaPublicKeyComponents { n, e };
        let uses: Vec<_> = all
            .filter_map(|one| Some((one, Verifier::Public(key.to_parsed_public_key(one.rsa()?).ok()?))))
            .collect();
        if uses.is_empty() {
            return Err(only.map_or_else(
                || "the RSA key cannot be used".to_owned(),
                |only| format!("the RSA key cannot be used for {only}"),
            ));
        }
        Ok(Self::of(id, uses))
    }

    fn of(id: Option<&str>, uses: Vec<(Algorithm, Verifier)>) -> Self {
        Self {
            id: id.map(Box::from),
            uses,
        }
    }

    /// What tokens call it (`kid`).
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it is a secret, not a public key.
    pub fn is_secret(&self) -> bool {
        matches!(self.uses.first(), Some((_, Verifier::Mac(_))))
    }

    /// The algorithms it may be used with.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.uses.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Whether it signed the message; false for an algorithm it is not for.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let found = self.uses.iter().find(|(known, _)| *known == algorithm);
        match found {
            Some((_, Verifier::Mac(key))) => hmac::verify(key, message, signature).is_ok(),
            Some((_, Verifier::Public(key))) => key.verify_sig(message, signature).is_ok(),
            None => false,
        }
    }
}
