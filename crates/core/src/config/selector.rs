//! What a limit, a quota or a sticky choice is keyed by.
//!
//! This is the written form only; whoever has a request at hand turns it into a key.

use super::template::Template;
use super::types::text_type;
use std::fmt;
use std::str::FromStr;

/// What requests are counted together by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Selector {
    /// `client_ip`: the address of the client, as found through trusted proxies.
    #[default]
    ClientIp,
    /// `consumer`: who calls, once an authentication found out.
    Consumer,
    /// `route`: everybody on the same route together.
    Route,
    /// `global`: everybody together.
    Global,
    /// `credential`: what the caller showed, by the id that logs call it.
    Credential,
    /// `header:NAME`: the value of a request header, whose name is kept in lower case.
    Header(String),
    /// `claim:PATH`: a claim of the caller's token.
    Claim(String),
    /// A text with variables: requests that give the same text.
    Template(Template),
}

const WORDS: [(&str, Selector); 5] = [
    ("client_ip", Selector::ClientIp),
    ("consumer", Selector::Consumer),
    ("credential", Selector::Credential),
    ("route", Selector::Route),
    ("global", Selector::Global),
];

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected `client_ip`, `consumer`, `credential`, `route`, `global`, or such as `header:X-Client-Id`, `claim:sub` or `${request.method}`";
        if text.contains("${") {
            return text.parse().map(Self::Template);
        }
        if let Some(path) = text.strip_prefix("claim:") {
            let path = path.trim();
            return if path.is_empty() {
                Err(format!(
                    "`{text}` does not name a claim; expected such as `claim:sub`"
                ))
            } else {
                Ok(Self::Claim(path.to_owned()))
            };
        }
        if let Some(name) = text.strip_prefix("header:") {
            let name = name.trim();
            return if super::is_token(name) {
                Ok(Self::Header(name.to_ascii_lowercase()))
            } else {
                Err(format!(
                    "`{text}` does not name a header; expected such as `header:X-Client-Id`"
                ))
            };
        }
        let word = WORDS.iter().find(|(word, _)| *word == text);
        word.map(|(_, selector)| selector.clone())
            .ok_or_else(|| format!("`{text}` selects nothing; {EXPECTED}"))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Consumer => f.write_str("consumer"),
            Self::Credential => f.write_str("credential"),
            Self::Route => f.write_str("route"),
            Self::Global => f.write_str("global"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Claim(path) => write!(f, "claim:{path}"),
            Self::Template(template) => template.fmt(f),
        }
    }
}

text_type!(Selector, "`client_ip`, `consumer`, `route`, `global` or such as `header:X-Client-Id`", {
    "description": "What requests are counted together by: `client_ip`, `consumer`, `credential` (the id of the key or token shown), `route`, `global`, `header:` and the name of a header, `claim:` and the path of a claim, or a text with variables such as `${request.method} ${path.tenant}`.",
    "pattern": "^(client_ip|consumer|credential|route|global|header:.+|claim:.+|.*\\$\\{.+)$",
    "examples": ["client_ip", "consumer", "header:X-Client-Id", "claim:org.id"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in [
            "client_ip",
            "consumer",
            "credential",
            "route",
            "global",
            "header:x-client-id",
            "claim:org.id",
            "${request.method} ${path.tenant}",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        assert_eq!(
            "header: X-Client-Id".parse(),
            Ok(Selector::Header("x-client-id".into()))
        );
        for text in [
            "",
            "ip",
            "header:",
            "header:a b",
            "header",
            "claim:",
            "${weather}",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
