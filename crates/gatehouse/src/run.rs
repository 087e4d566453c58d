//! Runs a gateway: start, reload on a changed file or SIGHUP, upgrade on SIGUSR2, drain on SIGTERM.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, bail};
use gatehouse_core::config::{Address, Config, LogFormat};
use gatehouse_core::listen::descriptors;
use gatehouse_core::listen::handover::Inherited;
use gatehouse_core::plan::diff;
use gatehouse_core::server::{Prepared, Server, StartError};
use gatehouse_policies::KINDS;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::Admin;
use crate::control::{Control, Request};
use crate::document::{self, Bad, Document};
use crate::handover::Predecessor;
use crate::kept::{Kept, Pause};
use crate::lifecycle::{self, Upgrading, Why};
use crate::log::{self, Format, Log};
use crate::pid_file::PidFile;
use crate::systemd::{self, News, Watchdog};
use crate::upgrade;
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

/// Serves until SIGTERM or SIGINT, or until another process has taken over, then drains.
pub(crate) fn run(options: Options) -> anyhow::Result<ExitCode> {
    // First of all: this is for a process of one thread.
    let given = systemd::sockets();
    let (predecessor, mut sockets) = Predecessor::meet()?.unzip();
    sockets.get_or_insert_default().extend(given);
    let inherited = Inherited::new(sockets.unwrap_or_default());
    let result = start(options, inherited, predecessor.as_ref());
    if let (Err(error), Some(predecessor)) = (&result, &predecessor) {
        // Whoever asked for the upgrade should not have to look for the reason: the old process tells, and logs it in its
        // own way.
        if predecessor.fail(&format!("{error:#}")).is_ok() {
            return Ok(ExitCode::FAILURE);
        }
    }
    result
}

fn start(
    options: Options,
    inherited: Inherited,
    predecessor: Option<&Predecessor>,
) -> anyhow::Result<ExitCode> {
    let program = upgrade::own_program().context("cannot tell which program this is")?;
    let mut document = match Document::load(&options.source) {
        Ok(document) => document,
        Err(bad) if predecessor.is_some() => bail!("the configuration cannot be used\n{}", bad.render()),
        Err(bad) => {
            bad.tell();
            bail!("the configuration cannot be used");
        }
    };
    let log = log::start(
        document.config.process.log.level.as_str(),
        format(&document.config),
    )?;
    document.tell();
    descriptors::raise();
    let runtime = Builder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .thread_name("background")
        .enable_all()
        .build()
        .context("cannot start the background threads")?;
    let background = runtime.handle().clone();
    let serving = async {
        let (signals, running) = Running::start(
            options,
            document,
            log,
            program,
            inherited,
            predecessor,
            background,
        )
        .await?;
        running.run(signals).await
    };
    let result = runtime.block_on(serving);
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

/// The signals that mean something.
pub(crate) struct Signals {
    hangup: Signal,
    reopen: Signal,
    upgrade: Signal,
    pub(crate) stop: Stop,
}

/// Those that end the process.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            stop: Stop {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl Stop {
    /// Waits until the process is told to stop.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A gateway under way.
pub(crate) struct Running {
    options: Options,
    pub(crate) kept: Kept,
    /// True if the configuration as it is now could not be taken.
    is_behind: bool,
    /// Until it is tried again, if nothing is wrong with it but that an address was taken.
    pause: Option<Pause>,
    pub(crate) log: Rc<Log>,
    watch: Option<Watch>,
    changes: mpsc::Receiver<()>,
    /// The program that an upgrade starts.
    pub(crate) program: PathBuf,
    pub(crate) server: Server,
    pub(crate) admin: Option<Admin>,
    pub(crate) control: Option<Control>,
    pub(crate) upgrading: Option<Upgrading>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) watchdog: Option<Watchdog>,
}

