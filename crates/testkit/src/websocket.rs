//! The WebSocket protocol (RFC 6455) with every byte in the hands of the test: a blocking client, and a backend that echoes.
//!
//! Frames are read and written one by one and judged by nobody, so that a test can see exactly what passed through.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::backend::tcp::TcpBackend;
use crate::client::Request;
use crate::raw::Raw;
use crate::wait::{PATIENCE, until};
use crate::wire::{Head, Reader, Response};

/// The key of the RFC's example, and what a server must answer.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    /// The masking key, if it is or was masked.
    pub mask: Option<[u8; 4]>,
    /// Unmasked.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = crate::wire::abridged(&self.payload);
        write!(
            f,
            "frame {} fin={} masked={} {shown:?} ({} bytes)",
            self.opcode,
            self.fin,
            self.mask.is_some(),
            self.payload.len()
        )
    }
}

impl Frame {
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self {
            fin: true,
            opcode,
            mask: None,
            payload: payload.as_ref().to_vec(),
        }
    }

    /// A Close frame with a code.
    pub fn close(code: u16) -> Self {
        Self::new(CLOSE, code.to_be_bytes())
    }

    /// Not the last of its message.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    #[must_use]
    pub fn masked(mut self) -> Self {
        self.mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        self
    }

    /// The code of a Close frame.
    pub fn code(&self) -> Option<u16> {
        let (code, _) = self.payload.split_first_chunk()?;
        (self.opcode == CLOSE).then(|| u16::from_be_bytes(*code))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mask = if self.mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![u8::from(self.fin) << 7 | self.opcode];
        match self.payload.len() {
            n @ 0..=125 => out.push(mask | u8::try_from(n).unwrap()),
            n @ 126..=0xffff => {
                out.push(mask | 0x7e);
                out.extend(u16::try_from(n).unwrap().to_be_bytes());
            }
            n => {
                out.push(mask | 0x7f);
                out.extend((n as u64).to_be_bytes());
            }
        }
        out.extend(self.mask.iter().flatten());
        let start = out.len();
        out.extend_from_slice(&self.payload);
        if let Some(key) = self.mask {
            apply(key, &mut out[start..]);
        }
        out
    }

    /// The next frame; nothing at the end of the stream.
    pub fn read<S: Read>(reader: &mut Reader<S>) -> io::Result<Option<Self>> {
        let Some(start) = exact(reader, 2)? else {
            return Ok(None);
        };
        let more = |reader: &mut Reader<S>, n| exact(reader, n)?.ok_or(io::ErrorKind::UnexpectedEof.into());
        let number = |bytes: io::Result<Vec<u8>>| -> io::Result<usize> {
            Ok(bytes?.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
        };
        let len = match start[1] & 0x7f {
            126 => number(more(reader, 2))?,
            127 => number(more(reader, 8))?,
            short => usize::from(short),
        };
        let mask = match start[1] & 0x80 {
            0 => None,
            _ => more(reader, 4)?.try_into().ok(),
        };
        let mut payload = more(reader, len)?;
        if let Some(key) = mask {
            apply(key, &mut payload);
        }
        Ok(Some(Self {
            fin: start[0] & 0x80 != 0,
            opcode: start[0] & 0x7f,
            mask,
            payload,
        }))
    }
}

fn apply(key: [u8; 4], payload: &mut [u8]) {
    payload
        .iter_mut()
        .zip(key.iter().cycle())
        .for_each(|(byte, key)| *byte ^= key);
}

/// So many bytes; nothing if the stream ends before the first.
fn exact<S: Read>(reader: &mut Reader<S>, n: usize) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::with_capacity(n);
    while out.len() < n {
        let piece = reader.read_some(n - out.len())?;
        if piece.is_empty() {
            return if out.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        out.extend_from_slice(&piece);
    }
    Ok(Some(out))
}

/// A request for a WebSocket, with the key [`KEY`].
pub fn handshake(target: &str) -> Request {
    Request::get(target)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY)
}

/// A client's end.
#[derive(Debug)]
pub struct WebSocket {
    pub raw: Raw,
    /// The head of the 101.
    pub head: Head,
}

impl WebSocket {
    /// Opens one; the gateway must agree.
    #[track_caller]
    pub fn open(to: SocketAddr, target: &str) -> Self {
        Self::open_on(Raw::connect(to), &handshake(target))
    }

    /// Opens one on this connection, with this handshake.
    #[track_caller]
    pub fn open_on(mut raw: Raw, request: &Request) -> Self {
        raw.send(request.encode());
        Self::granted(raw)
    }

