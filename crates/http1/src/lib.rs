//! HTTP/1.1 on the wire: strict, sans-I/O, knowing nothing of gateways.
//!
//! Bytes in, parsed heads and body runs out, and back to bytes. Everything about where a message begins and ends is
//! decided here and nowhere else. A head or body that two implementations could read differently is refused, never
//! repaired; what the caller sends on is written anew from the parsed form, with framing of its own.
//!
//! There is no I/O, no clock and no task here, and no allocation while a reused head or decoder has capacity.

mod byte;
mod chunked;
pub mod encode;
mod framing;
mod head;
mod headers;
mod known;
mod trailers;

pub use byte::is_token;
pub use chunked::{BodyError, Decoded, Decoder};
pub use framing::Framing;
pub use head::method::Method;
pub use head::request::{RequestHead, parse_request};
pub use head::response::{RequestKind, ResponseHead, parse_response};
pub use head::target::TargetForm;
pub use head::{HeadError, HeadLimits, Parsed, Version};
pub use headers::{Field, Headers};
pub use known::Known;
