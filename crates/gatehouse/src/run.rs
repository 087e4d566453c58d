//! Runs a gateway: start, reload on a changed file or SIGHUP, drain on SIGTERM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use gatehouse_admin::{AdminState, Limits};
use gatehouse_core::config::{Address, Config, LogFormat, NamedFiles, Process, Size};
use gatehouse_core::gateway::Gateway;
use gatehouse_core::listen::descriptors;
use gatehouse_core::listen::socket::{self, Bound};
use gatehouse_core::plan::diff::{self, Outline};
use gatehouse_core::server::{Server, StartError};
use gatehouse_policies::KINDS;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::document::{self, Bad, Document};
use crate::log::{self, Format, Log};
use crate::watch::Watch;

/// Threads for slow and rare work: names, the admin listener, files.
const BACKGROUND_THREADS: usize = 2;

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file; it and what it includes are watched.
    File(PathBuf),
    /// A text made by the program itself; nothing to watch. `name` stands for the file in diagnostics.
    Text { name: String, text: String },
}

/// What `run` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) source: Source,
    /// Printed on standard output after the `ready` line.
    pub(crate) announce: String,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let Ok(document) = Document::load(&options.source) else {
        bail!("the configuration cannot be used");
    };
    let log = log::start(
        document.config.process.log.level.as_str(),
        format(&document.config),
    )?;
    descriptors::raise();
    let runtime = Builder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .thread_name("background")
        .enable_all()
        .build()
        .context("cannot start the background threads")?;
    let background = runtime.handle().clone();
    let result = runtime.block_on(serve(options, document, log, background));
    // Tasks that still wait for a name or a scraper must not hold up the end.
    runtime.shutdown_background();
    result
}

fn format(config: &Config) -> Format {
    match config.process.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    }
}

async fn serve(options: Options, mut document: Document, log: Log, background: Handle) -> anyhow::Result<()> {
    // Before anything is announced: whoever sees `ready` may send a signal at once.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (changed, mut changes) = mpsc::channel(1);
    let watch = match &options.source {
        Source::File(_) => Some(Watch::start(document.files(), changed)?),
        Source::Text { .. } => None,
    };

    let mut kept = Kept::of(&document);
    let started = Server::start(
        &mut document.config,
        &document.reader,
        document.hash.clone(),
        KINDS,
        background,
    )
    .await;
    let server = match started {
        Ok(server) => server,
        Err(StartError::Diagnostics(diagnostics)) => {
            document.report(diagnostics);
            bail!("the configuration cannot be used");
        }
        Err(error) => return Err(error.into()),
    };
    document.report(server.gateway().plan().warnings.clone());
    if let Some(watch) = &watch {
        watch.set(document.files());
    }
    let admin = Admin::start(&document.config, server.gateway())?;
    // The document may be large, and the plan has all that is needed of it from here on.
    kept.files = document.reader.into_files();
    announce(&server, admin.as_ref(), &options.announce)?;

    let mut running = Running {
        options,
        kept,
        log,
        watch,
        server,
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                running.server.gateway().telemetry().access.reopen();
                running.reload().await;
            }
            Some(()) = changes.recv() => running.reload_if_changed().await,
            _ = reopen.recv() => running.server.gateway().telemetry().access.reopen(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tokio::select! {
        () = running.drain(admin) => {}
        _ = terminate.recv() => tracing::warn!("told a second time: ending at once"),
        _ = interrupt.recv() => tracing::warn!("told a second time: ending at once"),
    }
    Ok(())
}

fn announce(server: &Server, admin: Option<&Admin>, more: &str) -> anyhow::Result<()> {
    use std::fmt::Write as _;
    let mut text = String::new();
    let plan = server.gateway().plan();
    let url = |scheme: &str, address: &Address| match address {
        Address::Tcp(address) => format!("{scheme}://{address}"),
        Address::Unix(_) => address.to_string(),
    };
    for (name, address) in server.addresses() {
        let scheme = if plan.tls.contains_key(&*name) {
            "https"
        } else {
            "http"
        };
        writeln!(text, "listening {name} {}", url(scheme, &address))?;
    }
    if let Some(admin) = admin {
        writeln!(text, "admin {}", url("http", &admin.address))?;
    }
    text.push_str("ready\n");
    text.push_str(more);
    crate::cli::print(&text)
}

/// What is kept of the document that runs, to compare it with the next.
struct Kept {
    hash: String,
    /// The files that the document names.
    files: NamedFiles,
    outline: Outline,
    admin: Option<Address>,
    access_buffer: Size,
    process: Process,
}

impl Kept {
    fn of(document: &Document) -> Self {
        let config = &document.config;
        Self {
            hash: document.hash.clone(),
            files: NamedFiles::default(),
            outline: Outline::of(config),
            admin: config.admin.address.clone(),
            access_buffer: config.access_log.buffer,
            process: config.process.clone(),
        }
    }
}

/// A gateway under way.
struct Running {
    options: Options,
    kept: Kept,
    log: Log,
    watch: Option<Watch>,
    server: Server,
}

impl Running {
    /// After a change in a watched folder, which need not be one of ours.
    async fn reload_if_changed(&mut self) {
        match Document::load(&self.options.source) {
            Ok(document) if document.hash == self.kept.hash && !self.kept.files.changed() => {}
            loaded => self.take(loaded).await,
        }
    }

    async fn reload(&mut self) {
        let loaded = Document::load(&self.options.source);
        self.take(loaded).await;
    }

    /// Puts a loaded document to work; the old one goes on if it is bad.
    async fn take(&mut self, loaded: Result<Document, Bad>) {
        let mut document = match loaded {
            Ok(document) => document,
            Err(bad) => {
                self.server.reload_failed();
                tracing::error!("configuration not changed: the new one has errors");
                return self.watch_files(bad.files);
            }
        };
        let mut kept = Kept::of(&document);
        let outcome = self
            .server
            .reload(&mut document.config, &document.reader, document.hash.clone())
            .await;
        // Also if it is bad: a change of a file that it names may mend it.
        self.watch_files(document.files());
        match outcome {
            Ok(()) => {
                document.report(self.server.gateway().plan().warnings.clone());
                kept.files = document.reader.into_files();
                let changes = diff::diff(&self.kept.outline, &kept.outline);
                tracing::info!(hash = kept.hash, %changes, "configuration changed");
                self.tell_what_needs_a_restart(&kept);
                self.kept = kept;
            }
            Err(diagnostics) => {
                document.report(diagnostics);
                tracing::error!("configuration not changed: the new one has errors");
            }
        }
    }

    fn tell_what_needs_a_restart(&self, new: &Kept) {
        let old = &self.kept;
        if let Err(error) = self.log.set_level(new.process.log.level.as_str()) {
            tracing::warn!(%error, "the log level stays");
        }
        let needs = [
            ("process.workers", old.process.workers != new.process.workers),
            (
                "process.log.format",
                old.process.log.format != new.process.log.format,
            ),
            ("admin.address", old.admin != new.admin),
            ("access_log.buffer", old.access_buffer != new.access_buffer),
        ];
        for (setting, _) in needs.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(setting, "the change takes force after a restart");
        }
    }

    fn watch_files(&self, files: Vec<PathBuf>) {
        if let Some(watch) = &self.watch {
            watch.set(files);
        }
    }

    async fn drain(self, admin: Option<Admin>) {
        let patience = self.kept.process.drain.get();
        tracing::info!(?patience, "draining");
        if self.server.drain(patience).await {
            tracing::info!("drained");
        } else {
            tracing::warn!("some exchanges were cut off at the end of `process.drain`");
        }
        if let Some(admin) = admin {
            admin.stop().await;
        }
        if self.log.lost() > 0 {
            tracing::warn!(
                lines = self.log.lost(),
                "log lines were lost: standard error was too slow"
            );
        }
    }
}

