//! A request written anew is the same request.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_http1::fuzzing::reserialise(data));
