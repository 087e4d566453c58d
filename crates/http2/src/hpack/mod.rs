//! Compression of heads (RFC 7541): each side keeps a table of what was sent lately, and refers to it.
//!
//! [`Decoder`] gives the fields of a block to whoever asked, straight from the block or the table. An error leaves the
//! table in doubt, and with it the connection. [`Encoder`] writes blocks: what came before is one byte.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod table;

pub use decoder::{Broken, Decoder};
pub use encoder::Encoder;

/// Bytes that either table may hold (RFC 9113 6.5.2: what both sides begin with).
pub const TABLE: usize = 4096;

#[cfg(test)]
mod tests;