    /// The handshake is out; the answer must be 101.
    #[track_caller]
    pub fn granted(mut raw: Raw) -> Self {
        let head = raw.reader.read_head().expect("a head").expect("an answer");
        assert!(head.start.starts_with("HTTP/1.1 101 "), "{}", head.start);
        assert!(head.headers.lists("connection", "upgrade"), "{:?}", head.headers);
        assert_eq!(head.headers.get("upgrade"), Some("websocket"));
        assert_eq!(head.headers.get("sec-websocket-accept"), Some(ACCEPT));
        Self { raw, head }
    }

    /// Sends a frame, masked.
    #[track_caller]
    pub fn send(&mut self, frame: Frame) -> &mut Self {
        self.raw.send(frame.masked().encode());
        self
    }

    #[track_caller]
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.send(Frame::new(TEXT, text))
    }

    /// The next frame.
    #[track_caller]
    pub fn read(&mut self) -> Frame {
        self.try_read().expect("a frame, not the end")
    }

    /// The next frame, or nothing at the end.
    #[track_caller]
    pub fn try_read(&mut self) -> Option<Frame> {
        let frame = Frame::read(&mut self.raw.reader).unwrap_or_else(|e| panic!("expected a frame: {e}"));
        assert!(
            frame.as_ref().is_none_or(|f| f.mask.is_none()),
            "a masked frame from a server"
        );
        frame
    }

    /// Sends a text and reads it back.
    #[track_caller]
    pub fn echo(&mut self, text: &str) {
        self.text(text);
        assert_eq!(self.read(), Frame::new(TEXT, text));
    }

    /// The server says goodbye with this code; it is answered, and the connection ends.
    #[track_caller]
    pub fn expect_goodbye(mut self, code: u16) {
        assert_eq!(self.read().code(), Some(code));
        self.send(Frame::close(code));
        self.raw.expect_closed();
    }
}

/// What a backend has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The heads of handshakes.
    pub heads: Vec<Head>,
    /// Codes of Close frames that came.
    pub closed: Vec<Option<u16>>,
    /// Data bytes that came.
    pub bytes: u64,
    /// Connections that ended.
    pub ended: usize,
}

/// A server that accepts every handshake whose key is [`KEY`] and sends every data frame back.
#[derive(Debug)]
pub struct EchoBackend {
    tcp: TcpBackend,
    seen: Arc<Mutex<Seen>>,
}

impl EchoBackend {
    pub fn start() -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let tcp = TcpBackend::start(move |stream, _| {
            let result = serve(&stream, &shared);
            shared.lock().unwrap().ended += 1;
            result
        });
        Self { tcp, seen }
    }

    pub fn url(&self) -> String {
        self.tcp.url()
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many connections have ended.
    #[track_caller]
    pub fn wait_ended(&self, n: usize) {
        until("the backend's connections end", || self.seen().ended >= n);
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Seen>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = Reader::new(stream.try_clone()?);
    let Some(head) = reader.read_head()? else {
        return Ok(());
    };
    accept(stream, &head)?;
    seen.lock().unwrap().heads.push(head);
    let mut out = stream;
    while let Some(mut frame) = Frame::read(&mut reader)? {
        assert!(frame.mask.is_some(), "an unmasked frame from a client: {frame:?}");
        frame.mask = None;
        match frame.opcode {
            PING => frame.opcode = PONG,
            PONG => continue,
            CLOSE => {
                seen.lock().unwrap().closed.push(frame.code());
                return out.write_all(&frame.encode());
            }
            _ => seen.lock().unwrap().bytes += frame.payload.len() as u64,
        }
        out.write_all(&frame.encode())?;
    }
    Ok(())
}

/// What a server answers to a key (RFC 6455 4.2.2).
fn accept_of(key: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    // 20 bytes: one of padding makes seven groups of three.
    let padded = [hash.as_ref(), &[0]].concat();
    let digits = padded.chunks(3).flat_map(|group| {
        let bits = group
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]))
    });
    let mut accept: String = digits.take(27).collect();
    accept.push('=');
    accept
}

/// Answers a handshake with a 101, choosing the first subprotocol on offer.
pub fn accept(mut stream: &TcpStream, head: &Head) -> io::Result<()> {
    let key = head.headers.get("sec-websocket-key").expect("a key");
    let mut out = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        accept_of(key)
    );
    if let Some(offered) = head.headers.get("sec-websocket-protocol") {
        let first = offered.split(',').next().unwrap_or_default().trim();
        out += &format!("Sec-WebSocket-Protocol: {first}\r\n");
    }
    stream.write_all((out + "\r\n").as_bytes())
}

/// Reads the answer to a handshake that is not granted.
#[track_caller]
pub fn refused(to: SocketAddr, request: &Request) -> Response {
    crate::client::once(to, request)
}

/// Makes the end of this connection a reset.
pub fn reset_on_drop(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