/// The admin listener while it runs.
struct Admin {
    address: Address,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    /// Keeps the file of a Unix socket.
    _file: Option<socket::SocketFile>,
}

impl Admin {
    fn start(config: &Config, gateway: &Arc<Gateway>) -> anyhow::Result<Option<Self>> {
        let Some(address) = &config.admin.address else {
            return Ok(None);
        };
        let bound = socket::bind(
            address,
            socket::Options {
                backlog: 128,
                unix_mode: Some(0o600),
            },
        )?;
        let address = bound
            .address()
            .context("cannot tell the admin listener's address")?;
        let (listener, file) = match bound {
            Bound::Tcp(listener) => (gatehouse_admin::Listener::Tcp(listener), None),
            Bound::Unix(listener, file) => (gatehouse_admin::Listener::Unix(listener), Some(file)),
        };
        let (metrics, readiness) = (gateway.clone(), gateway.clone());
        let state = AdminState {
            metrics: Arc::new(move || metrics.metrics_text()),
            readiness: Arc::new(move || readiness.readiness()),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = gatehouse_admin::serve(listener, state, Limits::default(), async {
            // Dropping the sender is as good as sending.
            let _ = stopped.await;
        });
        let task = tokio::spawn(async {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin listener ended");
            }
        });
        Ok(Some(Self {
            address,
            stop,
            task,
            _file: file,
        }))
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Prints the diagnostics of a configuration. `false` when one of them is an error.
pub(crate) fn check(file: &Path) -> anyhow::Result<bool> {
    let Some((document, _)) = document::checked(file) else {
        return Ok(false);
    };
    let config = &document.config;
    crate::cli::print(&format!(
        "ok: {}, {}, {}\n",
        counted(config.listeners.len(), "listener"),
        counted(config.routes.len(), "route"),
        counted(config.upstreams.len(), "upstream"),
    ))?;
    Ok(true)
}

/// `1 route`, `2 routes`.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Prints the routes in the order in which they are tried. `false` when the configuration has an error.
pub(crate) fn routes(file: &Path) -> anyhow::Result<bool> {
    let Some((_, plan)) = document::checked(file) else {
        return Ok(false);
    };
    crate::cli::print(&plan.explain())?;
    Ok(true)
}
