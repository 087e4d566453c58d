//! Who gets in: whether a listener's UDP socket takes connections, and which handshakes may begin.
//!
//! Senders of datagrams can lie about their address. So a client is counted only once it has shown that it receives what
//! is sent there: nobody can use up the share of another. Those that have not shown it get at most half of the places.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::listen::admission::Client;
use crate::listen::handshake::{has_its_share, is_scarce};

/// Whether a listener's UDP socket takes connections, and which are being made.
#[derive(Default)]
pub(crate) struct Door {
    closed: AtomicBool,
    has_successor: AtomicBool,
    changed: Notify,
    under_way: Mutex<UnderWay>,
}

/// The handshakes that are not over.
#[derive(Default)]
struct UnderWay {
    count: u32,
    /// Those of clients that have shown their address.
    by_client: HashMap<Client, u32>,
}

/// How many handshakes may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// In all.
    pub most: u32,
    /// So many, before clients must show their address.
    pub retry_above: u32,
}

/// What becomes of a client that wants to connect.
pub(super) enum Answer {
    /// It may.
    Begin(Handshake),
    /// Once it has shown its address.
    Retry,
    /// There are handshakes enough, or it has its share of them.
    Refuse,
}

impl Door {
    /// True once no new connections are wanted, and those there are shall end.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// True if another process takes what is not taken here.
    pub(super) fn has_successor(&self) -> bool {
        self.has_successor.load(Ordering::Acquire)
    }

    /// Ready when the door was closed since it was last asked.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn close(&self, has_successor: bool) {
        self.has_successor.store(has_successor, Ordering::Release);
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether a handshake may begin. `shown` is the address of a client that has shown that it is there.
    pub(super) fn begin(self: &Arc<Self>, bounds: Bounds, shown: Option<IpAddr>) -> Answer {
        let client = shown.map(Client::from);
        let mut under_way = self.under_way();
        let count = under_way.count;
        if count >= bounds.most {
            return Answer::Refuse;
        }
        match client {
            None if count >= bounds.retry_above || is_scarce(bounds.most, count) => return Answer::Retry,
            None => {}
            Some(client) => {
                let own = under_way.by_client.get(&client).copied().unwrap_or(0);
                if has_its_share(bounds.most, count, own) {
                    return Answer::Refuse;
                }
                under_way.by_client.insert(client, own + 1);
            }
        }
        under_way.count += 1;
        drop(under_way);
        Answer::Begin(Handshake {
            door: self.clone(),
            client,
        })
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        // The counts are whole even if a thread panicked while it held the lock.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a handshake while it lasts.
pub(super) struct Handshake {
    door: Arc<Door>,
    client: Option<Client>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut under_way = self.door.under_way();
        under_way.count -= 1;
        if let Some(client) = self.client
            && let Entry::Occupied(mut own) = under_way.by_client.entry(client)
        {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const BOUNDS: Bounds = Bounds {
        most: 64,
        retry_above: 64,
    };

    fn address(n: u8) -> IpAddr {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, n))
    }

    fn begin(door: &Arc<Door>, shown: Option<IpAddr>) -> Option<Handshake> {
        match door.begin(BOUNDS, shown) {
            Answer::Begin(handshake) => Some(handshake),
            Answer::Retry => {
                assert!(shown.is_none(), "asked for what was shown");
                None
            }
            Answer::Refuse => None,
        }
    }

    #[test]
    fn a_few_clients_do_not_take_all_places() {
        let door = Arc::<Door>::default();
        let mut kept: Vec<_> = (0..64).map_while(|_| begin(&door, Some(address(1)))).collect();
        assert_eq!(kept.len(), 32, "half of them, while nobody else asks");
        kept.extend((0..64).map_while(|_| begin(&door, Some(address(2)))));
        assert_eq!(kept.len(), 40, "then its share");
        kept.extend((3..).map_while(|n| begin(&door, Some(address(n)))));
        assert_eq!(kept.len(), 64, "and others have the rest");
        drop(kept);
        let left = door.under_way();
        assert!(left.by_client.is_empty() && left.count == 0);
    }

    #[test]
    fn who_lies_about_its_address_uses_up_nobodys_share() {
        let door = Arc::<Door>::default();
        let liars: Vec<_> = (0..64).map_while(|_| begin(&door, None)).collect();
        assert_eq!(liars.len(), 32, "half of the places");
        assert!(matches!(door.begin(BOUNDS, None), Answer::Retry), "not refused");
        let honest: Vec<_> = (0..64).map_while(|_| begin(&door, Some(address(1)))).collect();
        assert_eq!(honest.len(), 8, "its whole share");
    }

    #[test]
    fn addresses_are_asked_for_from_the_bound_on() {
        let door = Arc::<Door>::default();
        let bounds = Bounds {
            retry_above: 1,
            ..BOUNDS
        };
        let Answer::Begin(_first) = door.begin(bounds, None) else {
            panic!("the first is let in as it is")
        };
        assert!(matches!(door.begin(bounds, None), Answer::Retry));
        assert!(matches!(door.begin(bounds, Some(address(1))), Answer::Begin(_)));
    }
}
