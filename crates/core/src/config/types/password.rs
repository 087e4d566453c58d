//! Hashes of passwords, as htpasswd and argon2 print them. Only such as are made to be slow.

use super::text_type;
use std::fmt;
use std::str::FromStr;

/// The hash of a password: bcrypt or argon2id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash(Box<str>);

/// How a password was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashMethod {
    /// `$2y$…`
    Bcrypt,
    /// `$argon2id$…`
    Argon2id,
}

/// The most that one bcrypt may cost: about three seconds.
const MOST_COST: u32 = 15;
/// The most memory that one argon2id may take, in KiB: many at once must fit.
const MOST_MEMORY: u32 = 256 * 1024;
/// The most passes over it.
const MOST_PASSES: u32 = 16;

const EXPECTED: &str = "expected what `htpasswd -nB NAME` or `argon2 SALT -id -e` print";

impl PasswordHash {
    /// The hash as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How it was made.
    pub fn method(&self) -> HashMethod {
        if self.0.starts_with("$argon2") {
            HashMethod::Argon2id
        } else {
            HashMethod::Bcrypt
        }
    }
}

impl FromStr for PasswordHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What is refused may be the password itself: it is not shown.
        let refused = |why: &str| Err(format!("{why}; {EXPECTED}"));
        let fields: Vec<&str> = text.split('$').collect();
        match fields.as_slice() {
            ["", "2a" | "2b" | "2y", cost, hash] => bcrypt(cost, hash)?,
            ["", "argon2id", "v=19", settings, salt, hash] => argon2id(settings, salt, hash)?,
            ["", "argon2i" | "argon2d" | "argon2id", ..] => {
                return refused("this is argon2, but not argon2id of version 19");
            }
            ["", "apr1" | "1", ..] => return refused("hashes by MD5 are found out in minutes"),
            ["", "5" | "6", ..] => return refused("hashes by SHA-crypt are not supported"),
            ["", "2" | "2x", ..] => return refused("this is a broken variant of bcrypt"),
            _ if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => {
                return refused("hashes by SHA-1 are found out in minutes");
            }
            _ => return refused("this is no hash of a password"),
        }
        Ok(Self(text.into()))
    }
}

fn bcrypt(cost: &str, hash: &str) -> Result<(), String> {
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    if cost.len() != 2 || hash.len() != 53 || !hash.bytes().all(is_digit) {
        return Err(format!("this is not all of a bcrypt hash; {EXPECTED}"));
    }
    match cost.parse() {
        Ok(4..=MOST_COST) => Ok(()),
        _ => Err(format!(
            "the cost of bcrypt is `{cost}`; expected 4 to {MOST_COST}, such as 10"
        )),
    }
}

fn argon2id(settings: &str, salt: &str, hash: &str) -> Result<(), String> {
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let is_text = |text: &str| text.len() >= 11 && text.bytes().all(is_digit);
    let mut values = settings.split(',');
    let mut value = |name: &str| -> Option<u32> { values.next()?.strip_prefix(name)?.parse().ok() };
    let (Some(memory), Some(passes), Some(lanes), None) = (value("m="), value("t="), value("p="), value(""))
    else {
        return Err(format!(
            "the settings of argon2id are not `m=…,t=…,p=…`; {EXPECTED}"
        ));
    };
    if !is_text(salt) || !is_text(hash) {
        return Err(format!("this is not all of an argon2id hash; {EXPECTED}"));
    }
    if !(8..=MOST_MEMORY).contains(&memory)
        || !(1..=MOST_PASSES).contains(&passes)
        || !(1..=16).contains(&lanes)
    {
        return Err(format!(
            "argon2id with `{settings}` takes too much or too little; expected m of 8 to {MOST_MEMORY}, t of 1 to {MOST_PASSES}, p of 1 to 16"
        ));
    }
    Ok(())
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(PasswordHash, "the hash of a password", {
    "description": "The hash of a password: bcrypt as `htpasswd -nB NAME` prints it (`$2y$…`), or argon2id (`$argon2id$…`).",
    "examples": ["$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"],
});

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    const ARGON2: &str =
        "$argon2id$v=19$m=4096,t=3,p=1$c29tZXNhbHRzYWx0$qLml5cqqFAO6YxVFhrBHduLPFSAdGKOBkv3ZXRjvwG8";

    #[test]
    fn slow_hashes_are_read() {
        let method = |text: &str| text.parse::<PasswordHash>().map(|hash| hash.method());
        assert_eq!(method(BCRYPT), Ok(HashMethod::Bcrypt));
        assert_eq!(method(&BCRYPT.replace("2y", "2b")), Ok(HashMethod::Bcrypt));
        assert_eq!(method(ARGON2), Ok(HashMethod::Argon2id));
    }

    #[test]
    fn others_are_refused_and_not_shown() {
        for (wrong, why) in [
            ("hunter2".to_owned(), "no hash"),
            (String::new(), "no hash"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), "SHA-1"),
            ("$apr1$hunter2$abc".to_owned(), "MD5"),
            ("$6$hunter2$abc".to_owned(), "SHA-crypt"),
            (BCRYPT.replace("$10$", "$31$"), "cost"),
            (BCRYPT.replace("$10$", "$03$"), "cost"),
            (BCRYPT[..59].to_owned(), "not all"),
            (ARGON2.replace("2id", "2i"), "not argon2id"),
            (ARGON2.replace("4096", "9999999"), "too much"),
            (ARGON2.replace("t=3", "t=99"), "too much"),
            (ARGON2.replace(",p=1", ""), "settings"),
        ] {
            let message = wrong.parse::<PasswordHash>().unwrap_err();
            assert!(
                message.contains(why) && !message.contains("hunter2"),
                "{wrong}: {message}"
            );
        }
    }
}
