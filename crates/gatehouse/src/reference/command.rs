//! The page of the command line, from the definition that parses it.

use std::fmt::Write as _;

/// A chapter for each command, with the help text that `--help` prints.
pub(super) fn page(command: &clap::Command) -> String {
    let mut command = command.clone();
    // Fills in the names that the usage lines show.
    command.build();
    let name = command.get_name().to_owned();
    let mut text = format!("# Command line\n\n{}\n\n", about(&command));
    text += "Exit codes: 0 done, 1 it went wrong, 2 the command line is wrong, 3 `run` had to cut connections at its end.\n";
    for sub in command
        .get_subcommands_mut()
        .filter(|sub| sub.get_name() != "help")
    {
        let heading = format!("{name} {}", sub.get_name());
        let help = sub.render_long_help().to_string();
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n## `{heading}`\n\n```text\n{}\n```\n", trim_lines(&help));
    }
    text
}

fn about(command: &clap::Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn trim_lines(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}
