//! What exchanges may know of their connection's TLS, the client's certificate above all.

use std::cell::OnceCell;
use std::net::IpAddr;

use aws_lc_rs::digest::{self, SHA256};
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::base64;

/// The outcome of a handshake.
#[derive(Debug)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The protocol that ALPN chose; empty if there was no ALPN.
    pub alpn: &'static str,
    /// The name the client asked for, in lower case.
    pub sni: Option<Box<str>>,
    /// True if the client came back with a ticket.
    pub resumed: bool,
    /// The client's certificate, verified.
    pub client: Option<ClientCertificate>,
}

impl TlsInfo {
    /// What a session has agreed on.
    pub fn of(session: &CommonState, sni: Option<&str>) -> Self {
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "unknown",
            },
            cipher: session
                .negotiated_cipher_suite()
                .map_or("unknown", |suite| cipher_name(suite.suite())),
            alpn: match session.alpn_protocol() {
                Some(b"http/1.1") => "http/1.1",
                Some(b"h2") => "h2",
                Some(b"h3") => "h3",
                _ => "",
            },
            sni: sni.map(|name| name.to_ascii_lowercase().into()),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            client: session.peer_certificates().and_then(ClientCertificate::of),
        }
    }
}

fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// A client's certificate. Texts come from whoever its authority let have them: they are escaped where they go out.
#[derive(Debug)]
pub struct ClientCertificate {
    /// Whose it is, as in RFC 4514: `CN=alice,O=Example`.
    pub subject: Box<str>,
    /// Who signed it, in the same form.
    pub issuer: Box<str>,
    /// Its number, in lower-case hexadecimal.
    pub serial: Box<str>,
    /// Alternative names, in their order.
    pub names: Vec<Name>,
    /// The SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: Box<str>,
    /// Until when it is good, in seconds since 1970.
    pub not_after: i64,
    chain: Box<[CertificateDer<'static>]>,
    fields: [OnceCell<Box<str>>; 3],
}

/// An alternative name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A host name.
    Dns(Box<str>),
    /// A URI, such as a SPIFFE id.
    Uri(Box<str>),
    /// A mail address.
    Email(Box<str>),
    /// An IP address.
    Ip(IpAddr),
}

impl ClientCertificate {
    /// The first of these certificates; the rest came with it. `None` if it is not one.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let leaf = chain.first()?;
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let alternative = parsed.subject_alternative_name().ok().flatten();
        let names = alternative
            .map(|extension| extension.value.general_names.iter().filter_map(name).collect())
            .unwrap_or_default();
        Some(Self {
            subject: distinguished(parsed.subject()),
            issuer: distinguished(parsed.issuer()),
            serial: hex(parsed.raw_serial()),
            names,
            fingerprint: hex(digest::digest(&SHA256, leaf).as_ref()),
            not_after: parsed.validity().not_after.timestamp(),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            fields: Default::default(),
        })
    }

    /// The certificate and those that came with it, in DER.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The value of `Client-Cert` (RFC 9440 2.2).
    pub fn client_cert(&self) -> &str {
        let [field, _, _] = &self.fields;
        field.get_or_init(|| binaries(self.chain.iter().take(1)))
    }

    /// The value of `Client-Cert-Chain` (RFC 9440 2.3); empty if nothing came with the certificate.
    pub fn client_cert_chain(&self) -> &str {
        let [_, field, _] = &self.fields;
        field.get_or_init(|| binaries(self.chain.iter().skip(1)))
    }

    /// The value of `X-Forwarded-Client-Cert`.
    pub fn xfcc(&self) -> &str {
        let [_, _, field] = &self.fields;
        field.get_or_init(|| {
            let mut out = format!("Hash={};Subject=", self.fingerprint);
            quote(&self.subject, &mut out);
            for name in &self.names {
                let (key, value) = match name {
                    Name::Uri(uri) => (";URI=", uri),
                    Name::Dns(dns) => (";DNS=", dns),
                    Name::Email(_) | Name::Ip(_) => continue,
                };
                out.push_str(key);
                quote(value, &mut out);
            }
            out.into()
        })
    }

    /// The alternative names, with commas between.
    pub fn names_text(&self) -> String {
        let text = |name: &Name| match name {
            Name::Dns(text) | Name::Uri(text) | Name::Email(text) => visible(text),
            Name::Ip(ip) => ip.to_string(),
        };
        self.names.iter().map(text).collect::<Vec<_>>().join(",")
    }
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Dns((*name).into())),
        GeneralName::URI(uri) => Some(Name::Uri((*uri).into())),
        GeneralName::RFC822Name(mail) => Some(Name::Email((*mail).into())),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(Name::Ip([a, b, c, d].into())),
            ref long => <[u8; 16]>::try_from(long).ok().map(|ip| Name::Ip(ip.into())),
        },
        _ => None,
    }
}

/// A list of byte sequences (RFC 9651 3.3.5).
fn binaries<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'static>>) -> Box<str> {
    let mut out = String::new();
    for certificate in certificates {
        out.push_str(if out.is_empty() { ":" } else { ", :" });
        base64::encode(certificate, &mut out);
        out.push(':');
    }
    out.into()
}

/// A value that may have what separates values.
fn quote(value: &str, out: &mut String) {
    out.push('"');
    for char in visible(value).chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

/// The text with a question mark for what may not stand in a field.
fn visible(text: &str) -> String {
    text.chars()
        .map(|char| {
            if char.is_ascii_graphic() || char == ' ' {
                char
            } else {
                '?'
            }
        })
        .collect()
}

fn hex(bytes: &[u8]) -> Box<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Four bits are below 16.
    let digit = |bits: u8| char::from(DIGITS[usize::from(bits & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect::<String>()
        .into()
}

/// A distinguished name as text, the most specific part first (RFC 4514).
fn distinguished(name: &X509Name<'_>) -> Box<str> {
    let mut parts: Vec<String> = Vec::new();
    for relative in name.iter_rdn() {
        let mut part = String::new();
        for attribute in relative.iter() {
            if !part.is_empty() {
                part.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            part.push_str(short(&oid));
            part.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut part),
                Err(_) => {
                    part.push('#');
                    part.push_str(&hex(attribute.as_slice()));
                }
            }
        }
        parts.push(part);
    }
    parts.reverse();
    parts.join(",").into()
}

/// The short names of RFC 4514 3, and the one for mail that everybody writes.
fn short(oid: &str) -> &str {
    match oid {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    }
}

fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        let special = matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=')
            || (at == 0 && matches!(char, '#' | ' '))
            || (at == last && char == ' ');
        if special {
            out.push('\\');
            out.push(char);
        } else if char.is_control() || !char.is_ascii() {
            // UTF-8 in hexadecimal: what goes out is ASCII, and one subject has one text.
            let mut bytes = [0; 4];
            for byte in char.encode_utf8(&mut bytes).bytes() {
                out.push('\\');
                out.push_str(&hex(&[byte]));
            }
        } else {
            out.push(char);
        }
    }
}
