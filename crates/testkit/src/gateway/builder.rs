//! What a gateway is started with.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::lines::Lines;
use super::process::{self, Process};
use super::{Gateway, complete, fill};
use crate::temp::TempDir;

/// What is to be started.
#[derive(Debug)]
pub struct Builder {
    binary: PathBuf,
    yaml: String,
    places: Vec<(String, String)>,
    arguments: Option<Vec<String>>,
    environment: Vec<(String, String)>,
    stdin: Option<OwnedFd>,
    open_files: Option<u32>,
    directory: TempDir,
}

impl Builder {
    pub(super) fn new(binary: &str, yaml: &str) -> Self {
        Self {
            binary: std::env::var_os("GATEHOUSE_BIN").map_or_else(|| PathBuf::from(binary), PathBuf::from),
            yaml: yaml.to_owned(),
            places: Vec::new(),
            arguments: None,
            environment: Vec::new(),
            stdin: None,
            open_files: None,
            directory: TempDir::new(),
        }
    }

    /// Replaces `${name}` in the YAML; with a backend's URL, mostly.
    #[must_use]
    pub fn bind(mut self, name: &str, value: impl Into<String>) -> Self {
        self.places.push((name.to_owned(), value.into()));
        self
    }

    /// Another configuration.
    #[must_use]
    pub fn config(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.yaml);
        self
    }

    /// Another command line than `run FILE`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = Some(arguments.iter().map(|a| (*a).to_owned()).collect());
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Something other than nothing as its standard input; a listening socket, say.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// So many file descriptors it may have, and no more.
    #[must_use]
    pub fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// A file beside the configuration, placeholders filled in.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        self.directory.write(name, &fill(text, &self.places));
        self
    }

    /// The directory the configuration will be in; `${dir}` in the YAML.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the gateway and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Starts the gateway; the error has all it said if it ends before it is ready.
    pub fn try_start(mut self) -> Result<Gateway, String> {
        let directory = self.directory.path().display().to_string();
        self.places.push(("dir".to_owned(), directory));
        let config = self
            .directory
            .write("gatehouse.yaml", &complete(&self.yaml, &self.places));
        let arguments = self
            .arguments
            .clone()
            .unwrap_or_else(|| vec!["run".to_owned(), config.display().to_string()]);
        process::adopt_orphans();
        let mut command = match self.open_files {
            None => Command::new(&self.binary),
            Some(most) => {
                // The shell becomes the gateway, so that its pid is the gateway's.
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
                shell.args(["-c", &script]).arg(&self.binary);
                shell
            }
        };
        let mut child = command
            .args(&arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(self.directory.path())
            .stdin(self.stdin.take().map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("start {}: {e}", self.binary.display()))?;
        let stdout = Lines::collect(child.stdout.take().ok_or("no stdout")?);
        let stderr = Lines::collect(child.stderr.take().ok_or("no stderr")?);
        let mut gateway = Gateway {
            process: Process::First(child),
            before: Vec::new(),
            places: self.places,
            config,
            directory: self.directory,
            listeners: HashMap::new(),
            admin: None,
            stdout,
            stderr,
        };
        gateway.await_ready()?;
        Ok(gateway)
    }
}
