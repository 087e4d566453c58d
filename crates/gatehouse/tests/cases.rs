//! Runs the text cases of `cases/*.yaml`, each against a gateway of its own. `CASE=part` runs those whose name has it.
#![allow(clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatehouse_testkit::case;

fn case_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(&folder).expect("the folder of cases");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn every_case_can_be_read() {
    let wrong: Vec<String> = case_files()
        .iter()
        .filter_map(|file| case::load(file).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_passes() {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let mut cases: Vec<_> = case_files()
        .iter()
        .filter_map(|file| case::load(file).ok())
        .collect();
    cases.retain(|case| case.name.contains(&wanted));
    assert!(!cases.is_empty(), "no case has {wanted:?} in its name");
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = case::run(env!("CARGO_BIN_EXE_gatehouse"), case);
                    println!(
                        "case {} ... {}",
                        case.name,
                        if result.is_ok() { "ok" } else { "FAILED" }
                    );
                    if let Err(why) = result {
                        let report = format!("cases/{}.yaml: {}\n    {why}", case.name, case.about);
                        failed.lock().expect("the list").push(report);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("the list");
    assert!(
        failed.is_empty(),
        "{} of {} cases failed:\n\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n\n")
    );
}
