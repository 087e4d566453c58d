//! The values of the variables in templates, for one exchange.

use gatehouse_http1::Known;

use crate::config::{Selector, Variable};
use crate::exchange::Exchange;
use crate::http::id;
use crate::identity::{Identity, claim_text};
use crate::route::{cookies, query_values};
use crate::tls::ClientCertificate;

impl Exchange {
    /// Appends the value of a variable; nothing if it has none.
    ///
    /// Paths and captures are those the route was matched by, also after the path was rewritten.
    pub fn variable(&self, variable: &Variable, out: &mut Vec<u8>) {
        let head = &self.request.head;
        let headers = &head.headers;
        match variable {
            Variable::Method => out.extend_from_slice(head.method.as_str().as_bytes()),
            Variable::Host => out.extend(head.authority().bytes().map(|b| b.to_ascii_lowercase())),
            Variable::Path => out.extend_from_slice(self.path().as_bytes()),
            Variable::Query => out.extend_from_slice(head.query().unwrap_or_default().as_bytes()),
            Variable::Scheme => out.extend_from_slice(self.client.scheme.as_bytes()),
            Variable::RequestId => out.extend_from_slice(self.ids.request.as_bytes()),
            Variable::Header(name) => {
                out.extend_from_slice(headers.find(name.as_bytes()).unwrap_or_default());
            }
            Variable::QueryParam(name) => {
                let query = head.query().unwrap_or_default();
                if let Some(value) = query_values(query, name).next() {
                    out.extend_from_slice(&value);
                }
            }
            Variable::Cookie(name) => {
                out.extend_from_slice(cookies(headers, name).next().unwrap_or_default());
            }
            Variable::ClientIp => out.extend_from_slice(self.client_text().as_bytes()),
            Variable::ClientCountry => out.extend_from_slice(self.client.country_text().as_bytes()),
            Variable::TlsVersion
            | Variable::TlsCipher
            | Variable::TlsSni
            | Variable::TlsAlpn
            | Variable::CertificateSubject
            | Variable::CertificateIssuer
            | Variable::CertificateSerial
            | Variable::CertificateNames
            | Variable::CertificateFingerprint => self.tls_variable(variable, out),
            Variable::ConsumerName
            | Variable::ConsumerTier
            | Variable::ConsumerGroups
            | Variable::ConsumerLabel(_)
            | Variable::Subject
            | Variable::Scopes
            | Variable::CredentialId
            | Variable::Claim(_) => self.identity_variable(variable, out),
            Variable::Uuid => out.extend_from_slice(id::fresh(&self.worker, self.worker.now()).as_bytes()),
            Variable::RouteName => {
                out.extend_from_slice(self.route().map_or("", |route| &route.name).as_bytes());
            }
            Variable::Capture(name) => {
                let at = self
                    .route()
                    .and_then(|route| route.captures.iter().position(|known| **known == **name));
                let text = at.and_then(|at| self.captures.text(at, self.path()));
                out.extend_from_slice(text.unwrap_or_default().as_bytes());
            }
        }
    }

    /// Appends what is known of who calls.
    fn identity_variable(&self, variable: &Variable, out: &mut Vec<u8>) {
        let Some(identity) = &self.identity else { return };
        let consumer = identity.consumer.as_deref();
        let text = match variable {
            Variable::ConsumerName => consumer.map(|consumer| &*consumer.name),
            Variable::ConsumerTier => consumer.and_then(|consumer| consumer.tier.as_deref()),
            Variable::ConsumerLabel(name) => consumer.and_then(|consumer| consumer.label(name)),
            Variable::ConsumerGroups => return join(consumer.map_or(&[], |consumer| &consumer.groups), out),
            Variable::Scopes => return join(&identity.proof.scopes, out),
            Variable::CredentialId => identity.proof.credential.as_deref(),
            Variable::Claim(path) => {
                if let Some(value) = identity.claim(path) {
                    claim_text(value, out);
                }
                return;
            }
            _ => Some(&*identity.proof.subject),
        };
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
    }

    /// Appends what is known of the connection's TLS.
    fn tls_variable(&self, variable: &Variable, out: &mut Vec<u8>) {
        let Some(tls) = self.connection.tls.as_deref() else {
            return;
        };
        let certificate = tls.client.as_ref();
        let text: &str = match variable {
            Variable::TlsVersion => tls.version,
            Variable::TlsCipher => tls.cipher,
            Variable::TlsSni => tls.sni.as_deref().unwrap_or_default(),
            Variable::TlsAlpn => tls.alpn,
            Variable::CertificateSubject => certificate.map_or("", |one| &one.subject),
            Variable::CertificateIssuer => certificate.map_or("", |one| &one.issuer),
            Variable::CertificateSerial => certificate.map_or("", |one| &one.serial),
            Variable::CertificateFingerprint => certificate.map_or("", |one| &one.fingerprint),
            _ => {
                out.extend(
                    certificate
                        .map(ClientCertificate::names_text)
                        .unwrap_or_default()
                        .bytes(),
                );
                return;
            }
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// The path the route was matched by.
    pub fn path(&self) -> &str {
        let head = &self.request.head;
        self.matched_path
            .as_ref()
            .map_or_else(|| head.path(), |mark| head.marked_path(mark))
    }

    /// Appends what a limit or a sticky choice is keyed by; nothing if the request has nothing of it.
    pub fn select(&self, selector: &Selector, out: &mut Vec<u8>) {
        match selector {
            Selector::ClientIp => match self.client.ip {
                std::net::IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                // One subscriber has at least a /64 and could take a new address for each request.
                std::net::IpAddr::V6(ip) => out.extend(ip.octets().iter().take(8)),
            },
            Selector::Route => out.extend_from_slice(self.route().map_or("", |route| &route.name).as_bytes()),
            Selector::Consumer => {
                let name = self.identity.as_ref().map_or("", Identity::name);
                out.extend_from_slice(name.as_bytes());
            }
            Selector::Credential => {
                let proof = self.identity.as_ref().map(|identity| &identity.proof);
                let id = proof.and_then(|proof| proof.credential.as_deref());
                out.extend_from_slice(id.unwrap_or_default().as_bytes());
            }
            Selector::Claim(path) => {
                let identity = self.identity.as_ref();
                if let Some(value) = identity.and_then(|identity| identity.claim(path)) {
                    claim_text(value, out);
                }
            }
            Selector::Template(template) => {
                template.render(out, &mut |variable, out| self.variable(variable, out));
            }
            Selector::Global => {}
            Selector::Header(name) => {
                let headers = &self.request.head.headers;
                let value = Known::of(name.as_bytes())
                    .map_or_else(|| headers.find(name.as_bytes()), |known| headers.get(known));
                out.extend_from_slice(value.unwrap_or_default());
            }
        }
    }
}

/// Appends texts with commas between.
fn join(texts: &[Box<str>], out: &mut Vec<u8>) {
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(text.as_bytes());
    }
}