impl Running {
    /// Gets everything ready, waits for the word of a predecessor, and serves.
    async fn start(
        options: Options,
        mut document: Document,
        log: Log,
        program: PathBuf,
        mut inherited: Inherited,
        predecessor: Option<&Predecessor>,
        background: Handle,
    ) -> anyhow::Result<(Signals, Self)> {
        // Before anything is announced: whoever sees `ready` may send a signal at once.
        let signals = Signals::register()?;
        let (changed, changes) = mpsc::channel(1);
        let watch = match &options.source {
            Source::File(_) => Some(Watch::start(document.files(), changed)?),
            Source::Text { .. } => None,
        };
        let mut kept = Kept::of(&document);
        let prepared = Prepared::new(
            &mut document.config,
            &document.reader,
            document.hash.clone(),
            KINDS,
            &mut inherited,
            background,
        );
        let prepared = match prepared.await {
            Ok(prepared) => prepared,
            Err(StartError::Diagnostics(diagnostics)) if predecessor.is_some() => {
                bail!(
                    "the configuration cannot be used\n{}",
                    document.render(diagnostics)
                );
            }
            Err(StartError::Diagnostics(diagnostics)) => {
                let why = diagnostics.first().map(|first| first.message.clone());
                document.report(diagnostics);
                bail!("the configuration cannot be used: {}", why.unwrap_or_default());
            }
            Err(error) => return Err(error.into()),
        };
        document.report(prepared.gateway().plan().warnings.clone());
        if let Some(watch) = &watch {
            watch.set(document.files());
        }
        let config = &document.config;
        let admin = Admin::prepare(config, &mut inherited)?;
        let control = Control::prepare(config, &mut inherited)?;
        if let Some(predecessor) = predecessor {
            predecessor.wait_for_go()?;
        }

        for (listener, address) in inherited.left() {
            tracing::info!(listener, %address, "a socket that was handed over is not needed; closed");
        }
        drop(inherited);
        let server = prepared.serve(config).await;
        let gateway = server.gateway();
        // A process that has taken over is the only one: it goes on, whatever is wrong.
        let is_alone = predecessor.is_some();
        let admin = admin.map(|side| Admin::serve(side, gateway));
        let admin = bear(admin.transpose(), is_alone)?.flatten();
        let control = bear(control.map(Control::serve).transpose(), is_alone)?.flatten();
        let pid_file = config.process.pid_file.as_deref().map(PidFile::write);
        let pid_file = bear(pid_file.transpose(), is_alone)?.flatten();
        if is_alone {
            gateway.telemetry().metrics.events().upgraded(true);
            tracing::info!(version = env!("CARGO_PKG_VERSION"), "took over");
        }
        bear(announce(&server, admin.as_ref(), &options.announce), is_alone)?;
        systemd::notify(News::Ready);
        let watchdog = Watchdog::start(server.pulse());
        // The document may be large, and the plan has all that is needed of it from here on.
        kept.take_files(document);
        let running = Self {
            options,
            kept,
            is_behind: false,
            pause: None,
            log: Rc::new(log),
            watch,
            changes,
            program,
            server,
            admin,
            control,
            upgrading: None,
            pid_file,
            watchdog: Some(watchdog),
        };
        Ok((signals, running))
    }

    async fn run(mut self, mut signals: Signals) -> anyhow::Result<ExitCode> {
        let why = loop {
            // A new process reads the configuration as it is now; what changes meanwhile is looked at afterwards.
            let settled = self.upgrading.is_none();
            tokio::select! {
                _ = signals.hangup.recv(), if settled => {
                    self.server.gateway().telemetry().access.reopen();
                    self.reload().await;
                }
                Some(()) = self.changes.recv(), if settled => self.reload_if_changed().await,
                () = Pause::over(self.pause.as_ref()), if settled => self.try_again().await,
                _ = signals.reopen.recv() => self.server.gateway().telemetry().access.reopen(),
                _ = signals.upgrade.recv() => self.begin_upgrade(None),
                Some(request) = next_request(&mut self.control) => self.begin_upgrade(Some(request)),
                outcome = lifecycle::outcome(&mut self.upgrading), if !settled => {
                    if self.finish_upgrade(outcome) {
                        break Why::Replaced;
                    }
                }
                () = signals.stop.told() => break Why::Told,
            }
        };
        Ok(self.end(why, signals.stop).await)
    }

