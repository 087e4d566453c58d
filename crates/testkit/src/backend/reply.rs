//! A scripted response as data: what most backends do, and the only thing text cases need.

use std::io;

use serde_json::Value;

use super::call::Call;
use crate::headers::Headers;

/// What a backend answers. By default it reads the request's body first and keeps the connection.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    framing: Framing,
    trailers: Headers,
    raw: Option<Vec<u8>>,
    early: bool,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    /// The true length.
    Length,
    /// This length, whatever the body is.
    Claimed(u64),
    Chunked,
    UntilClose,
}

/// What happens to the connection afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Keep,
    Close,
    Reset,
    Hang,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Headers::new(),
            body: Vec::new(),
            framing: Framing::Length,
            trailers: Headers::new(),
            raw: None,
            early: false,
            end: End::Keep,
        }
    }

    /// 200 with a body.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new(200).body(body)
    }

    /// These bytes, whatever they are, and then the end of the connection.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            raw: Some(bytes.as_ref().to_vec()),
            end: End::Close,
            ..Self::new(0)
        }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// The body goes out as one chunk.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// A trailer field; makes the body chunked.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push(name, value);
        self.chunked()
    }

    /// The body ends with the connection, with neither length nor chunks.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self.end = End::Close;
        self
    }

    /// Claims this length, whatever is sent; the connection ends after what there is.
    #[must_use]
    pub fn claim_length(mut self, length: u64) -> Self {
        self.framing = Framing::Claimed(length);
        self.end = End::Close;
        self
    }

    /// Answers without reading the request's body; what comes of it later is read and thrown away.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// Closes afterwards, without having said so.
    #[must_use]
    pub fn then_close(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// Resets the connection afterwards.
    #[must_use]
    pub fn then_reset(mut self) -> Self {
        self.end = End::Reset;
        self
    }

    /// Keeps the connection open and silent afterwards, until the gateway ends it.
    #[must_use]
    pub fn then_hang(mut self) -> Self {
        self.end = End::Hang;
        self
    }

    pub(crate) fn play(&self, call: &mut Call) -> io::Result<()> {
        if !self.early {
            call.read_body()?;
        }
        if let Some(raw) = &self.raw {
            call.send(raw)?;
        } else {
            self.send(call)?;
        }
        if self.early && self.end == End::Keep {
            call.read_body()?;
        }
        match self.end {
            End::Keep => {}
            End::Close => call.close(),
            End::Reset => call.reset(),
            End::Hang => call.hang(),
        }
        Ok(())
    }

    fn send(&self, call: &mut Call) -> io::Result<()> {
        let bodiless = call.request().method == "HEAD" || matches!(self.status, 204 | 304);
        let mut fields: Vec<(String, String)> = self.headers.0.clone();
        match self.framing {
            Framing::Length if matches!(self.status, 204 | 304) => {}
            Framing::Length => fields.push(("Content-Length".into(), self.body.len().to_string())),
            Framing::Claimed(length) => fields.push(("Content-Length".into(), length.to_string())),
            Framing::Chunked => fields.push(("Transfer-Encoding".into(), "chunked".into())),
            Framing::UntilClose => {}
        }
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        call.head(self.status, &fields)?;
        if bodiless {
            return Ok(());
        }
        if self.framing != Framing::Chunked {
            return call.send(&self.body);
        }
        if !self.body.is_empty() {
            call.chunk(&self.body)?;
        }
        let trailers: Vec<_> = self
            .trailers
            .0
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        call.last_chunk(&trailers)
    }

    /// A reply as a case writes it: `{ status, headers, body, json, chunked, trailers, raw, length, early, then }`.
    pub fn from_value(value: &Value) -> Result<Self, String> {
        let map = value
            .as_object()
            .ok_or_else(|| format!("a reply must be a map, not {value}"))?;
        let mut reply = Self::new(200);
        for (key, value) in map {
            let text = || {
                value
                    .as_str()
                    .map(crate::headers::bytes)
                    .ok_or_else(|| format!("`{key}` must be a text"))
            };
            reply = match key.as_str() {
                "status" => {
                    reply.status = value
                        .as_u64()
                        .and_then(|n| u16::try_from(n).ok())
                        .ok_or("`status` must be a number")?;
                    reply
                }
                "body" => reply.body(value.as_str().ok_or("`body` must be a text")?),
                "json" => reply
                    .header("Content-Type", "application/json")
                    .body(value.to_string()),
                "headers" | "trailers" => {
                    let fields = value
                        .as_object()
                        .ok_or_else(|| format!("`{key}` must be a map"))?;
                    for (name, value) in fields {
                        for value in value
                            .as_array()
                            .map_or(std::slice::from_ref(value), Vec::as_slice)
                        {
                            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                            reply = if key == "headers" {
                                reply.header(name, &value)
                            } else {
                                reply.trailer(name, &value)
                            };
                        }
                    }
                    reply
                }
                "raw" => Self::raw(text()?),
                "length" => reply.claim_length(value.as_u64().ok_or("`length` must be a number")?),
                "chunked" => reply.chunked(),
                "early" => reply.early(),
                "then" => match value.as_str() {
                    Some("close") => reply.then_close(),
                    Some("reset") => reply.then_reset(),
                    Some("hang") => reply.then_hang(),
                    _ => return Err(format!("`then` is close, reset or hang, not {value}")),
                },
                other => return Err(format!("a reply has no `{other}`")),
            };
        }
        Ok(reply)
    }
}
