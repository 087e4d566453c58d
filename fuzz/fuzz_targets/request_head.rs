//! The head of a request is accepted whole or refused, and refused for good.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http1::fuzzing::request_head(data));
