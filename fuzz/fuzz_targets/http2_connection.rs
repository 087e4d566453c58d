//! A connection of HTTP/2 does the same however its bytes arrive, and sends frames.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http2::fuzzing::connection(data));
