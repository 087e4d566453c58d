//! One-shot runs of the binary: `check`, `schema`, `version`.

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

/// Runs the binary to its end, at most 30 seconds.
#[track_caller]
pub fn run(binary: &str, arguments: &[&str], directory: &Path) -> Output {
    let binary = std::env::var("GATEHOUSE_BIN").unwrap_or_else(|_| binary.to_owned());
    let mut child = Command::new(&binary)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("NO_COLOR", "1")
        .spawn()
        .unwrap_or_else(|e| panic!("start {binary}: {e}"));
    let stdout = Lines::collect(child.stdout.take().expect("stdout"));
    let stderr = Lines::collect(child.stderr.take().expect("stderr"));
    let limit = Duration::from_secs(30);
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("its status") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("`{binary} {}` did not end within {limit:?}", arguments.join(" "));
        }
        std::thread::park_timeout(Duration::from_millis(2));
    };
    stdout.wait_end(limit);
    stderr.wait_end(limit);
    let text = |lines: &Lines| lines.all().iter().map(|l| format!("{l}\n")).collect();
    Output {
        code: status.code(),
        stdout: text(&stdout),
        stderr: text(&stderr),
    }
}
