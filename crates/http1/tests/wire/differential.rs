//! Where hyper and we both accept a message, it must be the same message.
//!
//! We may refuse more. That is how a request is smuggled: two parsers see different messages in the same bytes.

use crate::random::{Random, mutate};
use crate::samples::{REQUESTS, RESPONSES};
use crate::{hyper_side, ours};

const MUTATIONS: usize = 1000;

#[test]
fn requests_are_what_hyper_sees() {
    let mut agreed = 0;
    for_each_mutation(REQUESTS, |wire| {
        let (ours, theirs) = (ours::requests(wire), hyper_side::requests(wire));
        for (one, other) in ours.iter().zip(&theirs) {
            assert_eq!(one, other, "in {}", wire.escape_ascii());
            agreed += 1;
        }
    });
    assert!(agreed > 2000, "too few messages were accepted by both: {agreed}");
}

#[test]
fn responses_are_what_hyper_sees() {
    let mut agreed = 0;
    for_each_mutation(RESPONSES, |wire| {
        if let (Some(ours), Some(theirs)) = (ours::response(wire), hyper_side::response(wire)) {
            assert_eq!(ours, theirs, "in {}", wire.escape_ascii());
            agreed += 1;
        }
    });
    assert!(agreed > 1500, "too few messages were accepted by both: {agreed}");
}

fn for_each_mutation(samples: &[&[u8]], mut check: impl FnMut(&[u8])) {
    let mut random = Random(1);
    for sample in samples {
        check(sample);
        for _ in 0..MUTATIONS {
            check(&mutate(&mut random, sample, samples));
        }
    }
}
