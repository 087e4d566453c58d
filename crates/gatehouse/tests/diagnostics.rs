//! Messages about bad documents, word for word: `gatehouse check` on each `diagnostics/*.yaml` against the `.txt`
//! beside it. `UPDATE=1` rewrites the texts; whoever does it reads the difference.
#![allow(clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

use gatehouse_testkit::gateway::command::run;

/// Every file ends as it should: `ok-*.yaml` with success (and perhaps warnings), all others with exit code 1.
#[test]
fn messages_are_as_agreed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for file in documents(&folder) {
        let name = file
            .file_name()
            .expect("a file name")
            .to_string_lossy()
            .into_owned();
        let output = run(env!("CARGO_BIN_EXE_gatehouse"), &["check", &name], &folder);
        let code = i32::from(!name.starts_with("ok-"));
        if output.code != Some(code) {
            wrong.push(format!(
                "{name}: exit code {:?}, not {code}\n{}{}",
                output.code, output.stdout, output.stderr
            ));
        }
        let text = file.with_extension("txt");
        if update {
            std::fs::write(&text, &output.stderr).expect("write the text");
            continue;
        }
        let agreed = std::fs::read_to_string(&text).unwrap_or_default();
        if agreed != output.stderr {
            wrong.push(format!(
                "{name}: expected\n{agreed}\n--- got\n{}\n---",
                output.stderr
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "UPDATE=1 rewrites the texts. {} differ:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder of documents");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() > 10, "only {} documents", files.len());
    files
}
