//! Chooses among weighted targets: dealt evenly, or by a key so that a client stays where it is.
//!
//! Keys use weighted rendezvous hashing: each target draws a number from the hash of key and target name, stretched by
//! its weight, and the lowest wins. Raising one weight only lowers that target's numbers, so keys move to it and
//! nowhere else; a target that goes away gives up its own keys only. Hash and arithmetic are fixed here, so that every
//! process and every version of the gateway gives a key the same target.

/// Weighted targets; which is which is told by position.
#[derive(Debug, Clone)]
pub struct Split {
    targets: Vec<Target>,
    total: u64,
}

#[derive(Debug, Clone, Copy)]
struct Target {
    weight: u32,
    /// The hash of the name, the starting point for keys.
    seed: u64,
}

impl Split {
    /// Takes the targets' names and weights. The name is what keys are bound to: renaming moves them, reordering does
    /// not. A name that comes again is another target.
    pub fn new<'a>(targets: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut split = Self {
            targets: Vec::new(),
            total: 0,
        };
        for (name, weight) in targets {
            let mut seed = hash(BASIS, name.as_bytes());
            while split.targets.iter().any(|target| target.seed == seed) {
                seed = hash(seed, b"#");
            }
            split.targets.push(Target { weight, seed });
            split.total += u64::from(weight);
        }
        split
    }

    /// Deals request number `counter`. Any run of consecutive numbers comes close to the weights, without the bursts of
    /// random choice; start workers at different numbers. None if all weights are 0.
    pub fn deal(&self, counter: u64) -> Option<usize> {
        // Multiples of the golden ratio fall into the gaps that those before left (Weyl sequence).
        let fraction = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let scaled = u128::from(fraction) * u128::from(self.total);
        let mut point = u64::try_from(scaled >> 64).unwrap_or(u64::MAX);
        for (at, target) in self.targets.iter().enumerate() {
            match point.checked_sub(u64::from(target.weight)) {
                None => return Some(at),
                Some(left) => point = left,
            }
        }
        None
    }

    /// The target of a key, such as a cookie's value or a client's address. None if all weights are 0.
    pub fn sticky(&self, key: &[u8]) -> Option<usize> {
        let mut best = None;
        for (at, target) in self
            .targets
            .iter()
            .enumerate()
            .filter(|(_, target)| target.weight > 0)
        {
            let cost = -ln(unit(mix(hash(target.seed, key)))) / f64::from(target.weight);
            if best.is_none_or(|(_, least)| cost < least) {
                best = Some((at, cost));
            }
        }
        best.map(|(at, _)| at)
    }
}

/// Where a hash starts: the offset basis of 64-bit FNV.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// 64-bit FNV-1a from a given state. Simple, and the same everywhere; [`mix`] makes up for its weak high bits.
fn hash(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Spreads every bit over all of them; a bijection (shifts and odd factors, as in splitmix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number above 0 and below 1 from the upper 52 bits, which a float holds exactly.
#[allow(
    clippy::cast_precision_loss,
    reason = "52 bits and a half fit the 53 of the mantissa"
)]
fn unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// The natural logarithm, for numbers above 0 and below 1, from additions, products and quotients alone: those are
/// exact to the bit on every platform (IEEE 754), which the one of the system's library is not.
fn ln(number: f64) -> f64 {
    let bits = number.to_bits();
    // Normal and positive: the exponent's field is between 1 and 1022.
    let exponent = f64::from(u16::try_from(bits >> 52).unwrap_or_default()) - 1023.0;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    // ln(m) = 2 artanh((m - 1) / (m + 1)); the argument is at most 1/3, so 17 terms reach the last bit.
    let x = (mantissa - 1.0) / (mantissa + 1.0);
    let square = x * x;
    let mut sum = 0.0;
    for odd in (0..17u8).rev() {
        sum = sum * square + 1.0 / f64::from(2 * odd + 1);
    }
    exponent * std::f64::consts::LN_2 + 2.0 * x * sum
}

#[cfg(test)]
mod tests;
