//! The verdict on a PROXY header does not depend on how its bytes arrive.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_core::fuzzing::proxy_protocol(data));
