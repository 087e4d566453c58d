//! The seeds of the fuzz targets through the checks behind the targets, whole and cut short.
#![allow(clippy::expect_used, reason = "tests")]

use std::path::Path;

use gatehouse_policies::fuzzing;

#[test]
fn every_seed_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/signature");
    let mut count = 0;
    for entry in std::fs::read_dir(root).expect("the seeds") {
        let seed = std::fs::read(entry.expect("a file").path()).expect("readable");
        for (at, byte) in seed.iter().enumerate() {
            // The head must stay whole to be looked at: one byte of it is another.
            let mut other = seed.clone();
            other[at] = byte ^ 1;
            fuzzing::signature(&other);
        }
        fuzzing::signature(&seed);
        count += 1;
    }
    assert!(count > 2, "there are too few seeds");
}
