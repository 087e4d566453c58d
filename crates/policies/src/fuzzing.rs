//! What must hold for any bytes at all: the checks behind the fuzz target `signature` and the test of its seeds.
//!
//! Panics if a property does not hold. Not part of the interface of this crate.

pub use crate::auth::signature::fuzzing::signature;
