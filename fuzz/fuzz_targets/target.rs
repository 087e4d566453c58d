//! A path in any form is refused, or a fixed point of that form.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_core::fuzzing::target(data));
