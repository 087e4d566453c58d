//! Random numbers that are the same on every run.

/// Numbers by the `SplitMix64` method.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// A mutation or a few: bytes taken away, put in or changed; lines doubled, dropped or swapped; an end cut off.
pub(crate) fn mutate(random: &mut Random, message: &[u8], others: &[&[u8]]) -> Vec<u8> {
    let mut out = message.to_vec();
    for _ in 0..=random.below(5) / 2 {
        mutate_once(random, &mut out, others);
    }
    out
}

/// What parsers have stumbled over.
const FRAGMENTS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"_",
    b"-",
    b"0",
    b"1",
    b"9",
    b"a",
    b"A",
    b"%",
    b"#",
    b"?",
    b"/",
    b"@",
    b"chunked",
    b"close",
    b"HTTP/1.1",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"\r\n folded",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"http://a",
    b"0x",
    b"+",
    b"ffffffffffffffff",
    b"\xc4\xb0",
    b"\xe2\x84\xaa",
    b"\"",
];

fn mutate_once(random: &mut Random, out: &mut Vec<u8>, others: &[&[u8]]) {
    let at = random.below(out.len() + 1);
    match random.below(9) {
        0 | 1 => {
            let fragment = random.pick(FRAGMENTS);
            out.splice(at..at, fragment.iter().copied());
        }
        2 => {
            let end = (at + 1 + random.below(3)).min(out.len());
            out.drain(at..end);
        }
        3 => {
            let fragment = random.pick(FRAGMENTS);
            let end = (at + fragment.len()).min(out.len());
            out.splice(at..end, fragment.iter().copied());
        }
        4 => {
            if let Some(byte) = out.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        5 => out.truncate(at),
        6 => {
            let other = others[random.below(others.len())];
            let from = random.below(other.len() + 1);
            out.splice(at.., other[from..].iter().copied());
        }
        _ => mutate_lines(random, out),
    }
}

fn mutate_lines(random: &mut Random, out: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = out
        .split_inclusive(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.len() < 2 {
        return;
    }
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(3) {
        0 => lines.swap(one, other),
        1 => drop(lines.remove(one)),
        _ => {
            let line = lines[one].clone();
            lines.insert(other, line);
        }
    }
    *out = lines.concat();
}
