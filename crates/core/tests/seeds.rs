//! The seeds of the fuzz targets through the checks behind the targets, whole and cut short.

use std::path::Path;

use gatehouse_core::fuzzing;

type Check = fn(&[u8]);

const TARGETS: &[(&str, Check)] = &[
    ("config", fuzzing::config),
    ("target", fuzzing::target),
    ("path_tree", fuzzing::path_tree),
    ("proxy_protocol", fuzzing::proxy_protocol),
    ("frames", fuzzing::frames),
    #[cfg(feature = "http3")]
    ("http3_stream", fuzzing::http3_stream),
];

/// A seed longer than this is cut at so many places only.
const CUTS: usize = 64;

#[test]
fn every_seed_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (target, check) in TARGETS {
        let mut count = 0;
        for entry in std::fs::read_dir(root.join(target)).expect("the seeds") {
            let path = entry.expect("a file").path();
            let seed = std::fs::read(&path).expect("readable");
            let step = seed.len() / CUTS + 1;
            for end in (0..seed.len()).step_by(step).chain([seed.len()]) {
                let result = std::panic::catch_unwind(|| check(&seed[..end]));
                assert!(result.is_ok(), "{} fails when cut at {end}", path.display());
            }
            count += 1;
        }
        assert!(count > 2, "{target} has too few seeds");
    }
}
