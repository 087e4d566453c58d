//! A head in parts is refused, or is one that text could have brought.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http1::fuzzing::request_parts(data));
