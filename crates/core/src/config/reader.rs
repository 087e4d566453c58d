//! Values to types, with everything that is wrong told at once.
//!
//! serde stops at the first error. So a value is first compared with the shape of its type, which finds all
//! unknown and missing fields and numbers out of range; then, if serde still refuses a part, that part is
//! noted and taken out, and serde asked again. A good value is read once and pays for none of this. What
//! comes out of a value that was not clean is only good for looking for more mistakes.

mod shape;
mod words;

pub(crate) use words::name_of;

use super::diagnostic::{Diagnostic, Diagnostics, closest, list};
use super::files::NamedFiles;
use super::yaml::core_scalar;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shape::{Fault, Finding, Shapes};
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many parts of one value are taken out at most.
const MOST_ROUNDS: usize = 32;

/// Reads values of any type that has a schema. Keeps what it learned about types.
#[derive(Debug, Default)]
pub struct Reader {
    shapes: RefCell<HashMap<TypeId, Arc<Shapes>>>,
    from_environment: HashSet<String>,
    files: NamedFiles,
}

/// What was read.
#[derive(Debug)]
pub struct Read<T> {
    /// The value, perhaps without the parts that were wrong; none if nothing could be made of it.
    pub value: Option<T>,
    /// Whether nothing was wrong. If false, diagnostics say what.
    pub clean: bool,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
}

/// Asks serde for a type; answers where it stopped and why.
type Attempt<'a, T> = &'a dyn Fn(&Value) -> Result<T, (Vec<Part>, String)>;

impl Reader {
    /// A reader that knows which paths came from the environment: texts there may become numbers or
    /// booleans, where the type wants such.
    pub fn new(from_environment: impl IntoIterator<Item = String>) -> Self {
        Self {
            shapes: RefCell::default(),
            from_environment: from_environment.into_iter().collect(),
            files: NamedFiles::default(),
        }
    }

    /// Notes more paths that came from the environment.
    pub fn learn(&mut self, from_environment: impl IntoIterator<Item = String>) {
        self.from_environment.extend(from_environment);
    }

    /// The same, with the place where relative paths begin.
    #[must_use]
    pub(super) fn with_files(self, files: NamedFiles) -> Self {
        Self { files, ..self }
    }

    /// Reads a file that the document names, and has it watched. The error says why in a few words, such as `no
    /// such file`.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than 128 MiB.
    pub fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.files.read(path)
    }

    /// The same for a list that may be long: `most` is the largest size in bytes.
    ///
    /// # Errors
    /// When it cannot be read, or is larger.
    pub fn long_file(&self, path: &Path, most: u64) -> Result<Vec<u8>, String> {
        self.files.read_most(path, most)
    }

    /// All files that were asked for so far, those that could not be read included.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.paths()
    }

    /// The same, to be asked later whether one of them has changed.
    pub fn into_files(self) -> NamedFiles {
        self.files
    }

    /// Reads the value that stands at this path, and adds what is wrong with it.
    pub fn read<T>(&self, value: &Value, path: &str, out: &mut Diagnostics) -> Read<T>
    where
        T: DeserializeOwned + JsonSchema + 'static,
    {
        let shapes = self.shapes::<T>();
        let findings = shapes.check(value);
        if findings.is_empty()
            && let Ok(value) = T::deserialize(value)
        {
            return Read {
                value: Some(value),
                clean: true,
            };
        }
        self.repair(&shapes, value, path, findings, out, &|value| {
            let mut track = serde_path_to_error::Track::new();
            T::deserialize(serde_path_to_error::Deserializer::new(value, &mut track))
                .map_err(|error| (parts(&track.path()), error.to_string()))
        })
    }

    /// Reads the value that stands at this path; none if anything is wrong with it.
    pub fn read_clean<T>(&self, value: &Value, path: &str, out: &mut Diagnostics) -> Option<T>
    where
        T: DeserializeOwned + JsonSchema + 'static,
    {
        let read = self.read(value, path, out);
        read.value.filter(|_| read.clean)
    }

    fn shapes<T: JsonSchema + 'static>(&self) -> Arc<Shapes> {
        let mut known = self.shapes.borrow_mut();
        known
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(Shapes::of(&schemars::schema_for!(T))))
            .clone()
    }

    fn repair<T>(
        &self,
        shapes: &Shapes,
        value: &Value,
        base: &str,
        findings: Vec<Finding>,
        out: &mut Diagnostics,
        attempt: Attempt<'_, T>,
    ) -> Read<T> {
        let mut work = Repair {
            base,
            value: value.clone(),
            told: HashSet::new(),
            gaps: HashMap::new(),
            clean: true,
            out,
        };
        if !work.tell_findings(findings) {
            return Read {
                value: None,
                clean: false,
            };
        }
        let (mut rounds, mut coerced) = (0, HashSet::new());
        while rounds < MOST_ROUNDS {
            let (parts, message) = match attempt(&work.value) {
                Ok(value) => {
                    // What became a number only now was not compared with the shape.
                    let late = shapes.check(&work.value).into_iter().filter(|finding| {
                        let path = join(base, &work.original(&finding.path));
                        matches!(finding.fault, Fault::OutOfRange { .. }) && coerced.contains(&path)
                    });
                    let late = late.collect();
                    work.tell_findings(late);
                    return Read {
                        value: Some(value),
                        clean: work.clean,
                    };
                }
                Err(error) => error,
            };
            let path = join(base, &work.original(&parts));
            if self.from_environment.contains(&path) && coerced.insert(path.clone()) && work.coerce(&parts) {
                continue;
            }
            rounds += 1;
            work.tell(&path, &message);
            if !work.remove(&parts) {
                break;
            }
        }
        Read {
            value: None,
            clean: false,
        }
    }
}

