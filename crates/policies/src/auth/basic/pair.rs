//! A name and a password as requests show them (RFC 7617).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use gatehouse_core::exchange::Exchange;
use gatehouse_http1::Known;

use crate::auth::place::behind_scheme;

/// The scheme of `Authorization`.
pub const SCHEME: &str = "basic";

/// A name and a password, as shown.
pub struct Pair {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Vec<u8>,
}

/// What the request shows; an error is for the log.
pub fn shown(ex: &Exchange) -> Result<Option<Pair>, &'static str> {
    let fields = ex.request.head.headers.all(Known::Authorization);
    let mut fields = fields.filter_map(|value| behind_scheme(value, SCHEME));
    let Some(text) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err("the request has several passwords");
    }
    pair(text).map(Some)
}

/// What is asked for: `Basic` with a realm.
///
/// # Errors
/// If the realm cannot stand in a field.
pub fn challenge(realm: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if !realm.bytes().all(is_plain) {
        return Err("the realm has characters that cannot stand in a field; use plain ASCII without quotes");
    }
    Ok(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
}

/// Clients disagree about the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The name up to the first colon, the password behind it (RFC 7617 2). Neither has control characters.
fn pair(text: &[u8]) -> Result<Pair, &'static str> {
    let bytes = BASE64.decode(text).map_err(|_| "the password is not in base64")?;
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("the password has control characters");
    }
    let at = bytes
        .iter()
        .position(|b| *b == b':')
        .ok_or("there is no colon behind the name")?;
    let (name, password) = bytes.split_at(at);
    let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8")?;
    Ok(Pair {
        name: name.to_owned(),
        password: password.get(1..).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_read() {
        let read = |text: &str| pair(text.as_bytes()).map(|pair| (pair.name, pair.password));
        let pair = |name: &str, password: &[u8]| Ok((name.to_owned(), password.to_vec()));
        // RFC 7617 2 and 2.1.
        assert_eq!(
            read("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            pair("Aladdin", b"open sesame")
        );
        assert_eq!(read("dGVzdDoxMjPCow=="), pair("test", "123£".as_bytes()));
        assert_eq!(read("dGVzdDoxMjPCow"), pair("test", "123£".as_bytes()));
        assert_eq!(read("YTpiOmM="), pair("a", b"b:c"));
        assert_eq!(read("Og=="), pair("", b""));
        for wrong in ["", "YQ==", "%%%", "YQpiOmM=", "/zpi"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
