//! Sections of one or several files to one typed document.
//!
//! Each item of a section is read by itself, so that one that is wrong takes no other with it.

use crate::config::diagnostic::{Diagnostic, Diagnostics, closest, list};
use crate::config::reader::Reader;
use crate::config::{Broken, Config};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Sections that are maps by name, with what one item is called. These may be in included files.
pub(super) const NAMED: [(&str, &str); 4] = [
    ("listeners", "listener"),
    ("named_policies", "named policy"),
    ("routes", "route"),
    ("upstreams", "upstream"),
];

/// Sections there is one of.
const SINGLE: [&str; 11] = [
    "policies",
    "versions",
    "client",
    "forwarded",
    "request_id",
    "paths",
    "access_log",
    "dns",
    "admin",
    "process",
    "include",
];

/// The document before it has types: all items of all files, and the sections there is one of.
#[derive(Default)]
pub(super) struct Assembly {
    named: IndexMap<&'static str, Map<String, Value>>,
    single: Map<String, Value>,
}

impl Assembly {
    /// Takes the sections of the main file.
    pub(super) fn main(&mut self, root: Map<String, Value>, out: &mut Diagnostics) {
        for (section, value) in root {
            if SINGLE.contains(&section.as_str()) {
                // Nothing at all below a section is as good as no section.
                if !value.is_null() {
                    self.single.insert(section, value);
                }
            } else if let Some((section, _)) = NAMED.iter().find(|(known, _)| *known == section) {
                for (name, item) in items(section, value, out).unwrap_or_default() {
                    self.add(section, name, item);
                }
            } else {
                let known = || NAMED.iter().map(|(name, _)| *name).chain(SINGLE);
                let hint = match closest(&section, known()) {
                    Some(guess) => format!("did you mean `{guess}`?"),
                    None => format!("expected one of {}", list(known())),
                };
                out.push(
                    Diagnostic::error(section.as_str(), format!("unknown section `{section}`"))
                        .at_key()
                        .hint(hint),
                );
            }
        }
    }

    /// Whether there is such an item already.
    pub(super) fn has(&self, section: &str, name: &str) -> bool {
        self.named
            .get(section)
            .is_some_and(|items| items.contains_key(name))
    }

    /// Adds an item of an included file.
    pub(super) fn add(&mut self, section: &'static str, name: String, item: Value) {
        self.named.entry(section).or_default().insert(name, item);
    }

    /// Gives everything its type; also says which parts had something wrong. Raw items are freed as they are
    /// read, so that a large document is never in memory twice.
    pub(super) fn read(&mut self, reader: &Reader, out: &mut Diagnostics) -> (Config, Broken) {
        let mut read = Typed {
            assembly: self,
            reader,
            out,
            broken: Broken::default(),
        };
        let config = Config {
            listeners: read.section("listeners"),
            policies: read.one("policies"),
            named_policies: read.section("named_policies"),
            routes: read.section("routes"),
            upstreams: read.section("upstreams"),
            versions: read.one("versions"),
            client: read.one("client"),
            forwarded: read.one("forwarded"),
            request_id: read.one("request_id"),
            paths: read.one("paths"),
            access_log: read.one("access_log"),
            dns: read.one("dns"),
            admin: read.one("admin"),
            process: read.one("process"),
            include: read.one("include"),
        };
        (config, read.broken)
    }
}

/// The items of a section; none if it is not a map, which is said then.
pub(super) fn items(section: &str, value: Value, out: &mut Diagnostics) -> Option<Map<String, Value>> {
    match value {
        Value::Object(items) => Some(items),
        Value::Null => Some(Map::new()),
        other => {
            let is = if other.is_array() { "a list" } else { "one value" };
            let message = format!("`{section}` is {is}");
            out.push(
                Diagnostic::error(section, message).hint("expected a map, each item under its own name"),
            );
            None
        }
    }
}

struct Typed<'a> {
    assembly: &'a mut Assembly,
    reader: &'a Reader,
    out: &'a mut Diagnostics,
    broken: Broken,
}

impl Typed<'_> {
    fn section<T: DeserializeOwned + JsonSchema + 'static>(&mut self, section: &str) -> IndexMap<String, T> {
        let Some(items) = self.assembly.named.get_mut(section).map(std::mem::take) else {
            return IndexMap::new();
        };
        let mut typed = IndexMap::with_capacity(items.len());
        let mut path = format!("{section}.");
        let start = path.len();
        for (name, item) in items {
            path.truncate(start);
            path.push_str(&name);
            let read = self.reader.read::<T>(&item, &path, self.out);
            if !read.clean {
                self.broken.add(path.clone());
            }
            if let Some(item) = read.value {
                typed.insert(name, item);
            }
        }
        typed
    }

    fn one<T: DeserializeOwned + JsonSchema + Default + 'static>(&mut self, section: &str) -> T {
        let Some(value) = self.assembly.single.get(section) else {
            return T::default();
        };
        let read = self.reader.read::<T>(value, section, self.out);
        if !read.clean {
            self.broken.add(section.to_owned());
        }
        read.value.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_section_of_the_document_is_read() {
        let schema = schemars::schema_for!(Config);
        let fields: BTreeSet<_> = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let known: BTreeSet<_> = NAMED.iter().map(|(name, _)| *name).chain(SINGLE).collect();
        assert_eq!(fields, known);
    }
}
