//! No token is believed but those that were signed.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_policies::fuzzing::token(data));
