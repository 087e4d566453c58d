//! Certificates for tests: authorities that issue them, good ones and bad ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that a test trusts, or not.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// What a certificate says.
pub struct Wanted<'a> {
    params: CertificateParams,
    authority: &'a Authority,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("an authority"),
        }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate for these names: host names, addresses, URIs.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.wanted(names).server()
    }

    /// A client's certificate with this name.
    pub fn client(&self, name: &str) -> Identity {
        self.wanted(&[name]).client()
    }

    /// To be changed before it is issued.
    pub fn wanted(&self, names: &[&str]) -> Wanted<'_> {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        for name in names {
            let san = match name.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) if name.contains("://") => SanType::URI((*name).try_into().expect("ASCII")),
                Err(_) => SanType::DnsName((*name).try_into().expect("ASCII")),
            };
            params.subject_alt_names.push(san);
        }
        let name = names.first().copied().unwrap_or("nobody");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        Wanted {
            params,
            authority: self,
        }
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        roots
    }
}

impl Wanted<'_> {
    /// Ran out years ago.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.params.not_before = date_time_ymd(2000, 1, 1);
        self.params.not_after = date_time_ymd(2001, 1, 1);
        self
    }

    pub fn server(self) -> Identity {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(self) -> Identity {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(mut self, purpose: ExtendedKeyUsagePurpose) -> Identity {
        self.params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        let certificate = self
            .params
            .signed_by(&key, &self.authority.issuer)
            .expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .expect("certificates")
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}.key")),
        );
        std::fs::write(&certificate, &self.certificate).expect("write a certificate");
        std::fs::write(&key, &self.key).expect("write a key");
        (certificate, key)
    }
}

/// The cryptography of the tests' own TLS.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Versions of TLS, to be asked for one by one.
pub use rustls::version;
