//! What a type's schema says about the form of its values, made quick to compare with.
//!
//! Only what is needed to find unknown and missing fields and numbers out of range; everything else is left
//! to the type itself. Where a schema allows several forms that cannot be told apart, nothing is said.

use super::Part;
use schemars::Schema;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The shapes of a type and of all types within.
#[derive(Debug)]
pub(super) struct Shapes {
    nodes: Vec<Shape>,
    root: usize,
}

#[derive(Debug)]
enum Shape {
    Any,
    /// A struct: named fields only, unless it is open.
    Fields {
        fields: HashMap<String, usize>,
        names: Vec<String>,
        required: Vec<String>,
        open: bool,
    },
    /// A map of names to values of one type.
    Names(usize),
    List {
        items: usize,
        at_least: u64,
    },
    Number {
        least: Option<f64>,
        most: Option<f64>,
    },
    Either(Vec<usize>),
}

/// Something in a value that does not fit.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) path: Vec<Part>,
    pub(super) fault: Fault,
}

#[derive(Debug)]
pub(super) enum Fault {
    /// No such field; these are the fields there are.
    Unknown { known: Vec<String> },
    /// A field that must be given is not.
    Missing { field: String },
    /// A number or a count is too small or too large.
    OutOfRange { expected: String },
    /// A list stands where fields belong. serde would take its elements for the fields, in order.
    NotFields,
}

impl Shapes {
    pub(super) fn of(schema: &Schema) -> Self {
        let root = schema.as_value();
        let none = Map::new();
        let definitions = root.get("$defs").and_then(Value::as_object).unwrap_or(&none);
        let mut compiler = Compiler {
            definitions,
            known: HashMap::new(),
            nodes: Vec::new(),
        };
        let root = compiler.shape(root);
        Self {
            nodes: compiler.nodes,
            root,
        }
    }

    pub(super) fn check(&self, value: &Value) -> Vec<Finding> {
        let mut check = Check {
            shapes: self,
            path: Vec::new(),
            findings: Vec::new(),
        };
        check.value(self.root, value);
        check.findings
    }

    fn get(&self, node: usize) -> &Shape {
        self.nodes.get(node).unwrap_or(&Shape::Any)
    }
}

struct Compiler<'s> {
    definitions: &'s Map<String, Value>,
    known: HashMap<&'s str, usize>,
    nodes: Vec<Shape>,
}

impl<'s> Compiler<'s> {
    fn add(&mut self, shape: Shape) -> usize {
        self.nodes.push(shape);
        self.nodes.len() - 1
    }

    fn shape(&mut self, schema: &'s Value) -> usize {
        if let Some(name) = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|name| name.strip_prefix("#/$defs/"))
        {
            return self.reference(name);
        }
        if let Some(branches) = schema
            .get("anyOf")
            .or_else(|| schema.get("oneOf"))
            .and_then(Value::as_array)
        {
            let null = |branch: &&Value| branch.get("type").and_then(Value::as_str) == Some("null");
            let branches: Vec<_> = branches
                .iter()
                .filter(|branch| !null(branch))
                .map(|branch| self.shape(branch))
                .collect();
            return match branches.as_slice() {
                [one] => *one,
                _ => self.add(Shape::Either(branches)),
            };
        }
        let shape = match kind(schema) {
            Some("object") => self.object(schema),
            Some("array") => {
                let items = schema.get("items").map(|items| self.shape(items));
                let items = items.unwrap_or_else(|| self.add(Shape::Any));
                Shape::List {
                    items,
                    at_least: schema.get("minItems").and_then(Value::as_u64).unwrap_or(0),
                }
            }
            Some("integer" | "number") => {
                // That unsigned numbers are not negative is for the type to say.
                let least = schema
                    .get("minimum")
                    .and_then(Value::as_f64)
                    .filter(|least| *least != 0.0);
                let most = schema.get("maximum").and_then(Value::as_f64);
                if least.is_some() || most.is_some() {
                    Shape::Number { least, most }
                } else {
                    Shape::Any
                }
            }
            _ => Shape::Any,
        };
        self.add(shape)
    }

    fn reference(&mut self, name: &'s str) -> usize {
        if let Some(node) = self.known.get(name) {
            return *node;
        }
        // The place is taken before the shape is known, so that types may contain themselves.
        let node = self.add(Shape::Any);
        self.known.insert(name, node);
        if let Some(schema) = self.definitions.get(name) {
            let made = self.shape(schema);
            if let Some(slot) = self.nodes.get_mut(node) {
                *slot = Shape::Either(vec![made]);
            }
        }
        node
    }

    fn object(&mut self, schema: &'s Value) -> Shape {
        let others = schema.get("additionalProperties");
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return match others {
                Some(of @ Value::Object(_)) => Shape::Names(self.shape(of)),
                _ => Shape::Any,
            };
        };
        let fields = properties
            .iter()
            .map(|(name, schema)| (name.clone(), self.shape(schema)))
            .collect();
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Shape::Fields {
            fields,
            names: properties.keys().cloned().collect(),
            required: required
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            open: others != Some(&Value::Bool(false)),
        }
    }
}

