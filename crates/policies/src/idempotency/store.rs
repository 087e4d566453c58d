//! First answers by key, in memory: bounded in number, bytes and time. What is under way is there too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatehouse_core::telemetry::metrics::Tally;
use tokio::sync::watch;

/// A digest of caller, route and key; or of a request.
pub type Digest = [u8; 32];

/// Name and value.
pub type Field = (Box<[u8]>, Box<[u8]>);

/// An answer, to be given again.
#[derive(Debug)]
pub struct Stored {
    /// Its status.
    pub status: u16,
    /// Its fields, but for those of one connection or one answer.
    pub headers: Box<[Field]>,
    /// Its body.
    pub body: Bytes,
}

impl Stored {
    fn size(&self) -> usize {
        let fields = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 32);
        fields.sum::<usize>() + self.body.len() + 256
    }
}

type Arrival = watch::Receiver<Option<Arc<Stored>>>;

struct Entry {
    /// Of the request that came first.
    request: Digest,
    number: u64,
    until: Instant,
    answer: Answer,
}

enum Answer {
    Here(Arc<Stored>),
    UnderWay(Arrival),
}

/// All of a policy.
pub struct Store {
    inner: Mutex<Inner>,
    entries: usize,
    bytes: usize,
    ttl: Duration,
    /// What had to go before its time.
    evicted: Arc<Tally>,
}

#[derive(Default)]
struct Inner {
    by_key: HashMap<Digest, Entry>,
    /// Answers in the order they came, which is that in which their time ends.
    order: VecDeque<(Digest, u64)>,
    bytes: usize,
    next: u64,
}

/// What a request finds.
pub enum Found {
    /// It is the first.
    First(Owner),
    /// The first is under way.
    UnderWay(Arrival),
    /// The first was answered.
    Here(Arc<Stored>),
    /// Another request has used the key.
    Other,
    /// So many are under way that no more are taken on.
    Full,
}

impl Store {
    /// Keeps answers for so long, at most so many, and so many bytes of them.
    pub fn new(ttl: Duration, entries: usize, bytes: usize, evicted: Arc<Tally>) -> Self {
        Self {
            inner: Mutex::default(),
            entries,
            bytes,
            ttl,
            evicted,
        }
    }

