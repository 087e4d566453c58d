//! What passes of an HTTP/3 stream is bounded, and the same however it comes in pieces.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_core::fuzzing::http3_stream(data));
