//! Listeners: the sockets we accept on, and what becomes of them when the document changes.
//!
//! A change is prepared first (new sockets are bound; a failure leaves everything as it was) and then
//! committed. A listener whose address stays keeps its socket, its queue and its connections. The same holds across
//! processes: see [`handover`].

pub mod admission;
pub mod descriptors;
pub mod handover;
pub(crate) mod handshake;
mod last;
pub mod proxy_protocol;
#[cfg(feature = "http3")]
pub(crate) mod quic;
pub mod socket;
pub(crate) mod tcp;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tokio::sync::{Notify, oneshot};

use crate::config::{self, Address, Diagnostic};
use crate::telemetry::metrics::{ListenerStats, Metrics};
use crate::worker::{Command, WorkerHandle};
use admission::{Admission, Limits};
use handover::{Handed, Inherited, Role, Taken};
use socket::{BindError, Bound};
use tcp::Acceptor;

/// A listener while it runs; survives changes of the document that leave its address.
pub struct ListenerState {
    /// Its name in the document.
    pub name: Box<str>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stats: Arc<ListenerStats>,
    closing: OnceLock<Closing>,
    closed: Notify,
}

/// How a listener ends.
#[derive(Debug, Clone, Copy)]
struct Closing {
    deadline: Instant,
    queue: Queue,
}

/// What becomes of connections that wait to be accepted when a listener ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// They are accepted: nobody else will.
    Accept,
    /// They are left to another process, which has the same socket.
    Leave,
}

impl ListenerState {
    pub(crate) fn new(name: &str, limits: Limits, stats: Arc<ListenerStats>) -> Self {
        Self {
            name: name.into(),
            admission: Admission::new(limits),
            stats,
            closing: OnceLock::new(),
            closed: Notify::new(),
        }
    }

    /// True once the listener is being given up, by a reload, a stop or an upgrade: its connections end after what they
    /// are doing. This is the one thing for a connection or tunnel to look at; all tasks that wait on the worker's
    /// timers are woken when it changes (`Command::Stir`).
    pub fn is_draining(&self) -> bool {
        self.closing.get().is_some()
    }

    /// When what is left of its connections has to have ended; `None` while the listener is not being given up. A
    /// process that stops cuts them then; tunnels spread their farewells over the time until then.
    pub fn drain_deadline(&self) -> Option<Instant> {
        self.closing.get().map(|closing| closing.deadline)
    }

    fn close(&self, closing: Closing) {
        // The first word counts: a listener that a reload gave up keeps its deadline.
        let _ = self.closing.set(closing);
        self.closed.notify_one();
    }
}

struct Running {
    written: Address,
    bound: Address,
    state: Arc<ListenerState>,
    /// Another handle of the socket, to be handed to a successor.
    socket: Option<Bound>,
    /// As in [`Handed::held`].
    held: bool,
    /// Ready when nothing is accepted any more.
    ended: oneshot::Receiver<()>,
    #[cfg(feature = "http3")]
    quic: Option<quic::Running>,
}

impl Running {
    /// Begins the end; it has come when what is returned is ready.
    fn close(self, deadline: Instant, queue: Queue) -> oneshot::Receiver<()> {
        let has_successor = matches!(queue, Queue::Leave);
        let queue = if self.held { Queue::Leave } else { queue };
        if let (Queue::Leave, Some(socket)) = (queue, &self.socket) {
            socket.keep_file();
        }
        self.state.close(Closing { deadline, queue });
        // After the deadline is known, which it asks for.
        #[cfg(feature = "http3")]
        if let Some(quic) = &self.quic {
            quic.close(has_successor);
        }
        #[cfg(not(feature = "http3"))]
        let _ = has_successor;
        self.ended
    }
}

/// All listeners of the process.
#[derive(Default)]
pub struct Listeners {
    running: HashMap<String, Running>,
}

/// Why sockets could not be had.
#[derive(Debug)]
pub struct Unbound {
    /// What is wrong, for each that could not.
    pub diagnostics: Vec<Diagnostic>,
    /// True if all that is wrong is that addresses are taken: they may come free.
    pub may_pass: bool,
}

impl Default for Unbound {
    fn default() -> Self {
        Self {
            diagnostics: Vec::new(),
            may_pass: true,
        }
    }
}

impl Unbound {
    fn push(&mut self, diagnostic: Diagnostic, is_taken: bool) {
        self.diagnostics.push(diagnostic);
        self.may_pass &= is_taken;
    }
}

/// Sockets bound for a document that is not in force yet. Dropping it closes them.
pub struct Prepared {
    new: Vec<(String, Running, Acceptor)>,
    /// For listeners that are to speak HTTP/3 and do not yet.
    #[cfg(feature = "http3")]
    datagrams: Vec<quic::Datagrams>,
}

