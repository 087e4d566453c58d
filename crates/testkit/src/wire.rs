//! HTTP/1.1 messages read strictly from any stream, by both the client and the backends of the kit.
//!
//! Written apart from the gateway's own codec on purpose: two readers that must agree find what one alone would
//! hide. Anything that RFC 9112 does not allow a sender to send is an error here.

use std::io::{self, Read};

use crate::headers::{Headers, latin1};

/// The most a head may have; a test that needs more reads raw bytes.
const MAX_HEAD: usize = 1 << 20;

/// A message's start line and fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The first line, without CRLF.
    pub start: String,
    pub headers: Headers,
    /// The head as it came, the empty line included.
    pub raw: Vec<u8>,
}

/// Where a body ends, RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A response, complete.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
    /// 1xx responses that came before.
    pub interim: Vec<Head>,
    /// Whether the body came chunked.
    pub chunked: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("the body is no JSON ({e}): {:?}\n{self:?}", self.text()))
    }

    /// The failure code of a problem+json body.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "no problem document: {self:?}"
        );
        let json = self.json();
        assert_eq!(
            json["status"], self.status,
            "the problem names another status: {json}"
        );
        json["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the sender keeps the connection, as far as it says.
    pub fn keeps_alive(&self) -> bool {
        if self.headers.lists("connection", "close") {
            return false;
        }
        self.version == "HTTP/1.1" || self.headers.lists("connection", "keep-alive")
    }
}

