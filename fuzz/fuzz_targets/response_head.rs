//! The head of a response is accepted whole or refused, and refused for good.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http1::fuzzing::response_head(data));
