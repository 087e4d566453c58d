//! What a browser does in a login: it keeps cookies by host and path, follows redirects, and sends forms.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::client::{self, Request};
use crate::wire::Response;

/// Redirects that are followed before a test gives up.
const MOST_REDIRECTS: usize = 20;

/// A browser with its cookies.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    hosts: HashMap<String, SocketAddr>,
    /// Those it keeps, oldest first.
    pub cookies: Vec<Cookie>,
}

/// A cookie that a browser keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub host: String,
    pub path: String,
    pub name: String,
    pub value: String,
    /// What it was told of it, in lower case.
    pub attributes: Vec<String>,
}

impl Browser {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, where a host name leads to this address; addresses lead to themselves.
    #[must_use]
    pub fn knows(mut self, host: &str, address: SocketAddr) -> Self {
        self.hosts.insert(host.to_owned(), address);
        self
    }

    /// Asks for a page and goes no further, wherever the answer points.
    #[track_caller]
    pub fn get(&mut self, url: &str) -> Response {
        self.send(
            url,
            Request::new("GET", "").header("Accept", "text/html,*/*;q=0.8"),
        )
    }

    /// Sends a request, whose target is set by the URL, with the cookies for it, and keeps those of the answer.
    #[track_caller]
    pub fn send(&mut self, url: &str, mut request: Request) -> Response {
        let (host, target) = parts(url);
        let path = target.split('?').next().unwrap_or_default();
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.host == host && is_for(&cookie.path, path))
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        target.clone_into(&mut request.target);
        request = request.host(host);
        if !cookies.is_empty() {
            request = request.header("Cookie", &cookies.join("; "));
        }
        let address = self.hosts.get(host).copied();
        let address = address.unwrap_or_else(|| host.parse().unwrap_or_else(|_| panic!("where is {host}?")));
        let response = client::once(address, &request);
        for line in response.headers.all("set-cookie") {
            self.keep(host, line);
        }
        response
    }

    /// Asks for a page and follows redirects; where it ended, and what was there.
    #[track_caller]
    pub fn follow(&mut self, url: &str) -> (String, Response) {
        let response = self.get(url);
        self.arrive(url, response)
    }

    /// Sends a form and follows redirects.
    #[track_caller]
    pub fn submit(&mut self, url: &str, form: &[(&str, &str)]) -> (String, Response) {
        let response = self.post(url, form);
        self.arrive(url, response)
    }

    /// Sends a form.
    #[track_caller]
    pub fn post(&mut self, url: &str, form: &[(&str, &str)]) -> Response {
        let body: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let request = Request::new("POST", "")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Accept", "text/html")
            .body(body.join("&"));
        self.send(url, request)
    }

    /// Follows the redirects of an answer.
    #[track_caller]
    pub fn arrive(&mut self, from: &str, mut response: Response) -> (String, Response) {
        let mut url = from.to_owned();
        for _ in 0..MOST_REDIRECTS {
            if !(300..400).contains(&response.status) {
                return (url, response);
            }
            url = resolved(&url, response.header("location").expect("a place to go"));
            response = self.get(&url);
        }
        panic!("redirected without end, last to {url}");
    }

    /// Follows the redirects of an answer up to one that leads to an address with this beginning, which is not asked for.
    #[track_caller]
    pub fn arrive_before(&mut self, from: &str, mut response: Response, beginning: &str) -> String {
        let mut url = from.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let to = response.header("location");
            url = resolved(
                &url,
                to.unwrap_or_else(|| panic!("{url} leads nowhere: {response:?}")),
            );
            if url.starts_with(beginning) {
                return url;
            }
            response = self.get(&url);
        }
        panic!("redirected without end, last to {url}");
    }

    /// The cookies of a host whose names begin like that.
    pub fn cookies_of(&self, host: &str, start: &str) -> Vec<&Cookie> {
        let all = self.cookies.iter();
        all.filter(|cookie| cookie.host == host && cookie.name.starts_with(start))
            .collect()
    }

    fn keep(&mut self, host: &str, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts
            .next()
            .and_then(|pair| pair.split_once('='))
            .expect("a cookie");
        let written: Vec<&str> = parts.collect();
        let of = |name: &str| {
            let mut all = written.iter().filter_map(|text| text.split_once('='));
            all.find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        let cookie = Cookie {
            host: host.to_owned(),
            path: of("path").unwrap_or("/").to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            attributes: written.iter().map(|text| text.to_ascii_lowercase()).collect(),
        };
        self.cookies.retain(|known| {
            (&known.host, &known.path, &known.name) != (&cookie.host, &cookie.path, &cookie.name)
        });
        let is_over = of("max-age") == Some("0") || of("expires").is_some_and(|date| date.contains("1970"));
        if !is_over {
            self.cookies.push(cookie);
        }
    }
}

/// Host with port, and the target on it.
fn parts(url: &str) -> (&str, &str) {
    let rest = url
        .strip_prefix("http://")
        .unwrap_or_else(|| panic!("no URL of HTTP: {url}"));
    match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    }
}

fn resolved(base: &str, to: &str) -> String {
    if to.contains("://") && !to.starts_with('/') {
        return to.to_owned();
    }
    assert!(
        to.starts_with('/') && !to.starts_with("//"),
        "redirected to {to:?}"
    );
    format!("http://{}{to}", parts(base).0)
}

/// RFC 6265 5.1.4.
fn is_for(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// A value as a form has it.
fn encoded(value: &str) -> String {
    value
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
