//! To come.

pub mod normalize;
