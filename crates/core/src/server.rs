//! A running gateway: workers, listeners, and the one path by which a new document takes force.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::config::{Address, Config, Diagnostic, Reader};
use crate::gateway::Gateway;
use crate::listen::Listeners;
use crate::plan::{self, Inputs, Plan};
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

/// What outlives every plan, and what plans are compiled with.
struct Shared {
    kinds: &'static [Kind],
    endpoints: Arc<Endpoints>,
    resolver: Arc<Resolver>,
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
    plan::compile(
        config,
        config.routes.clone(),
        &Inputs {
            kinds,
            states: &States::default(),
            metrics: &metrics,
            endpoints: &Endpoints::new(),
            resolver: &Resolver::offline(),
            reader,
            hash: String::new(),
        },
    )
}

impl Server {
    /// Starts serving a document; its routes are taken out of it. `background` takes slow and rare work and must
    /// not be a worker's.
    pub async fn start(
        config: &mut Config,
        reader: &Reader,
        hash: String,
        kinds: &'static [Kind],
        background: Handle,
    ) -> Result<Self, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = config.process.workers.map_or(cores, usize::from).max(1);
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
            endpoints: Endpoints::new(),
            resolver: Resolver::new(
                &config.dns,
                background.clone(),
                telemetry.metrics.events().clone(),
            ),
        };
        let states = States::default();
        let plan = shared
            .compile(config, reader, hash, &states, &telemetry)
            .map_err(StartError::Diagnostics)?;
        let prepared = Listeners::default()
            .prepare(&config.listeners, &telemetry.metrics)
            .map_err(StartError::Diagnostics)?;

        let plan = Arc::new(plan);
        let settled = plan.upstreams.iter().map(|upstream| upstream.discovery.settled());
        let _ = tokio::time::timeout(SETTLE, futures_util::future::join_all(settled)).await;

        let gateway = Gateway::new(plan, states, telemetry, background, count);
        let (workers, threads) = worker::start(&gateway, buffers).map_err(|source| StartError::Io {
            what: "start a worker thread",
            source,
        })?;
        let mut listeners = Listeners::default();
        listeners.commit(&config.listeners, prepared, &workers).await;
        gateway.set_serving();
        Ok(Self {
            gateway,
            shared,
            listeners,
            workers,
            threads,
            output,
        })
    }

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

    /// Puts another document to work; its routes are taken out of it. On any error everything stays as it was.
    pub async fn reload(
        &mut self,
        config: &mut Config,
        reader: &Reader,
        hash: String,
    ) -> Result<(), Vec<Diagnostic>> {
        let outcome = self.try_reload(config, reader, hash).await;
        self.gateway
            .telemetry()
            .metrics
            .events()
            .reloaded(outcome.is_ok());
        outcome
    }

    async fn try_reload(
        &mut self,
        config: &mut Config,
        reader: &Reader,
        hash: String,
    ) -> Result<(), Vec<Diagnostic>> {
        let telemetry = self.gateway.telemetry();
        let plan = self
            .shared
            .compile(config, reader, hash, self.gateway.states(), telemetry)?;
        let prepared = self.listeners.prepare(&config.listeners, &telemetry.metrics)?;
        let output = access_output(config);
        if output != self.output {
            telemetry.access.redirect(&output).map_err(|error| {
                vec![Diagnostic::error(
                    "access_log",
                    format!("cannot open the access log: {error}"),
                )]
            })?;
            self.output = output;
        }
        self.shared.resolver.configure(&config.dns);
        self.gateway.install(Arc::new(plan));
        self.listeners
            .commit(&config.listeners, prepared, &self.workers)
            .await;
        Ok(())
    }

    /// Stops accepting, lets exchanges finish for at most `patience`, and ends the workers. True if all
    /// of them finished.
    pub async fn drain(mut self, patience: Duration) -> bool {
        self.gateway.set_draining();
        self.listeners.close(&self.workers).await;
        let finished = tokio::time::timeout(patience, self.gateway.idle()).await.is_ok();
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
        ended.await.unwrap_or(false) && finished
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
        plan::compile(
            config,
            routes,
            &Inputs {
                kinds: self.kinds,
                states,
                metrics: &telemetry.metrics,
                endpoints: &self.endpoints,
                resolver: &self.resolver,
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
