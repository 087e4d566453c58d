//! Where requests have their credentials: so that each can be taken off without touching others.

use gatehouse_core::exchange::Request;
use gatehouse_http1::Known;

/// A place that a credential is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header field, in lower case.
    Field(Box<str>),
    /// What stands in `Authorization` behind a scheme, in lower case.
    Scheme(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
}

impl Place {
    /// A header field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_ascii_lowercase().into())
    }

    /// A scheme of `Authorization`.
    pub fn scheme(name: &str) -> Self {
        Self::Scheme(name.to_ascii_lowercase().into())
    }

    /// Takes off whatever stands there.
    pub fn clear(&self, request: &mut Request) {
        match self {
            Self::Field(name) => {
                request.head.headers.remove_name(name.as_bytes());
            }
            Self::Scheme(scheme) => request.head.headers.retain(|known, _, value| {
                known != Some(Known::Authorization) || behind_scheme(value, scheme).is_none()
            }),
            Self::Cookie(name) => request.remove_cookie(name),
            Self::Query(name) => request.remove_query(name),
        }
    }
}

/// What stands behind a scheme in a value of `Authorization`; none if that is of another one. Some servers take a tab
/// for the space that should be between the two, so it is one here as well.
pub fn behind_scheme<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let end = value
        .iter()
        .position(|byte| b" \t".contains(byte))
        .unwrap_or(value.len());
    let (found, rest) = value.split_at(end);
    found
        .eq_ignore_ascii_case(scheme.as_bytes())
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_any_case_and_ends_at_white_space() {
        for (value, found) in [
            ("bAsic  eA== ", Some("eA==")),
            ("Basic\teA==", Some("eA==")),
            ("Basic", Some("")),
            ("Basicx y", None),
            ("Bearer x", None),
            ("", None),
        ] {
            let behind = behind_scheme(value.as_bytes(), "basic");
            assert_eq!(behind, found.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn what_stands_in_one_place_goes_and_the_rest_stays() {
        let mut request = Request::default();
        let fields = &mut request.head.headers;
        for value in ["Basic a", "basic\tb", "Bearer c"] {
            fields.append(Known::Authorization, value.as_bytes());
        }
        Place::scheme("Basic").clear(&mut request);
        let left: Vec<_> = request.head.headers.all(Known::Authorization).collect();
        assert_eq!(left, [b"Bearer c"]);
    }
}
