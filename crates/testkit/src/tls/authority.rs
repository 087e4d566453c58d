//! A private authority and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

/// Signs certificates and lists of revoked ones.
#[derive(Debug)]
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is to say.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    names: Vec<SanType>,
    subject: Vec<(DnType, String)>,
    rsa: bool,
    client: bool,
    years: Option<(i32, i32)>,
    serial: Option<u64>,
    must_staple: bool,
}

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub cert: String,
    pub key: String,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("Test Authority")
    }

    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("an authority");
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// Its certificate, as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// Signs a certificate with a new key.
    #[track_caller]
    pub fn issue(&self, leaf: &Leaf) -> Issued {
        let algorithm = if leaf.rsa {
            &PKCS_RSA_SHA256
        } else {
            &PKCS_ECDSA_P256_SHA256
        };
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = leaf
            .params()
            .signed_by(&key, &self.issuer)
            .expect("a certificate");
        Issued {
            cert: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// A server's certificate for these names.
    #[track_caller]
    pub fn server(&self, names: &[&str]) -> Issued {
        self.issue(&Leaf::server(names))
    }

    /// A list of revoked certificates, as PEM.
    #[track_caller]
    pub fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        list.pem().expect("PEM")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Leaf {
    /// A server's certificate for these names: host names, addresses, URIs.
    pub fn server(names: &[&str]) -> Self {
        let name = |name: &&str| match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if name.contains("://") => SanType::URI((*name).try_into().expect("a URI")),
            Err(_) => SanType::DnsName((*name).try_into().expect("a DNS name")),
        };
        Self {
            names: names.iter().map(name).collect(),
            ..Self::default()
        }
    }

    /// A client's certificate with this common name.
    pub fn client(common_name: &str) -> Self {
        Self {
            subject: vec![(DnType::CommonName, common_name.to_owned())],
            client: true,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn rsa(self) -> Self {
        Self { rsa: true, ..self }
    }

    /// Valid from the beginning of one year to that of another.
    #[must_use]
    pub fn years(self, from: i32, to: i32) -> Self {
        Self {
            years: Some((from, to)),
            ..self
        }
    }

    #[must_use]
    pub fn serial(self, serial: u64) -> Self {
        Self {
            serial: Some(serial),
            ..self
        }
    }

    #[must_use]
    pub fn organization(mut self, name: &str) -> Self {
        self.subject.push((DnType::OrganizationName, name.to_owned()));
        self
    }

    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.names.push(SanType::URI(uri.try_into().expect("a URI")));
        self
    }

    #[must_use]
    pub fn dns(mut self, name: &str) -> Self {
        self.names
            .push(SanType::DnsName(name.try_into().expect("a DNS name")));
        self
    }

    #[must_use]
    pub fn must_staple(self) -> Self {
        Self {
            must_staple: true,
            ..self
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (part, value) in &self.subject {
            params.distinguished_name.push(part.clone(), value.as_str());
        }
        params.subject_alt_names.clone_from(&self.names);
        let (from, to) = self.years.unwrap_or((2020, 2090));
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        params.serial_number = self.serial.map(SerialNumber::from);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![if self.client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        if self.must_staple {
            // A list of one feature: status_request, number 5 (RFC 7633 4).
            let features = vec![0x30, 3, 2, 1, 5];
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&oid, features));
        }
        params
    }
}