/// An error in what the peer sent.
pub fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A message that ended too early.
fn short(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

/// Reads messages from a stream, keeping what came too early.
#[derive(Debug)]
pub struct Reader<S> {
    pub stream: S,
    buffer: Vec<u8>,
    start: usize,
}

impl<S: Read> Reader<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// What has been read from the stream and not yet asked for.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more; 0 at the end of the stream.
    pub fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let len = self.buffer.len();
        self.buffer.resize(len + 16 * 1024, 0);
        let result = loop {
            match self.stream.read(&mut self.buffer[len..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(len + *result.as_ref().unwrap_or(&0));
        result
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let taken = self.buffered()[..n].to_vec();
        self.start += n;
        taken
    }

    /// One line with its CRLF taken off; a bare CR or LF is an error.
    pub fn read_line(&mut self) -> io::Result<String> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffered()[seen..].iter().position(|b| *b == b'\n') {
                let line = self.take(seen + at + 1);
                let text = line
                    .strip_suffix(b"\r\n")
                    .ok_or_else(|| bad(format!("bare LF: {}", latin1(&line))))?;
                if text.contains(&b'\r') {
                    return Err(bad(format!("bare CR: {}", latin1(&line))));
                }
                return Ok(latin1(text));
            }
            seen = self.buffered().len();
            if seen > MAX_HEAD {
                return Err(bad("endless line"));
            }
            if self.fill()? == 0 {
                return Err(if seen == 0 {
                    io::ErrorKind::UnexpectedEof.into()
                } else {
                    short(&format!(
                        "the stream ended inside a line: {}",
                        latin1(self.buffered())
                    ))
                });
            }
        }
    }

    /// A head; `None` if the stream ends cleanly before its first byte.
    pub fn read_head(&mut self) -> io::Result<Option<Head>> {
        if self.buffered().is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        let mut head = Head {
            start: self.read_line()?,
            ..Head::default()
        };
        head.raw.extend_from_slice(&crate::headers::bytes(&head.start));
        head.raw.extend_from_slice(b"\r\n");
        head.headers = self.read_fields(&mut head.raw)?;
        Ok(Some(head))
    }

    /// Fields up to and with the empty line.
    pub fn read_fields(&mut self, raw: &mut Vec<u8>) -> io::Result<Headers> {
        let mut headers = Headers::new();
        loop {
            let line = self.read_line()?;
            raw.extend_from_slice(&crate::headers::bytes(&line));
            raw.extend_from_slice(b"\r\n");
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad(format!("no colon: {line}")))?;
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(token) {
                return Err(bad(format!("bad field name: {line}")));
            }
            if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
                return Err(bad(format!("control byte in a field: {line}")));
            }
            headers.push(name, value.trim_matches([' ', '\t']));
            if raw.len() > MAX_HEAD {
                return Err(bad("endless head"));
            }
        }
    }

    /// Whatever comes next, at most `max` bytes; empty at the end of the stream.
    pub fn read_some(&mut self, max: usize) -> io::Result<Vec<u8>> {
        if self.buffered().is_empty() && self.fill()? == 0 {
            return Ok(Vec::new());
        }
        Ok(self.take(self.buffered().len().min(max)))
    }

    /// The next chunk's data; `None` for the last chunk, whose trailers still follow.
    pub fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.read_chunk_size()?;
        if size == 0 {
            return Ok(None);
        }
        let mut data = Vec::new();
        self.read_exactly(size, &mut |piece| data.extend_from_slice(piece))?;
        self.end_of_chunk()?;
        Ok(Some(data))
    }

    fn read_chunk_size(&mut self) -> io::Result<u64> {
        let line = self.read_line()?;
        let size = line.split(';').next().unwrap_or_default();
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad(format!("bad chunk size: {line:?}")));
        }
        u64::from_str_radix(size, 16).map_err(|e| bad(e.to_string()))
    }

    fn end_of_chunk(&mut self) -> io::Result<()> {
        match self.read_line()?.as_str() {
            "" => Ok(()),
            more => Err(bad(format!("bytes after the chunk: {more:?}"))),
        }
    }

    /// Exactly `len` bytes, handed on as they come.
    pub fn read_exactly(&mut self, len: u64, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            if self.buffered().is_empty() && self.fill()? == 0 {
                return Err(short(&format!(
                    "the stream ended {left} bytes before the end of the body"
                )));
            }
            let n = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffered().len());
            each(&self.buffer[self.start..self.start + n]);
            self.start += n;
            left -= n as u64;
        }
        Ok(())
    }

    /// A body, handed on as it comes; returns the trailers.
    pub fn read_body(&mut self, framing: Framing, each: &mut dyn FnMut(&[u8])) -> io::Result<Headers> {
        match framing {
            Framing::None => {}
            Framing::Length(len) => self.read_exactly(len, each)?,
            Framing::Chunked => {
                loop {
                    let size = self.read_chunk_size()?;
                    if size == 0 {
                        break;
                    }
                    self.read_exactly(size, each)?;
                    self.end_of_chunk()?;
                }
                return self.read_fields(&mut Vec::new());
            }
            Framing::UntilClose => loop {
                let piece = self.read_some(usize::MAX)?;
                if piece.is_empty() {
                    break;
                }
                each(&piece);
            },
        }
        Ok(Headers::new())
    }

    /// A final response with its head only, after any interim ones.
    pub fn read_response_head(&mut self, method: &str) -> io::Result<(Response, Framing)> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let (version, status, reason) = status_line(&head.start)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
                continue;
            }
            let framing = response_framing(method, status, &head.headers)?;
            let chunked = framing == Framing::Chunked;
            let headers = head.headers;
            let response = Response {
                version,
                status,
                reason,
                headers,
                interim,
                chunked,
                ..Response::default()
            };
            return Ok((response, framing));
        }
    }

    /// A whole response to a request of this method.
    pub fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let (mut response, framing) = self.read_response_head(method)?;
        let mut body = Vec::new();
        response.trailers = self.read_body(framing, &mut |piece| body.extend_from_slice(piece))?;
        response.body = body;
        Ok(response)
    }
}

fn status_line(line: &str) -> io::Result<(String, u16, String)> {
    let wrong = || bad(format!("bad status line: {line:?}"));
    let (version, rest) = line.split_once(' ').ok_or_else(wrong)?;
    let (status, reason) = rest.split_once(' ').ok_or_else(wrong)?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || status.len() != 3 {
        return Err(wrong());
    }
    let status = status.parse().map_err(|_| wrong())?;
    Ok((version.to_owned(), status, reason.to_owned()))
}

/// Where the body of a response ends.
pub fn response_framing(method: &str, status: u16, headers: &Headers) -> io::Result<Framing> {
    let declared = declared_framing(headers)?;
    if method == "HEAD" || status == 204 || status == 304 || (100..200).contains(&status) {
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}

/// Where the body of a request ends.
pub fn request_framing(headers: &Headers) -> io::Result<Framing> {
    Ok(declared_framing(headers)?.unwrap_or(Framing::None))
}

fn declared_framing(headers: &Headers) -> io::Result<Option<Framing>> {
    let lengths: Vec<_> = headers.all("content-length").collect();
    let codings: Vec<_> = headers.all("transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([len], []) if !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(
            Framing::Length(len.parse().map_err(|_| bad("content-length too large"))?),
        )),
        _ => Err(bad(format!("contradicting framing: {headers:?}"))),
    }
}

#[cfg(test)]
mod tests;
