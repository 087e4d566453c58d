//! The test cases of llhttp, Node.js's parser, against ours.
//!
//! Each case is a message (or several) and the log of what llhttp sees in it. We must refuse what it refuses, accept
//! what it accepts and see the same messages, but for the deliberate differences listed with their reasons; a listed
//! difference that no longer differs fails too. Where llhttp is switched to a lenient mode we must still refuse.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod differences;
mod ours;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cases::Case;
use differences::DIFFERENCES;

#[test]
fn we_agree_with_llhttp_but_for_the_listed_differences() {
    let cases = cases::read();
    assert!(cases.len() > 200, "only {} cases found", cases.len());
    let mut report = String::new();
    let mut listed: BTreeSet<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed.len(), DIFFERENCES.len(), "a difference is listed twice");
    for case in &cases {
        let difference = compare(case);
        let is_listed = listed.remove(case.name.as_str());
        match difference {
            Some(difference) if !is_listed => {
                let _ = writeln!(report, "{}: {difference}", case.name);
            }
            None if is_listed => {
                let _ = writeln!(report, "{}: listed as a difference, but there is none", case.name);
            }
            _ => {}
        }
    }
    for name in listed {
        let _ = writeln!(
            report,
            "{name}: listed as a difference, but there is no such case"
        );
    }
    assert!(report.is_empty(), "\n{report}");
}

/// In what we and llhttp differ.
fn compare(case: &Case) -> Option<String> {
    let ours = ours::run(
        case.kind,
        &case.input,
        case.skip_body,
        case.expected.refusal.is_some() || case.is_lenient,
    );
    if case.is_lenient {
        return ours
            .refusal
            .is_none()
            .then(|| "accepted, though llhttp must be lenient for it".to_owned());
    }
    match (&case.expected.refusal, &ours.refusal) {
        (Some(theirs), None) => return Some(format!("accepted; llhttp refuses: {theirs}")),
        (None, Some(ours)) => return Some(format!("refused: {ours}; llhttp accepts")),
        // What came before the refusal is not compared: llhttp reports as it goes.
        (Some(_), Some(_)) => return None,
        (None, None) => {}
    }
    (case.expected.messages != ours.messages).then(|| {
        format!(
            "we see {:#?}, llhttp sees {:#?}",
            ours.messages, case.expected.messages
        )
    })
}