impl Listeners {
    /// Takes from `inherited`, or binds, what `wanted` needs and is not there yet.
    pub fn prepare(
        &self,
        wanted: &IndexMap<String, config::Listener>,
        inherited: &mut Inherited,
        metrics: &Metrics,
    ) -> Result<Prepared, Unbound> {
        let mut series = metrics.series();
        let mut new = Vec::new();
        let mut bad = Unbound::default();
        #[cfg(feature = "http3")]
        let mut datagrams = Vec::new();
        for (name, listener) in wanted {
            let stats = series.listener(name);
            if self
                .running
                .get(name)
                .is_some_and(|running| running.written == listener.address)
            {
                #[cfg(feature = "http3")]
                if let Some(running) = self.running.get(name).filter(|running| running.quic.is_none()) {
                    datagrams.extend(quic::prepare(name, listener, &running.bound, None, &mut bad));
                }
                continue;
            }
            let options = socket::Options {
                backlog: listener.backlog,
                unix_mode: listener.unix_mode.map(|mode| mode.0),
            };
            let bound = match inherited.take(Role::Listener, name, &listener.address, options) {
                Some(taken) => taken.map_err(|error| BindError::new(&listener.address, error)),
                None => socket::bind(&listener.address, options).map(|bound| Taken { bound, held: false }),
            };
            match bound {
                Ok(Taken { bound, held }) => {
                    #[cfg(feature = "http3")]
                    if let Ok(address) = bound.address() {
                        let inherited = Some((&mut *inherited, &listener.address));
                        datagrams.extend(quic::prepare(name, listener, &address, inherited, &mut bad));
                    }
                    let state = Arc::new(ListenerState::new(name, limits(listener), stats));
                    let (ending, ended) = oneshot::channel();
                    let running = Running {
                        written: listener.address.clone(),
                        bound: bound.address().unwrap_or_else(|_| listener.address.clone()),
                        state: state.clone(),
                        // Without a second handle the listener works; only an upgrade has to bind anew.
                        socket: bound.try_clone().ok(),
                        held,
                        ended,
                        #[cfg(feature = "http3")]
                        quic: None,
                    };
                    new.push((name.clone(), running, Acceptor::new(state, bound, ending)));
                }
                Err(error) => {
                    let mut diagnostic =
                        Diagnostic::error(format!("listeners.{name}.address"), error.to_string());
                    diagnostic.help = error.help.map(str::to_owned);
                    bad.push(diagnostic, error.is_taken());
                }
            }
        }
        if bad.diagnostics.is_empty() {
            Ok(Prepared {
                new,
                #[cfg(feature = "http3")]
                datagrams,
            })
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
        patience: Duration,
    ) {
        let mut replaced: Vec<_> = self
            .running
            .extract_if(|name, _| !wanted.contains_key(name))
            .collect();
        for (i, (name, running, acceptor)) in prepared.new.into_iter().enumerate() {
            if let Some(socket) = &running.socket {
                socket.own_file();
            }
            if let Some(worker) = workers.get((self.running.len() + i) % workers.len().max(1)) {
                worker.tell(Command::Accept(acceptor)).await;
            }
            if let Some(old) = self.running.insert(name.clone(), running) {
                replaced.push((name, old));
            }
        }
        for (name, running) in &mut self.running {
            if let Some(listener) = wanted.get(name) {
                running.state.admission.set_limits(limits(listener));
                #[cfg(feature = "http3")]
                if !quic::is_wanted(listener)
                    && let Some(quic) = running.quic.take()
                {
                    tracing::info!(listener = name, address = %running.bound, "HTTP/3 ended");
                    quic.close(false);
                }
            }
        }
        #[cfg(feature = "http3")]
        for (i, datagrams) in prepared.datagrams.into_iter().enumerate() {
            if let (Some(running), Some(worker)) = (
                self.running.get_mut(&datagrams.listener),
                workers.get(i % workers.len().max(1)),
            ) {
                let (quic, acceptor) = quic::Running::begin(&running.state, datagrams);
                running.quic = Some(quic);
                worker.tell(Command::AcceptQuic(acceptor)).await;
            }
        }
        for (name, old) in replaced {
            tracing::info!(listener = name, address = %old.bound, "listener closed");
            old.close(Instant::now() + patience, Queue::Accept);
        }
        for worker in workers {
            worker.tell(Command::Stir).await;
        }
    }

    /// Gives up all listeners. Done when nothing is accepted any more; their connections end by `deadline`.
    pub(crate) async fn close(&mut self, workers: &[WorkerHandle], deadline: Instant, queue: Queue) {
        let closing = self
            .running
            .drain()
            .map(|(_, running)| running.close(deadline, queue));
        let closing: Vec<_> = closing.collect();
        for worker in workers {
            worker.tell(Command::Stir).await;
        }
        for ended in closing {
            // The other end is dropped when its task ends.
            let _ = ended.await;
        }
    }

    /// Handles of all sockets, for a successor.
    pub fn sockets(&self) -> io::Result<Vec<Handed>> {
        let hand = |(name, running): (&String, &Running)| {
            let socket = running.socket.as_ref()?;
            Some(socket.try_clone().map(|socket| Handed {
                role: Some(Role::Listener),
                name: name.clone(),
                written: running.written.clone(),
                socket: handover::Socket::Stream(socket),
                held: running.held,
            }))
        };
        let streams = self.running.iter().filter_map(hand);
        #[cfg(feature = "http3")]
        let streams = streams.chain(self.datagrams());
        streams.collect()
    }

    /// Handles of the UDP sockets, and the ways to those who have connections on them.
    #[cfg(feature = "http3")]
    fn datagrams(&self) -> impl Iterator<Item = io::Result<Handed>> {
        self.running.iter().flat_map(|(name, running)| {
            let quic = running.quic.as_ref();
            let socket = quic.and_then(quic::Running::socket);
            let relays = quic.filter(|_| socket.is_some()).map(quic::Running::relays);
            let relays = relays.into_iter().flatten();
            let relays = relays.map(|(key, channel)| Ok(handover::Socket::Relay { key, channel }));
            let sockets = socket.map(|socket| socket.map(handover::Socket::Udp)).into_iter();
            sockets.chain(relays).map(|socket| {
                Ok(Handed {
                    role: Some(Role::Listener),
                    name: name.clone(),
                    written: running.written.clone(),
                    socket: socket?,
                    held: running.held,
                })
            })
        })
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
