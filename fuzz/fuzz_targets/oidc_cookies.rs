//! No cookie of a stranger is a session or a login, and all that could be one is taken off.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatehouse_policies::fuzzing::oidc_cookies(data));