    /// After a change in a watched folder, which need not be one of ours.
    async fn reload_if_changed(&mut self) {
        match Document::load(&self.options.source) {
            Ok(document) if document.hash == self.kept.hash && !self.kept.files.changed() => {
                if std::mem::take(&mut self.is_behind) {
                    self.pause = None;
                    self.server.reload_mended();
                    tracing::info!("the configuration is again the one that runs");
                }
            }
            loaded => self.take(loaded).await,
        }
    }

    async fn reload(&mut self) {
        let loaded = Document::load(&self.options.source);
        self.take(loaded).await;
    }

    /// Puts a loaded document to work; the old one goes on if it is bad.
    async fn take(&mut self, loaded: Result<Document, Bad>) {
        systemd::notify(News::Reloading);
        self.try_take(loaded, None).await;
        systemd::notify(News::Ready);
    }

    /// Tries again what was refused because an address was taken.
    async fn try_again(&mut self) {
        let before = self.pause.take();
        let loaded = Document::load(&self.options.source);
        self.try_take(loaded, before).await;
    }

    /// `before` is the pause before this attempt, if it is not the first. What was said at the first is not said again.
    async fn try_take(&mut self, loaded: Result<Document, Bad>, before: Option<Pause>) {
        self.pause = None;
        let mut document = match loaded {
            Ok(document) => document,
            Err(bad) => {
                bad.tell();
                self.is_behind = true;
                self.server.reload_failed();
                tracing::error!("configuration not changed: the new one has errors");
                return self.watch_files(bad.files);
            }
        };
        if before.is_none() {
            document.tell();
        }
        let mut kept = Kept::of(&document);
        let hash = document.hash.clone();
        let outcome = match before {
            None => {
                self.server
                    .reload(&mut document.config, &document.reader, hash)
                    .await
            }
            Some(_) => {
                self.server
                    .retry(&mut document.config, &document.reader, hash)
                    .await
            }
        };
        // Also if it is bad: a change of a file that it names may mend it.
        self.watch_files(document.files());
        self.is_behind = outcome.is_err();
        match outcome {
            Ok(()) => {
                document.report(self.server.gateway().plan().warnings.clone());
                kept.take_files(document);
                let changes = diff::diff(&self.kept.outline, &kept.outline);
                tracing::info!(hash = kept.hash, %changes, "configuration changed");
                if let Err(error) = self.log.set_level(kept.process.log.level.as_str()) {
                    tracing::warn!(%error, "the log level stays");
                }
                self.kept.give_way(kept);
            }
            Err(refused) if refused.may_pass => {
                if before.is_none() {
                    document.report(refused.diagnostics);
                    tracing::error!(
                        "configuration not changed: an address is taken; tried again until it is free"
                    );
                }
                self.pause = Some(Pause::after(before));
            }
            Err(refused) => {
                document.report(refused.diagnostics);
                tracing::error!("configuration not changed: the new one has errors");
            }
        }
    }

    fn watch_files(&self, files: Vec<PathBuf>) {
        if let Some(watch) = &self.watch {
            watch.set(files);
        }
    }
}

/// Turns an error into a line of the log, if it is to be borne.
fn bear<T>(result: anyhow::Result<T>, is_borne: bool) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_borne => {
            tracing::error!("{error:#}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn next_request(control: &mut Option<Control>) -> Option<Request> {
    match control {
        Some(control) => control.requests.recv().await,
        None => std::future::pending().await,
    }
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
        writeln!(text, "admin {}", url("http", &admin.side.address()))?;
    }
    text.push_str("ready\n");
    text.push_str(more);
    crate::cli::print(&text)
}

/// Prints the diagnostics of a configuration. `false` when one of them is an error.
pub(crate) fn check(file: &Path, strict: bool) -> anyhow::Result<bool> {
    let Some((document, _)) = document::checked(file, strict) else {
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
    let Some((_, plan)) = document::checked(file, false) else {
        return Ok(false);
    };
    crate::cli::print(&plan.explain())?;
    Ok(true)
}
