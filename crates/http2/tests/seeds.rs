//! The seeds of the fuzz targets through the checks behind the targets: whole, cut short, and with bytes changed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::type_complexity,
    reason = "tests"
)]

use std::path::Path;

use gatehouse_http2::fuzzing;

#[test]
fn what_must_hold_holds_for_the_seeds() {
    let targets: [(&str, fn(&[u8])); 3] = [
        ("http2_hpack", fuzzing::hpack),
        ("http2_fields", fuzzing::hpack_fields),
        ("http2_connection", fuzzing::connection),
    ];
    for (target, check) in targets {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/seeds")
            .join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(root).expect("the seeds") {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            for end in 0..=seed.len() {
                check(&seed[..end]);
            }
            let mut random = 0x9e37_79b9_7f4a_7c15_u64;
            for _ in 0..2000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let mut other = seed.clone();
                let at = usize::try_from(random >> 16).unwrap() % other.len().max(1);
                match random & 3 {
                    0 => drop(other.remove(at)),
                    1 => other.insert(at, (random >> 8) as u8),
                    2 => other[at] = (random >> 8) as u8,
                    _ => other[at] ^= 1 << ((random >> 8) & 7),
                }
                check(&other);
            }
            count += 1;
        }
        assert!(count > 2, "{target} has too few seeds");
    }
}