/// The type a schema names; of several, the first that is not null.
fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null"),
        _ => None,
    }
}

struct Check<'s, 'v> {
    shapes: &'s Shapes,
    path: Vec<Step<'v>>,
    findings: Vec<Finding>,
}

/// A [`Part`] that borrows: paths are only made when there is something to say.
#[derive(Clone, Copy)]
enum Step<'v> {
    Key(&'v str),
    Index(usize),
}

impl<'v> Check<'_, 'v> {
    fn value(&mut self, node: usize, value: &'v Value) {
        match (self.shapes.get(node), value) {
            (Shape::Either(branches), _) => {
                if let Some(branch) = self.choose(branches, value) {
                    self.value(branch, value);
                }
            }
            (
                Shape::Fields {
                    fields,
                    names,
                    required,
                    open,
                },
                Value::Object(map),
            ) => {
                for (key, value) in map {
                    self.path.push(Step::Key(key));
                    match fields.get(key) {
                        Some(field) => self.value(*field, value),
                        None if *open => {}
                        None => self.find(Fault::Unknown { known: names.clone() }),
                    }
                    self.path.pop();
                }
                for field in required.iter().filter(|field| !map.contains_key(*field)) {
                    self.find(Fault::Missing { field: field.clone() });
                }
            }
            (Shape::Fields { .. }, Value::Array(_)) => self.find(Fault::NotFields),
            (Shape::Names(of), Value::Object(map)) => {
                for (key, value) in map {
                    self.path.push(Step::Key(key));
                    self.value(*of, value);
                    self.path.pop();
                }
            }
            (Shape::List { items, at_least }, Value::Array(values)) => {
                if (values.len() as u64) < *at_least {
                    self.find(Fault::OutOfRange {
                        expected: format!("expected at least {at_least} in the list"),
                    });
                }
                for (index, value) in values.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    self.value(*items, value);
                    self.path.pop();
                }
            }
            (Shape::Number { least, most }, Value::Number(number)) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
                    let expected = match (least, most) {
                        (Some(least), None) => format!("expected a number from {least}"),
                        (least, Some(most)) => {
                            format!("expected a number from {} to {most}", least.unwrap_or(0.0))
                        }
                        (None, None) => return,
                    };
                    self.find(Fault::OutOfRange { expected });
                }
            }
            _ => {}
        }
    }

    /// The one form this value can have, if there is just one.
    fn choose(&self, branches: &[usize], value: &Value) -> Option<usize> {
        let mut fitting = branches
            .iter()
            .copied()
            .filter(|branch| match (self.shapes.get(*branch), value) {
                (Shape::Fields { required, .. }, Value::Object(map)) => {
                    branches.len() == 1 || required.iter().all(|field| map.contains_key(field))
                }
                (Shape::Fields { .. }, Value::Array(_)) => branches.len() == 1,
                // A form about which nothing is known might be any of the simple ones.
                (Shape::Any, _) => branches.len() == 1 || !(value.is_object() || value.is_array()),
                (Shape::Either(_), _)
                | (Shape::Names(_), Value::Object(_))
                | (Shape::List { .. }, Value::Array(_))
                | (Shape::Number { .. }, Value::Number(_)) => true,
                _ => false,
            });
        let one = fitting.next();
        one.filter(|_| fitting.next().is_none())
    }

    fn find(&mut self, fault: Fault) {
        let part = |step: &Step<'_>| match *step {
            Step::Key(key) => Part::Key(key.to_owned()),
            Step::Index(index) => Part::Index(index),
        };
        self.findings.push(Finding {
            path: self.path.iter().map(part).collect(),
            fault,
        });
    }
}
