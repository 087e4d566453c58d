//! Sets of IP addresses: up to millions of blocks in two sorted tables of ranges, of which no two overlap.
//!
//! An IPv4 range takes 8 bytes and an IPv6 range 32; finding an address is a binary search.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatehouse_core::config::Cidr;

/// A set of addresses.
#[derive(Debug, Default)]
pub struct Addresses {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

/// Gathers blocks; [`Gathering::finish`] makes the set.
#[derive(Debug, Default)]
pub struct Gathering {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Gathering {
    /// Adds a block.
    pub fn add(&mut self, block: Cidr) {
        match (block.net().network(), block.net().broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => self.v4.push((first.into(), last.into())),
            (IpAddr::V6(first), IpAddr::V6(last)) => self.v6.push((first.into(), last.into())),
            // Both ends of a block are of its family.
            _ => {}
        }
    }

    /// Adds what a file lists: a block or an address on each line, `#` and `;` before comments. The error names the line.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.read_if(bytes, |_| Ok(()))
    }

    /// As [`Gathering::read`], of blocks that are `good`, or an error says why not.
    pub fn read_if(
        &mut self,
        bytes: &[u8],
        good: impl Fn(&Cidr) -> Result<(), String>,
    ) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())?;
        for (at, line) in text.lines().enumerate() {
            let written = line.split(['#', ';']).next().unwrap_or_default().trim();
            if !written.is_empty() {
                let block: Result<Cidr, String> = cut(written).parse();
                let block = block.and_then(|block| good(&block).map(|()| block));
                self.add(block.map_err(|why| format!("line {}: {why}", at + 1))?);
            }
        }
        Ok(())
    }

    /// The set.
    pub fn finish(self) -> Addresses {
        Addresses {
            v4: merged(self.v4, |last: u32| last.checked_add(1)),
            v6: merged(self.v6, |last: u128| last.checked_add(1)),
        }
    }
}

/// As much of a text as an error quotes: more than any block has.
fn cut(text: &str) -> &str {
    text.char_indices()
        .nth(80)
        .map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

/// Sorted, and what overlaps or touches made one.
fn merged<N: Ord + Copy>(mut ranges: Vec<(N, N)>, after: impl Fn(N) -> Option<N>) -> Box<[(N, N)]> {
    ranges.sort_unstable();
    let mut out: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(before) if after(before.1).is_none_or(|next| first <= next) => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out.into_boxed_slice()
}

impl Addresses {
    /// How many blocks it has, those that touch made one.
    pub fn blocks(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether the address is in the set. IPv4 addresses written as IPv6 are the IPv4 ones.
    pub fn have(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => covers(&self.v4, Ipv4Addr::into(ip)),
            IpAddr::V6(ip) => covers(&self.v6, Ipv6Addr::into(ip)),
        }
    }
}

impl FromIterator<Cidr> for Addresses {
    fn from_iter<I: IntoIterator<Item = Cidr>>(blocks: I) -> Self {
        let mut gathering = Gathering::default();
        blocks.into_iter().for_each(|block| gathering.add(block));
        gathering.finish()
    }
}

fn covers<N: Ord + Copy>(ranges: &[(N, N)], ip: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= ip);
    let before = after.checked_sub(1).and_then(|at| ranges.get(at));
    before.is_some_and(|(_, last)| ip <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_merged_and_found() {
        let mut gathering = Gathering::default();
        let list = b"# bad people\n10.0.0.0/8\n10.1.0.0/16 ; inside\n\n192.0.2.0/25\r\n192.0.2.128/25\n255.255.255.255\n0.0.0.0/32\n2001:db8::/32\n::ffff:198.51.100.0/120\n::1\n";
        gathering.read(list).unwrap();
        let set = gathering.finish();
        assert_eq!(set.v4.len(), 5, "{:?}", set.v4);
        for (ip, has) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.127", true),
            ("192.0.2.128", true),
            ("192.0.3.0", false),
            ("255.255.255.255", true),
            ("255.255.255.254", false),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
            ("198.51.100.7", true),
            ("::ffff:10.0.0.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(set.have(ip.parse().unwrap()), has, "{ip}");
        }
    }

    #[test]
    fn all_there_is() {
        let set: Addresses = ["0.0.0.0/0", "::/0", "10.0.0.0/8"]
            .iter()
            .map(|block| block.parse().unwrap())
            .collect();
        assert!(set.have("255.255.255.255".parse().unwrap()) && set.have("ffff::".parse().unwrap()));
        assert_eq!((set.v4.len(), set.v6.len()), (1, 1));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = Gathering::default()
            .read(b"10.0.0.0/8\n10.0.0.1/8\n")
            .unwrap_err();
        assert!(error.starts_with("line 2: `10.0.0.1/8`"), "{error}");
        assert!(Gathering::default().read(b"\xff").unwrap_err().contains("UTF-8"));
    }

    /// Compared with asking each block; and how much they take: `--nocapture` tells.
    #[test]
    fn many_blocks() {
        let mut state = 7_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(state >> 32).unwrap()
        };
        let mut text = String::new();
        for _ in 0..100_000 {
            let (ip, prefix) = (next(), 24 + next() % 9);
            let ip = Ipv4Addr::from(ip & (u32::MAX << (32 - prefix)));
            text.extend([&*ip.to_string(), "/", &*prefix.to_string(), "\n"]);
        }
        let begun = std::time::Instant::now();
        let mut gathering = Gathering::default();
        gathering.read(text.as_bytes()).unwrap();
        let set = gathering.finish();
        let took = begun.elapsed();
        let bytes = size_of_val(&*set.v4);
        println!(
            "{} ranges, {bytes} bytes, {took:?} to read {} bytes",
            set.v4.len(),
            text.len()
        );
        assert!(bytes <= 800_000);
        let begun = std::time::Instant::now();
        let found = (0..1_000_000)
            .filter(|_| set.have(Ipv4Addr::from(next()).into()))
            .count();
        println!("as many look-ups in {:?}, {found} found", begun.elapsed());
        let blocks: Vec<Cidr> = text
            .lines()
            .step_by(100)
            .map(|line| line.parse().unwrap())
            .collect();
        for block in &blocks {
            assert!(set.have(block.net().network()) && set.have(block.net().broadcast()));
        }
        let few: Addresses = blocks.iter().copied().collect();
        for block in &blocks {
            let IpAddr::V4(first) = block.net().network() else {
                unreachable!()
            };
            for ip in [
                u32::from(first).wrapping_sub(1),
                first.into(),
                u32::from(first).wrapping_add(300),
            ] {
                let ip = IpAddr::from(Ipv4Addr::from(ip));
                assert_eq!(
                    few.have(ip),
                    blocks.iter().any(|block| block.contains(ip)),
                    "{ip}"
                );
            }
        }
    }
}
