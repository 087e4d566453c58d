//! Checks of an endpoint's certificate other than the usual one: by names of the operator's choice, or none.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A name that a certificate can bear (RFC 5280 4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    /// A host name or an address.
    Host(ServerName<'static>),
    /// A URI, compared byte by byte.
    Uri(String),
}

impl FromStr for San {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.contains("://") {
            let legal = text.bytes().all(|b| b.is_ascii_graphic());
            return legal.then(|| Self::Uri(text.to_owned())).ok_or(());
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Host(ServerName::IpAddress(ip.into())));
        }
        ServerName::try_from(text.to_owned())
            .map(Self::Host)
            .map_err(|_| ())
    }
}

/// Judges the certificates of servers in another way than by the name that was dialled. The handshake's signatures are
/// checked in any case.
#[derive(Debug)]
pub(super) struct Verifier {
    pub wants: Wants,
    pub algorithms: WebPkiSupportedAlgorithms,
}

/// What a certificate must show.
#[derive(Debug)]
pub(super) enum Wants {
    /// A known authority, and one of some names, whatever the server is called.
    Names {
        roots: Arc<RootCertStore>,
        names: Vec<San>,
    },
    /// Nothing, as `verify: false` says.
    Nothing,
}

impl Wants {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let Self::Names { roots, names } = self else {
            return Ok(());
        };
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms.all)?;
        let uris = uris(certificate);
        let fits = names.iter().any(|name| match name {
            San::Host(host) => verify_server_name(&parsed, host).is_ok(),
            San::Uri(uri) => uris.contains(uri),
        });
        if fits {
            Ok(())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }
}

/// The URIs among a certificate's names.
fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.wants
            .judge(end_entity, intermediates, now, &self.algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
