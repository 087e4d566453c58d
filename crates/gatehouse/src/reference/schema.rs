//! From JSON Schema to tables: the fields of an object, then the objects inside it, each under its path.
//!
//! Knows the shapes that `schemars` makes: `$ref` into `$defs`, `anyOf` with `null` for what may be left
//! out, `oneOf` of constants for enums, `additionalProperties` for maps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::markdown::{anchor, cell};

/// Objects nested deeper than this are not followed.
const DEEPEST: usize = 12;

/// The definition that any policy fits. Policies have pages of their own.
const POLICY: &str = "PolicyEntry";

/// A schema with its definitions.
pub(super) struct Document<'a> {
    root: &'a Value,
    /// Definitions described on the page at hand, and under which path: each is described once.
    described: RefCell<BTreeMap<String, String>>,
    /// Leads from the page at hand to the folder of the reference.
    up: &'static str,
}

/// An object to be described, and where it stands in the document.
struct Place<'a> {
    path: String,
    object: &'a Map<String, Value>,
    depth: usize,
}

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            described: RefCell::default(),
            up: "",
        }
    }

    /// The same, for a page one folder below.
    pub(super) fn below(self) -> Self {
        Self { up: "../", ..self }
    }

    /// The top-level keys, in the order of the schema.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        properties(self.root)
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str(), schema))
    }

    /// What the schema says of itself.
    pub(super) fn description(&self) -> String {
        text_of(self.root)
    }

    /// What a schema says of itself, or what it refers to does.
    pub(super) fn describe(&self, schema: &Value) -> String {
        let own = text_of(schema);
        if own.is_empty() {
            text_of(self.resolve(schema))
        } else {
            own
        }
    }

    pub(super) fn section_page(&self, name: &str, section: &'a Value) -> String {
        self.described.borrow_mut().clear();
        let mut text = format!("# `{name}`\n\n{}\n\n", self.describe(section));
        let value = nullable(section);
        let resolved = self.resolve(value);
        if let Some(object) = resolved.as_object().filter(|_| properties(resolved).is_some()) {
            if let Some(definition) = reference(value) {
                self.described
                    .borrow_mut()
                    .insert(definition.to_owned(), name.to_owned());
            }
            let path = name.to_owned();
            let place = Place {
                path,
                object,
                depth: 0,
            };
            let inside = self.describe_fields(&mut text, &place);
            self.describe_places(&mut text, inside, 2);
            return text;
        }
        let _ = writeln!(
            text,
            "Type: {}.{}",
            self.type_of(section, name),
            default_sentence(section)
        );
        let mut places = Vec::new();
        self.objects_in(section, name, 0, &mut places);
        self.describe_places(&mut text, places, 2);
        text
    }

    /// The fields of the root itself, and the objects inside.
    pub(super) fn root_fields(&self, name: &str) -> String {
        let Some(object) = self.root.as_object() else {
            return String::new();
        };
        let place = Place {
            path: name.to_owned(),
            object,
            depth: 0,
        };
        let mut text = String::new();
        let inside = self.describe_fields(&mut text, &place);
        self.describe_places(&mut text, inside, 3);
        text
    }

    /// Every definition that is a plain value: durations, sizes, patterns, choices.
    pub(super) fn types_page(&self) -> String {
        let mut text =
            "# Types of values\n\nHow values are written, wherever a setting has one of these types.\n"
                .to_owned();
        let definitions = self.root.get("$defs").and_then(Value::as_object);
        for (name, schema) in definitions
            .into_iter()
            .flatten()
            .filter(|(_, schema)| is_value(schema))
        {
            let _ = write!(text, "\n## {name}\n\n{}\n", text_of(schema));
            let choices = choices(schema);
            if choices.is_empty() {
                let _ = writeln!(text, "\nWritten as: {}.", self.shape_of(schema, name));
            }
            for (choice, what) in &choices {
                let _ = write!(
                    text,
                    "\n- `{choice}`{}{}",
                    if what.is_empty() { "" } else { ": " },
                    cell(what)
                );
            }
            text += if choices.is_empty() { "" } else { "\n" };
            let examples = schema.get("examples").and_then(Value::as_array);
            if let Some(examples) = examples.filter(|examples| !examples.is_empty()) {
                let examples: Vec<String> = examples
                    .iter()
                    .map(|example| format!("`{}`", bare(example)))
                    .collect();
                let _ = writeln!(text, "\nExamples: {}.", examples.join(", "));
            }
        }
        text
    }

    fn describe_places(&self, text: &mut String, places: Vec<Place<'a>>, level: usize) {
        for place in places {
            let marks = "#".repeat(level.min(6));
            let _ = write!(text, "\n{marks} `{}`\n\n", place.path);
            let description = object_text(place.object);
            if !description.is_empty() {
                let _ = writeln!(text, "{description}\n");
            }
            let inside = self.describe_fields(text, &place);
            self.describe_places(text, inside, level);
        }
    }

    /// Writes the table of an object's fields; returns the objects that they hold.
    fn describe_fields(&self, text: &mut String, place: &Place<'a>) -> Vec<Place<'a>> {
        let mut inside = Vec::new();
        let Some(fields) = place.object.get("properties").and_then(Value::as_object) else {
            return inside;
        };
        if fields.is_empty() {
            text.push_str("No settings.\n");
            return inside;
        }
        let required: Vec<&str> = place
            .object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        text.push_str("| setting | type | default | what it does |\n|---|---|---|---|\n");
        for (name, schema) in fields {
            let path = format!("{}.{name}", place.path);
            let default = match schema.get("default") {
                Some(Value::Null) | None if required.contains(&name.as_str()) => "required".to_owned(),
                Some(Value::Null) | None => "none".to_owned(),
                Some(Value::Object(fields)) if !fields.is_empty() => "see there".to_owned(),
                Some(default) => format!("`{}`", bare(default)),
            };
            let what = self.describe(schema);
            let _ = writeln!(
                text,
                "| `{name}` | {} | {} | {} |",
                self.type_of(schema, &path),
                cell(&default),
                cell(&what)
            );
            self.objects_in(schema, &path, place.depth + 1, &mut inside);
        }
        inside
    }

    /// Finds the objects with settings of their own in a value of this schema.
    fn objects_in(&self, schema: &'a Value, path: &str, depth: usize, found: &mut Vec<Place<'a>>) {
        if depth > DEEPEST || self.is_described_elsewhere(schema, path) {
            return;
        }
        let schema = self.resolve(schema);
        if let Some(object) = schema.as_object().filter(|_| properties(schema).is_some()) {
            found.push(Place {
                path: path.to_owned(),
                object,
                depth,
            });
        }
        if let Some(item) = schema.get("items") {
            self.objects_in(item, &format!("{path}[]"), depth + 1, found);
        }
        if let Some(value) = schema
            .get("additionalProperties")
            .filter(|value| value.is_object())
        {
            self.objects_in(value, &format!("{path}.NAME"), depth + 1, found);
        }
        for variant in variants(schema) {
            self.objects_in(variant, path, depth + 1, found);
        }
    }

    /// A type in a few words, with links. `path` is where a value of it stands.
    fn type_of(&self, schema: &Value, path: &str) -> String {
        if let Some(name) = reference(schema) {
            if name == POLICY {
                return format!("[policy]({}policies.md)", self.up);
            }
            let resolved = self.resolve(schema);
            if is_value(resolved) {
                return format!("[{name}]({}types.md#{})", self.up, anchor(name));
            }
            let mut described = self.described.borrow_mut();
            let first = described
                .entry(name.to_owned())
                .or_insert_with(|| path.to_owned())
                .clone();
            drop(described);
            return self.shape_of(resolved, &first);
        }
        self.shape_of(schema, path)
    }

    fn shape_of(&self, schema: &Value, path: &str) -> String {
        if properties(schema).is_some() {
            return format!("[object](#{})", anchor(path));
        }
        let choices = choices(schema);
        if !choices.is_empty() {
            return choices
                .iter()
                .map(|(choice, _)| format!("`{choice}`"))
                .collect::<Vec<_>>()
                .join(" or ");
        }
        let variants: Vec<String> = variants(schema)
            .filter(|variant| variant.get("type").and_then(Value::as_str) != Some("null"))
            .map(|variant| self.type_of(variant, path))
            .collect();
        if !variants.is_empty() {
            let mut once: Vec<String> = Vec::new();
            for variant in variants {
                if !once.contains(&variant) {
                    once.push(variant);
                }
            }
            return once.join(" or ");
        }
        match type_name(schema) {
            Some("array") => {
                let item = schema
                    .get("items")
                    .map(|item| self.type_of(item, &format!("{path}[]")));
                format!("list of {}", item.unwrap_or_else(|| "any value".to_owned()))
            }
            Some("object") => {
                let value = schema
                    .get("additionalProperties")
                    .filter(|value| value.is_object());
                let value = value.map(|value| self.type_of(value, &format!("{path}.NAME")));
                format!("map of {}", value.unwrap_or_else(|| "any value".to_owned()))
            }
            Some("boolean") => "`true` or `false`".to_owned(),
            Some(name @ ("integer" | "number")) => format!("{name}{}", range(schema)),
            Some(name) => name.to_owned(),
            None => "any value".to_owned(),
        }
    }

    /// Whether the schema is a policy, or a definition that is described under another path of the page.
    fn is_described_elsewhere(&self, schema: &Value, path: &str) -> bool {
        let Some(name) = reference(schema) else {
            return false;
        };
        name == POLICY
            || self
                .described
                .borrow()
                .get(name)
                .is_some_and(|first| first != path)
    }

    fn resolve<'s>(&self, schema: &'s Value) -> &'s Value
    where
        'a: 's,
    {
        let found = reference(schema).and_then(|name| self.root.get("$defs")?.get(name));
        match found {
            Some(found) if reference(found).is_none() => found,
            _ => schema,
        }
    }
}

