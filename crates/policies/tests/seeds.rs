//! The seeds of the fuzz targets through the checks behind the targets, whole and cut short.
#![allow(clippy::expect_used, reason = "tests")]

use std::path::Path;

use gatehouse_policies::fuzzing;

/// Each seed of a target, and the same with one byte of it another: the head must stay whole to be looked at.
fn each(target: &str, check: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(root).expect("the seeds") {
        let seed = std::fs::read(entry.expect("a file").path()).expect("readable");
        for (at, byte) in seed.iter().enumerate() {
            let mut other = seed.clone();
            other[at] = byte ^ 1;
            check(&other);
        }
        check(&seed);
        count += 1;
    }
    assert!(count > 2, "{target} has too few seeds");
}

#[test]
fn every_seed_holds() {
    each("signature", fuzzing::signature);
    each("oidc_cookies", fuzzing::oidc_cookies);
}
