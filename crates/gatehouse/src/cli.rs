//! The command line: its words, and what each one calls.
//!
//! The doc comments of the types below are the help text and, through `gatehouse reference`, the page
//! `docs/reference/command-line.md`. Nothing here knows how a gateway works; `run.rs` does.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::control;
use crate::demo::{self, Demo};
use crate::document;
use crate::key::Key;
use crate::reference;
use crate::run::{self, Options, Source};

/// The configuration that commands read when none is named.
const DEFAULT_FILE: &str = "gatehouse.yaml";

/// Where `--to` listens: this machine only, so that trying it out opens nothing to others.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// An API gateway: one safe, fast front door for your services.
#[derive(Debug, Parser)]
#[command(
    name = "gatehouse",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Run),
    Upgrade(Upgrade),
    /// Say whether a configuration is good, without starting anything.
    ///
    /// All errors and warnings are printed, each with its place in the file. Exits with 1 when there is
    /// an error. What `check` accepts, `run` accepts: only the network can still refuse it.
    Check(Check),
    /// Print the routes of a configuration in the order in which they are tried.
    Routes(File),
    Key(Key),
    Demo(Demo),
    /// Print the JSON Schema of the configuration, for editors and tools.
    Schema,
    Reference(Reference),
    /// Print the version.
    Version,
}

/// Start the gateway and serve until it is told to stop.
///
/// The configuration is read again when one of its files changes or on SIGHUP. A configuration with
/// an error is reported and not used: the gateway goes on with the last good one. SIGTERM or
/// Ctrl-C stops it: it finishes the requests it has and takes no new ones; a second one ends it at once.
/// SIGUSR2 replaces it by its program file as it is now, without losing a connection; SIGUSR1 opens the
/// access log anew.
///
/// Exits with 0 after all connections have ended, with 3 if some had to be cut, with 1 if it could not start.
#[derive(Debug, clap::Args)]
struct Run {
    /// The configuration. Without it, `gatehouse.yaml` in the current folder.
    #[arg(value_name = "FILE", conflicts_with = "to")]
    file: Option<PathBuf>,
    /// Forward everything to this URL, with no configuration file.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The address to listen on with `--to`. Without it, 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR", requires = "to", conflicts_with = "file")]
    listen: Option<String>,
}

/// Replace the running gateway by a new binary, without losing a connection.
///
/// The running process, found by its `process.upgrade.socket`, starts the program and hands its listening
/// sockets over. Once the new process has read the configuration and is ready to serve, the old one takes no
/// more connections, finishes what it has and ends. If the new one fails, the old one goes on as if nothing
/// had happened. Exits with 0 when the new process serves, with 1 when it does not; the reason is printed.
#[derive(Debug, clap::Args)]
struct Upgrade {
    /// The configuration of the running gateway, which names the socket.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// The program to start. Without it, the file that the running process was started from.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The socket, instead of the one that the configuration names.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    file: File,
    /// Also warn of routes that anybody may call, as often as they like, or that may take longer than ten minutes.
    #[arg(long)]
    strict: bool,
}

/// Write the reference pages (Markdown), made from the schema and the tables of the program itself.
#[derive(Debug, clap::Args)]
struct Reference {
    /// The folder to write the pages to.
    #[arg(long, value_name = "DIR", default_value = "docs/reference")]
    out: PathBuf,
    /// Write nothing; fail when the pages in the folder are not what would be written.
    #[arg(long)]
    check: bool,
}

/// The definition of the command line, for its page in the reference.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

/// Does what the command line says. `Ok` carries the exit code: `check` fails without an error of ours.
pub(crate) fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(args.options()),
        Command::Upgrade(args) => args.execute().map(passed),
        Command::Check(args) => run::check(&args.file.file, args.strict).map(passed),
        Command::Routes(args) => run::routes(&args.file).map(passed),
        Command::Key(args) => args.execute().map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => demo::run(&args),
        Command::Schema => print(&format!("{:#}\n", document::schema())).map(|()| ExitCode::SUCCESS),
        Command::Reference(args) => args.execute().map(passed),
        Command::Version => {
            print(concat!("gatehouse ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| ExitCode::SUCCESS)
        }
    }
}

