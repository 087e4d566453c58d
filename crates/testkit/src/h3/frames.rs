//! A connection on which a test writes frames of its own, good or bad, and what becomes of them.

use std::sync::Arc;

use quinn::Connection;
use tokio::runtime::Runtime;

use super::{close_code, wait};

/// A QUIC connection on which a test writes frames of its own.
pub struct FrameClient {
    pub(super) runtime: Arc<Runtime>,
    pub quic: Connection,
}

/// How a stream went that a test wrote.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway answered and ended the stream: the bytes.
    Ended(Vec<u8>),
    /// It reset the stream with this code.
    Reset(u64),
    /// It closed the connection with this code.
    Closed(Option<u64>),
}

impl FrameClient {
    /// Writes a request as these bytes and ends it, or leaves it open; then reads what comes.
    #[track_caller]
    pub fn request(&self, bytes: &[u8], end: bool) -> Outcome {
        wait(&self.runtime, "what becomes of a request", async {
            let (mut send, mut recv) = match self.quic.open_bi().await {
                Ok(streams) => streams,
                Err(error) => return Outcome::Closed(close_code(&error)),
            };
            // An answer may come before all is written.
            let _ = send.write_all(bytes).await;
            if end {
                let _ = send.finish();
            }
            let outcome = match recv.read_to_end(1 << 20).await {
                Ok(bytes) => Outcome::Ended(bytes),
                Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => {
                    Outcome::Reset(code.into_inner())
                }
                Err(_) => Outcome::Closed(close_code(&self.quic.closed().await)),
            };
            drop(send);
            outcome
        })
    }

    /// Writes a stream that goes one way, and leaves it open as long as what is given back lives.
    #[track_caller]
    pub fn one_way(&self, bytes: &[u8]) -> quinn::SendStream {
        self.try_one_way(bytes).expect("a stream")
    }

    /// The same where the connection may be closed already.
    #[track_caller]
    pub fn try_one_way(&self, bytes: &[u8]) -> Option<quinn::SendStream> {
        wait(&self.runtime, "room for a stream", async {
            let mut send = self.quic.open_uni().await.ok()?;
            let _ = send.write_all(bytes).await;
            Some(send)
        })
    }

    /// Waits until the gateway has closed the connection; with which code.
    #[track_caller]
    pub fn closed(&self) -> Option<u64> {
        close_code(&wait(
            &self.runtime,
            "the end of the connection",
            self.quic.closed(),
        ))
    }
}

/// A frame: type, length, payload (RFC 9114 7.1).
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = varint(kind);
    out.extend(varint(payload.len() as u64));
    out.extend_from_slice(payload);
    out
}

/// A HEADERS frame of these fields, each a literal, without compression (RFC 9204 4.5.6).
pub fn headers_frame(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        prefixed(&mut section, 0x20, 3, name.len());
        section.extend_from_slice(&crate::headers::bytes(name));
        prefixed(&mut section, 0, 7, value.len());
        section.extend_from_slice(&crate::headers::bytes(value));
    }
    frame(1, &section)
}

fn prefixed(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        out.push(flags | u8::try_from(value).expect("few bits"));
        return;
    }
    out.push(flags | u8::try_from(most).expect("few bits"));
    let mut rest = value - most;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).expect("seven bits") | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// A variable-length integer (RFC 9000 16).
pub fn varint(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let (tag, len) = match value {
        0..=0x3f => (0x00, 1),
        0x40..=0x3fff => (0x40, 2),
        0x4000..=0x3fff_ffff => (0x80, 4),
        _ => (0xc0, 8),
    };
    let mut out = bytes[8 - len..].to_vec();
    out[0] |= tag;
    out
}
