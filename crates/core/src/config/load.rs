//! Files to a document: includes, the environment, and the list of what to watch.
//!
//! Loading never stops at the first mistake: what could be read is there, and diagnostics say what is wrong
//! with the rest. A document with errors is only good for finding more of them; it must not be used.

mod assemble;
mod include;

use super::Config;
use super::check;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::files::NamedFiles;
use super::reader::Reader;
use super::source::{Source, Sources};
use super::yaml::{self, Environment, Items};
use assemble::{Assembled, Assembly, NAMED};
use serde_json::{Map, Value};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What came of reading a document.
#[derive(Debug)]
pub struct Loaded {
    /// The document, without what is wrong. To be used only if there are no errors.
    pub config: Config,
    /// The texts, for places and excerpts.
    pub sources: Sources,
    /// Files and directories whose change is a reason to load again.
    pub watch: Vec<PathBuf>,
    /// What is wrong so far, in the order of the text. Settings of policies were not looked at yet.
    pub diagnostics: Diagnostics,
    /// For reading the settings of policies: it knows which came from the environment.
    pub reader: Reader,
}

/// Reads a file and what it includes, with the environment of this process.
pub fn load(file: &Path) -> Loaded {
    load_with(file, &|name| std::env::var(name).ok())
}

/// Reads a file and what it includes, with this environment.
pub fn load_with(file: &Path, environment: Environment<'_>) -> Loaded {
    let name = file.display().to_string();
    match read_file(file) {
        Ok(text) => Loading::new(environment).run(&name, text, Some(file)),
        Err(reason) => {
            let mut loading = Loading::new(environment);
            loading.watch.push(file.to_owned());
            loading.out.push(Diagnostic::error(
                "",
                format!("`{name}` cannot be read: {reason}"),
            ));
            loading.finish(Assembly::default())
        }
    }
}

/// Reads a text that is a whole document, with the environment of this process. Nothing is included.
pub fn load_str(text: &str, name: &str) -> Loaded {
    load_str_with(text, name, &|name| std::env::var(name).ok())
}

/// Reads a text that is a whole document, with this environment. Nothing is included.
pub fn load_str_with(text: &str, name: &str, environment: Environment<'_>) -> Loaded {
    Loading::new(environment).run(name, text.to_owned(), None)
}

/// A document on its way.
struct Loading<'e> {
    environment: Environment<'e>,
    sources: Sources,
    watch: Vec<PathBuf>,
    out: Diagnostics,
    /// Paths at which something was wrong before it had a type; what types say there is an echo.
    holes: Vec<String>,
    /// Set when a text could not be read to its end: what is missing may be there.
    partial: bool,
    /// Files that the document names are read from here.
    files: NamedFiles,
}

impl<'e> Loading<'e> {
    fn new(environment: Environment<'e>) -> Self {
        Self {
            environment,
            sources: Sources::default(),
            watch: Vec::new(),
            out: Diagnostics::default(),
            holes: Vec::new(),
            partial: false,
            files: NamedFiles::default(),
        }
    }

    fn run(mut self, name: &str, text: String, file: Option<&Path>) -> Loaded {
        self.watch.extend(file.map(Path::to_owned));
        self.files = file.map(NamedFiles::beside).unwrap_or_default();
        let mut assembly = Assembly::default();
        if let Some(root) = self.parse(name, text, &mut assembly) {
            let patterns = root.get("include").cloned();
            assembly.main(root, &mut self.out);
            if let (Some(Value::Array(patterns)), Some(file)) = (patterns, file) {
                self.include(&patterns, file, &mut assembly);
            }
        }
        self.finish(assembly)
    }

    /// Parses a text, puts its items into the assembly, and keeps the text. What else it has is answered; none
    /// if it is not a map, which was said then.
    fn parse(&mut self, name: &str, text: String, assembly: &mut Assembly) -> Option<Map<String, Value>> {
        let mark = assembly.begin();
        let items = Items {
            sections: &NAMED.map(|(section, _)| section),
            take: &mut |item| assembly.take(item),
        };
        let parsed = yaml::parse_items(&text, self.environment, items);
        let file = self.sources.add(Source::new(name, text));
        for problem in parsed.problems {
            let mut diagnostic = Diagnostic::halves(problem.path.clone(), &problem.message);
            diagnostic.place = self
                .sources
                .files()
                .get(file)
                .map(|source| source.place_of(problem.spot));
            self.out.push(diagnostic);
            if problem.no_value {
                self.holes.push(problem.path);
            }
        }
        assembly.learn(parsed.from_environment);
        match parsed.value {
            _ if !parsed.complete => {
                self.partial = true;
                assembly.take_back(&mark);
                None
            }
            Value::Object(root) => Some(root),
            Value::Null => Some(Map::new()),
            _ => {
                let mut diagnostic = Diagnostic::error("", "the document is not a map of sections");
                diagnostic.place = self.sources.place_in(file, "", false);
                self.out.push(diagnostic.hint("expected such as `listeners: …`"));
                self.partial = true;
                None
            }
        }
    }

    fn finish(mut self, assembly: Assembly) -> Loaded {
        let Assembled {
            config,
            broken,
            mut typed,
            reader,
        } = assembly.finish();
        if !self.partial && !self.sources.files().is_empty() {
            check::check(&config, &broken, &mut typed);
        }
        typed.retain(|diagnostic| !self.holes.iter().any(|hole| covers(hole, &diagnostic.path)));
        self.out.extend(typed);
        self.out.locate(&self.sources);
        Loaded {
            config,
            sources: self.sources,
            watch: self.watch,
            diagnostics: self.out,
            reader: reader.with_files(self.files),
        }
    }
}

/// Whether the path is the hole itself or below it.
fn covers(hole: &str, path: &str) -> bool {
    path.strip_prefix(hole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The text of a file, if it is not too large.
fn read_file(file: &Path) -> Result<String, String> {
    let most = yaml::LARGEST as u64;
    let open = std::fs::File::open(file).map_err(|error| reason(&error))?;
    // A guess at its length: guessing wrong costs no more than growing.
    let length = open.metadata().map_or(0, |about| about.len().min(most));
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    open.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| reason(&error))?;
    if bytes.len() as u64 > most {
        return Err(format!("it has more than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', good).count() + 1;
        format!("it is not UTF-8 in line {line}")
    })
}

/// An error of the system in our words.
pub(super) fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests;
