//! Asks other services over HTTP, on the background runtime only: bounded in time, size and number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::policy::Compile;
use reqwest::header::TRANSFER_ENCODING;
use reqwest::header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Url, Version};

/// The most bytes of an answer that are read, if nothing else is said.
const LARGEST: usize = 512 * 1024;

/// An HTTP client with its connections.
pub struct Fetcher {
    client: Client,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// How much longer it may be kept, if it says so (RFC 9111 4.2).
    pub fresh: Option<Duration>,
    /// What names this version of it (RFC 9110 8.8.3).
    pub tag: Option<HeaderValue>,
    /// Whether it said how long it is, so that all of it is here.
    pub is_measured: bool,
}

impl Fetcher {
    /// The client for these authorities, shared by all policies that have the same; `field` is where they are set.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn compile(cx: &mut Compile<'_>, field: &str, ca: Option<&Path>) -> Result<Arc<Self>, Diagnostic> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            // What the process's environment says of proxies is not in the document.
            .no_proxy()
            .user_agent("gatehouse")
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(8);
        let mut shape = String::new();
        if let Some(ca) = ca {
            let pem = cx.read(ca);
            let pem = pem.map_err(|why| cx.error(field, format!("cannot read `{}`: {why}", ca.display())))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .ok()
                .filter(|all| !all.is_empty());
            let certificates = certificates
                .ok_or_else(|| cx.error(field, format!("`{}` has no certificate in PEM", ca.display())))?;
            builder = builder.tls_certs_only(certificates);
            shape = String::from_utf8_lossy(&pem).into_owned();
        }
        let client = builder
            .build()
            .map_err(|error| cx.error(field, format!("no HTTP client can be made: {error}")))?;
        Ok(cx.common_state("http client", &shape, || Self { client }))
    }

    /// Begins a GET that asks for JSON.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url).header("accept", "application/json")
    }

    /// Begins a GET of a text, but for the version of this tag: then the answer is `304`.
    pub fn get_text(&self, url: Url, unless: Option<&HeaderValue>) -> RequestBuilder {
        let request = self.client.get(url).header("accept", "text/plain, */*;q=0.5");
        match unless {
            Some(tag) => request.header(IF_NONE_MATCH, tag),
            None => request,
        }
    }

    /// Begins a POST that asks for JSON.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url).header("accept", "application/json")
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// Says for the log what went wrong, time and size included.
pub async fn send(request: RequestBuilder, timeout: Duration) -> Result<Answer, String> {
    send_for(request, timeout, LARGEST).await
}

/// As [`send`], for answers of up to `largest` bytes.
///
/// # Errors
/// Says for the log what went wrong, time and size included.
pub async fn send_for(request: RequestBuilder, timeout: Duration, largest: usize) -> Result<Answer, String> {
    let mut response = request.timeout(timeout).send().await.map_err(reason)?;
    let status = response.status().as_u16();
    let fresh = fresh(response.headers());
    let tag = response.headers().get(ETAG).cloned();
    // An answer that ends with the connection may have been cut (RFC 9112 6.3).
    let is_measured = response.version() >= Version::HTTP_2
        || response.headers().contains_key(CONTENT_LENGTH)
        || response.headers().contains_key(TRANSFER_ENCODING);
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(reason)? {
        if body.len() + piece.len() > largest {
            return Err(format!("the answer has more than {largest} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer {
        status,
        body,
        fresh,
        tag,
        is_measured,
    })
}

/// An error with all that is behind it, but for the URL: who asks knows it, and there may be a secret in it.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn fresh(headers: &HeaderMap) -> Option<Duration> {
    let values = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut fresh = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.split_once('=') {
            Some(("max-age", seconds)) => fresh = seconds.trim_matches('"').parse().ok(),
            None if directive == "no-cache" || directive == "no-store" => return Some(Duration::ZERO),
            _ => {}
        }
    }
    let age = headers
        .get(AGE)
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    fresh.map(|seconds: u64| Duration::from_secs(seconds.saturating_sub(age.unwrap_or(0))))
}

/// A URL that may be asked: of HTTPS, or of this machine, or where the clear is allowed.
///
/// # Errors
/// Says what is wrong with it.
pub fn url(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("`{text}` is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a password in it; leave it out".to_owned());
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || is_here => Ok(url),
        "http" => Err(format!(
            "`{text}` is in the clear: whoever is on the way can answer in its place; expected `https://`, or set `allow_http: true`"
        )),
        _ => Err(format!("`{text}` is no URL of HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clear_is_for_this_machine() {
        for (text, allow, good) in [
            ("https://a.example/keys", false, true),
            ("http://a.example/keys", false, false),
            ("http://a.example/keys", true, true),
            ("http://127.0.0.1:8080/", false, true),
            ("http://[::1]:8080/", false, true),
            ("http://localhost/", false, true),
            ("http://127.0.0.1.example/", false, false),
            ("https://u:p@a.example/", false, false),
            ("ftp://a.example/", true, false),
            ("keys", true, false),
        ] {
            assert_eq!(url(text, allow).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn freshness_is_what_is_left_of_it() {
        let of = |control: &str, age: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, control.parse().unwrap());
            headers.insert(AGE, age.parse().unwrap());
            fresh(&headers).map(|time| time.as_secs())
        };
        assert_eq!(of("public, Max-Age=60", "0"), Some(60));
        assert_eq!(of("max-age=60", "20"), Some(40));
        assert_eq!(of("max-age=60", "90"), Some(0));
        assert_eq!(of("max-age=60, no-cache", "0"), Some(0));
        assert_eq!(of("public", "0"), None);
    }
}
