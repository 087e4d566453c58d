//! Which certificate a client gets: by the name it asks for, then by what it can verify.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::tls::certificate::Facts;

/// The certificates of a listener by name.
#[derive(Debug)]
pub struct Resolver {
    certificates: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// Without the star: `.example.com`.
    wildcards: HashMap<Box<str>, Vec<usize>>,
    default: Vec<usize>,
    strict: bool,
}

impl Resolver {
    /// Certificates in the order they are written. `strict`: a client must ask for a name that one of them has.
    pub fn new(certificates: Vec<(CertifiedKey, Facts)>, strict: bool) -> Self {
        let mut exact: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut wildcards: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, (_, facts)) in certificates.iter().enumerate() {
            for name in &facts.names {
                match name.strip_prefix('*') {
                    Some(suffix) => wildcards.entry(suffix.into()).or_default().push(index),
                    None => exact.entry(name.clone()).or_default().push(index),
                }
            }
        }
        // The first, and its like with other keys.
        let mut default: Vec<usize> = match certificates.split_first() {
            Some(((_, first), _)) => (0..certificates.len())
                .filter(|&index| {
                    let other = certificates.get(index);
                    index == 0 || other.is_some_and(|(_, facts)| same_names(first, facts))
                })
                .collect(),
            None => Vec::new(),
        };
        let cost = |index: &usize| certificates.get(*index).map(|(_, facts)| cost(facts.algorithm));
        for group in exact.values_mut().chain(wildcards.values_mut()) {
            group.sort_by_key(cost);
            group.dedup();
        }
        default.sort_by_key(cost);
        Self {
            certificates: certificates
                .into_iter()
                .map(|(certified, _)| Arc::new(certified))
                .collect(),
            exact,
            wildcards,
            default,
            strict,
        }
    }

    /// Whether a client must ask for a name that a certificate has.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The certificates for a name in lower case: those that have it, else those with a wildcard for it.
    fn named(&self, name: &str) -> Option<&[usize]> {
        if let Some(group) = self.exact.get(name) {
            return Some(group);
        }
        // A star stands for one label (RFC 9525 6.3).
        let suffix = name.get(name.find('.')?..)?;
        self.wildcards.get(suffix).map(Vec::as_slice)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let group = match name.and_then(|name| self.named(&name.to_ascii_lowercase())) {
            Some(group) => group,
            None if self.strict => return None,
            None => &self.default,
        };
        group
            .iter()
            .filter_map(|&index| self.certificates.get(index))
            .find(|certified| certified.key.choose_scheme(schemes).is_some())
            .cloned()
    }

    /// Whether a connection whose client asked for `sni` may carry requests for `host`: if the certificate it was
    /// shown is for both (RFC 9110 7.4, RFC 9113 9.1.1).
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        if sni.is_some_and(|sni| sni.eq_ignore_ascii_case(host)) {
            return true;
        }
        let shown = sni.and_then(|sni| self.named(&sni.to_ascii_lowercase()));
        let wanted = self.named(&host.to_ascii_lowercase());
        match (shown, wanted) {
            (Some(shown), Some(wanted)) => shown.iter().any(|index| wanted.contains(index)),
            _ => false,
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

/// Certificates that are for the same, whatever their order.
fn same_names(one: &Facts, other: &Facts) -> bool {
    one.names.len() == other.names.len() && one.names.iter().all(|name| other.names.contains(name))
}

/// What a signature costs us, by rank.
fn cost(algorithm: SignatureAlgorithm) -> u8 {
    match algorithm {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 => 1,
        SignatureAlgorithm::RSA => 2,
        _ => 3,
    }
}
