//! Cookies as strangers may send them.

use gatehouse_http1::{HeadLimits, RequestHead, parse_request};

use super::config::CookieSettings;
use super::cookies::Cookies;
use super::login::Pending;
use super::seal::Sealer;
use super::session::Session;

/// The head of a request: no cookie in it is a session or a login, since nobody has the key; and ours are all taken off.
pub fn cookies(data: &[u8]) {
    let mut head = RequestHead::new();
    if !matches!(
        parse_request(data, &HeadLimits::default(), &mut head),
        Ok(Some(_))
    ) {
        return;
    }
    // Whoever could seal with this key could guess 256 bits.
    let secret = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    let secret = [secret.as_ref().to_vec()];
    let settings = CookieSettings {
        name: "s".to_owned(),
        secure: false,
        ..CookieSettings::default()
    };
    let cookies = Cookies::of(&settings);
    let (Ok(sessions), Ok(logins)) = (
        Sealer::new(&secret, "session", &[]),
        Sealer::new(&secret, "login", &[]),
    ) else {
        unreachable!("a secret of 32 bytes is one");
    };
    if let Some(text) = cookies.session(&head.headers) {
        assert!(Session::open(&text, &sessions, "sub").is_none());
    }
    for (name, sealed) in cookies.logins(&head.headers) {
        assert!(Pending::open(sealed, &logins).is_none(), "{name}");
    }
    cookies.forget(&mut head.headers);
    assert!(!cookies.has_session(&head.headers) && cookies.logins(&head.headers).is_empty());
}
