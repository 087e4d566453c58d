//! What a test sends and gets.

use crate::headers::Headers;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The stream was reset with this code.
    Reset(u64),
    /// The connection ended; what is known of it.
    Connection(String),
    /// Something else.
    Other(String),
}

impl From<h3::error::StreamError> for Broken {
    fn from(error: h3::error::StreamError) -> Self {
        match error {
            h3::error::StreamError::RemoteTerminate { code, .. } => Self::Reset(code.value()),
            other if other.to_string().starts_with("Connection error") => Self::Connection(other.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// A request to send.
#[derive(Debug, Clone)]
pub struct Http3Request {
    pub(super) head: http::Request<()>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
}

impl Http3Request {
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            head: http::Request::builder()
                .method(method)
                .uri(format!("https://localhost{path}"))
                .body(())
                .expect("a request"),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let value = http::HeaderValue::from_bytes(&crate::headers::bytes(value)).expect("a value");
        self.head.headers_mut().append(name, value);
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }
}
