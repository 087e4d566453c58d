//! To come.

pub mod rewrite;
pub mod split;
