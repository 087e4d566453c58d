//! SHA-256 digests in hexadecimal digits: of API keys, of certificates.

use super::text_type;
use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What is refused may be a secret that was written where its digest belongs: it is not shown.
        let wrong = || {
            format!(
                "{} characters are not a SHA-256; expected 64 hexadecimal digits",
                text.chars().count()
            )
        };
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let mut digits = text.bytes().filter(|b| *b != b':');
        let mut digest = [0; 32];
        for byte in &mut digest {
            let (high, low) = (digits.next().and_then(digit), digits.next().and_then(digit));
            *byte = high
                .zip(low)
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(wrong)?;
        }
        match digits.next() {
            None => Ok(Self(digest)),
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

text_type!(Sha256, "a SHA-256 in 64 hexadecimal digits", {
    "description": "A SHA-256 in 64 hexadecimal digits; colons between them mean nothing.",
    "examples": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
});

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_digits_of_any_case_and_colons() {
        let digest: Sha256 = EMPTY.parse().unwrap();
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(EMPTY.to_uppercase().parse(), Ok(digest));
        assert_eq!(EMPTY.replace("b8", "b8:").parse(), Ok(digest));
    }

    #[test]
    fn what_is_refused_is_not_shown() {
        for wrong in [
            "",
            "sk_live_secret",
            &EMPTY[1..],
            &format!("{EMPTY}0"),
            &EMPTY.replace('e', "g"),
        ] {
            let message = wrong.parse::<Sha256>().unwrap_err();
            assert!(
                message.contains("not a SHA-256") && !message.contains("live"),
                "{message}"
            );
        }
    }
}
