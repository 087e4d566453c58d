//! The static table (RFC 7541 Appendix A), and the decoder's table of what was sent lately.

use std::collections::VecDeque;

/// What an entry counts beside its bytes (RFC 7541 4.1).
pub(super) const OVERHEAD: usize = 32;

/// Names and values that both sides know; the first has the index 1.
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
    ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
    ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
    ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
    ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// The index of the first static entry of a name; 0 if there is none.
pub(super) const fn static_name(name: &[u8]) -> u8 {
    let mut at = 0;
    while at < STATIC.len() {
        let known = STATIC[at].0.as_bytes();
        if known.len() == name.len() {
            let mut same = 0;
            while same < name.len() && known[same] == name[same] {
                same += 1;
            }
            if same == name.len() {
                return at as u8 + 1;
            }
        }
        at += 1;
    }
    0
}

/// A name and its value in one piece of memory.
struct Entry {
    text: Box<[u8]>,
    name: usize,
}

/// What was sent lately, the newest first. Invariant: the sizes of all entries together are `size <= most`.
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Table {
    pub fn new(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most,
        }
    }

    /// Name and value of an index, static or not; none for 0 and what lies beyond the table.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let place = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(place) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(place - STATIC.len())?;
        // `name` is at most the length of the text.
        Some(entry.text.split_at(entry.name))
    }

    /// Adds an entry, and lets go of the oldest as needed: of all, if it is too large itself (RFC 7541 4.4).
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        self.evict(self.most.saturating_sub(size));
        if size > self.most {
            return;
        }
        self.size += size;
        self.entries.push_front(Entry {
            text: [name, value].concat().into(),
            name: name.len(),
        });
    }

    /// Changes how much it may hold.
    pub fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(most);
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.text.len() + OVERHEAD;
        }
    }

    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.size
    }
}
