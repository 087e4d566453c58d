//! What the commands do with the engine: run it, check a configuration, list routes.
//!
//! A stub: it shows how the log and the watch are meant to be used, and says that the rest is not there.

use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::log::{self, Format};
use crate::reference::{Inputs, KindInput};
use crate::watch::Watch;

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file; it and what it includes are watched.
    File(PathBuf),
    /// A text made by the program itself; nothing to watch. `name` stands for the file in diagnostics.
    Text { name: String, text: String },
}

/// What `run` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) source: Source,
    /// Printed on standard output after the `ready` line.
    pub(crate) announce: String,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let format = if options.announce.is_empty() {
        Format::Json
    } else {
        Format::Text
    };
    let log = log::start("info", format)?;
    let (changed, _told) = mpsc::channel(1);
    if let Source::File(file) = options.source {
        let watch = Watch::start(vec![file.clone()], changed)?;
        watch.set(vec![file]);
    }
    log.set_level("debug")?;
    crate::cli::print(&options.announce)?;
    bail!("not built yet; {} log lines were lost", log.lost())
}

/// Prints the diagnostics of a configuration. `false` when one of them is an error.
pub(crate) fn check(_file: &Path) -> anyhow::Result<bool> {
    bail!("not built yet")
}

/// Prints the routes in the order in which they are tried. `false` when the configuration has an error.
pub(crate) fn routes(_file: &Path) -> anyhow::Result<bool> {
    bail!("not built yet")
}

/// The JSON Schema of the configuration, every kind of policy included.
pub(crate) fn schema() -> Value {
    Value::Null
}

/// Everything that the reference pages are made from.
pub(crate) fn reference_inputs(command: clap::Command) -> Inputs {
    Inputs {
        schema: schema(),
        kinds: Vec::<KindInput>::new(),
        failures: String::new(),
        metrics: String::new(),
        command,
    }
}
