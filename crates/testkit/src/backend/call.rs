//! One request at a backend, in the hands of a test's script.
//!
//! A script may do what servers do and what they should not: answer early, stream piece by piece, lie, hang, reset.
//! What it leaves undone is done for it: an unread body is read before the next request.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::http::{Received, Shared};
use crate::gate::{Feed, Gate};
use crate::wire::{Framing, Reader, bad};

/// How much of each body is kept to look at; of all of it there is the digest.
const KEPT: usize = 256 * 1024;

/// Counts the bytes that really arrived, parsed or not.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) stream: TcpStream,
    pub(crate) shared: Arc<Shared>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.shared.bytes.fetch_add(n as u64, Ordering::SeqCst);
        Ok(n)
    }
}

/// A request that waits for its response.
#[derive(Debug)]
pub struct Call<'c> {
    pub(crate) reader: &'c mut Reader<Counted>,
    pub(crate) shared: Arc<Shared>,
    /// Index of this request among all of the backend.
    pub(crate) index: usize,
    pub(crate) request: Received,
    pub(crate) framing: Framing,
    /// Body bytes of a known length still to come.
    pub(crate) left: u64,
    pub(crate) body_done: bool,
    pub(crate) continued: bool,
    pub(crate) ended: bool,
    pub(crate) digest: crate::digest::Digest,
}

impl Call<'_> {
    /// The request; its body as far as it has been read.
    pub fn request(&self) -> &Received {
        &self.request
    }

    /// Reads the body to its end, saying `100 Continue` first if the sender waits for that.
    pub fn read_body(&mut self) -> io::Result<()> {
        while self.read_piece()?.is_some() {}
        Ok(())
    }

    /// Reads the next piece of the body; `None` at its end.
    pub fn read_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.body_done {
            return Ok(None);
        }
        if !self.continued && self.request.headers.lists("expect", "100-continue") {
            self.interim(100, &[])?;
        }
        let piece = match self.framing {
            Framing::Chunked => self.reader.read_chunk()?,
            _ if self.left == 0 => None,
            _ => {
                let piece = self
                    .reader
                    .read_some(usize::try_from(self.left).unwrap_or(usize::MAX))?;
                if piece.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.left -= piece.len() as u64;
                Some(piece)
            }
        };
        if let Some(piece) = &piece {
            self.keep(piece);
        } else {
            if self.framing == Framing::Chunked {
                self.request.trailers = self.reader.read_fields(&mut Vec::new())?;
            }
            self.finish_body();
        }
        Ok(piece)
    }

    fn keep(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        let room = KEPT.saturating_sub(self.request.body.len());
        self.request
            .body
            .extend_from_slice(&piece[..piece.len().min(room)]);
        self.request.digest = self.digest.value();
        let mut log = self.shared.log.lock().unwrap();
        log.requests[self.index].digest = self.request.digest;
        drop(log);
        self.shared.changed.notify_all();
    }

    fn finish_body(&mut self) {
        self.body_done = true;
        self.request.complete = true;
        self.request.digest = self.digest.value();
        self.shared.log.lock().unwrap().requests[self.index] = self.request.clone();
        self.shared.changed.notify_all();
    }

    /// Sends any bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.stream.write_all(bytes.as_ref())
    }

    /// Sends an interim response.
    pub fn interim(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()> {
        self.continued |= status == 100;
        self.send(head(status, headers))
    }

    /// Sends a final response's head with exactly these fields; no framing is added.
    pub fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()> {
        // After a final response nobody waits for 100 Continue any more.
        self.continued = true;
        self.send(head(status, headers))
    }

    /// Sends a chunk.
    pub fn chunk(&mut self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.send(crate::client::chunk(data.as_ref()))
    }

    /// Sends the last chunk and trailers.
    pub fn last_chunk(&mut self, trailers: &[(&str, &str)]) -> io::Result<()> {
        let mut out = "0\r\n".to_owned();
        for (name, value) in trailers {
            out += &format!("{name}: {value}\r\n");
        }
        self.send(out + "\r\n")
    }

    /// Sends a whole response.
    pub fn reply(&mut self, reply: &super::reply::Reply) -> io::Result<()> {
        reply.play(self)
    }

    /// Sends each piece the test pushes as a chunk, and the last chunk at the feed's end.
    pub fn chunks_from(&mut self, feed: &Feed) -> io::Result<()> {
        while let Some(piece) = feed.next() {
            self.chunk(piece)?;
        }
        self.last_chunk(&[])
    }

    /// Waits until the test opens the gate.
    pub fn wait(&self, gate: &Gate) -> io::Result<()> {
        if gate.wait() {
            Ok(())
        } else {
            Err(bad("nobody opened the gate"))
        }
    }

    /// Ends the connection after this request.
    pub fn close(&mut self) {
        self.ended = true;
        // The end goes out now; what the gateway still sends is read, so that no reset destroys the response.
        let _ = self.reader.stream.stream.shutdown(std::net::Shutdown::Write);
        self.hang();
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        self.ended = true;
        let _ =
            socket2::SockRef::from(&self.reader.stream.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Sends nothing more and waits until the gateway ends the connection.
    pub fn hang(&mut self) {
        self.ended = true;
        while self
            .reader
            .read_some(usize::MAX)
            .is_ok_and(|piece| !piece.is_empty())
        {}
    }
}

fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    crate::headers::bytes(&(out + "\r\n"))
}
