//! The seeds of the fuzz targets, and every sample and its mutations, through the checks behind the targets.

use std::path::Path;

use gatehouse_http1::fuzzing;

use crate::random::{Random, mutate};
use crate::samples::{REQUESTS, RESPONSES};

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 5] = [
    ("request_head", fuzzing::request_head),
    ("response_head", fuzzing::response_head),
    ("chunked", fuzzing::chunked),
    ("reserialise", fuzzing::reserialise),
    ("request_parts", fuzzing::request_parts),
];

#[test]
fn every_seed_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (target, check) in TARGETS {
        let mut count = 0;
        for entry in std::fs::read_dir(root.join(target)).unwrap() {
            let path = entry.unwrap().path();
            let seed = std::fs::read(&path).unwrap();
            let result = std::panic::catch_unwind(|| check(&seed));
            assert!(result.is_ok(), "{} fails", path.display());
            count += 1;
        }
        assert!(count > 2, "{target} has too few seeds");
    }
}

#[test]
fn every_mutation_holds() {
    let mut random = Random(4);
    let samples = [REQUESTS, RESPONSES].concat();
    for (nth, sample) in samples.iter().enumerate() {
        for _ in 0..150 {
            let wire = mutate(&mut random, sample, &samples);
            fuzzing::request_head(&wire);
            fuzzing::reserialise(&wire);
            fuzzing::request_parts(&[b"GET\nhttp\nhost\n/\n".as_slice(), wire.as_slice()].concat());
            let step = u8::try_from(random.below(40)).unwrap();
            fuzzing::response_head(&[&[u8::try_from(nth).unwrap()], wire.as_slice()].concat());
            fuzzing::chunked(&[&[step], wire.as_slice()].concat());
            let body = wire
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .map_or(0, |at| at + 4);
            fuzzing::chunked(&[&[step], &wire[body..]].concat());
        }
    }
}
