//! Tokens that nobody signed: the seeds of the fuzz target, and a hundred thousand that were changed on the way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::path::Path;

use gatehouse_policies::fuzzing;

/// Seeds that are good as they are.
const GOOD: [&str; 3] = ["hs256", "es256", "rs256"];

fn seed(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/token");
    std::fs::read_to_string(root.join(name)).unwrap()
}

#[test]
fn every_seed_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/token");
    let mut good = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = seed(&name);
        for end in 0..text.len() {
            fuzzing::token(&text.as_bytes()[..end]);
        }
        if fuzzing::believed(&text).is_some() {
            good.push(name);
        }
    }
    good.sort();
    assert_eq!(
        good,
        ["es256", "hs256", "rs256", "spaces"]
            .into_iter()
            .filter(|name| GOOD.contains(name))
            .collect::<Vec<_>>()
    );
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \t\0";

/// One to three changes: a character replaced, put in, left out or moved, an end cut off, a part of another token.
fn mutant(good: &[String], random: &mut Random) -> String {
    let mut text = good[random.below(good.len())].clone().into_bytes();
    for _ in 0..=random.below(3) {
        let at = random.below(text.len().max(1));
        let byte = ALPHABET[random.below(ALPHABET.len())];
        match random.below(7) {
            0 | 1 if !text.is_empty() => text[at] = byte,
            2 => text.insert(at, byte),
            3 if !text.is_empty() => drop(text.remove(at)),
            4 if text.len() > 1 => text.swap(at, at / 2),
            5 => text.truncate(at),
            _ => {
                let other = &good[random.below(good.len())];
                let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
                let nth = random.below(3);
                let part = other.split('.').nth(nth).unwrap().as_bytes();
                let swapped = parts
                    .iter()
                    .enumerate()
                    .map(|(i, old)| if i == nth { part } else { *old });
                text = swapped.collect::<Vec<_>>().join(&b'.');
            }
        }
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn of_a_hundred_thousand_changed_tokens_none_is_believed() {
    let good: Vec<String> = GOOD.iter().map(|name| seed(name)).collect();
    assert!(good.iter().all(|token| fuzzing::believed(token).is_some()));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut changed = 0;
    while changed < 100_000 {
        let token = mutant(&good, &mut random);
        if good.contains(&token) {
            continue;
        }
        changed += 1;
        assert!(fuzzing::believed(&token).is_none(), "{token}");
    }
}
