//! What differs between two documents, by name: for the log, so that a reload says what it changed.

use crate::config::Config;
use indexmap::IndexMap;
use std::fmt;

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

/// Compares two documents.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let sections = [
        named("listeners", &old.listeners, &new.listeners),
        one("policies", &old.policies, &new.policies),
        named("named_policies", &old.named_policies, &new.named_policies),
        named("routes", &old.routes, &new.routes),
        named("upstreams", &old.upstreams, &new.upstreams),
        one("versions", &old.versions, &new.versions),
        one("client", &old.client, &new.client),
        one("forwarded", &old.forwarded, &new.forwarded),
        one("request_id", &old.request_id, &new.request_id),
        one("paths", &old.paths, &new.paths),
        one("access_log", &old.access_log, &new.access_log),
        one("dns", &old.dns, &new.dns),
        one("admin", &old.admin, &new.admin),
        one("process", &old.process, &new.process),
        one("include", &old.include, &new.include),
    ];
    Diff {
        sections: sections.into_iter().flatten().collect(),
    }
}

fn named<T: PartialEq>(
    name: &'static str,
    old: &IndexMap<String, T>,
    new: &IndexMap<String, T>,
) -> Option<Section> {
    let missing_in = |there: &IndexMap<String, T>, here: &IndexMap<String, T>| {
        here.keys()
            .filter(|name| !there.contains_key(*name))
            .cloned()
            .collect::<Vec<_>>()
    };
    let changed = new
        .iter()
        .filter(|(name, item)| old.get(*name).is_some_and(|was| was != *item));
    let section = Section {
        name,
        added: missing_in(old, new),
        removed: missing_in(new, old),
        changed: changed.map(|(name, _)| name.clone()).collect(),
    };
    let same = section.added.is_empty() && section.removed.is_empty() && section.changed.is_empty();
    (!same).then_some(section)
}

fn one<T: PartialEq>(name: &'static str, old: &T, new: &T) -> Option<Section> {
    (old != new).then(|| Section {
        name,
        added: Vec::new(),
        removed: Vec::new(),
        changed: vec![name.to_owned()],
    })
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

    fn config(text: &str) -> Config {
        load_str(text, "test").config
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
