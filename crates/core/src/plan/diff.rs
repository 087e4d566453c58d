//! What differs between two documents, by name: for the log, so that a reload says what it changed.

use crate::config::{Config, NamedFiles};
use indexmap::IndexMap;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// What a document has, by name: all that must be kept of one to compare it with the next.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// Fingerprints of items by name, section by section. A section that is one item has its own name.
    sections: Vec<(&'static str, HashMap<Box<str>, u64>)>,
}

impl Outline {
    /// The same with the files that the document names: certificates, keys, lists.
    #[must_use]
    pub fn with_files(mut self, files: &NamedFiles) -> Self {
        let mut print = Fingerprint::default();
        let prints = files.digests().into_iter();
        let prints = prints.map(|(path, digest)| (path.to_string_lossy().into(), print.of(&digest)));
        self.sections.push(("files", prints.collect()));
        self
    }

    /// The outline of a document.
    pub fn of(config: &Config) -> Self {
        let mut print = Fingerprint::default();
        Self {
            sections: vec![
                print.items("listeners", &config.listeners),
                print.one("policies", &config.policies),
                print.items("named_policies", &config.named_policies),
                print.items("consumers", &config.consumers),
                print.one("consumers_from", &config.consumers_from),
                print.items("routes", &config.routes),
                print.items("stores", &config.stores),
                print.items("upstreams", &config.upstreams),
                print.one("versions", &config.versions),
                print.one("client", &config.client),
                print.one("forwarded", &config.forwarded),
                print.one("request_id", &config.request_id),
                print.one("paths", &config.paths),
                print.one("access_log", &config.access_log),
                print.one("dns", &config.dns),
                print.one("admin", &config.admin),
                print.one("process", &config.process),
                print.one("include", &config.include),
            ],
        }
    }
}

/// Makes numbers of items, which are equal for equal items and, but for a rare accident that only a line in
/// the log would suffer from, for no others.
#[derive(Default)]
struct Fingerprint {
    hasher: BuildHasherDefault<DefaultHasher>,
    text: Vec<u8>,
}

impl Fingerprint {
    fn of(&mut self, item: &impl Serialize) -> u64 {
        self.text.clear();
        // Plain data: there is nothing in it that could not be written.
        let _ = serde_json::to_writer(&mut self.text, item);
        self.hasher.hash_one(&self.text)
    }

    fn items<T: Serialize>(
        &mut self,
        section: &'static str,
        items: &IndexMap<String, T>,
    ) -> (&'static str, HashMap<Box<str>, u64>) {
        let items = items.iter();
        let prints = items.map(|(name, item)| (name.as_str().into(), self.of(item)));
        (section, prints.collect())
    }

    fn one(
        &mut self,
        section: &'static str,
        item: &impl Serialize,
    ) -> (&'static str, HashMap<Box<str>, u64>) {
        (section, [(section.into(), self.of(item))].into())
    }
}

/// What differs between two documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Sections that differ, in the order of the document.
    pub sections: Vec<Section>,
}

/// What differs in one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name of the section.
    pub name: &'static str,
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Names whose items are not what they were. For a section that is one item, its own name.
    pub changed: Vec<String>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// What differs in this section.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

/// Compares two documents. Names are in alphabetical order.
pub fn diff(old: &Outline, new: &Outline) -> Diff {
    let sections = new.sections.iter().filter_map(|(name, new)| {
        let old = old.sections.iter().find(|(known, _)| known == name);
        section(name, old.map(|(_, old)| old)?, new)
    });
    Diff {
        sections: sections.collect(),
    }
}

fn section(
    name: &'static str,
    old: &HashMap<Box<str>, u64>,
    new: &HashMap<Box<str>, u64>,
) -> Option<Section> {
    let names = |of: &HashMap<Box<str>, u64>, which: &dyn Fn(&str, u64) -> bool| {
        let which = of.iter().filter(|(name, print)| which(name, **print));
        let mut names: Vec<String> = which.map(|(name, _)| name.to_string()).collect();
        names.sort_unstable();
        names
    };
    let section = Section {
        name,
        added: names(new, &|name, _| !old.contains_key(name)),
        removed: names(old, &|name, _| !new.contains_key(name)),
        changed: names(new, &|name, print| old.get(name).is_some_and(|was| *was != print)),
    };
    let same = section.added.is_empty() && section.removed.is_empty() && section.changed.is_empty();
    (!same).then_some(section)
}

impl fmt::Display for Diff {
    /// One line: `routes +a,b -c ~d; client changed`, or `nothing`. Long lists end with a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (index, section) in self.sections.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(section.name)?;
            if section.changed.len() == 1 && section.changed.first().is_some_and(|name| name == section.name)
            {
                f.write_str(" changed")?;
                continue;
            }
            for (sign, names) in [
                ('+', &section.added),
                ('-', &section.removed),
                ('~', &section.changed),
            ] {
                write_names(f, sign, names)?;
            }
        }
        Ok(())
    }
}

fn write_names(f: &mut fmt::Formatter<'_>, sign: char, names: &[String]) -> fmt::Result {
    const MOST: usize = 8;
    for (index, name) in names.iter().take(MOST).enumerate() {
        if index == 0 {
            write!(f, " {sign}{name}")?;
        } else {
            write!(f, ",{name}")?;
        }
    }
    if names.len() > MOST {
        write!(f, ",and {} more", names.len() - MOST)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;

    fn config(text: &str) -> Outline {
        Outline::of(&load_str(text, "test").config)
    }

    #[test]
    fn names_what_is_new_gone_and_changed() {
        let old = config(
            "routes:\n  a: { match: {}, reply: {} }\n  b: { match: {}, reply: {} }\n  c: { match: {}, reply: {} }\n",
        );
        let new = config(
            "client: { underscores: drop }\nroutes:\n  c: { match: {}, reply: {} }\n  b: { match: { path: /b }, reply: {} }\n  d: { match: {}, reply: {} }\n",
        );
        let diff = diff(&old, &new);
        assert_eq!(diff.to_string(), "routes +d -a ~b; client changed");
        assert_eq!(diff.section("routes").unwrap().removed, ["a"]);
    }

    #[test]
    fn order_is_no_difference() {
        let old = config("upstreams:\n  a: { endpoints: [http://a] }\n  b: { endpoints: [http://b] }\n");
        let new = config("upstreams:\n  b: { endpoints: [http://b] }\n  a: { endpoints: [http://a] }\n");
        assert_eq!(diff(&old, &new).to_string(), "nothing");
    }

    #[test]
    fn long_lists_are_cut() {
        let routes: Vec<_> = (0..10)
            .map(|i| {
                format!(
                    "  r{i}: {{ match: {{}}, reply: {{}} }}
"
                )
            })
            .collect();
        let diff = diff(&config(""), &config(&format!("routes:\n{}", routes.concat())));
        assert_eq!(diff.to_string(), "routes +r0,r1,r2,r3,r4,r5,r6,r7,and 2 more");
    }
}
