//! Whether clients show a certificate, and which of them are believed.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};

use super::{Inputs, parse, read};
use crate::config::{ClientAuthMode, Diagnostic};
use crate::tls::certificate;

/// How clients are verified.
pub(super) struct ClientAuth {
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Everything that decides who is believed: sessions that began under other rules are not resumed.
    pub rules: Vec<u8>,
}

/// Reads authorities and lists. `None`: something is wrong, which was added to `out`.
pub(super) fn verifier(
    path: &str,
    inputs: &Inputs<'_>,
    provider: &Arc<CryptoProvider>,
    out: &mut Vec<Diagnostic>,
) -> Option<ClientAuth> {
    let settings = &inputs.settings.client_auth;
    if settings.mode == ClientAuthMode::None {
        return Some(ClientAuth {
            verifier: WebPkiClientVerifier::no_client_auth(),
            rules: Vec::new(),
        });
    }
    let path = format!("{path}.client_auth");
    // That it is there was checked with the document.
    let file = settings.ca.as_deref()?;
    let setting = format!("{path}.ca");
    let mut rules = format!("{:?}", settings.mode).into_bytes();
    let roots = read(&setting, file, inputs, out).and_then(|bytes| {
        rules.extend_from_slice(&bytes);
        let authorities = parse(&setting, file, certificate::chain(&bytes), out)?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            if roots.add(authority).is_err() {
                let message = format!("`{}` has a certificate that is no authority", file.display());
                out.push(Diagnostic::error(&*setting, message));
                return None;
            }
        }
        Some(roots)
    });
    let setting = format!("{path}.crl");
    let lists = match settings.crl.as_deref() {
        None => Some(Vec::new()),
        Some(file) => read(&setting, file, inputs, out).and_then(|bytes| {
            rules.extend_from_slice(&bytes);
            parse(&setting, file, certificate::revocation_lists(&bytes), out)
        }),
    };
    let (roots, lists) = (roots?, lists?);
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).with_crls(lists);
    if settings.mode == ClientAuthMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    match builder.build() {
        Ok(verifier) => Some(ClientAuth { verifier, rules }),
        Err(error) => {
            let message = match (error, &settings.crl) {
                (VerifierBuilderError::InvalidCrl(_), Some(file)) => {
                    format!("`{}` has a list that cannot be used", file.display())
                }
                (error, _) => format!("clients cannot be verified: {error}"),
            };
            out.push(Diagnostic::error(setting, message));
            None
        }
    }
}
