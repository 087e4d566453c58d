//! Conditions on header fields, as routes have them, for whoever else wants them.

use super::predicate::Named;
use crate::config::ValueMatch;
use gatehouse_http1::Headers;
use indexmap::IndexMap;

/// Conditions on header fields, of which all must hold.
#[derive(Debug, Default)]
pub struct HeaderConditions(Vec<Named>);

impl HeaderConditions {
    /// Compiles them.
    ///
    /// # Errors
    /// The name of the first that is wrong, and why.
    pub fn new(written: &IndexMap<String, ValueMatch>) -> Result<Self, (String, String)> {
        let mut named = Vec::with_capacity(written.len());
        for (name, condition) in written {
            if !crate::config::is_token(name) {
                let why = format!("`{name}` cannot be the name of a header field");
                return Err((name.clone(), why));
            }
            let made = Named::new(name, condition).map_err(|why| {
                let why = why.lines().last().unwrap_or_default();
                let why = why.strip_prefix("error: ").unwrap_or(why);
                (
                    name.clone(),
                    format!("the regular expression is not right: {why}"),
                )
            });
            named.push(made?);
        }
        Ok(Self(named))
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of them hold.
    pub fn hold(&self, headers: &Headers) -> bool {
        self.0.iter().all(|named| named.in_headers(headers))
    }
}
