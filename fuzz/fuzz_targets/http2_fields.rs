//! Fields through both compressors of HTTP/2 come out as they went in.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http2::fuzzing::hpack_fields(data));
