//! Whether an RSA key was made by a chip whose keys can be factored (CVE-2017-15361).
//!
//! Such a modulus is a power of 65537 modulo each of the first primes. A random one is that for all of them with a
//! chance of less than 2^-100.

const PRIMES: [u16; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the modulus, big end first, has the fingerprint.
pub fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|&prime| {
        let prime = u32::from(prime);
        let residue = modulus
            .iter()
            .fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let generator = 65_537 % prime;
        let mut power = 1;
        // The order of the generator is less than the prime.
        (0..prime).any(|_| {
            let is_it = power == residue;
            power = power * generator % prime;
            is_it
        })
    })
}
