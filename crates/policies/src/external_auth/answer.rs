//! What a service said of a request, in whatever protocol, as far as it counts.

use bytes::Bytes;
use gatehouse_http1::{self as http1, Headers};

/// The most that is read of the body of an answer.
pub const MOST_BODY: usize = 64 * 1024;

/// What the service said, as far as it counts.
#[derive(Debug, Default)]
pub struct Answer {
    /// Whether the request may go on.
    pub is_allowed: bool,
    /// Its status, if it refuses.
    pub status: u16,
    /// Fields that the request no longer has.
    pub removed: Vec<Box<str>>,
    /// Fields for the upstream.
    pub accepted: Vec<Edit>,
    /// Parameters that the query no longer has.
    pub unset: Vec<String>,
    /// Parameters of the query for the upstream.
    pub set: Vec<(String, String)>,
    /// Who calls.
    pub subject: Option<Box<str>>,
    /// Fields for the client: beside the upstream's if the request went on, else those of the refusal.
    pub relayed: Vec<Edit>,
    /// The body for the client, if it refuses.
    pub body: Bytes,
}

impl Answer {
    /// Whether it is for this one client alone: a cookie that others got would make them the same to the service.
    pub fn is_personal(&self) -> bool {
        self.relayed
            .iter()
            .any(|edit| edit.name.eq_ignore_ascii_case("set-cookie"))
    }

    /// A field of the refusal.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .relayed
            .iter()
            .find(|edit| edit.name.eq_ignore_ascii_case(name));
        found.map(|edit| &*edit.value)
    }
}

/// One field, and how it is put among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Its name, in lower case.
    pub name: Box<str>,
    /// Its value.
    pub value: Box<[u8]>,
    /// How.
    pub how: How,
}

/// How a field is put among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// In place of any of its name.
    Set,
    /// Beside any of its name.
    Append,
    /// Only if there is none of its name.
    IfAbsent,
    /// In place of those of its name, if there are any.
    IfPresent,
}

impl Edit {
    /// Several fields of one name: the first takes the place of any there are, but for cookies, each of which is one
    /// by itself.
    pub fn all<'v>(
        name: &'v str,
        values: impl Iterator<Item = &'v [u8]> + 'v,
    ) -> impl Iterator<Item = Self> + 'v {
        values.enumerate().map(move |(i, value)| Self {
            name: name.into(),
            value: value.into(),
            how: if i == 0 && name != "set-cookie" {
                How::Set
            } else {
                How::Append
            },
        })
    }

    /// Puts it there.
    pub fn apply(&self, fields: &mut Headers) {
        let name = self.name.as_bytes();
        match self.how {
            How::Append => fields.append_name(name, &self.value),
            How::IfAbsent if fields.find(name).is_some() => false,
            How::IfPresent if fields.find(name).is_none() => false,
            How::Set | How::IfAbsent | How::IfPresent => fields.set_name(name, &self.value),
        };
    }
}

/// A field that can be sent, and taken over, without changing what a message is.
///
/// # Errors
/// Says why it is none.
pub fn check_name(name: &str) -> Result<(), String> {
    const OWN: [&str; 11] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
        "te",
        "trailer",
        "expect",
    ];
    if !http1::is_token(name.as_bytes()) {
        return Err(format!("`{name}` cannot be the name of a header field"));
    }
    // Some servers read `_` as `-`.
    if OWN.contains(&&*name.to_ascii_lowercase().replace('_', "-")) {
        return Err(format!("`{name}` is the gateway's own and cannot be handed on"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_as_they_ask() {
        let after = |how, before: &[&str]| {
            let mut fields = Headers::new();
            for value in before {
                fields.append_name(b"X-A", value.as_bytes());
            }
            let edit = Edit {
                name: "x-a".into(),
                value: (*b"new").into(),
                how,
            };
            edit.apply(&mut fields);
            let values: Vec<_> = fields.find_all(b"x-a").map(<[u8]>::to_vec).collect();
            String::from_utf8(values.join(&b'|')).unwrap()
        };
        assert_eq!(after(How::Set, &["a", "b"]), "new");
        assert_eq!(after(How::Append, &["a"]), "a|new");
        assert_eq!(
            (after(How::IfAbsent, &["a"]), after(How::IfAbsent, &[])),
            ("a".into(), "new".into())
        );
        assert_eq!(
            (after(How::IfPresent, &["a"]), after(How::IfPresent, &[])),
            ("new".into(), String::new())
        );
    }

    #[test]
    fn what_makes_a_message_cannot_be_taken_over() {
        for name in [
            "Host",
            "content-length",
            "Content_Length",
            "TE",
            "Keep-Alive",
            ":path",
            "a b",
            "",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["authorization", "x-user-id", "cookie"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
