//! HTTP/2 on the wire (RFC 9113), the server's side: strict, sans-I/O, knowing nothing of gateways.
//!
//! Bytes in, requests and pieces of bodies out; answers in, bytes out. [`Connection`] is the whole of it: frames,
//! settings, windows, the states of streams, and bounds on what a client may make us do. [`hpack`] compresses heads,
//! [`frame`] is how frames look. What a head must be is decided by `http1`, as for text.
//!
//! There is no I/O and no task here; the time is given. What is wrong with a request ends its stream and no more; what
//! leaves the connection in doubt ends that, with the code that the RFC names.
//!
//! # What is bounded
//!
//! | what | by |
//! |---|---|
//! | requests at a time | a setting; one more is refused |
//! | bytes of bodies that nobody has read | windows |
//! | a compressed head, in however many frames | four times what a head may take |
//! | both compression tables | 4 KiB each |
//! | frames that bring nothing on, resets, malformed requests | counts in windows of time |

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the wire is made of parts of numbers, and lengths are those of frames and windows: below 2^31"
)]
#![allow(clippy::many_single_char_names, reason = "the bytes of a number, in order")]

pub mod connection;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod hpack;
mod reason;

pub use connection::{Breach, Closed, Connection, Event, Fields, Key, Opening, Room, Settings, Step};
pub use reason::Reason;
