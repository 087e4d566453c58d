//! The `gatehouse` command: parse the command line, do what it says, report how it ended.
//!
//! Exit codes: 0 done, 1 it went wrong (the reason is on standard error), 2 the command line is wrong, 3 `run` had to cut
//! connections when it was told to stop.

mod admin;
mod cli;
mod control;
mod demo;
mod document;
mod handover;
mod kept;
mod key;
mod lifecycle;
mod log;
mod pid_file;
mod reference;
mod run;
mod systemd;
mod upgrade;
mod watch;

use std::io;
use std::process::ExitCode;

/// Cheaper than the system's allocator for what a gateway allocates: small things that live as long as a
/// connection. Built without huge pages: they would count whole for the least thing in them, 2 MiB each, and a gateway
/// that idles would take a third more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::execute(cli) {
        Ok(code) => code,
        // `gatehouse schema | head` is not a failure: the reader has what it wanted.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error itself may be gone; there is nobody left to tell.
            let _ = print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn print_error(error: &anyhow::Error) -> io::Result<()> {
    use io::Write as _;

    // `{:#}` prints the chain of causes on one line.
    writeln!(io::stderr().lock(), "error: {error:#}")
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
