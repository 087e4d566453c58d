//! Parameters of the query and cookies of one request: read by name, and taken off.
//!
//! Names in the query are compared decoded, as conditions of routes compare them: what was read is what is taken off.

use std::borrow::Cow;

use gatehouse_http1::{Headers, Known};

use crate::exchange::{Exchange, Request};
use crate::route::{cookies, query_values};

impl Exchange {
    /// The values of a parameter of the query, decoded (`+` is a space), in order.
    pub fn query_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        query_values(self.request.head.query().unwrap_or_default(), name)
    }

    /// The values of a cookie, as sent but without the quotes a value may stand in, in order.
    pub fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        cookies(&self.request.head.headers, name)
    }
}

impl Request {
    /// Takes all parameters of this name off the query; what is left stays byte for byte as it was.
    pub fn remove_query(&mut self, name: &str) {
        let Some(query) = self.head.query() else { return };
        let is_other = |pair: &&str| query_values(pair, name).next().is_none();
        let left: Vec<&str> = query.split('&').filter(is_other).collect();
        if left.len() == query.split('&').count() {
            return;
        }
        let left = left.join("&");
        self.head.set_query((!left.is_empty()).then_some(&left));
    }

    /// Takes a cookie off; what is left stays as it was.
    pub fn remove_cookie(&mut self, name: &str) {
        remove_cookies(&mut self.head.headers, |found| found == name.as_bytes());
    }
}

/// Takes cookies off whose names are these; what is left stays as it was. A name ends where white space begins: some
/// servers see it so.
pub fn remove_cookies(headers: &mut Headers, is_one: impl Fn(&[u8]) -> bool) {
    let is_other = |pair: &&[u8]| {
        let found = pair.split(|b| *b == b'=').next().unwrap_or_default();
        !is_one(found.trim_ascii())
    };
    let pairs = || {
        let lines = headers.all(Known::Cookie);
        lines
            .flat_map(|line| line.split(|b| *b == b';'))
            .map(<[u8]>::trim_ascii)
            .filter(|pair| !pair.is_empty())
    };
    if pairs().all(|pair| is_other(&pair)) {
        return;
    }
    let left: Vec<&[u8]> = pairs().filter(is_other).collect();
    let left = left.join(&b"; "[..]);
    if left.is_empty() {
        headers.remove(Known::Cookie);
    } else {
        headers.set(Known::Cookie, &left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatehouse_http1::HeadLimits;

    fn request(target: &str, fields: &str) -> Request {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut request = Request::default();
        let parsed =
            gatehouse_http1::parse_request(text.as_bytes(), &HeadLimits::default(), &mut request.head);
        assert!(matches!(parsed, Ok(Some(_))), "{text}");
        request
    }

    #[test]
    fn a_parameter_goes_and_the_others_stay_as_they_were() {
        let left = |target: &str| {
            let mut request = request(target, "");
            request.remove_query("key");
            request.head.query().map(str::to_owned)
        };
        assert_eq!(left("/?a=%41+b&key=1&c").as_deref(), Some("a=%41+b&c"));
        assert_eq!(left("/?k%65y=1&key&a").as_deref(), Some("a"));
        assert_eq!(left("/?key=1"), None);
        assert_eq!(left("/?&a=key&").as_deref(), Some("&a=key&"));
        assert_eq!(left("/"), None);
    }

    #[test]
    fn a_cookie_goes_and_the_others_stay() {
        let left = |fields: &str| {
            let mut request = request("/", fields);
            request.remove_cookie("key");
            let all: Vec<_> = request
                .head
                .headers
                .all(Known::Cookie)
                .map(<[u8]>::to_vec)
                .collect();
            String::from_utf8(all.join(&b'|')).unwrap()
        };
        assert_eq!(
            left("Cookie: a=1; key=2; b=\"3\"\r\nCookie: key=4;c=5\r\n"),
            "a=1; b=\"3\"; c=5"
        );
        assert_eq!(left("Cookie: key=2\r\n"), "");
        assert_eq!(left("Cookie: a=1;  b=2\r\n"), "a=1;  b=2");
    }
}
