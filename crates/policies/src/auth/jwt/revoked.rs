//! Tokens that are not good any more before they expire.
//!
//! The list is a file: it is there after a restart, and a change of it is in force as soon as it is noticed. A store
//! that several gateways share would be another way to fill the same sets.

use std::collections::HashSet;

use gatehouse_core::identity::Proof;

/// What was revoked, by what.
#[derive(Debug, Default)]
pub struct Revoked {
    tokens: HashSet<Box<str>>,
    subjects: HashSet<Box<str>>,
    keys: HashSet<Box<str>>,
}

impl Revoked {
    /// Reads a list: on each line `jti`, `sub` or `kid`, a space, and the value. `#` begins a comment.
    ///
    /// # Errors
    /// Names the first line that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut revoked = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let set = match line.split_once(char::is_whitespace) {
                Some(("jti", _)) => &mut revoked.tokens,
                Some(("sub", _)) => &mut revoked.subjects,
                Some(("kid", _)) => &mut revoked.keys,
                _ => {
                    return Err(format!(
                        "line {}: expected `jti`, `sub` or `kid`, a space and a value",
                        number + 1
                    ));
                }
            };
            let value = line
                .split_once(char::is_whitespace)
                .map_or("", |(_, value)| value.trim());
            set.insert(value.into());
        }
        Ok(revoked)
    }

    /// What of a token was revoked, if anything was.
    pub fn of(&self, proof: &Proof, key_id: Option<&str>) -> Option<&'static str> {
        let has = |set: &HashSet<Box<str>>, name: &str| {
            !set.is_empty()
                && proof
                    .claims
                    .get(name)
                    .and_then(|value| value.as_str())
                    .is_some_and(|value| set.contains(value))
        };
        if has(&self.tokens, "jti") {
            return Some("the token was revoked (`jti`)");
        }
        if has(&self.subjects, "sub") {
            return Some("all tokens of its subject were revoked (`sub`)");
        }
        let is_revoked = !self.keys.is_empty() && key_id.is_some_and(|id| self.keys.contains(id));
        is_revoked.then_some("all tokens of its key were revoked (`kid`)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_kind_and_a_value_on_each_line() {
        let revoked = Revoked::parse("# lost\n\njti a b\n  sub\tbob \nkid k1").unwrap();
        assert!(
            revoked.tokens.contains("a b") && revoked.subjects.contains("bob") && revoked.keys.contains("k1")
        );
        assert!(Revoked::parse("jti x\nbob").unwrap_err().starts_with("line 2:"));
    }
}
