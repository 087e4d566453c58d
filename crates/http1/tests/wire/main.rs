//! Whole messages, handwritten, generated and mutated: against hyper and httparse, and against ourselves.
//!
//! Everything is deterministic: the random numbers come from a seed, and nothing waits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod differential;
mod httparse_side;
mod hyper_side;
mod identity;
mod ours;
mod random;
mod samples;
mod seeds;
