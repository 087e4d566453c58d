//! What is given to the library to be sent: shared memory, or one of the worker's buffers, without a copy.

use bytes::{Buf, Bytes};

use crate::io::Buffer;

/// A piece of a response's body on its way out.
pub(crate) enum Piece {
    /// Shared memory.
    Shared(Bytes),
    /// A buffer that goes back to its pool once it is sent.
    Lent(Buffer),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Self::Shared(bytes) => bytes.len(),
            Self::Lent(buffer) => buffer.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Lent(buffer) => buffer.data(),
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Shared(bytes) => bytes.advance(n.min(bytes.len())),
            Self::Lent(buffer) => buffer.consume(n),
        }
    }
}
