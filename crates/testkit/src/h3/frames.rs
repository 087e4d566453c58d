//! A connection on which a test writes frames of its own, good or bad, and what becomes of them.

use std::io::{self, Read};
use std::sync::Arc;

use quinn::{Connection, ReadExactError, RecvStream, SendStream};
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

    /// Writes the beginning of a request, whose stream then goes both ways.
    #[track_caller]
    pub fn begin(&self, bytes: &[u8]) -> FrameStream {
        let (send, recv) = wait(&self.runtime, "room for a stream", async {
            let (mut send, recv) = self.quic.open_bi().await.expect("a stream");
            let _ = send.write_all(bytes).await;
            (send, recv)
        });
        FrameStream {
            runtime: self.runtime.clone(),
            send,
            recv,
            data: 0,
        }
    }

    /// The settings that the gateway sends first of all on its control stream: ids and values.
    #[track_caller]
    pub fn settings(&self) -> Vec<(u64, u64)> {
        wait(&self.runtime, "settings", async {
            let mut recv = self.quic.accept_uni().await.expect("a control stream");
            let [kind, frame] = [next(&mut recv).await, next(&mut recv).await];
            assert_eq!(
                (kind, frame),
                (Some(0), Some(4)),
                "a control stream begins with settings"
            );
            let mut settings = vec![0; length(next(&mut recv).await)];
            recv.read_exact(&mut settings).await.expect("whole settings");
            let (mut rest, mut pairs) = (&settings[..], Vec::new());
            while !rest.is_empty() {
                let mut number = || {
                    let len = 1 << (rest[0] >> 6);
                    let (number, more) = rest.split_at(len);
                    rest = more;
                    value(number)
                };
                pairs.push((number(), number()));
            }
            pairs
        })
    }

    /// Writes a stream that goes one way, and leaves it open as long as what is given back lives.
    #[track_caller]
    pub fn one_way(&self, bytes: &[u8]) -> SendStream {
        self.try_one_way(bytes).expect("a stream")
    }

    /// The same where the connection may be closed already.
    #[track_caller]
    pub fn try_one_way(&self, bytes: &[u8]) -> Option<SendStream> {
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

/// A stream that a test writes, and whose bytes it reads out of their DATA frames as they come.
pub struct FrameStream {
    runtime: Arc<Runtime>,
    send: SendStream,
    recv: RecvStream,
    /// What is left of the DATA frame at hand.
    data: usize,
}

impl FrameStream {
    /// The field section of the head, as it is encoded; what the gateway did if there is none.
    #[track_caller]
    pub fn head(&mut self) -> Result<Vec<u8>, String> {
        let recv = &mut self.recv;
        wait(&self.runtime, "a head", async {
            let kind = try_next(recv).await?;
            assert_eq!(kind, Some(1), "a HEADERS frame");
            let mut section = vec![0; length(try_next(recv).await?)];
            recv.read_exact(&mut section).await.map_err(|e| e.to_string())?;
            Ok(section)
        })
    }

    /// Writes bytes as one DATA frame.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        let frame = frame(0, bytes);
        wait(&self.runtime, "room to write", self.send.write_all(&frame)).expect("the bytes are taken");
    }

    /// Ends our direction.
    pub fn finish(&mut self) {
        let _ = self.send.finish();
    }

    /// Gives the whole request up.
    pub fn cancel(mut self) {
        let code = quinn::VarInt::from_u32(0x10c);
        let _ = (self.send.reset(code), self.recv.stop(code));
    }
}

impl Read for FrameStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (recv, data) = (&mut self.recv, &mut self.data);
        wait(&self.runtime, "bytes of a tunnel", async {
            while *data == 0 {
                let Some(kind) = try_next(recv).await.map_err(io::Error::other)? else {
                    return Ok(0);
                };
                assert_eq!(kind, 0, "a DATA frame");
                *data = length(try_next(recv).await.map_err(io::Error::other)?);
            }
            let most = out.len().min(*data);
            let n = recv.read(&mut out[..most]).await.map_err(io::Error::other)?;
            let n = n.ok_or(io::ErrorKind::UnexpectedEof)?;
            *data -= n;
            Ok(n)
        })
    }
}

async fn next(recv: &mut RecvStream) -> Option<u64> {
    try_next(recv).await.expect("a number")
}

/// The next variable-length integer; none at the end of the stream.
async fn try_next(recv: &mut RecvStream) -> Result<Option<u64>, String> {
    let mut bytes = [0; 8];
    match recv.read_exact(&mut bytes[..1]).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    }
    let len = 1 << (bytes[0] >> 6);
    let rest = recv.read_exact(&mut bytes[1..len]).await;
    rest.map_err(|error| error.to_string())?;
    Ok(Some(value(&bytes[..len])))
}

/// What a variable-length integer says.
fn value(bytes: &[u8]) -> u64 {
    let (first, rest) = bytes.split_first().expect("a byte");
    let start = u64::from(first & 0x3f);
    rest.iter()
        .fold(start, |value, byte| value << 8 | u64::from(*byte))
}

fn length(number: Option<u64>) -> usize {
    usize::try_from(number.expect("a length")).expect("a length that fits")
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
