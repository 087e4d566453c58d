//! HTTP/1.1 on the wire: strict, sans-I/O, knowing nothing of gateways.
//!
//! Bytes in, parsed heads and body runs out, and back to bytes. Everything about where a message begins and ends is
//! decided here and nowhere else. A head or body that two implementations could read differently is refused, never
//! repaired; what the caller sends on is written anew from the parsed form, with framing of its own.
//!
//! There is no I/O, no clock and no task here, and no allocation while a reused head or decoder has capacity.
//!
//! # What is refused
//!
//! | what | RFC |
//! |---|---|
//! | a lone CR or LF, any other control byte but HTAB, folded lines, whitespace around a field name | 9112 2.2, 5.1, 5.2; 9110 5.5 |
//! | more than one empty line before a request, any before a response | 9112 2.2 |
//! | any version but HTTP/1.0 and HTTP/1.1 | 9112 2.3 |
//! | a target with a fragment, `\`, a byte outside of ASCII, or a broken percent-encoding in the path | 9112 3.2; 3986 2.1 |
//! | `*` but for OPTIONS, an authority but for CONNECT, a URI that is neither http nor https or has a user name | 9112 3.2; 9110 4.2.4 |
//! | a missing, repeated or invalid `Host`, or one that contradicts the target | 9112 3.2; 9110 7.2 |
//! | `Content-Length` with `Transfer-Encoding`, either of them twice, any coding but exactly `chunked`, a coding on HTTP/1.0 | 9112 6 |
//! | a chunk size of more than 16 digits, whitespace after it, extensions of more than 256 bytes | 9112 7.1 |
//! | trailers that frame, route, authenticate or control a message | 9110 6.5.1 |
//! | heads and trailers beyond their limits, as soon as they are | 9112 3, 5; 9110 5.4 |

mod byte;
mod chunked;
pub mod encode;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod headers;
mod known;
mod trailers;

pub use byte::is_token;
pub use chunked::{BodyError, Decoded, Decoder};
pub use framing::Framing;
pub use head::method::Method;
pub use head::parts::{Assembly, Declared, Pseudo, TrailerAssembly, collect_trailers};
pub use head::request::{PathMark, RequestHead, parse_request};
pub use head::response::{RequestKind, ResponseHead, parse_response};
pub use head::target::TargetForm;
pub use head::{HeadError, HeadLimits, Parsed, Version};
pub use headers::{Field, FieldName, FieldNames, Headers, KnownSet, ValueWriter};
pub use known::Known;
pub use trailers::is_forbidden as is_forbidden_trailer;
