//! What was signed: the signature base of RFC 9421 2.5, made anew from the request as it came.
//!
//! Structured fields (RFC 9651) are parsed and written by a library; which components there are and what their values
//! are is said here.

use std::collections::HashSet;

use gatehouse_core::exchange::Exchange;
use gatehouse_core::route::query_values;
use gatehouse_http1::Headers;
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Item, List, ListEntry, Parser};

/// What of a request may be signed.
pub struct Message<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    /// Host and port, as sent.
    pub authority: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a Headers,
}

impl<'a> Message<'a> {
    /// Of the request of an exchange.
    pub fn of(ex: &'a Exchange) -> Self {
        let head = &ex.request.head;
        Self {
            method: head.method.as_str(),
            scheme: ex.client.scheme,
            authority: head.authority(),
            path: ex.path(),
            query: head.query(),
            headers: &head.headers,
        }
    }

    /// The fields of a name as one structured field; none if there are none.
    pub fn dictionary(&self, name: &str) -> Result<Option<Dictionary>, &'static str> {
        let Some(text) = self.field(name) else {
            return Ok(None);
        };
        let parsed = Parser::new(&text).parse::<Dictionary>();
        parsed
            .map(Some)
            .map_err(|_| "a field is no dictionary (RFC 9651)")
    }

    /// The bytes that were signed if these components were.
    pub fn signature_base(&self, input: &InnerList) -> Result<Vec<u8>, &'static str> {
        let mut base = Vec::with_capacity(512);
        let mut seen = HashSet::with_capacity(input.items.len());
        for item in &input.items {
            let identifier = item.serialize();
            let value = self.component(item)?;
            base.extend_from_slice(identifier.as_bytes());
            base.extend_from_slice(b": ");
            base.extend_from_slice(&value);
            base.push(b'\n');
            // RFC 9421 2: each identifier once.
            if !seen.insert(identifier) {
                return Err("a component is covered twice");
            }
        }
        let params: List = vec![ListEntry::InnerList(input.clone())];
        base.extend_from_slice(b"\"@signature-params\": ");
        base.extend_from_slice(params.serialize().unwrap_or_default().as_bytes());
        Ok(base)
    }

    fn component(&self, item: &Item) -> Result<Vec<u8>, &'static str> {
        let name = component_name(item).ok_or("a component has no name")?;
        let mut params = item.params.iter().map(|(key, value)| (key.as_str(), value));
        let param = params.next();
        if params.next().is_some() {
            return Err("a component has several parameters, which is not supported");
        }
        match (name, param) {
            ("@query-param", Some(("name", BareItem::String(wanted)))) => self.query_param(wanted.as_str()),
            (name, None) if name.starts_with('@') => self.derived(name),
            (name, _) if name.starts_with('@') => {
                Err("a derived component has a parameter that it cannot have")
            }
            (name, None) => self.field(name).ok_or("a field that was signed is not there"),
            (name, Some(("bs", BareItem::Boolean(true)))) => self.binary(name),
            (name, Some(("key", BareItem::String(key)))) => self.member(name, key.as_str()),
            _ => Err("a component has a parameter that is not supported"),
        }
    }

    /// RFC 9421 2.2.
    fn derived(&self, name: &str) -> Result<Vec<u8>, &'static str> {
        let path = if self.path.is_empty() { "/" } else { self.path };
        let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
        Ok(match name {
            "@method" => self.method.to_owned(),
            "@scheme" => self.scheme.to_owned(),
            "@authority" => self.host(),
            "@path" => path.to_owned(),
            "@query" if query.is_empty() => "?".to_owned(),
            "@query" => query,
            "@request-target" => format!("{path}{query}"),
            "@target-uri" => format!("{}://{}{path}{query}", self.scheme, self.host()),
            _ => return Err("a derived component is unknown, or not one of requests"),
        }
        .into_bytes())
    }

    /// In lower case, without the scheme's own port (RFC 9421 2.2.3).
    fn host(&self) -> String {
        let host = self.authority.to_ascii_lowercase();
        let port = if self.scheme == "https" { ":443" } else { ":80" };
        match host.strip_suffix(port) {
            Some(bare) => bare.to_owned(),
            None => host,
        }
    }

    /// RFC 9421 2.2.8: the value as a form would write it, of a parameter that is there once.
    fn query_param(&self, name: &str) -> Result<Vec<u8>, &'static str> {
        let wanted = format!("x={name}");
        let name = query_values(&wanted, "x").next().unwrap_or_default().into_owned();
        let name =
            String::from_utf8(name).map_err(|_| "the name of a parameter of the query is not UTF-8")?;
        let mut values = query_values(self.query.unwrap_or_default(), &name);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(form_encoded(&value)),
            (None, _) => Err("a parameter of the query that was signed is not there"),
            (Some(_), Some(_)) => Err("a parameter of the query that was signed is there twice"),
        }
    }

    /// All fields of a name, with commas between (RFC 9421 2.1); none if there are none.
    fn field(&self, name: &str) -> Option<Vec<u8>> {
        let is_lower = name.bytes().all(|b| !b.is_ascii_uppercase());
        let values: Vec<&[u8]> = self
            .headers
            .find_all(name.as_bytes())
            .map(<[u8]>::trim_ascii)
            .collect();
        (is_lower && !values.is_empty()).then(|| values.join(&b", "[..]))
    }

    /// RFC 9421 2.1.3.
    fn binary(&self, name: &str) -> Result<Vec<u8>, &'static str> {
        let values = self.headers.find_all(name.as_bytes()).map(<[u8]>::trim_ascii);
        let list: List = values.map(|value| Item::new(value.to_vec()).into()).collect();
        let text = list.serialize().ok_or("a field that was signed is not there")?;
        Ok(text.into_bytes())
    }

    /// RFC 9421 2.1.2.
    fn member(&self, name: &str, key: &str) -> Result<Vec<u8>, &'static str> {
        let missing = "a member of a field that was signed is not there";
        let mut dictionary = self.dictionary(name)?.ok_or(missing)?;
        let member = dictionary.shift_remove(key).ok_or(missing)?;
        let list: List = vec![member];
        Ok(list.serialize().unwrap_or_default().into_bytes())
    }
}

/// The name of a component.
pub fn component_name(item: &Item) -> Option<&str> {
    item.bare_item.as_string().map(sfv::StringRef::as_str)
}

/// As `application/x-www-form-urlencoded` writes it, with `%20` for a space.
fn form_encoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}
