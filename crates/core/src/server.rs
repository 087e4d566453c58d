//! A running gateway: workers, listeners, and the one path by which a new document takes force.
//!
//! It starts in two steps, so that a process which replaces another can say that it is able to serve before it serves:
//! [`Prepared`] has everything, [`Prepared::serve`] begins to accept.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::config::{Address, Config, Diagnostic, Reader};
use crate::gateway::Gateway;
use crate::listen::handover::{Handed, Inherited};
use crate::listen::{self, Listeners, Queue};
use crate::plan::{self, Inputs, Plan, outputs};
use crate::policy::Kind;
use crate::state::States;
use crate::telemetry::access::Output;
use crate::telemetry::{Telemetry, access, metrics};
use crate::upstream::endpoint::Endpoints;
use crate::upstream::resolve::Resolver;
use crate::worker::{self, Command, WorkerHandle};

/// How long names may take to resolve before the first request is accepted all the same.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the access log may take to write what is left at the end.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Why a server did not start, or kept its old plan.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The document does not compile, or a socket cannot be bound.
    #[error("the document cannot be put to work")]
    Diagnostics(Vec<Diagnostic>),
    /// The system refused something.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// Why a document was not put to work.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// True if nothing is wrong with the document: addresses were taken that may come free.
    pub may_pass: bool,
}

impl Refused {
    fn bad(diagnostics: Vec<Diagnostic>) -> Self {
        Self {
            diagnostics,
            may_pass: false,
        }
    }
}

/// What outlives every plan, and what plans are compiled with.
struct Shared {
    kinds: &'static [Kind],
    endpoints: Arc<Endpoints>,
    resolver: Arc<Resolver>,
    background: Handle,
}

/// A running gateway.
pub struct Server {
    gateway: Arc<Gateway>,
    shared: Shared,
    listeners: Listeners,
    workers: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
    output: Output,
}

/// Compiles a document without running it: what `gatehouse check` does.
pub fn check(config: &Config, reader: &Reader, kinds: &'static [Kind]) -> Result<Plan, Vec<Diagnostic>> {
    let metrics = metrics::Metrics::new(&metrics::Options::default());
    compile(
        config,
        config.routes.clone(),
        &Inputs {
            kinds,
            states: &States::default(),
            metrics: &metrics,
            endpoints: &Endpoints::new(metrics.endpoints().clone()),
            resolver: &Resolver::offline(),
            background: None,
            reader,
            hash: String::new(),
        },
    )
}

/// A plan, and a look at the files that the process is to write: what runs and what is only checked go by the same rules.
fn compile(config: &Config, routes: plan::Routes, inputs: &Inputs<'_>) -> Result<Plan, Vec<Diagnostic>> {
    let mut bad = outputs::check(config);
    match plan::compile(config, routes, inputs) {
        Ok(plan) if bad.is_empty() => Ok(plan),
        outcome => {
            bad.extend(outcome.err().unwrap_or_default());
            Err(bad)
        }
    }
}

/// A gateway that could serve at once: compiled, bound, with its workers turning, but nothing is accepted yet.
pub struct Prepared {
    server: Server,
    sockets: listen::Prepared,
}

impl Prepared {
    /// Gets everything ready to serve a document; its routes are taken out of it. `inherited` are sockets that are listened on already; `background`
    /// takes slow and rare work and must not be a worker's.
    pub async fn new(
        config: &mut Config,
        reader: &Reader,
        hash: String,
        kinds: &'static [Kind],
        inherited: &mut Inherited,
        background: Handle,
    ) -> Result<Self, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = config.process.workers.map_or(cores, usize::from).max(1);
        let bad = outputs::check(config);
        if !bad.is_empty() {
            // Along with everything else that is wrong, which compiling would find only after the log is opened.
            return Err(StartError::Diagnostics(
                check(config, reader, kinds).err().unwrap_or(bad),
            ));
        }
        let output = access_output(config);
        let (telemetry, buffers) = Telemetry::start(
            &metrics::Options {
                workers: count,
                ..metrics::Options::default()
            },
            &access::Options {
                output: output.clone(),
                capacity: capacity(config),
                workers: count,
            },
        )
        .map_err(|source| StartError::Io {
            what: "open the access log",
            source,
        })?;

        let shared = Shared {
            kinds,
            endpoints: Endpoints::new(telemetry.metrics.endpoints().clone()),
            resolver: Resolver::new(
                &config.dns,
                background.clone(),
                telemetry.metrics.events().clone(),
            ),
            background: background.clone(),
        };
        let states = States::default();
        let plan = shared
            .compile(config, reader, hash, &states, &telemetry)
            .map_err(StartError::Diagnostics)?;
        let sockets = Listeners::default()
            .prepare(&config.listeners, inherited, &telemetry.metrics)
            .map_err(|unbound| StartError::Diagnostics(unbound.diagnostics))?;

        let plan = Arc::new(plan);
        let settled = plan.upstreams.iter().map(|upstream| upstream.discovery.settled());
        let _ = tokio::time::timeout(SETTLE, futures_util::future::join_all(settled)).await;

        let gateway = Gateway::new(plan, states, telemetry, background, count);
        let (workers, threads) = worker::start(&gateway, buffers).map_err(|source| StartError::Io {
            what: "start a worker thread",
            source,
        })?;
        let server = Server {
            gateway,
            shared,
            listeners: Listeners::default(),
            workers,
            threads,
            output,
        };
        Ok(Self { server, sockets })
    }

    /// What all parts share.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.server.gateway
    }

    /// Begins to accept. `config` is the document that was prepared.
    pub async fn serve(self, config: &Config) -> Server {
        let Self { mut server, sockets } = self;
        let patience = config.process.drain.timeout.get();
        server
            .listeners
            .commit(&config.listeners, sockets, &server.workers, patience)
            .await;
        server.gateway.set_serving();
        server
    }
}

