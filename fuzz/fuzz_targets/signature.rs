//! A signature of a request is read or refused, and never good without its key.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_policies::fuzzing::signature(data));
