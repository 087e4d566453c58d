//! Who the gateway is to the services that it asks: a client of an authorization server.

use std::fmt::Write as _;

use reqwest::RequestBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a client says who it is to the server that it asks (RFC 6749 2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientProof {
    /// In `Authorization: Basic`.
    #[default]
    Basic,
    /// In the body.
    Post,
}

/// A client, as it is known to its server.
pub struct Client {
    /// Its name.
    pub id: String,
    /// Its password; none for a public one.
    pub secret: Option<String>,
    /// How it says so.
    pub proof: ClientProof,
}

impl Client {
    /// Completes a question: the form, and who asks.
    pub fn prove<'f>(&'f self, request: RequestBuilder, mut form: Vec<(&'f str, &'f str)>) -> RequestBuilder {
        match (&self.secret, self.proof) {
            (Some(secret), ClientProof::Basic) => request
                .basic_auth(encoded(&self.id), Some(encoded(secret)))
                .form(&form),
            (Some(secret), ClientProof::Post) => {
                form.extend([("client_id", self.id.as_str()), ("client_secret", secret)]);
                request.form(&form)
            }
            (None, _) => {
                form.push(("client_id", &self.id));
                request.form(&form)
            }
        }
    }
}

/// As a form has it: what RFC 6749 2.3.1 demands of names and passwords before they are put together.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_passwords_are_encoded_as_in_a_form() {
        assert_eq!(super::encoded("a b:c%é_-.*"), "a+b%3Ac%25%C3%A9_-.*");
    }
}
