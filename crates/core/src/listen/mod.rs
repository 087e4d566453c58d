//! Listeners: the sockets we accept on, and what becomes of them when the document changes.
//!
//! A change is prepared first (new sockets are bound; a failure leaves everything as it was) and then
//! committed. A listener whose address stays keeps its socket, its queue and its connections.

pub mod admission;
pub mod descriptors;
pub(crate) mod handshake;
pub mod proxy_protocol;
pub mod socket;
pub(crate) mod tcp;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indexmap::IndexMap;
use tokio::sync::Notify;

use crate::config::{self, Address, Diagnostic};
use crate::telemetry::metrics::{ListenerStats, Metrics};
use crate::worker::{Command, WorkerHandle};
use admission::{Admission, Limits};
use socket::Bound;
use tcp::Acceptor;

/// A listener while it runs; survives changes of the document that leave its address.
pub struct ListenerState {
    /// Its name in the document.
    pub name: Box<str>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stats: Arc<ListenerStats>,
    draining: AtomicBool,
    closed: Notify,
}

impl ListenerState {
    /// True once the listener is being given up: its connections end after their current exchange.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.draining.store(true, Ordering::Release);
        self.closed.notify_one();
    }
}

struct Running {
    written: Address,
    bound: Address,
    state: Arc<ListenerState>,
}

/// All listeners of the process.
#[derive(Default)]
pub struct Listeners {
    running: HashMap<String, Running>,
}

/// Sockets bound for a document that is not in force yet. Dropping it closes them.
pub struct Prepared {
    new: Vec<(String, Running, Bound)>,
}

impl Listeners {
    /// Binds what `wanted` needs and is not there yet.
    pub fn prepare(
        &self,
        wanted: &IndexMap<String, config::Listener>,
        metrics: &Metrics,
    ) -> Result<Prepared, Vec<Diagnostic>> {
        let mut series = metrics.series();
        let mut new = Vec::new();
        let mut bad = Vec::new();
        for (name, listener) in wanted {
            let stats = series.listener(name);
            if self
                .running
                .get(name)
                .is_some_and(|running| running.written == listener.address)
            {
                continue;
            }
            let options = socket::Options {
                backlog: listener.backlog,
                unix_mode: listener.unix_mode.map(|mode| mode.0),
            };
            let bound = socket::bind(&listener.address, options).map(|bound| {
                let address = bound.address().unwrap_or_else(|_| listener.address.clone());
                (bound, address)
            });
            match bound {
                Ok((bound, address)) => {
                    let state = Arc::new(ListenerState {
                        name: name.as_str().into(),
                        admission: Admission::new(limits(listener)),
                        stats,
                        draining: AtomicBool::new(false),
                        closed: Notify::new(),
                    });
                    new.push((
                        name.clone(),
                        Running {
                            written: listener.address.clone(),
                            bound: address,
                            state,
                        },
                        bound,
                    ));
                }
                Err(error) => {
                    let mut diagnostic =
                        Diagnostic::error(format!("listeners.{name}.address"), error.to_string());
                    diagnostic.help = error.help.map(str::to_owned);
                    bad.push(diagnostic);
                }
            }
        }
        if bad.is_empty() {
            Ok(Prepared { new })
        } else {
            Err(bad)
        }
    }

    /// Puts prepared sockets to work and gives up those that `wanted` no longer names.
    pub(crate) async fn commit(
        &mut self,
        wanted: &IndexMap<String, config::Listener>,
        prepared: Prepared,
        workers: &[WorkerHandle],
    ) {
        let mut replaced: Vec<_> = self
            .running
            .extract_if(|name, _| !wanted.contains_key(name))
            .collect();
        for (i, (name, running, bound)) in prepared.new.into_iter().enumerate() {
            let acceptor = Acceptor::new(running.state.clone(), bound);
            if let Some(worker) = workers.get((self.running.len() + i) % workers.len().max(1)) {
                worker.tell(Command::Accept(acceptor)).await;
            }
            if let Some(old) = self.running.insert(name.clone(), running) {
                replaced.push((name, old));
            }
        }
        for (name, running) in &self.running {
            if let Some(listener) = wanted.get(name) {
                running.state.admission.set_limits(limits(listener));
            }
        }
        for (name, old) in replaced {
            tracing::info!(listener = name, address = %old.bound, "listener closed");
            old.state.close();
        }
        for worker in workers {
            worker.tell(Command::Stir).await;
        }
    }

    /// Gives up all listeners: nothing is accepted any more.
    pub(crate) async fn close(&mut self, workers: &[WorkerHandle]) {
        for (_, running) in self.running.drain() {
            running.state.close();
        }
        for worker in workers {
            worker.tell(Command::Stir).await;
        }
    }

    /// Names and bound addresses, by name.
    pub fn addresses(&self) -> Vec<(String, Address)> {
        let mut all: Vec<_> = self
            .running
            .iter()
            .map(|(name, r)| (name.clone(), r.bound.clone()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

fn limits(listener: &config::Listener) -> Limits {
    Limits {
        total: listener.max_connections,
        per_client: listener.max_connections_per_client,
    }
}
