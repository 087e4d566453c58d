//! Any bytes may come first on a connection. The verdict must not depend on how they are cut into reads, and must
//! not change when more bytes follow.

#![no_main]

use gatehouse_core::listen::proxy_protocol::{MAX_HEADER, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok(Some(header)) => {
            assert!(header.len <= bytes.len() && header.len <= MAX_HEADER);
            for end in 0..header.len {
                assert_eq!(parse(&bytes[..end]), Ok(None));
            }
            assert_eq!(parse(&bytes[..header.len]), Ok(Some(header)));
        }
        Ok(None) => assert!(bytes.len() < MAX_HEADER),
        Err(_) => {
            let mut longer = bytes.to_vec();
            longer.extend_from_slice(b"\r\n\0");
            assert!(parse(&longer).is_err());
        }
    }
});
