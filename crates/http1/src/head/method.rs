//! Request methods (RFC 9110 9).

/// A request method; case matters.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token of at most 64 bytes; make it with `parse`.
    Other(Box<str>),
}

/// The longest method accepted, in bytes. No registered one is longer than 17.
pub(crate) const LONGEST: usize = 64;

impl Method {
    /// The method of this name; none if it is no token of at most 64 bytes.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            other if other.len() <= LONGEST && crate::byte::is_token(other.as_bytes()) => {
                Self::Other(other.into())
            }
            _ => return None,
        })
    }

    /// The name as it stands in a request line.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(name) => name,
        }
    }

    /// Whether it only reads (RFC 9110 9.2.1).
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether sending it twice means the same as once (RFC 9110 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_keep_their_name_and_meaning() {
        for name in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PURGE", "get",
        ] {
            assert_eq!(Method::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(Method::parse("get"), Some(Method::Other("get".into())));
        for bad in ["", "GE T", "GET\r", "G@T", "GÄT", &"A".repeat(65)] {
            assert_eq!(Method::parse(bad), None, "{bad}");
        }
        assert!(Method::Get.is_safe() && Method::Put.is_idempotent() && !Method::Put.is_safe());
        assert!(!Method::Post.is_idempotent() && !Method::Connect.is_safe());
    }
}
