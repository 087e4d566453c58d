//! The examples do what their READMEs say: each is started on free ports, each command is run, and what it prints is
//! compared with the text that follows it.

use std::path::{Path, PathBuf};
use std::process::Command;

use gatehouse_testkit::Gateway;

use crate::gateway;

/// A command of a README and what it prints, if that is said.
struct Step {
    command: String,
    prints: Option<String>,
}

/// The commands after the first, which starts the gateway.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in readme.split("\n```").skip(1).step_by(2) {
        match block.split_once('\n') {
            Some(("sh", command)) => steps.push(Step {
                command: command.to_owned(),
                prints: None,
            }),
            Some(("text", text)) => {
                steps.last_mut().expect("a command before").prints = Some(text.to_owned());
            }
            _ => panic!("a block that is neither `sh` nor `text`: {block}"),
        }
    }
    let start = steps.remove(0);
    assert!(start.command.starts_with("gatehouse run "), "{}", start.command);
    steps
}

/// Names and addresses of the listeners, as they are written.
fn listeners(yaml: &str) -> Vec<(&str, &str)> {
    let written = yaml.lines().filter_map(|line| line.split_once(": { address: "));
    written
        .map(|(name, rest)| (name.trim(), rest.trim_end_matches([' ', '}'])))
        .collect()
}

/// Starts the example on free ports: first the listeners, then, as they are known, what points to them.
fn start(yaml: &str) -> (Gateway, Vec<(String, String)>) {
    let written = listeners(yaml);
    assert!(!written.is_empty(), "no listener found in {yaml}");
    let free = written.iter().fold(yaml.to_owned(), |yaml, (_, address)| {
        yaml.replace(
            &format!("address: {address}"),
            &format!("address: {}:0", address.split(':').next().unwrap()),
        )
    });
    let gateway = gateway(&free).start();
    let moved: Vec<(String, String)> = written
        .iter()
        .map(|(name, address)| ((*address).to_owned(), gateway.address_of(name).to_string()))
        .collect();
    let pointed = relocate(&free, &moved);
    if pointed != free {
        gateway.reload(&pointed);
    }
    (gateway, moved)
}

fn relocate(text: &str, moved: &[(String, String)]) -> String {
    moved
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What is different from the README, if anything is.
fn run(folder: &Path) -> Result<(), String> {
    let read =
        |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let steps = steps(&read("README.md")?);
    let (_gateway, moved) = start(&read("gatehouse.yaml")?);
    for step in steps {
        // A thousand processes show no more than forty do.
        let command = relocate(&step.command, &moved).replace("seq 1000", "seq 40");
        let output = Command::new("sh").args(["-c", &command]).output();
        let output = output.map_err(|error| format!("sh: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`{command}` failed: {said}{errors}"));
        }
        if let Some(prints) = step.prints.map(|prints| relocate(&prints, &moved))
            && said.trim_end() != prints.trim_end()
        {
            return Err(format!("`{command}` printed\n{said}\ninstead of\n{prints}"));
        }
    }
    Ok(())
}

#[test]
fn every_example_does_what_its_readme_says() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("there is no curl here; the examples were not run");
        return;
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&examples)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    let wrong: Vec<String> = folders
        .iter()
        .filter_map(|folder| {
            let error = run(folder).err()?;
            Some(format!("{}: {error}", folder.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
