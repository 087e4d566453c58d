//! Where the frames of a WebSocket end does not depend on how their bytes arrive.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_core::fuzzing::frames(data));
