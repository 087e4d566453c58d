//! What every kind of policy owes its users: an example that works, a description of every setting, and help
//! with a mistyped one.

use std::collections::BTreeMap;

use gatehouse_core::config::{self, Diagnostic};
use gatehouse_core::policy::Kind;
use gatehouse_core::server;
use gatehouse_policies::KINDS;
use serde_json::Value;

/// A document with one route, whose one policy is of this kind with these settings.
fn document(kind: &Kind, settings: &str) -> String {
    let indented = format!(
        "          {}\n",
        settings.trim_end().replace('\n', "\n          ")
    );
    format!(
        "listeners: {{ main: {{ address: 127.0.0.1:0 }} }}\n\
         routes:\n\
         \x20 all:\n\
         \x20   match: {{}}\n\
         \x20   policies:\n\
         \x20     - {}:\n\
         {indented}\
         \x20   reply: {{ body: ok }}\n",
        kind.name
    )
}

/// What is wrong with a document, in the order it is found.
fn wrong(text: &str) -> Vec<Diagnostic> {
    // Files that examples name are in this folder. All tests go there, whichever is first.
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files");
    assert!(std::env::set_current_dir(files).is_ok(), "no folder {files}");
    let loaded = config::load_str(text, "gatehouse.yaml");
    let mut found: Vec<Diagnostic> = loaded.diagnostics.iter().cloned().collect();
    if found.is_empty()
        && let Err(more) = server::check(&loaded.config, &loaded.reader, KINDS)
    {
        found.extend(more);
    }
    found
}

fn messages(found: &[Diagnostic]) -> Vec<&str> {
    found
        .iter()
        .map(|diagnostic| diagnostic.message.as_str())
        .collect()
}

#[test]
fn names_are_in_one_style_and_unique() {
    let mut seen = BTreeMap::new();
    for (at, kind) in KINDS.iter().enumerate() {
        assert!(
            kind.name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{}",
            kind.name
        );
        assert_ne!(kind.name, "use", "`use` refers to a named policy");
        assert_eq!(seen.insert(kind.name, at), None, "{} is there twice", kind.name);
    }
}

#[test]
fn every_example_compiles() {
    for kind in KINDS {
        let text = document(kind, kind.example);
        let found = wrong(&text);
        assert!(found.is_empty(), "{}: {:?}\n{text}", kind.name, messages(&found));
    }
}

#[test]
fn every_setting_is_described() {
    for kind in KINDS {
        let schema = (kind.schema)();
        let mut bare = Vec::new();
        if !described(&schema) {
            bare.push(kind.name.to_owned());
        }
        collect_bare(&schema, kind.name, &mut bare);
        assert!(bare.is_empty(), "without a description: {bare:?}");
    }
}

fn described(schema: &Value) -> bool {
    schema["description"]
        .as_str()
        .is_some_and(|text| !text.trim().is_empty())
}

/// Adds the paths of all properties, of the schema and of its definitions, that have no description.
fn collect_bare(schema: &Value, path: &str, bare: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                let names = properties.iter().filter(|(_, property)| !described(property));
                bare.extend(names.map(|(name, _)| format!("{path}.{name}")));
            }
            for (key, below) in map {
                collect_bare(below, &format!("{path}.{key}"), bare);
            }
        }
        Value::Array(list) => {
            for below in list {
                collect_bare(below, path, bare);
            }
        }
        _ => {}
    }
}

#[test]
fn a_mistyped_setting_is_refused_with_a_suggestion() {
    for kind in KINDS {
        let schema = (kind.schema)();
        let Some(name) = schema["properties"]
            .as_object()
            .and_then(|properties| properties.keys().max_by_key(|name| name.len()))
        else {
            continue;
        };
        // The last letter is missing, in a copy beside the good settings.
        let typo = &name[..name.len() - 1];
        let text = document(kind, &format!("{}\n{typo}: 1", kind.example.trim_end()));
        let found = wrong(&text);
        let all = messages(&found);
        let unknown = found.iter().find(|diagnostic| {
            diagnostic
                .message
                .contains(&format!("unknown field `{typo}` in `{}`", kind.name))
        });
        let unknown = unknown.unwrap_or_else(|| panic!("{}: {all:?}", kind.name));
        assert_eq!(
            unknown.path,
            format!("routes.all.policies[0].{}.{typo}", kind.name)
        );
        let hint = unknown.hint.as_deref().unwrap_or_default();
        assert!(
            hint.contains(&format!("`{name}`")),
            "{}: `{hint}` for `{typo}`",
            kind.name
        );
    }
}

/// What tools keep of the document: a schema is an object that admits no unknown settings.
#[test]
fn every_schema_is_closed() {
    for kind in KINDS {
        let schema = (kind.schema)();
        assert_eq!(schema["type"], "object", "{}", kind.name);
        assert_eq!(schema["additionalProperties"], false, "{}", kind.name);
    }
}
