//! The two directions of a stream: what comes through [`Frames`], what goes, and how each ends when it is dropped.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ReadError, VarInt, WriteError};

use super::super::frames::{Found, Frames, Oversized};
use super::super::section::{self, Kind};
use super::{Marks, Shared, id, lost, varint};

/// What comes from the client.
pub(in crate::http::h3) struct Recv {
    shared: Rc<Shared>,
    stream: quinn::RecvStream,
    frames: Frames,
    /// What was read and not looked at.
    unread: Bytes,
    marks: Option<Rc<Marks>>,
    has_head: bool,
    /// True once nothing more comes, or is wanted.
    done: bool,
}

impl Recv {
    pub(super) fn new(
        shared: &Rc<Shared>,
        stream: quinn::RecvStream,
        frames: Frames,
        marks: Option<Rc<Marks>>,
    ) -> Self {
        Self {
            shared: shared.clone(),
            stream,
            frames,
            unread: Bytes::new(),
            marks,
            has_head: false,
            done: false,
        }
    }

    /// Lets a field section pass, but for the line that the crate would refuse; what that says is marked instead.
    fn pass(&mut self, checked: section::Checked) {
        let mut rest = None;
        if let (Some((protocol, line)), Some(marks)) = (checked.protocol, &self.marks) {
            marks.protocol.set(Some(protocol));
            let mut section = self.frames.section().to_vec();
            section.drain(line);
            rest = Some(section);
        }
        self.frames.emit_section(rest);
    }

    /// Judges a field section that has come, and lets it pass or not.
    fn section(&mut self, oversized: Option<Oversized>) {
        let kind = if std::mem::replace(&mut self.has_head, true) {
            Kind::Trailers
        } else {
            Kind::Request
        };
        let limits = &self.shared.limits;
        let exceeded = match oversized {
            Some(Oversized(len)) => Some(("client.limits.head", limits.bytes as u64, len)),
            None => match section::check(self.frames.section(), kind, limits.fields + PSEUDO_HEADERS) {
                Ok(checked) => return self.pass(checked),
                Err(section::Fault::Undecodable) => None,
                Err(section::Fault::Malformed(why)) => {
                    if let Some(marks) = &self.marks {
                        marks.malformed.set(Some(why));
                    }
                    None
                }
                Err(section::Fault::TooMany(n)) => {
                    let n = n.saturating_sub(PSEUDO_HEADERS);
                    Some(("client.limits.fields", limits.fields as u64, n as u64))
                }
            },
        };
        if exceeded.is_none() {
            return self.frames.emit_section(None);
        }
        if let Some(marks) = &self.marks {
            marks.exceeded.set(exceeded);
        }
        // What is too large for us must not be decoded, and h3 answers what is too large for it: let it see a section
        // of one byte for each field (an entry of the static table), each of which counts for more than 32.
        let mut flood = vec![0xd1; self.shared.room / 32 + 3];
        flood.splice(..2, [0, 0]);
        self.frames.emit_section(Some(flood));
    }
}

/// Pseudo-headers of a request: at most method, scheme, authority, path and protocol.
const PSEUDO_HEADERS: usize = 5;

impl quic::RecvStream for Recv {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            if let Some(piece) = self.frames.pop() {
                return Poll::Ready(Ok(Some(piece)));
            }
            if !self.unread.is_empty() {
                let before = self.frames.others;
                let found = self.frames.push(&mut self.unread);
                let more = self.frames.others - before;
                let counted = self.shared.count_others(more);
                match found.and_then(|found| counted.map(|()| found)) {
                    Ok(Found::Nothing) => {}
                    Ok(Found::Section) => self.section(None),
                    Ok(Found::Oversized(oversized)) => self.section(Some(oversized)),
                    Err(fault) => return Poll::Ready(Err(self.shared.fault(fault))),
                }
                continue;
            }
            if self.done {
                return Poll::Ready(Ok(None));
            }
            match ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx)) {
                Ok(Some(chunk)) => self.unread = chunk.bytes,
                Ok(None) => {
                    self.done = true;
                    if let Err(fault) = self.frames.end() {
                        return Poll::Ready(Err(self.shared.fault(fault)));
                    }
                }
                Err(error) => {
                    self.done = true;
                    return Poll::Ready(Err(match error {
                        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated {
                            error_code: code.into_inner(),
                        },
                        ReadError::ConnectionLost(error) => lost(error),
                        other => StreamErrorIncoming::Unknown(Box::new(other)),
                    }));
                }
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        self.done = true;
        let _ = self.stream.stop(VarInt::from_u64(code).unwrap_or(VarInt::MAX));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl Drop for Recv {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // What we have answered already is no mistake of the client's (RFC 9114 4.1).
        let end = self.marks.as_ref().and_then(|marks| marks.end.get());
        let _ = self.stream.stop(varint(end.unwrap_or(Code::H3_NO_ERROR)));
    }
}

/// What goes to the client.
pub(in crate::http::h3) struct Send<B: Buf> {
    stream: quinn::SendStream,
    /// What is being written. More than one if an interim response could not leave at once.
    writing: VecDeque<WriteBuf<B>>,
    marks: Option<Rc<Marks>>,
    finished: bool,
}

impl<B: Buf> Send<B> {
    pub(super) fn new(stream: quinn::SendStream, marks: Option<Rc<Marks>>) -> Self {
        Self {
            stream,
            writing: VecDeque::new(),
            marks,
            finished: false,
        }
    }
}

impl<B: Buf> quic::SendStream<B> for Send<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.front_mut() {
            while data.has_remaining() {
                let n =
                    ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk())).map_err(write_error)?;
                data.advance(n);
            }
            self.writing.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing.push_back(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        self.finished = true;
        Poll::Ready(
            self.stream
                .finish()
                .map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))),
        )
    }

    fn reset(&mut self, code: u64) {
        self.finished = true;
        let _ = self.stream.reset(VarInt::from_u64(code).unwrap_or(VarInt::MAX));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl<B: Buf> Drop for Send<B> {
    fn drop(&mut self) {
        let end = self.marks.as_ref().and_then(|marks| marks.end.get());
        if let Some(code) = end.filter(|_| !self.finished) {
            let _ = self.stream.reset(varint(code));
        }
    }
}

fn write_error(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        WriteError::ConnectionLost(error) => lost(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