impl Run {
    fn options(self) -> Options {
        let source = match self.to {
            Some(url) => Source::Text {
                name: "--to".to_owned(),
                text: one_line_document(&url, self.listen.as_deref().unwrap_or(DEFAULT_ADDRESS)),
            },
            None => Source::File(self.file.unwrap_or_else(|| DEFAULT_FILE.into())),
        };
        Options {
            source,
            announce: String::new(),
        }
    }
}

impl Upgrade {
    fn execute(self) -> anyhow::Result<bool> {
        let Some(socket) = self
            .socket
            .map_or_else(|| socket_of(&self.file), |path| Ok(Some(path)))?
        else {
            return Ok(false);
        };
        let pid = control::ask(&socket, self.binary.as_deref())?;
        print(&format!("process {pid} serves now\n"))?;
        Ok(true)
    }
}

/// Where the gateway of this configuration waits for `upgrade`. `None`: the configuration cannot be read, which was
/// told.
fn socket_of(file: &Path) -> anyhow::Result<Option<PathBuf>> {
    let document = document::Document::load(&Source::File(file.to_owned()));
    let Ok(document) = document.inspect_err(document::Bad::tell) else {
        return Ok(None);
    };
    match document.config.process.upgrade.socket {
        Some(socket) => Ok(Some(socket)),
        None => bail!(
            "`{}` sets no `process.upgrade.socket`; set it and restart, or send SIGUSR2 to the process",
            file.display()
        ),
    }
}

impl Reference {
    fn execute(&self) -> anyhow::Result<bool> {
        let pages = reference::pages(&document::reference_inputs(definition()));
        if !self.check {
            reference::write(&self.out, &pages)?;
            print(&format!(
                "wrote {} pages to {}\n",
                pages.len(),
                self.out.display()
            ))?;
            return Ok(true);
        }
        let stale = reference::stale(&self.out, &pages)?;
        report_stale(&stale, &self.out)?;
        Ok(stale.is_empty())
    }
}

fn report_stale(stale: &[String], out: &Path) -> anyhow::Result<()> {
    let mut stderr = io::stderr().lock();
    for page in stale {
        writeln!(stderr, "error: {} is not up to date", out.join(page).display())?;
    }
    if !stale.is_empty() {
        writeln!(
            stderr,
            "  = help: run `gatehouse reference --out {}`",
            out.display()
        )?;
    }
    Ok(())
}

/// The whole configuration behind `--to`: one listener, one route for everything, one upstream. The admin
/// listener takes any free port, so that several can run side by side.
fn one_line_document(url: &str, listen: &str) -> String {
    // An endpoint has no path. A JSON string is a YAML string, whatever is in it.
    let (url, listen) = (
        serde_json::Value::from(url.trim_end_matches('/')),
        serde_json::Value::from(listen),
    );
    format!(
        "listeners: {{ main: {{ address: {listen} }} }}\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: to }} }} }}\n\
         upstreams: {{ to: {{ endpoints: [ {url} ] }} }}\n"
    )
}

fn passed(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Writes to standard output. `print!` panics when the reader has gone; this returns the error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush().context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"gatehouse").chain(words))
    }

    fn options(words: &[&str]) -> Options {
        match parse(words).unwrap().command {
            Command::Run(run) => run.options(),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_reads_the_named_file_or_the_usual_one() {
        assert_eq!(options(&["run", "a.yaml"]).source, Source::File("a.yaml".into()));
        assert_eq!(options(&["run"]).source, Source::File("gatehouse.yaml".into()));
    }

    #[test]
    fn to_needs_no_file_and_takes_none() {
        let Source::Text { text, .. } = options(&["run", "--to", "http://localhost:3000/"]).source else {
            panic!("a document was expected");
        };
        assert!(
            text.contains(r#"endpoints: [ "http://localhost:3000" ]"#),
            "{text}"
        );
        assert!(text.contains(r#"address: "127.0.0.1:8080""#), "{text}");
        assert!(parse(&["run", "a.yaml", "--to", "http://localhost:3000"]).is_err());
        assert!(parse(&["run", "a.yaml", "--listen", "127.0.0.1:1"]).is_err());
    }

    #[test]
    fn a_url_cannot_break_out_of_its_string() {
        let text = one_line_document("http://x\" ] } }\nadmin: off", "127.0.0.1:1");
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn every_command_has_a_help_text() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{} has none", command.get_name());
        }
    }
}
