//! The real binary as a child process: started on free ports, reloaded, stopped, and asked how it is.
//!
//! A test gives the YAML; the kit fills in `${name}` placeholders, an admin listener, two workers and an access log
//! in a temporary directory unless the YAML says otherwise, and waits for the line `ready`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metrics::Metrics;
use crate::temp::TempDir;
use crate::wait::{until, until_some};

mod builder;
pub mod command;
mod lines;
mod process;

pub use builder::Builder;
use lines::Lines;
use process::Process;

/// Starting is slow on a loaded machine with an unoptimized binary.
const START: Duration = Duration::from_secs(30);

/// Where a listener listens.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A running gateway; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// The process that serves.
    process: Process,
    /// Those it replaced, oldest first.
    before: Vec<Process>,
    places: Vec<(String, String)>,
    config: PathBuf,
    directory: TempDir,
    listeners: HashMap<String, Address>,
    admin: Option<SocketAddr>,
    stdout: Lines,
    stderr: Lines,
}

impl Gateway {
    /// A gateway of this binary (`env!("CARGO_BIN_EXE_gatehouse")`, unless `GATEHOUSE_BIN` names another).
    pub fn builder(binary: &str, yaml: &str) -> Builder {
        Builder::new(binary, yaml)
    }

    fn await_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START;
        while !self
            .stdout
            .wait(Duration::from_millis(20), |line| line == "ready")
        {
            if let Some(status) = self.process.try_wait() {
                self.stderr.wait_end(START);
                return Err(format!(
                    "the gateway ended before it was ready ({status}):\n{}",
                    self.log()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "the gateway was not ready after {START:?}:\n{}",
                    self.log()
                ));
            }
        }
        for line in self.stdout.all() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("listening"), Some(name), Some(url)) => {
                    let address = match url.strip_prefix("unix:") {
                        Some(path) => Address::Unix(PathBuf::from(path)),
                        None => Address::Tcp(socket_address(url)?),
                    };
                    self.listeners.insert(name.to_owned(), address);
                }
                (Some("admin"), Some(url), None) => self.admin = Some(socket_address(url)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// The only listener's address, or that of `main`.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        if self.listeners.len() == 1
            && let Some(name) = self.listeners.keys().next()
        {
            return self.address_of(name);
        }
        self.address_of("main")
    }

    #[track_caller]
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        match self.listeners.get(listener) {
            Some(Address::Tcp(address)) => *address,
            other => panic!("no TCP listener `{listener}`: {other:?} of {:?}", self.listeners),
        }
    }

    /// Every line of the log that has this text.
    pub fn logged(&self, text: &str) -> usize {
        self.stderr
            .all()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    #[track_caller]
    pub fn unix_of(&self, listener: &str) -> PathBuf {
        match self.listeners.get(listener) {
            Some(Address::Unix(path)) => path.clone(),
            other => panic!("no Unix listener `{listener}`: {other:?} of {:?}", self.listeners),
        }
    }

    pub fn has_listener(&self, name: &str) -> bool {
        self.listeners.contains_key(name)
    }

    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin())
    }

    /// Waits until a metric (the sum of its series with these labels) is as wanted.
    #[track_caller]
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], wanted: impl Fn(f64) -> bool) -> f64 {
        until_some(&format!("metric {name}{labels:?}"), || {
            Some(self.metrics().sum(name, labels)).filter(|value| wanted(*value))
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn config_path(&self) -> &Path {
        &self.config
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it said on stderr, as far as kept.
    pub fn log(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// What it said on stdout, line by line, as far as kept.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits for a line on stderr that has this text.
    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        assert!(
            self.stderr
                .wait(crate::wait::PATIENCE, |line| line.contains(text)),
            "never logged {text:?}:\n{}",
            self.log()
        );
    }

    // --- configuration

    /// Writes a new configuration file, and nothing more.
    #[track_caller]
    pub fn write_config(&self, yaml: &str) {
        let next = self
            .directory
            .write("gatehouse.yaml.next", &complete(yaml, &self.places));
        // A rename is atomic: the gateway, which watches the file, never sees half of it.
        std::fs::rename(next, &self.config).expect("replace the configuration");
    }

    /// Installs a new configuration; fails the test if the gateway refuses it.
    #[track_caller]
    pub fn reload(&self, yaml: &str) {
        self.load(yaml);
        assert!(
            !self.is_behind(),
            "the configuration was refused:\n{}",
            self.log()
        );
    }

    /// Offers a bad configuration; fails the test if the gateway takes it.
    #[track_caller]
    pub fn reload_refused(&self, yaml: &str) {
        self.load(yaml);
        assert!(
            self.is_behind(),
            "the bad configuration was taken:\n{}",
            self.log()
        );
    }

    /// Waits until a reload has come to its end that began after the file was written. One that was under way before,
    /// of the file that stood there, may be the first to be counted; reloads follow one another, so the second is not.
    fn load(&self, yaml: &str) {
        self.write_config(yaml);
        for _ in 0..2 {
            let before = self.reloads();
            self.signal("HUP");
            until("a reload to be counted", || self.reloads() > before);
        }
    }

    fn reloads(&self) -> f64 {
        self.metrics().sum("gatehouse_config_reloads_total", &[])
    }

    /// True if the configuration as it was read last is not the one that runs.
    fn is_behind(&self) -> bool {
        self.metrics().sum("gatehouse_config_behind", &[]) > 0.5
    }

    // --- process

    /// Sends a signal by its short name: `HUP`, `TERM`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{name} {}", self.pid());
    }

    /// Asks it to stop and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let process = &mut self.process;
        let status = until_some("the gateway to end", || process.try_wait());
        self.stdout.wait_end(START);
        self.stderr.wait_end(START);
        status
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().is_none()
    }

    // --- upgrades; `process.pid_file` must be `${dir}/pid`

    /// Waits until another process serves, which this is about from then on.
    #[track_caller]
    pub fn wait_upgraded(&mut self) {
        let (path, old) = (self.directory.join("pid"), self.pid());
        let pid = until_some("another process to serve", || {
            process::named_in(&path).filter(|pid| *pid != old)
        });
        self.before
            .push(std::mem::replace(&mut self.process, Process::later(pid)));
    }

    /// Waits until the process that was replaced last has ended.
    #[track_caller]
    pub fn wait_replaced_exit(&mut self) -> ExitStatus {
        let old = self.before.last_mut().expect("an upgrade");
        until_some("the replaced process to end", || old.try_wait())
    }

    /// Resident memory now, in KiB; `None` where there is no procfs.
    pub fn resident_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB; `None` where there is no procfs.
    pub fn peak_kib(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    // --- access log

    pub fn access_log_path(&self) -> PathBuf {
        self.directory.join("access.log")
    }

    /// Waits for at least n lines in the access log and returns all of them.
    #[track_caller]
    pub fn access_log(&self, n: usize) -> Vec<Value> {
        let path = self.access_log_path();
        let text = until_some(&format!("{n} lines in the access log"), || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            (text.matches('\n').count() >= n).then_some(text)
        });
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
        // The last line may be half written.
        text[..text.rfind('\n').map_or(0, |at| at + 1)]
            .lines()
            .map(parse)
            .collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // From the oldest on: what one leaves behind becomes ours, and can then be ended and reaped.
        for process in &mut self.before {
            process.end();
        }
        self.process.end();
        if let Some(unknown) = process::named_in(&self.directory.join("pid")) {
            Process::later(unknown).end();
        }
        if std::thread::panicking() {
            eprintln!("--- the gateway's log:\n{}\n---", self.stderr.tail(60));
        }
    }
}

fn socket_address(url: &str) -> Result<SocketAddr, String> {
    let text = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| format!("no http URL: {url}"))?;
    text.trim_end_matches('/')
        .parse()
        .map_err(|e| format!("{url}: {e}"))
}

fn fill(yaml: &str, places: &[(String, String)]) -> String {
    places.iter().fold(yaml.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
    })
}

/// The YAML with placeholders filled and what every test needs added.
fn complete(yaml: &str, places: &[(String, String)]) -> String {
    let mut text = fill(yaml, places);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let defaults = [
        ("admin", "admin: { address: \"127.0.0.1:0\" }\n"),
        ("process", "process: { workers: 2 }\n"),
        (
            "access_log",
            "access_log: { file: \"${dir}/access.log\", flush: 5ms }\n",
        ),
    ];
    for (section, line) in defaults {
        if !text.lines().any(|l| l.starts_with(&format!("{section}:"))) {
            text += &fill(line, places);
        }
    }
    text
}

#[cfg(test)]
mod tests;
