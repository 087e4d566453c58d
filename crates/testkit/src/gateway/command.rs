//! One-shot runs of the binary (`check`, `schema`, `version`) and of other commands.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lines::Lines;

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// How long a command may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs the binary to its end.
#[track_caller]
pub fn run(binary: &str, arguments: &[&str], directory: &Path) -> Output {
    let binary = std::env::var("GATEHOUSE_BIN").unwrap_or_else(|_| binary.to_owned());
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .current_dir(directory)
        .env("NO_COLOR", "1");
    finish(command)
}

/// Runs a command to its end, and collects what it says.
#[track_caller]
pub fn finish(mut command: Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let stdout = Lines::collect(child.stdout.take().expect("stdout"));
    let stderr = Lines::collect(child.stderr.take().expect("stderr"));
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("its status") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} did not end within {LIMIT:?}");
        }
        std::thread::park_timeout(Duration::from_millis(2));
    };
    stdout.wait_end(LIMIT);
    stderr.wait_end(LIMIT);
    let text = |lines: &Lines| lines.all().iter().map(|l| format!("{l}\n")).collect();
    Output {
        code: status.code(),
        stdout: text(&stdout),
        stderr: text(&stderr),
    }
}
