//! Signatures as strangers may send them.

use gatehouse_http1::{HeadLimits, RequestHead, parse_request};

use super::checks::{Checks, digest_fits};
use super::keys::{Key, Keys};
use super::message::Message;

/// The head of a request: its signature is refused, or there is none. Nobody has the key.
pub fn signature(data: &[u8]) {
    let mut head = RequestHead::new();
    if !matches!(
        parse_request(data, &HeadLimits::default(), &mut head),
        Ok(Some(_))
    ) {
        return;
    }
    let message = Message {
        method: head.method.as_str(),
        scheme: "https",
        authority: head.authority(),
        path: head.path(),
        query: head.query(),
        headers: &head.headers,
    };
    // Whoever could sign with this key could guess 256 bits.
    let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    let keys = Keys::one("test-shared-secret", Key::shared(key.as_ref()));
    let checks = Checks {
        components: Vec::new(),
        label: None,
        tag: None,
        max_age: u64::MAX / 4,
        skew: 0,
        nonce: false,
    };
    assert!(!matches!(
        checks.check(&keys, &message, 1_618_884_480),
        Ok(Some(_))
    ));
    let _ = digest_fits(&message, data);
}
