//! Signed tokens below their claims (RFC 7515, RFC 7517, RFC 7518): what a token consists of, which key may verify it,
//! and whether it does.
//!
//! The arithmetic is aws-lc's; what is here decides which key and which algorithm may be used at all. A key knows
//! its algorithms, a token only chooses among them: `none` is no algorithm, a public key is never a secret, and
//! what a token says of keys beside `kid` (`jwk`, `jku`, `x5u`, `x5c`) is not read. Keys are parsed once, when they
//! are loaded, which libraries for whole tokens do for each of them.

mod algorithm;
mod jwk;
mod key;
mod roca;
mod set;
mod token;

pub use algorithm::Algorithm;
pub use key::Key;
pub use set::{Choice, KeySet};
pub use token::{Header, LONGEST, Token};