/// How a server ends.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// How long exchanges may still run.
    pub patience: Duration,
    /// True if another process accepts on the same sockets.
    pub replaced: bool,
}

impl Server {
    /// What all parts share.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Names and bound addresses of the listeners.
    pub fn addresses(&self) -> Vec<(String, Address)> {
        self.listeners.addresses()
    }

    /// Counts a document that could not even be loaded.
    pub fn reload_failed(&self) {
        self.gateway.telemetry().metrics.events().reloaded(false);
    }

    /// Notes that the document is again the one that runs.
    pub fn reload_mended(&self) {
        self.gateway.telemetry().metrics.events().mended();
    }

    /// Puts another document to work; its routes are taken out of it. On any error everything stays as it was.
    pub async fn reload(
        &mut self,
        config: &mut Config,
        reader: &Reader,
        hash: String,
    ) -> Result<(), Refused> {
        let outcome = self.try_reload(config, reader, hash).await;
        self.gateway
            .telemetry()
            .metrics
            .events()
            .reloaded(outcome.is_ok());
        outcome
    }

    /// Tries again a document that was refused because an address was taken. One more refusal of that sort is not
    /// counted: nothing has happened.
    pub async fn retry(&mut self, config: &mut Config, reader: &Reader, hash: String) -> Result<(), Refused> {
        let outcome = self.try_reload(config, reader, hash).await;
        if !outcome.as_ref().is_err_and(|refused| refused.may_pass) {
            let telemetry = self.gateway.telemetry();
            telemetry.metrics.events().reloaded(outcome.is_ok());
        }
        outcome
    }

    async fn try_reload(
        &mut self,
        config: &mut Config,
        reader: &Reader,
        hash: String,
    ) -> Result<(), Refused> {
        let telemetry = self.gateway.telemetry();
        let plan = self
            .shared
            .compile(config, reader, hash, self.gateway.states(), telemetry)
            .map_err(Refused::bad)?;
        let prepared = self
            .listeners
            .prepare(&config.listeners, &mut Inherited::default(), &telemetry.metrics)
            .map_err(|unbound| Refused {
                diagnostics: unbound.diagnostics,
                may_pass: unbound.may_pass,
            })?;
        let output = access_output(config);
        if output != self.output {
            telemetry.access.redirect(&output).map_err(|error| {
                Refused::bad(vec![Diagnostic::error(
                    outputs::SETTINGS[0],
                    format!("cannot open the access log: {error}"),
                )])
            })?;
            self.output = output;
        }
        self.shared.resolver.configure(&config.dns);
        self.gateway.install(Arc::new(plan));
        self.listeners
            .commit(
                &config.listeners,
                prepared,
                &self.workers,
                config.process.drain.timeout.get(),
            )
            .await;
        Ok(())
    }

    /// Handles of the listening sockets, for a successor.
    pub fn sockets(&self) -> io::Result<Vec<Handed>> {
        self.listeners.sockets()
    }

    /// A way to ask whether the workers turn.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.workers.clone())
    }

    /// Stops accepting, lets exchanges finish, and ends the workers. Returns how many connections were cut.
    pub async fn end(mut self, end: End) -> usize {
        let deadline = Instant::now() + end.patience;
        let queue = if end.replaced { Queue::Leave } else { Queue::Accept };
        let finished = async {
            self.gateway.set_draining();
            self.listeners.close(&self.workers, deadline, queue).await;
            self.gateway.idle().await;
        };
        let cut = match tokio::time::timeout(end.patience, finished).await {
            Ok(()) => 0,
            Err(_) => self.gateway.connections(),
        };
        let cut = cut + self.gateway.cut();
        for worker in &self.workers {
            worker.tell(Command::Stop).await;
        }
        let gateway = self.gateway;
        let threads = self.threads;
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A worker that panicked has said so already.
                let _ = thread.join();
            }
            gateway.telemetry().close(LAST_LINES)
        });
        if !ended.await.unwrap_or(false) {
            tracing::warn!("the last lines of the access log were not written");
        }
        cut
    }
}

/// Asks workers whether they turn.
pub struct Pulse(Vec<WorkerHandle>);

impl Pulse {
    /// Waits until every worker has shown that it turns. False when one is gone.
    pub async fn beat(&self) -> bool {
        let all = futures_util::future::join_all(self.0.iter().map(WorkerHandle::turns));
        all.await.into_iter().all(|turns| turns)
    }
}

impl Shared {
    fn compile(
        &self,
        config: &mut Config,
        reader: &Reader,
        hash: String,
        states: &States,
        telemetry: &Telemetry,
    ) -> Result<Plan, Vec<Diagnostic>> {
        let routes = std::mem::take(&mut config.routes);
        compile(
            config,
            routes,
            &Inputs {
                kinds: self.kinds,
                states,
                metrics: &telemetry.metrics,
                endpoints: &self.endpoints,
                resolver: &self.resolver,
                background: Some(&self.background),
                reader,
                hash,
            },
        )
    }
}

fn access_output(config: &Config) -> Output {
    use crate::config::types::SyslogTarget;
    let log = &config.access_log;
    match (&log.file, &log.syslog) {
        (Some(path), _) => Output::File(path.clone()),
        (None, Some(SyslogTarget::Udp(address))) => Output::SyslogUdp(*address),
        (None, Some(SyslogTarget::Unix(path))) => Output::SyslogUnix(path.clone()),
        (None, None) => Output::Stdout,
    }
}

fn capacity(config: &Config) -> usize {
    usize::try_from(config.access_log.buffer.get()).unwrap_or(usize::MAX)
}
