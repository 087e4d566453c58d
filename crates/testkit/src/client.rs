//! A simple, strict HTTP/1.1 client: one request at a time on a kept connection.

use std::net::SocketAddr;
use std::path::Path;

use crate::headers::Headers;
use crate::raw::Raw;
use crate::wire::Response;

/// The `Host` of requests that name none.
pub const HOST: &str = "gateway.test";

/// A request to send. `Host` is added unless given; framing follows the body.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Headers,
    body: Body,
    trailers: Headers,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: Headers::new(),
            body: Body::None,
            trailers: Headers::new(),
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a body of known length.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).body(body)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.header("Host", host)
    }

    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Body::Length(body.as_ref().to_vec());
        self
    }

    /// One chunk for each piece.
    #[must_use]
    pub fn chunked(mut self, pieces: &[&[u8]]) -> Self {
        self.body = Body::Chunked(pieces.iter().map(|p| p.to_vec()).collect());
        self
    }

    /// A trailer field; only sent with a chunked body.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push(name, value);
        self
    }

    /// The head alone, framing included.
    pub fn encode_head(&self) -> Vec<u8> {
        let mut out = format!("{} {} {}\r\n", self.method, self.target, self.version);
        if !self.headers.has("host") && self.version == "HTTP/1.1" {
            out += &format!("Host: {HOST}\r\n");
        }
        for (name, value) in &self.headers.0 {
            out += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            Body::None => {}
            Body::Length(body) => out += &format!("Content-Length: {}\r\n", body.len()),
            Body::Chunked(_) => out += "Transfer-Encoding: chunked\r\n",
        }
        out += "\r\n";
        crate::headers::bytes(&out)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_head();
        match &self.body {
            Body::None => {}
            Body::Length(body) => out.extend_from_slice(body),
            Body::Chunked(pieces) => {
                for piece in pieces {
                    out.extend_from_slice(&chunk(piece));
                }
                out.extend_from_slice(b"0\r\n");
                for (name, value) in &self.trailers.0 {
                    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }
}

/// One chunk as it goes over the wire.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

/// A kept connection.
#[derive(Debug)]
pub struct Client {
    pub raw: Raw,
}

impl Client {
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self {
            raw: Raw::connect(to),
        }
    }

    #[track_caller]
    pub fn unix(path: &Path) -> Self {
        Self { raw: Raw::unix(path) }
    }

    /// Sends a request and reads its response. Bytes after the response are an error of the gateway.
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Response {
        self.raw.send(request.encode());
        let response = self.raw.response(&request.method);
        let rest = self.raw.reader.buffered();
        assert!(
            rest.is_empty(),
            "bytes after the response: {:?}",
            crate::headers::latin1(rest)
        );
        response
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send(&Request::get(target))
    }
}

/// A GET to an admin listener, which answers only to `localhost` and addresses.
#[track_caller]
pub fn ask_admin(to: SocketAddr, target: &str) -> Response {
    once(to, &Request::get(target).host("localhost"))
}

/// One request on a connection of its own.
#[track_caller]
pub fn once(to: SocketAddr, request: &Request) -> Response {
    Client::connect(to).send(request)
}

/// One GET on a connection of its own.
#[track_caller]
pub fn get(to: SocketAddr, target: &str) -> Response {
    once(to, &Request::get(target))
}
