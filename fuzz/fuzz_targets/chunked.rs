//! A chunked body is the same however its bytes arrive.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http1::fuzzing::chunked(data));