/// A value that is being freed of what is wrong with it.
struct Repair<'a> {
    base: &'a str,
    value: Value,
    /// Paths that need no more words: told, or gone.
    told: HashSet<String>,
    /// For each list, which of its original elements are gone, in order.
    gaps: HashMap<String, Vec<usize>>,
    clean: bool,
    out: &'a mut Diagnostics,
}

impl Repair<'_> {
    /// Says what does not fit the shape, and takes out what must not reach serde. Answers false if that is
    /// everything.
    fn tell_findings(&mut self, findings: Vec<Finding>) -> bool {
        self.clean &= findings.is_empty();
        let (unknown, others): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| matches!(finding.fault, Fault::Unknown { .. }));
        let meant: HashSet<String> = unknown
            .into_iter()
            .filter_map(|finding| self.tell_unknown(finding))
            .collect();
        let mut lists = Vec::new();
        for Finding { path: parts, fault } in others {
            let path = join(self.base, &self.original(&parts));
            match fault {
                Fault::Unknown { .. } => {}
                Fault::Missing { field } => {
                    let missing = format!("{path}.{field}");
                    if !meant.contains(&missing) {
                        let message = format!("missing field `{field}` in {}", name_of(&path));
                        self.out
                            .push(Diagnostic::error(missing.clone(), message).at_key());
                    }
                    self.told.insert(missing);
                }
                Fault::NotFields => {
                    let message = format!("{} is a list", name_of(&path));
                    self.out
                        .push(Diagnostic::error(path, message).hint("expected a map"));
                    lists.push(parts);
                }
                Fault::OutOfRange { expected } => {
                    let found = at(&self.value, &parts)
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    let message = format!("{} is `{found}`", name_of(&path));
                    self.out
                        .push(Diagnostic::error(path.clone(), message).hint(expected));
                    self.told.insert(path);
                }
            }
        }
        // From the last, so that the numbers of elements before stay right.
        lists.iter().rev().all(|parts| self.remove(parts))
    }

    /// Says that there is no such field and takes it out. Answers the path of the field that was meant.
    fn tell_unknown(&mut self, finding: Finding) -> Option<String> {
        let Fault::Unknown { known } = finding.fault else {
            return None;
        };
        let (Part::Key(name), front) = finding.path.split_last()? else {
            return None;
        };
        let container = join(self.base, front);
        let guess = closest(name, known.iter().map(String::as_str));
        let hint = match guess {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => format!("expected one of {}", list(known.iter().map(String::as_str))),
        };
        let message = format!("unknown field `{name}` in {}", name_of(&container));
        self.out.push(
            Diagnostic::error(join(self.base, &finding.path), message)
                .at_key()
                .hint(hint),
        );
        if let Some(Value::Object(map)) = at_mut(&mut self.value, front) {
            map.shift_remove(name);
        }
        guess.map(|guess| format!("{container}.{guess}"))
    }

    /// Says what serde refused, unless it was said, or follows from something that was.
    fn tell(&mut self, path: &str, message: &str) {
        self.clean = false;
        if let Some(field) = words::missing_field(message) {
            let missing = format!("{path}.{field}");
            if self.told.insert(missing.clone()) {
                let message = format!("missing field `{field}` in {}", name_of(path));
                self.out.push(Diagnostic::error(missing, message).at_key());
            }
        } else if self.told.insert(path.to_owned()) {
            self.out.push(words::explain(path, message));
        }
    }

    /// Takes out what stands there. Answers false if that is everything.
    fn remove(&mut self, parts: &[Part]) -> bool {
        let Some((last, front)) = parts.split_last() else {
            return false;
        };
        let original = self.original(parts);
        self.told.insert(join(self.base, &original));
        match (at_mut(&mut self.value, front), last, original.split_last()) {
            (Some(Value::Object(map)), Part::Key(key), _) => map.shift_remove(key).is_some(),
            (Some(Value::Array(items)), Part::Index(index), Some((Part::Index(was), list)))
                if *index < items.len() =>
            {
                items.remove(*index);
                let gaps = self.gaps.entry(join("", list)).or_default();
                gaps.insert(gaps.partition_point(|gap| gap < was), *was);
                true
            }
            _ => false,
        }
    }

    /// Makes of a text what the core schema makes of it. Answers whether that is something else.
    fn coerce(&mut self, parts: &[Part]) -> bool {
        match at_mut(&mut self.value, parts) {
            Some(slot @ Value::String(_)) => {
                let value = core_scalar(slot.as_str().unwrap_or_default());
                let changed = value != *slot;
                *slot = value;
                changed
            }
            _ => false,
        }
    }

    /// The path in the text, before elements of lists were taken out.
    fn original(&self, parts: &[Part]) -> Vec<Part> {
        let mut original: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            original.push(match part {
                Part::Index(index) if !self.gaps.is_empty() => {
                    let gaps = self
                        .gaps
                        .get(&join("", &original))
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    Part::Index(
                        gaps.iter()
                            .fold(*index, |index, gap| if *gap <= index { index + 1 } else { index }),
                    )
                }
                part => part.clone(),
            });
        }
        original
    }
}

fn at<'v>(value: &'v Value, parts: &[Part]) -> Option<&'v Value> {
    parts.iter().try_fold(value, |value, part| match part {
        Part::Key(key) => value.get(key),
        Part::Index(index) => value.get(index),
    })
}

fn at_mut<'v>(value: &'v mut Value, parts: &[Part]) -> Option<&'v mut Value> {
    parts.iter().try_fold(value, |value, part| match part {
        Part::Key(key) => value.get_mut(key),
        Part::Index(index) => value.get_mut(index),
    })
}

fn parts(path: &serde_path_to_error::Path) -> Vec<Part> {
    use serde_path_to_error::Segment;
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Part::Index(*index)),
        Segment::Map { key } => Some(Part::Key(key.clone())),
        Segment::Enum { variant } => Some(Part::Key(variant.clone())),
        Segment::Unknown => None,
    };
    path.iter().filter_map(part).collect()
}

fn join(base: &str, parts: &[Part]) -> String {
    let mut path = base.to_owned();
    for part in parts {
        match part {
            Part::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
            Part::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
        }
    }
    path
}

#[cfg(test)]
mod tests;
