//! Sections of one or several files to one typed document.
//!
//! Each item of a section is read by itself as soon as its text ends, so that one that is wrong takes no other
//! with it, and its raw form is gone before the next one is read.

use crate::config::diagnostic::{Diagnostic, Diagnostics, closest, list};
use crate::config::reader::Reader;
use crate::config::yaml::Item;
use crate::config::{Broken, Config};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Sections that are maps by name, with what one item is called. These may be in included files.
pub(super) const NAMED: [(&str, &str); 6] = [
    ("consumers", "consumer"),
    ("listeners", "listener"),
    ("named_policies", "named policy"),
    ("routes", "route"),
    ("stores", "store"),
    ("upstreams", "upstream"),
];

/// Sections there is one of.
const SINGLE: [&str; 12] = [
    "policies",
    "consumers_from",
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

/// The document on its way: items have their types as soon as they are read, so that the raw form of a large
/// document is never in memory whole; sections there is one of wait for the end.
#[derive(Default)]
pub(super) struct Assembly {
    config: Config,
    single: Map<String, Value>,
    reader: Reader,
    broken: Broken,
    /// What types say. The texts have more to say, and may take some of this back.
    typed: Diagnostics,
    /// Items of the file at hand that another file has too, such as `routes.orders`.
    twice: HashSet<String>,
}

/// What came of all files.
pub(super) struct Assembled {
    pub(super) config: Config,
    pub(super) broken: Broken,
    pub(super) typed: Diagnostics,
    pub(super) reader: Reader,
}

/// How far an assembly was at one time.
pub(super) struct Mark {
    items: [usize; NAMED.len()],
    typed: usize,
}

impl Assembly {
    /// Begins a file; what it brings may be taken back.
    pub(super) fn begin(&mut self) -> Mark {
        self.twice.clear();
        let config = &self.config;
        Mark {
            items: [
                config.consumers.len(),
                config.listeners.len(),
                config.named_policies.len(),
                config.routes.len(),
                config.stores.len(),
                config.upstreams.len(),
            ],
            typed: self.typed.len(),
        }
    }

    /// Forgets everything since then: the text it came from is no document.
    pub(super) fn take_back(&mut self, mark: &Mark) {
        let [consumers, listeners, named_policies, routes, stores, upstreams] = mark.items;
        self.config.consumers.truncate(consumers);
        self.config.stores.truncate(stores);
        self.config.listeners.truncate(listeners);
        self.config.named_policies.truncate(named_policies);
        self.config.routes.truncate(routes);
        self.config.upstreams.truncate(upstreams);
        self.typed.truncate(mark.typed);
    }

    /// Takes an item of a section; `item.section` is an index into [`NAMED`].
    pub(super) fn take(&mut self, mut item: Item<'_>) {
        let Some((section, _)) = NAMED.get(item.section) else {
            return;
        };
        let path = format!("{section}.{}", item.name);
        let config = &mut self.config;
        let known = match *section {
            "consumers" => config.consumers.contains_key(item.name),
            "listeners" => config.listeners.contains_key(item.name),
            "named_policies" => config.named_policies.contains_key(item.name),
            "routes" => config.routes.contains_key(item.name),
            "stores" => config.stores.contains_key(item.name),
            _ => config.upstreams.contains_key(item.name),
        };
        if known || self.broken.has(&path) {
            self.twice.insert(path);
            return;
        }
        self.reader.learn(std::mem::take(&mut item.from_environment));
        let mut read = Typed {
            reader: &self.reader,
            out: &mut self.typed,
            broken: &mut self.broken,
        };
        match *section {
            "consumers" => read.item(&item, path, &mut config.consumers),
            "listeners" => read.item(&item, path, &mut config.listeners),
            "named_policies" => read.item(&item, path, &mut config.named_policies),
            "routes" => read.item(&item, path, &mut config.routes),
            "stores" => read.item(&item, path, &mut config.stores),
            _ => read.item(&item, path, &mut config.upstreams),
        }
    }

    /// Whether another file has such an item of the file at hand.
    pub(super) fn is_twice(&self, path: &str) -> bool {
        self.twice.contains(path)
    }

    /// Notes paths that came from the environment.
    pub(super) fn learn(&mut self, from_environment: Vec<String>) {
        self.reader.learn(from_environment);
    }

    /// Takes what is left of the main file once its items are taken.
    pub(super) fn main(&mut self, root: Map<String, Value>, out: &mut Diagnostics) {
        for (section, value) in root {
            if SINGLE.contains(&section.as_str()) {
                // Nothing at all below a section is as good as no section.
                if !value.is_null() {
                    self.single.insert(section, value);
                }
            } else if let Some((section, _)) = NAMED.iter().find(|(known, _)| *known == section) {
                items(section, value, out);
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

    /// Gives the other sections their types; also says which parts had something wrong.
    pub(super) fn finish(mut self) -> Assembled {
        let mut read = Typed {
            reader: &self.reader,
            out: &mut self.typed,
            broken: &mut self.broken,
        };
        let mut one = Ones {
            sections: &self.single,
            read: &mut read,
        };
        let config = Config {
            policies: one.section("policies"),
            consumers_from: one.section("consumers_from"),
            versions: one.section("versions"),
            client: one.section("client"),
            forwarded: one.section("forwarded"),
            request_id: one.section("request_id"),
            paths: one.section("paths"),
            access_log: one.section("access_log"),
            dns: one.section("dns"),
            admin: one.section("admin"),
            process: one.section("process"),
            include: one.section("include"),
            ..self.config
        };
        Assembled {
            config,
            broken: self.broken,
            typed: self.typed,
            reader: self.reader,
        }
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
    reader: &'a Reader,
    out: &'a mut Diagnostics,
    broken: &'a mut Broken,
}

impl Typed<'_> {
    fn item<T: DeserializeOwned + JsonSchema + 'static>(
        &mut self,
        item: &Item<'_>,
        path: String,
        into: &mut IndexMap<String, T>,
    ) {
        let read = self.reader.read::<T>(&item.value, &path, self.out);
        if !read.clean {
            self.broken.add(path);
        }
        if let Some(typed) = read.value {
            into.insert(item.name.to_owned(), typed);
        }
    }
}

struct Ones<'a, 't> {
    sections: &'a Map<String, Value>,
    read: &'a mut Typed<'t>,
}

impl Ones<'_, '_> {
    fn section<T: DeserializeOwned + JsonSchema + Default + 'static>(&mut self, section: &str) -> T {
        let Some(value) = self.sections.get(section) else {
            return T::default();
        };
        let read = self.read.reader.read::<T>(value, section, self.read.out);
        if !read.clean {
            self.read.broken.add(section.to_owned());
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
