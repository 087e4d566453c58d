//! How many connections may be open: in total, and from one client.
//!
//! One [`Admission`] for each listener, shared by all workers. A client is an IPv4 address or an IPv6 /64, the
//! smallest network a subscriber gets. Counting touches one short lock when a connection comes and one when it
//! goes, never a request; the memory is bounded by the connections that are open.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(test)]
mod tests;

/// Locks over which clients are spread.
const SHARDS: u64 = 64;
/// A shard that empties gives back what it holds beyond this many entries.
const KEPT_CAPACITY: usize = 64;

/// How many connections a listener takes. `u32::MAX` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at the same time.
    pub total: u32,
    /// Of these, connections of one client address (IPv6: one /64).
    pub per_client: u32,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// The listener has as many connections as it may.
    #[error("the listener has reached `max_connections`")]
    Total,
    /// This client has as many connections as it may.
    #[error("the client has reached `max_connections_per_client`")]
    Client,
}

impl Refused {
    /// The name used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Client => "client",
        }
    }

    /// The setting that was hit, as metrics name it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Total => "listeners.*.max_connections",
            Self::Client => "listeners.*.max_connections_per_client",
        }
    }
}

/// What is counted as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Client {
    V4(u32),
    /// The upper half of the address.
    V6(u64),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

/// The open connections of one listener.
#[derive(Debug)]
pub struct Admission {
    total_limit: AtomicU32,
    client_limit: AtomicU32,
    open: AtomicU32,
    shards: Box<[Mutex<HashMap<Client, u32>>]>,
    hasher: RandomState,
}

impl Admission {
    /// Nothing open yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            total_limit: AtomicU32::new(limits.total),
            client_limit: AtomicU32::new(limits.per_client),
            open: AtomicU32::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        })
    }

    /// Changes the limits; what is open stays open. For a listener that survives a change of configuration.
    pub fn set_limits(&self, limits: Limits) {
        self.total_limit.store(limits.total, Ordering::Relaxed);
        self.client_limit.store(limits.per_client, Ordering::Relaxed);
    }

    /// Connections open now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a connection. `client` is the address of the peer, or `None` where that says nothing: on a Unix socket,
    /// and for a trusted sender of PROXY headers, whose connections are those of many clients (see
    /// [`Admitted::claim`]).
    pub fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Admitted, Refused> {
        let limit = self.total_limit.load(Ordering::Relaxed);
        let add = |open: u32| open.checked_add(1).filter(|open| *open <= limit);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .map_err(|_| Refused::Total)?;
        // From here on dropping it undoes the count.
        let mut admitted = Admitted {
            admission: Arc::clone(self),
            client: None,
        };
        if let Some(address) = client {
            admitted.claim(address)?;
        }
        Ok(admitted)
    }

    fn enter(&self, client: Client) -> Result<(), Refused> {
        let limit = self.client_limit.load(Ordering::Relaxed);
        let mut shard = self.shard(client);
        let count = shard.get(&client).copied().unwrap_or(0);
        if count >= limit {
            return Err(Refused::Client);
        }
        shard.insert(client, count + 1);
        Ok(())
    }

    fn leave(&self, client: Client) {
        let mut shard = self.shard(client);
        let left = shard.get(&client).copied().unwrap_or(0).saturating_sub(1);
        if left > 0 {
            shard.insert(client, left);
            return;
        }
        shard.remove(&client);
        if shard.is_empty() && shard.capacity() > KEPT_CAPACITY {
            shard.shrink_to(KEPT_CAPACITY);
        }
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, HashMap<Client, u32>> {
        let index = (self.hasher.hash_one(client) % SHARDS) as usize;
        // There are SHARDS shards. The counts are whole even if a thread panicked while it held the lock.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection; dropping it makes room for another.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    client: Option<Client>,
}

impl Admitted {
    /// Counts the connection for `address`, and no longer for the one it was counted for. For connections whose
    /// client is known only after a PROXY header. If it is refused the connection must be closed.
    pub fn claim(&mut self, address: IpAddr) -> Result<(), Refused> {
        let client = Client::from(address);
        if self.client == Some(client) {
            return Ok(());
        }
        self.admission.enter(client)?;
        if let Some(before) = self.client.replace(client) {
            self.admission.leave(before);
        }
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.admission.leave(client);
        }
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
    }
}
