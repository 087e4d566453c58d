//! Bytes in and out of a worker: streams, buffers and the waits for them.
//!
//! Everything here belongs to one worker thread: nothing is `Send`, nothing locks. A later driver
//! (TLS, `io_uring`) fits in behind [`Stream`] and changes nothing else.

mod buffer;
mod clock;
mod intake;
mod pace;
mod send;
mod stream;
mod tls;

pub use buffer::{Buffer, BufferPool, LARGE, SMALL};
pub use clock::{Clock, Phase, Total};
pub use intake::{Intake, Read};
pub(crate) use pace::{Pace, TooSlow};
pub use send::{SendError, Sender, Sink};
pub use stream::Stream;
pub use tls::Tls;