/// The name that a schema refers to: `#/$defs/NAME`.
fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// What is there if the value is: the schema without `null` beside it.
fn nullable(schema: &Value) -> &Value {
    let mut left = variants(schema).filter(|variant| type_name(variant) != Some("null"));
    match (left.next(), left.next()) {
        (Some(only), None) => only,
        _ => schema,
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn variants(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|key| schema.get(key)?.as_array())
        .flatten()
}

/// The constants of an enum, with what each means. Empty for everything else.
fn choices(schema: &Value) -> Vec<(String, String)> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| (bare(value), String::new()))
            .collect();
    }
    let mut choices = Vec::new();
    for variant in variants(schema) {
        if let Some(value) = variant.get("const") {
            choices.push((bare(value), text_of(variant)));
        } else if variant.get("enum").is_some() {
            choices.extend(self::choices(variant));
        } else {
            return Vec::new();
        }
    }
    choices
}

/// Whether a definition is a value in itself and has no settings inside.
fn is_value(schema: &Value) -> bool {
    properties(schema).is_none()
        && !matches!(type_name(schema), Some("object" | "array"))
        && variants(schema).all(|variant| reference(variant).is_none() && is_value(variant))
}

/// The type, without `null` where a value may be left out.
fn type_name(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ => None,
    }
}

fn range(schema: &Value) -> String {
    let bound = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_f64)
            .map(|bound| bound.to_string())
    };
    match (bound("minimum"), bound("maximum")) {
        (Some(low), Some(high)) => format!(", {low} to {high}"),
        (Some(low), None) if low != "0" => format!(", at least {low}"),
        _ => String::new(),
    }
}

fn default_sentence(schema: &Value) -> String {
    match schema.get("default") {
        None | Some(Value::Null | Value::Object(_) | Value::Array(_)) => String::new(),
        Some(default) => format!(" Default: `{}`.", bare(default)),
    }
}

fn text_of(schema: &Value) -> String {
    schema.as_object().map(object_text).unwrap_or_default()
}

fn object_text(object: &Map<String, Value>) -> String {
    object
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// A value as it would be written in YAML: strings without quotation marks.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
