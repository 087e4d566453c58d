//! Fields that only the gateway may send to upstreams: what an authentication says of the caller.
//!
//! Whatever any policy of a document passes on as identity is taken off every request that comes in, on every
//! route: a client can then claim nothing, also where nobody asks who it is.

use std::collections::BTreeSet;

use gatehouse_http1::Headers;

/// The names, in lower case, with `-` for `_`: servers that hand fields on as variables read both as one.
#[derive(Debug, Default)]
pub struct Reserved {
    names: BTreeSet<Box<[u8]>>,
    /// A bit for each length there is, so that most fields are passed by at a glance.
    lengths: u64,
}

impl Reserved {
    /// Reserves a name.
    pub fn add(&mut self, name: &str) {
        self.lengths |= bit(name.len());
        self.names.insert(plain(name.as_bytes()).into());
    }

    /// True if no name is reserved.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a field of this name is reserved.
    pub fn has(&self, name: &[u8]) -> bool {
        self.lengths & bit(name.len()) != 0 && self.names.contains(&*plain(name))
    }

    /// Takes the fields off.
    pub fn strip(&self, headers: &mut Headers) {
        if headers.iter().any(|field| self.has(field.name)) {
            headers.retain(|_, name, _| !self.has(name));
        }
    }
}

fn plain(name: &[u8]) -> Vec<u8> {
    let plain = |b: &u8| if *b == b'_' { b'-' } else { b.to_ascii_lowercase() };
    name.iter().map(plain).collect()
}

fn bit(length: usize) -> u64 {
    1 << length.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_is_reserved() {
        let mut reserved = Reserved::default();
        assert!(reserved.is_empty() && !reserved.has(b"x-user-id"));
        reserved.add("X-User-Id");
        for name in ["x-user-id", "X-USER-ID", "X_User_Id", "x-user_id"] {
            assert!(reserved.has(name.as_bytes()), "{name}");
        }
        for name in ["x-user-ids", "y-user-id", "xuserid"] {
            assert!(!reserved.has(name.as_bytes()), "{name}");
        }
        let mut headers = Headers::new();
        headers.append_name(b"x-user_ID", b"admin");
        headers.append_name(b"accept", b"*/*");
        reserved.strip(&mut headers);
        assert_eq!(headers.iter().count(), 1);
    }
}
