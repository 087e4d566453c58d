//! The JSON Schema of the document (draft 2020-12), with the kinds of policies that a build has.
//!
//! Editors complete and check documents with it; the reference and the console's forms are made from it.

use super::Config;
use serde_json::{Map, Value, json};

/// The schema of the document. Each kind comes with its name and the schema of its settings.
pub fn document(kinds: &[(&str, Value)]) -> Value {
    let mut root = schemars::schema_for!(Config).to_value();
    let mut definitions = match root.get_mut("$defs").map(Value::take) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    let mut forms = vec![one_key(
        "use",
        &json!({ "type": "string", "description": "One of `named_policies`, by name." }),
    )];
    for (kind, schema) in kinds {
        let name = format!("policy_{kind}");
        let schema = adopt(kind, schema.clone(), &mut definitions);
        definitions.insert(name.clone(), schema);
        forms.push(one_key(kind, &json!({ "$ref": format!("#/$defs/{name}") })));
    }
    if let Some(entry @ Value::Object(_)) = definitions.get_mut("PolicyEntry") {
        let description = entry.get("description").cloned();
        *entry = json!({ "description": description, "oneOf": forms });
    }
    if let Value::Object(root) = &mut root {
        root.insert("title".to_owned(), json!("Gatehouse configuration"));
        root.insert("$defs".to_owned(), Value::Object(definitions));
    }
    root
}

fn one_key(key: &str, schema: &Value) -> Value {
    json!({ "type": "object", "properties": { key: schema }, "required": [key], "additionalProperties": false })
}

/// Moves a kind's own definitions among those of the document. One that is there under the same name with
/// another meaning gets the kind's name in front.
fn adopt(kind: &str, mut schema: Value, definitions: &mut Map<String, Value>) -> Value {
    let own = schema.as_object_mut().and_then(|schema| {
        schema.shift_remove("$schema");
        schema.shift_remove("$defs")
    });
    let Some(Value::Object(own)) = own else { return schema };
    let renamed: Vec<(String, String)> = own
        .iter()
        .filter(|(name, definition)| definitions.get(*name).is_some_and(|known| known != *definition))
        .map(|(name, _)| (format!("#/$defs/{name}"), format!("{kind}_{name}")))
        .collect();
    redirect(&mut schema, &renamed);
    for (name, mut definition) in own {
        redirect(&mut definition, &renamed);
        let reference = format!("#/$defs/{name}");
        let name = renamed
            .iter()
            .find(|(from, _)| *from == reference)
            .map_or(name, |(_, to)| to.clone());
        definitions.entry(name).or_insert(definition);
    }
    schema
}

/// Points references to the new names.
fn redirect(schema: &mut Value, renamed: &[(String, String)]) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some((_, to)) = renamed.iter().find(|(from, _)| from == target) {
                            *target = format!("#/$defs/{to}");
                        }
                    }
                    value => redirect(value, renamed),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, renamed)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    /// Calls with every schema within a schema, and its path.
    fn each(schema: &Value, path: &str, call: &mut dyn FnMut(&str, &Map<String, Value>)) {
        match schema {
            Value::Object(map) => {
                call(path, map);
                map.iter()
                    .for_each(|(key, value)| each(value, &format!("{path}/{key}"), call));
            }
            Value::Array(items) => items.iter().for_each(|item| each(item, path, call)),
            _ => {}
        }
    }

    #[test]
    fn every_field_is_described_and_every_reference_leads_somewhere() {
        let schema = document(&[("demo", json!({ "type": "object", "properties": {} }))]);
        let definitions = schema["$defs"].as_object().unwrap();
        each(&schema, "", &mut |path, map| {
            if let Some(Value::String(target)) = map.get("$ref") {
                let name = target.strip_prefix("#/$defs/").unwrap();
                assert!(definitions.contains_key(name), "{path}: {target}");
            }
        });
        let described = |value: &Value| {
            let target = value["$ref"]
                .as_str()
                .and_then(|target| target.strip_prefix("#/$defs/"));
            value.get("description").is_some()
                || target.is_some_and(|name| definitions[name].get("description").is_some())
        };
        for (name, definition) in definitions.iter().chain([(&"root".to_owned(), &schema)]) {
            for (field, value) in definition
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                assert!(
                    described(value) || name.starts_with("policy_"),
                    "{name}.{field} is not described"
                );
            }
        }
    }

    #[test]
    fn defaults_are_shown() {
        let schema = document(&[]);
        let definitions = &schema["$defs"];
        assert_eq!(
            definitions["ClientTimeouts"]["properties"]["head"]["default"],
            "10s"
        );
        assert_eq!(
            definitions["ClientLimits"]["properties"]["body"]["default"],
            "100MiB"
        );
        assert_eq!(definitions["Listener"]["properties"]["backlog"]["default"], 4096);
        assert_eq!(
            definitions["Admin"]["properties"]["address"]["default"],
            "127.0.0.1:9900"
        );
        assert_eq!(definitions["Redirect"]["properties"]["status"]["default"], 308);
        assert_eq!(definitions["Listener"]["required"], json!(["address"]));
    }

    #[test]
    fn policies_are_one_of_the_kinds() {
        #[derive(schemars::JsonSchema)]
        #[allow(dead_code)] // only its schema is looked at
        struct Demo {
            /// A window.
            window: Span,
            /// Something that has the name of another.
            forward: demo::Forward,
        }
        mod demo {
            #[derive(schemars::JsonSchema)]
            #[allow(dead_code)] // only its schema is looked at
            pub(super) struct Forward {
                /// A number.
                number: u8,
            }
        }
        let schema = document(&[("demo", schemars::schema_for!(Demo).to_value())]);
        let definitions = &schema["$defs"];
        let forms = definitions["PolicyEntry"]["oneOf"].as_array().unwrap();
        assert_eq!(forms.len(), 2);
        assert_eq!(forms[1]["properties"]["demo"]["$ref"], "#/$defs/policy_demo");
        assert_eq!(
            definitions["policy_demo"]["properties"]["window"]["$ref"],
            "#/$defs/Span"
        );
        assert_eq!(
            definitions["policy_demo"]["properties"]["forward"]["$ref"],
            "#/$defs/demo_Forward"
        );
        assert!(definitions["Forward"]["properties"].get("upstream").is_some());
        assert!(definitions["demo_Forward"]["properties"].get("number").is_some());
    }
}
