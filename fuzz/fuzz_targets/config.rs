//! Any text is read as a document or refused with reasons.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_core::fuzzing::config(data));
