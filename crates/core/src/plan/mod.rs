//! To come.

pub mod diff;
pub mod lint;
