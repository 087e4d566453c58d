//! Texts with variables, such as `https://${request.host}${request.path}`.
//!
//! A template is cut into pieces once, when the document is read; rendering only copies. `$$` is a dollar
//! sign. Which value a variable has is for the caller to say: this module knows no request.

use super::types::text_type;
use std::fmt;
use std::str::FromStr;

/// A text with variables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    written: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    Variable(Variable),
}

/// What a template may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `request.method`
    Method,
    /// `request.host`: in lower case, with the port if one was sent.
    Host,
    /// `request.path`: normalised, without the query.
    Path,
    /// `request.query`: without the `?`; empty if there is none.
    Query,
    /// `request.scheme`: `http` or `https`.
    Scheme,
    /// `request.id`
    RequestId,
    /// `request.header.NAME`, the name in lower case.
    Header(String),
    /// `request.query_param.NAME`
    QueryParam(String),
    /// `request.cookie.NAME`
    Cookie(String),
    /// `client.ip`
    ClientIp,
    /// `client.country`: empty unless a policy has found out.
    ClientCountry,
    /// `tls.version`: empty in the clear, as the others of TLS.
    TlsVersion,
    /// `tls.cipher`
    TlsCipher,
    /// `tls.sni`: the name the client asked for.
    TlsSni,
    /// `tls.alpn`
    TlsAlpn,
    /// `client_certificate.subject`: empty without a certificate, as the others.
    CertificateSubject,
    /// `client_certificate.issuer`
    CertificateIssuer,
    /// `client_certificate.serial`
    CertificateSerial,
    /// `client_certificate.names`: the alternative names, with commas between.
    CertificateNames,
    /// `client_certificate.fingerprint`: its SHA-256.
    CertificateFingerprint,
    /// `consumer.name`: empty if nobody found out who calls, as those that follow.
    ConsumerName,
    /// `consumer.tier`
    ConsumerTier,
    /// `consumer.groups`: with commas between.
    ConsumerGroups,
    /// `consumer.label.NAME`
    ConsumerLabel(String),
    /// `identity.subject`: what the proof calls the caller.
    Subject,
    /// `identity.scopes`: with commas between.
    Scopes,
    /// `identity.credential`: the id of the credential, never the credential.
    CredentialId,
    /// `claims.PATH`: a claim of the token; names with dots between lead into objects, and a list has commas between.
    Claim(String),
    /// `uuid`: a new one each time.
    Uuid,
    /// `route.name`
    RouteName,
    /// `path.NAME`: what the route's path captured.
    Capture(String),
}

/// Variables without a name of their own.
const PLAIN: &[(&str, Variable)] = &[
    ("request.method", Variable::Method),
    ("request.host", Variable::Host),
    ("request.path", Variable::Path),
    ("request.query", Variable::Query),
    ("request.scheme", Variable::Scheme),
    ("request.id", Variable::RequestId),
    ("client.ip", Variable::ClientIp),
    ("client.country", Variable::ClientCountry),
    ("tls.version", Variable::TlsVersion),
    ("tls.cipher", Variable::TlsCipher),
    ("tls.sni", Variable::TlsSni),
    ("tls.alpn", Variable::TlsAlpn),
    ("client_certificate.subject", Variable::CertificateSubject),
    ("client_certificate.issuer", Variable::CertificateIssuer),
    ("client_certificate.serial", Variable::CertificateSerial),
    ("client_certificate.names", Variable::CertificateNames),
    ("client_certificate.fingerprint", Variable::CertificateFingerprint),
    ("route.name", Variable::RouteName),
    ("consumer.name", Variable::ConsumerName),
    ("consumer.tier", Variable::ConsumerTier),
    ("consumer.groups", Variable::ConsumerGroups),
    ("identity.subject", Variable::Subject),
    ("identity.scopes", Variable::Scopes),
    ("identity.credential", Variable::CredentialId),
    ("uuid", Variable::Uuid),
    // Short forms of those that are asked for most.
    ("request_id", Variable::RequestId),
    ("host", Variable::Host),
    ("path", Variable::Path),
    ("method", Variable::Method),
    ("scheme", Variable::Scheme),
    ("client_ip", Variable::ClientIp),
];

/// Makes a variable from the name after its beginning.
type Named = fn(&str) -> Variable;

/// Beginnings of those that go on with a name.
const NAMED: &[(&str, Named)] = &[
    ("request.header.", |name| {
        Variable::Header(name.to_ascii_lowercase())
    }),
    ("request.query_param.", |name| {
        Variable::QueryParam(name.to_owned())
    }),
    ("request.cookie.", |name| Variable::Cookie(name.to_owned())),
    ("path.", |name| Variable::Capture(name.to_owned())),
    ("claims.", |name| Variable::Claim(name.to_owned())),
    ("consumer.label.", |name| Variable::ConsumerLabel(name.to_owned())),
];

