//! The path tree finds what a scan of the patterns finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_core::fuzzing::path_tree(data));
