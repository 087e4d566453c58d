//! From a file or a text to a document that can run, or to diagnostics on standard error.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gatehouse_core::config::{self, Config, Diagnostic, Diagnostics, Loaded, Reader, Severity, Sources};
use gatehouse_core::failure::failures_markdown;
use gatehouse_core::plan::Plan;
use gatehouse_core::plan::lint::{self, Facts};
use gatehouse_core::plan::outputs;
use gatehouse_core::policy::Kind;
use gatehouse_core::server;
use gatehouse_core::telemetry::metrics::metrics_markdown;
use gatehouse_policies::KINDS;

use serde_json::Value;

use crate::log;
use crate::reference::{Inputs, KindInput};
use crate::run::Source;

/// A document as loaded: good, or with diagnostics that say what is wrong.
pub(crate) struct Document {
    pub(crate) config: Config,
    pub(crate) reader: Reader,
    /// Identifies the text.
    pub(crate) hash: String,
    /// The files it was read from.
    files: Vec<PathBuf>,
    sources: Sources,
    /// What is doubtful about it, until somebody was told.
    doubts: Diagnostics,
}

impl Document {
    /// Loads and lints; see [`Document::tell`] for warnings. `Err`: what is wrong, for [`Bad::tell`].
    pub(crate) fn load(source: &Source) -> Result<Self, Bad> {
        Self::load_with(source, false)
    }

    /// The same; `strict` warns of more.
    fn load_with(source: &Source, strict: bool) -> Result<Self, Bad> {
        let loaded = match source {
            Source::File(file) => config::load(file),
            Source::Text { name, text } => config::load_str(text, name),
        };
        let Loaded {
            config,
            sources,
            watch,
            mut diagnostics,
            reader,
        } = loaded;
        let failed = diagnostics.has_errors();
        if failed {
            // Compiled all the same, to tell what is wrong with the settings of policies along with the rest.
            let more = server::check(&config, &reader, KINDS).err().unwrap_or_default();
            let of_files = |one: &Diagnostic| {
                one.path.contains("policies")
                    || one.path.contains(".tls.")
                    || outputs::SETTINGS.contains(&one.path.as_str())
            };
            diagnostics.extend(more.into_iter().filter(of_files));
            diagnostics.locate(&sources);
        } else {
            diagnostics.extend(lint::lint(&config, &|kind| Facts::of(KINDS, kind)));
            if strict {
                diagnostics.extend(lint::strict(&config, &|kind| Facts::of(KINDS, kind)));
            }
            diagnostics.locate(&sources);
        }
        if failed {
            return Err(Bad {
                files: watch,
                diagnostics,
                sources,
            });
        }
        let hash = hash(&sources);
        Ok(Self {
            config,
            reader,
            hash,
            files: watch,
            sources,
            doubts: diagnostics,
        })
    }

    /// Prints what is doubtful about it, once.
    pub(crate) fn tell(&mut self) {
        tell(&std::mem::take(&mut self.doubts), &self.sources);
    }

    /// The files it was read from, and those that it names, as far as they were asked for.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = self.files.clone();
        files.extend(self.reader.files());
        files
    }

    /// Prints what is wrong with the document beyond its text.
    pub(crate) fn report(&self, diagnostics: Vec<Diagnostic>) {
        tell(&self.locate(diagnostics), &self.sources);
    }

    /// The same as text.
    pub(crate) fn render(&self, diagnostics: Vec<Diagnostic>) -> String {
        self.locate(diagnostics).render(&self.sources)
    }

    fn locate(&self, diagnostics: Vec<Diagnostic>) -> Diagnostics {
        let mut all = Diagnostics::default();
        all.extend(diagnostics);
        all.locate(&self.sources);
        all
    }

    /// Compiles it without running it. `None`: what is wrong was printed.
    pub(crate) fn compile(&self) -> Option<Plan> {
        let plan = server::check(&self.config, &self.reader, KINDS)
            .map_err(|diagnostics| self.report(diagnostics))
            .ok()?;
        self.report(plan.warnings.clone());
        Some(plan)
    }
}

/// A document that cannot be used.
pub(crate) struct Bad {
    /// The files it was read from: a change of them may mend it.
    pub(crate) files: Vec<PathBuf>,
    diagnostics: Diagnostics,
    sources: Sources,
}

impl Bad {
    /// Prints what is wrong.
    pub(crate) fn tell(&self) {
        tell(&self.diagnostics, &self.sources);
    }

    /// What is wrong, as text.
    pub(crate) fn render(&self) -> String {
        self.diagnostics.render(&self.sources)
    }
}

/// Loads and compiles a file; `None` if it is not good, which was printed.
pub(crate) fn checked(file: &Path, strict: bool) -> Option<(Document, Plan)> {
    let mut document = Document::load_with(&Source::File(file.to_owned()), strict)
        .inspect_err(Bad::tell)
        .ok()?;
    document.tell();
    let plan = document.compile()?;
    Some((document, plan))
}

fn hash(sources: &Sources) -> String {
    let mut hasher = DefaultHasher::new();
    for file in sources.files() {
        file.text().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Where the log goes, and as it is written: as excerpts for people, or as lines of JSON like all others.
fn tell(diagnostics: &Diagnostics, sources: &Sources) {
    if log::format() != Some(log::Format::Json) {
        return say(&diagnostics.render(sources));
    }
    for one in diagnostics {
        let Diagnostic { path, message, .. } = one;
        let (hint, help) = (one.hint.as_deref(), one.help.as_deref());
        let place = one.place.as_ref();
        let file = place.map(|place| place.file.as_str());
        let (line, column) = place.map(|place| (place.line, place.column)).unzip();
        match one.severity {
            Severity::Error => tracing::error!(path, file, line, column, hint, help, "{message}"),
            Severity::Warning => tracing::warn!(path, file, line, column, hint, help, "{message}"),
        }
    }
}

/// To standard error, whole; if that is gone there is nobody to tell.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The JSON Schema of the configuration, every kind of policy included.
pub(crate) fn schema() -> Value {
    let kinds: Vec<_> = KINDS.iter().map(|kind| (kind.name, (kind.schema)())).collect();
    config::schema::document(&kinds)
}

/// Everything that the reference pages are made from.
pub(crate) fn reference_inputs(command: clap::Command) -> Inputs {
    let kind = |kind: &Kind| KindInput {
        name: kind.name.to_owned(),
        stage: format!("{:?}", kind.stage).to_lowercase(),
        schema: (kind.schema)(),
        example: kind.example.to_owned(),
    };
    Inputs {
        schema: schema(),
        kinds: KINDS.iter().map(kind).collect(),
        failures: failures_markdown(),
        metrics: metrics_markdown(KINDS.iter().flat_map(|kind| kind.metrics)),
        command,
    }
}
