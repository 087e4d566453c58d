//! Compressed heads of HTTP/2: whatever is read is written and read as the same again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http2::fuzzing::hpack(data));
