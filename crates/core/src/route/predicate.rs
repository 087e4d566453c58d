//! What a route asks of a request beyond host and path: method, header fields, query, cookies, client and listener.
//!
//! Every condition must hold; of a value that is given more than once, one that fits is enough, and `invert` turns the
//! answer about all of them around. Names and values in the query are compared decoded, `+` being a space; nothing is
//! allocated unless there is something to decode. The version is judged in `table.rs`, which knows what was asked for.

use crate::config::types::{Cidr, ValueMatch, ValueTest};
use gatehouse_http1::{Headers, Known, Method};
use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;

/// The largest compiled form of one regular expression, in bytes.
pub(super) const REGEX_SIZE: usize = 1 << 20;

/// The conditions of a route, compiled.
#[derive(Debug, Default)]
pub(super) struct Predicates {
    pub(super) methods: Methods,
    pub(super) headers: Vec<Named>,
    pub(super) query: Vec<Named>,
    pub(super) cookies: Vec<Named>,
    pub(super) client: Vec<Cidr>,
    pub(super) listeners: Vec<String>,
    /// `HEAD` was written, not only taken along with `GET`.
    pub(super) names_head: bool,
}

impl Predicates {
    /// Whether all conditions but those on the method hold.
    pub(super) fn hold(&self, request: &super::Query<'_>) -> bool {
        (self.listeners.is_empty() || self.listeners.iter().any(|name| name == request.listener))
            && (self.client.is_empty() || self.client.iter().any(|block| block.contains(request.client)))
            && self.headers.iter().all(|named| named.in_headers(request.headers))
            && self
                .query
                .iter()
                .all(|named| named.in_query(request.query.unwrap_or_default()))
            && self.cookies.iter().all(|named| named.in_cookies(request.headers))
    }

    /// How many conditions count with the header fields in the order of precedence.
    pub(super) fn weight(&self) -> usize {
        let others = usize::from(!self.client.is_empty()) + usize::from(!self.listeners.is_empty());
        self.headers.len() + self.cookies.len() + others
    }
}

/// The methods a route takes; none given means all.
#[derive(Debug, Default)]
pub(super) struct Methods {
    /// One bit for each method with a name of its own.
    known: u16,
    other: Vec<Method>,
}

impl Methods {
    /// Takes the methods of a route. `GET` takes `HEAD` along (RFC 9110 9.1: both are supported by all servers).
    pub(super) fn new(methods: &[Method]) -> Self {
        let mut known = methods.iter().filter_map(bit).fold(0, |all, bit| all | bit);
        if known & GET != 0 {
            known |= HEAD;
        }
        let other = methods
            .iter()
            .filter(|method| bit(method).is_none())
            .cloned()
            .collect();
        Self { known, other }
    }

    /// Whether every method is taken.
    pub(super) fn is_any(&self) -> bool {
        self.known == 0 && self.other.is_empty()
    }

    /// Whether this method is taken.
    pub(super) fn allow(&self, method: &Method) -> bool {
        self.is_any()
            || match bit(method) {
                Some(bit) => self.known & bit != 0,
                None => self.other.contains(method),
            }
    }

    /// The names of the methods, `HEAD` with `GET`, unsorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let known = BITS
            .iter()
            .filter(|(bit, _)| self.known & bit != 0)
            .map(|(_, name)| *name);
        known.chain(self.other.iter().map(Method::as_str))
    }
}

const GET: u16 = 1;
const HEAD: u16 = 2;
const BITS: [(u16, &str); 9] = [
    (GET, "GET"),
    (HEAD, "HEAD"),
    (4, "POST"),
    (8, "PUT"),
    (16, "DELETE"),
    (32, "CONNECT"),
    (64, "OPTIONS"),
    (128, "TRACE"),
    (256, "PATCH"),
];

fn bit(method: &Method) -> Option<u16> {
    Some(match method {
        Method::Get => GET,
        Method::Head => HEAD,
        Method::Post => 4,
        Method::Put => 8,
        Method::Delete => 16,
        Method::Connect => 32,
        Method::Options => 64,
        Method::Trace => 128,
        Method::Patch => 256,
        Method::Other(_) => return None,
    })
}

/// A condition on the values of one name.
#[derive(Debug)]
pub(super) struct Named {
    name: String,
    known: Option<Known>,
    test: Test,
    invert: bool,
}

#[derive(Debug)]
enum Test {
    Exact(String),
    Prefix(String),
    Regex(Regex),
    Present,
    Absent,
}

impl Named {
    /// Compiles a condition.
    ///
    /// # Errors
    /// What is wrong with its regular expression.
    pub(super) fn new(name: &str, condition: &ValueMatch) -> Result<Self, String> {
        let test = match &condition.test {
            ValueTest::Exact(text) => Test::Exact(text.clone()),
            ValueTest::Prefix(text) => Test::Prefix(text.clone()),
            ValueTest::Regex(text) => Test::Regex(
                RegexBuilder::new(text)
                    .size_limit(REGEX_SIZE)
                    .build()
                    .map_err(|error| error.to_string())?,
            ),
            ValueTest::Present => Test::Present,
            ValueTest::Absent => Test::Absent,
        };
        Ok(Self {
            name: name.to_owned(),
            known: Known::of(name.as_bytes()),
            test,
            invert: condition.invert,
        })
    }

    pub(super) fn in_headers(&self, headers: &Headers) -> bool {
        match self.known {
            Some(known) => self.judge(headers.all(known)),
            None => self.judge(headers.find_all(self.name.as_bytes())),
        }
    }

    fn in_query(&self, query: &str) -> bool {
        self.judge(query_values(query, &self.name))
    }

    fn in_cookies(&self, headers: &Headers) -> bool {
        self.judge(cookies(headers, &self.name))
    }

    fn judge<V: AsRef<[u8]>>(&self, mut values: impl Iterator<Item = V>) -> bool {
        let fits = match &self.test {
            Test::Exact(text) => values.any(|value| value.as_ref() == text.as_bytes()),
            Test::Prefix(text) => values.any(|value| value.as_ref().starts_with(text.as_bytes())),
            Test::Regex(regex) => values.any(|value| regex.is_match(value.as_ref())),
            Test::Present => values.next().is_some(),
            Test::Absent => values.next().is_none(),
        };
        fits != self.invert
    }
}

/// The values of a parameter of the query, decoded.
pub fn query_values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.filter_map(move |pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*decode(found) == *name.as_bytes()).then(|| decode(value))
    })
}

/// The values of a cookie, as sent (RFC 6265 5.4) but without the quotes a value may stand in.
pub fn cookies<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = headers
        .all(Known::Cookie)
        .flat_map(|line| line.split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let split = memchr::memchr(b'=', pair)?;
        let (found, value) = (pair.get(..split)?, pair.get(split + 1..)?);
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        (found == name.as_bytes()).then(|| unquoted.unwrap_or(value))
    })
}

/// A name or value of a query or a form, as a form would read it. A `%` without two digits stands for itself.
pub fn decode(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if memchr::memchr2(b'%', b'+', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*first),
        }
    }
    Cow::Owned(out)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests;