    /// What is known of the key; if nothing is, the request is the first and will tell.
    pub fn find(self: &Arc<Self>, key: Digest, request: Digest, now: Instant) -> Found {
        let mut inner = self.lock();
        inner.expire(now);
        if let Some(entry) = inner.by_key.get(&key) {
            return match &entry.answer {
                _ if entry.request != request => Found::Other,
                Answer::Here(stored) => Found::Here(stored.clone()),
                Answer::UnderWay(arrival) => Found::UnderWay(arrival.clone()),
            };
        }
        while inner.by_key.len() >= self.entries {
            if !inner.evict() {
                return Found::Full;
            }
            self.evicted.add_shared(1);
        }
        let (tell, arrival) = watch::channel(None);
        inner.next += 1;
        let number = inner.next;
        let entry = Entry {
            request,
            number,
            until: now + self.ttl,
            answer: Answer::UnderWay(arrival),
        };
        inner.by_key.insert(key, entry);
        Found::First(Owner {
            store: self.clone(),
            key,
            number,
            tell,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole after any panic: nothing in between can fail.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn expire(&mut self, now: Instant) {
        while let Some((key, number)) = self.order.front() {
            let is_over = self
                .by_key
                .get(key)
                .is_none_or(|entry| entry.number != *number || now >= entry.until);
            if !is_over || !self.evict() {
                return;
            }
        }
    }

    /// Lets the oldest answer go; false if there is none.
    fn evict(&mut self) -> bool {
        let Some((key, number)) = self.order.pop_front() else {
            return false;
        };
        if self.by_key.get(&key).is_some_and(|entry| entry.number == number)
            && let Some(entry) = self.by_key.remove(&key)
            && let Answer::Here(stored) = entry.answer
        {
            self.bytes -= stored.size();
        }
        true
    }
}

/// The request that came first. Once it is dropped without an answer, the next one is the first.
pub struct Owner {
    store: Arc<Store>,
    key: Digest,
    number: u64,
    tell: watch::Sender<Option<Arc<Stored>>>,
}

impl Owner {
    /// Stores the answer and gives it to all who wait for it.
    pub fn answer(self, stored: Stored, now: Instant) {
        let stored = Arc::new(stored);
        let size = stored.size();
        let mut inner = self.store.lock();
        while size <= self.store.bytes && inner.bytes + size > self.store.bytes && inner.evict() {
            self.store.evicted.add_shared(1);
        }
        if size <= self.store.bytes
            && let Some(entry) = inner.by_key.get_mut(&self.key)
        {
            entry.answer = Answer::Here(stored.clone());
            entry.until = now + self.store.ttl;
            inner.bytes += size;
            inner.order.push_back((self.key, self.number));
        }
        drop(inner);
        self.tell.send_replace(Some(stored));
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut inner = self.store.lock();
        let is_open =
            |entry: &Entry| entry.number == self.number && matches!(entry.answer, Answer::UnderWay(_));
        if inner.by_key.get(&self.key).is_some_and(is_open) {
            inner.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatehouse_core::telemetry::metrics::{Family, Metrics, Options};

    fn store(entries: usize, bytes: usize) -> Arc<Store> {
        const EVICTED: Family = Family::counter("evicted_total", &[], "For a test.");
        let evicted = Metrics::new(&Options::default()).extra().tally(&EVICTED, &[]);
        Arc::new(Store::new(Duration::from_mins(1), entries, bytes, evicted))
    }

    fn stored(length: usize) -> Stored {
        Stored {
            status: 201,
            headers: Box::default(),
            body: vec![b'x'; length].into(),
        }
    }

    fn first(store: &Arc<Store>, key: u8, now: Instant) -> Owner {
        match store.find([key; 32], [key; 32], now) {
            Found::First(owner) => owner,
            _ => panic!("not the first"),
        }
    }

    #[test]
    fn the_first_answer_is_given_again_until_its_time_is_over() {
        let (store, now) = (store(10, 10_000), Instant::now());
        let owner = first(&store, 1, now);
        let Found::UnderWay(arrival) = store.find([1; 32], [1; 32], now) else {
            panic!("not under way");
        };
        assert!(matches!(store.find([1; 32], [2; 32], now), Found::Other));
        owner.answer(stored(5), now);
        assert_eq!(arrival.borrow().as_ref().map(|stored| stored.status), Some(201));
        let later = now + Duration::from_secs(59);
        assert!(matches!(store.find([1; 32], [1; 32], later), Found::Here(_)));
        assert!(matches!(store.find([1; 32], [2; 32], later), Found::Other));
        drop(first(&store, 1, now + Duration::from_mins(1)));
        assert_eq!(store.lock().bytes, 0);
    }

    #[test]
    fn one_that_ends_without_an_answer_makes_room_for_the_next() {
        let (store, now) = (store(10, 10_000), Instant::now());
        let owner = first(&store, 1, now);
        let Found::UnderWay(arrival) = store.find([1; 32], [1; 32], now) else {
            panic!("not under way");
        };
        drop(owner);
        assert!(arrival.has_changed().is_err(), "those who wait are told");
        let again = first(&store, 1, now);
        again.answer(stored(1), now);
        assert!(matches!(store.find([1; 32], [1; 32], now), Found::Here(_)));
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let (store, now) = (store(3, 1000), Instant::now());
        for key in 0..3 {
            first(&store, key, now).answer(stored(44), now);
        }
        assert_eq!(store.lock().bytes, 900);
        first(&store, 3, now).answer(stored(444), now);
        assert!(store.lock().bytes <= 1000 && store.lock().by_key.len() <= 3);
        assert!(matches!(store.find([3; 32], [3; 32], now), Found::Here(_)));
        let open: Vec<_> = (10..13).map(|key| first(&store, key, now)).collect();
        assert!(matches!(store.find([20; 32], [20; 32], now), Found::Full));
        drop(open);
        // Larger than all there is: not kept, and nothing goes for it.
        first(&store, 30, now).answer(stored(5000), now);
        drop(first(&store, 30, now));
    }
}