impl Template {
    /// Appends the text to `out`; `lookup` appends the value of a variable, or nothing if it has none.
    pub fn render(&self, out: &mut Vec<u8>, lookup: &mut dyn FnMut(&Variable, &mut Vec<u8>)) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => lookup(variable, out),
            }
        }
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Text(_) => None,
        })
    }

    /// The text itself, if there is no variable in it.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The fixed text before the first variable.
    pub fn literal_start(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(tail) = after.strip_prefix('$') {
                literal.push('$');
                rest = tail;
            } else if let Some(body) = after.strip_prefix('{') {
                let Some((name, tail)) = body.split_once('}') else {
                    return Err(format!(
                        "`{text}` has a `${{` without its `}}`; close it, or write `$$` for a dollar sign"
                    ));
                };
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Variable(variable(name)?));
                rest = tail;
            } else {
                return Err(format!("`{text}` has a lone `$`; write `$$` for a dollar sign"));
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self {
            written: text.to_owned(),
            pieces,
        })
    }
}

fn variable(name: &str) -> Result<Variable, String> {
    if let Some((_, variable)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
        return Ok(variable.clone());
    }
    for (prefix, make) in NAMED {
        if let Some(own) = name.strip_prefix(prefix) {
            // Names of query parameters and claims may be anything; those of headers, cookies and captures are tokens.
            let is_free = ["request.query_param.", "claims."].contains(prefix);
            let legal = super::is_token(own) || (is_free && !own.is_empty());
            return if legal {
                Ok(make(own))
            } else {
                Err(format!("`${{{name}}}` has no legal name after `{prefix}`"))
            };
        }
    }
    let known = PLAIN
        .iter()
        .map(|(name, _)| *name)
        .chain(NAMED.iter().map(|(prefix, _)| *prefix));
    // For those with a name, compare as much as there are dots in the known beginning.
    let close = known.clone().map(|known| {
        let dots = known.matches('.').count();
        let end = name
            .match_indices('.')
            .nth(dots.saturating_sub(1))
            .map_or(name.len(), |(at, _)| at + 1);
        let part = if known.ends_with('.') {
            name.get(..end).unwrap_or(name)
        } else {
            name
        };
        (strsim::osa_distance(part, known), known)
    });
    match close.min().filter(|(distance, _)| *distance <= 3) {
        Some((_, known)) if known.ends_with('.') => Err(format!(
            "unknown variable `${{{name}}}`; did you mean `${{{known}NAME}}`?"
        )),
        Some((_, known)) => Err(format!(
            "unknown variable `${{{name}}}`; did you mean `${{{known}}}`?"
        )),
        None => Err(format!(
            "unknown variable `${{{name}}}`; variables begin with `request.`, `client.`, `client_certificate.`, `tls.`, `route.` or `path.`"
        )),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

text_type!(Template, "a text with variables such as `https://${request.host}${request.path}`", {
    "description": "A text with variables: `${request.method}`, `.host`, `.path`, `.query`, `.scheme`, `.id`, `.header.NAME`, `.query_param.NAME`, `.cookie.NAME`, `${client.ip}`, `.country`, `${tls.version}`, `.cipher`, `.sni`, `.alpn`, `${client_certificate.subject}`, `.issuer`, `.serial`, `.names`, `.fingerprint`, `${route.name}`, and `${path.NAME}` for what the route's path captured. `$$` is a dollar sign.",
    "examples": ["https://${request.host}${request.path}", "/v2/users/${path.id}"],
});

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> String {
        let mut out = Vec::new();
        let template: Template = text.parse().unwrap();
        template.render(&mut out, &mut |variable, out| {
            out.extend_from_slice(format!("<{variable:?}>").as_bytes());
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn renders_text_and_variables() {
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("$$5", "$5"),
            ("$${x}", "${x}"),
            ("https://${request.host}${request.path}", "https://<Host><Path>"),
            ("/v2/${path.id}/x", "/v2/<Capture(\"id\")>/x"),
            ("${request.header.X-User}", "<Header(\"x-user\")>"),
            ("${request.query_param.a[b]}", "<QueryParam(\"a[b]\")>"),
            ("${request.cookie.sid}${client.ip}", "<Cookie(\"sid\")><ClientIp>"),
            ("${route.name}-${request.id}", "<RouteName>-<RequestId>"),
        ];
        for (text, rendered) in cases {
            assert_eq!(render(text), rendered, "{text}");
        }
    }

    #[test]
    fn refuses_with_a_reason_and_a_guess() {
        let cases = [
            ("$", "has a lone `$`"),
            ("a $x b", "has a lone `$`"),
            ("${request.host", "without its `}`"),
            ("${request.hots}", "did you mean `${request.host}`?"),
            ("${requst.header.x}", "did you mean `${request.header.NAME}`?"),
            ("${request.header.}", "no legal name"),
            ("${request.header.a b}", "no legal name"),
            ("${weather}", "variables begin with"),
            ("${}", "variables begin with"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Template>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn knows_its_fixed_part() {
        let template: Template = "/a/${path.b}".parse().unwrap();
        assert_eq!((template.literal(), template.literal_start()), (None, "/a/"));
        assert_eq!("/a$$".parse::<Template>().unwrap().literal(), Some("/a$"));
    }
}
