use super::*;

const KEYS: usize = 10_000;

fn split(weights: &[u32]) -> Split {
    let names = ["v1", "v2", "v3", "v4"];
    Split::new(names.into_iter().zip(weights.iter().copied()))
}

/// The target of each of ten thousand keys.
fn assigned(split: &Split) -> Vec<usize> {
    (0..KEYS)
        .map(|n| split.sticky(format!("user-{n}").as_bytes()).unwrap())
        .collect()
}

fn shares(targets: &[usize]) -> [usize; 4] {
    let mut counts = [0; 4];
    for &target in targets {
        counts[target] += 1;
    }
    counts
}

#[test]
fn dealing_comes_close_to_the_weights_at_once() {
    for weights in [[90, 10, 0, 0], [1, 1, 1, 0], [1, 2, 3, 4], [999, 1, 0, 0]] {
        let split = split(&weights);
        let total: u32 = weights.iter().sum();
        let mut counts = [0_u32; 4];
        for n in 1..=5000_u32 {
            counts[split.deal(u64::from(n)).unwrap()] += 1;
            for (count, weight) in counts.iter().zip(weights) {
                let due = f64::from(n) * f64::from(weight) / f64::from(total);
                assert!(
                    (f64::from(*count) - due).abs() < 5.0,
                    "{weights:?} {n} {counts:?}"
                );
            }
        }
    }
}

#[test]
fn a_weight_of_nothing_is_never_chosen() {
    let split = split(&[0, 5, 0, 1]);
    for n in 0..2000_u64 {
        assert!(matches!(split.deal(n), Some(1 | 3)));
        assert!(matches!(split.sticky(&n.to_le_bytes()), Some(1 | 3)));
    }
    for none in [Split::new([]), Split::new([("a", 0), ("b", 0)])] {
        assert_eq!((none.deal(7), none.sticky(b"x")), (None, None));
    }
    assert!(
        Split::new([("a", u32::MAX), ("b", u32::MAX)])
            .deal(u64::MAX)
            .is_some()
    );
}

#[test]
fn keys_are_shared_by_weight() {
    for weights in [[90, 10, 0, 0], [1, 1, 1, 1], [50, 30, 15, 5]] {
        let counts = shares(&assigned(&split(&weights)));
        let total: u32 = weights.iter().sum();
        for (count, weight) in counts.into_iter().zip(weights) {
            let due = KEYS * weight as usize / total as usize;
            // Three standard deviations of a binomial count are at most 150 here.
            assert!(count.abs_diff(due) < 150, "{weights:?} {counts:?}");
        }
    }
}

#[test]
fn raising_a_weight_only_moves_keys_to_it() {
    let steps = [
        [95, 0, 5, 0],
        [95, 5, 5, 0],
        [95, 10, 5, 0],
        [95, 11, 5, 0],
        [95, 400, 5, 0],
        [95, 4_000_000, 5, 0],
    ];
    for pair in steps.windows(2) {
        let before = assigned(&split(&pair[0]));
        let after = assigned(&split(&pair[1]));
        for (key, (from, to)) in before.iter().zip(&after).enumerate() {
            assert!(
                from == to || *to == 1,
                "key {key} moved from {from} to {to} at {pair:?}"
            );
        }
        assert!(shares(&after)[1] >= shares(&before)[1]);
    }
    // A canary from 5 to 10 of 100 keeps all who were in it.
    let five = assigned(&split(&[95, 5]));
    let ten = assigned(&split(&[90, 10]));
    assert!(
        five.iter()
            .zip(&ten)
            .all(|(before, after)| *before == 0 || *after == 1)
    );
}

#[test]
fn order_and_scale_do_not_matter() {
    let one = assigned(&Split::new([("a", 3), ("b", 7)]));
    let other = assigned(&Split::new([("b", 70), ("a", 30)]));
    assert!(one.iter().zip(&other).all(|(a, b)| *a == 1 - *b));
    let counts = shares(&assigned(&Split::new([("a", 1), ("a", 1)])));
    assert!(
        counts[0].abs_diff(counts[1]) < 300,
        "the same name twice is two targets: {counts:?}"
    );
}

/// These values are a promise: changing them moves users of running canaries.
#[test]
fn the_choice_is_the_same_in_every_version() {
    assert_eq!(hash(BASIS, b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(hash(BASIS, b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(hash(BASIS, b"foobar"), 0x8594_4171_f739_67e8);
    let split = split(&[50, 30, 20]);
    let chosen: String = (0..40)
        .map(|n| split.sticky(format!("k{n}").as_bytes()).unwrap().to_string())
        .collect();
    assert_eq!(chosen, "1001000120000000000111220100210001012010");
}

#[test]
fn the_logarithm_is_close_to_the_systems() {
    for bits in [
        0,
        1,
        0xfff,
        1 << 12,
        u64::MAX,
        u64::MAX / 2,
        u64::MAX / 3,
        0x8000_0000_0000_0000,
    ] {
        let number = unit(bits);
        assert!(number > 0.0 && number < 1.0);
        assert!(
            (ln(number) - number.ln()).abs() < 1e-14 * (1.0 + number.ln().abs()),
            "{bits:x}"
        );
    }
}
