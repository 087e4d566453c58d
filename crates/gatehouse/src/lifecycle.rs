//! How a running process ends: told to stop, or replaced by another.
//!
//! Told to stop, it says `not ready` for a while, then takes no new connections, finishes what it has, and ends. An
//! upgrade goes the same way, but only after another process has said that it is ready to accept on the same sockets;
//! until then nothing here has changed.

use std::process::ExitCode;

use gatehouse_core::server::End;
use tokio::sync::oneshot;

use crate::control::{Outcome, Request};
use crate::run::{Running, Stop};
use crate::systemd::{self, News};
use crate::upgrade::{Attempt, Successor};

/// The exit code of a process that had to cut connections.
const CUT: u8 = 3;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// A signal.
    Told,
    /// Another process serves in its place.
    Replaced,
}

/// An upgrade under way, and who waits for it.
pub(crate) struct Upgrading {
    attempt: Attempt,
    reply: Option<oneshot::Sender<Outcome>>,
}

/// Waits for the end of an attempt; for ever if there is none.
pub(crate) async fn outcome(upgrading: &mut Option<Upgrading>) -> Result<Successor, String> {
    match upgrading {
        Some(upgrading) => upgrading.attempt.outcome().await,
        None => std::future::pending().await,
    }
}

impl Running {
    /// Starts the new process, unless one is starting already.
    pub(crate) fn begin_upgrade(&mut self, request: Option<Request>) {
        let (binary, reply) = match request {
            Some(request) => (request.binary, Some(request.reply)),
            None => (None, None),
        };
        if self.upgrading.is_some() {
            tracing::warn!("an upgrade is under way already");
            if let Some(reply) = reply {
                let _ = reply.send(Err("an upgrade is under way already".to_owned()));
            }
            return;
        }
        let program = binary.unwrap_or_else(|| self.program.clone());
        tracing::info!(program = %program.display(), "upgrading");
        let begun = self.sockets().and_then(|sockets| {
            let patience = self.kept.process.upgrade.timeout.get();
            Attempt::begin(program, sockets, patience)
        });
        match begun {
            Ok(attempt) => self.upgrading = Some(Upgrading { attempt, reply }),
            Err(error) => self.upgrade_failed(&error.to_string(), reply),
        }
    }

    /// Handles of everything that is listened on.
    fn sockets(&self) -> std::io::Result<Vec<gatehouse_core::listen::handover::Handed>> {
        let mut sockets = self.server.sockets()?;
        let sides = [
            self.admin.as_ref().map(|admin| &admin.side),
            self.control.as_ref().map(|control| &control.side),
        ];
        for side in sides.into_iter().flatten() {
            sockets.push(side.hand()?);
        }
        Ok(sockets)
    }

    /// True if another process serves from now on.
    pub(crate) fn finish_upgrade(&mut self, outcome: Result<Successor, String>) -> bool {
        let reply = self.upgrading.take().and_then(|upgrading| upgrading.reply);
        let successor = match outcome {
            Ok(successor) => successor,
            Err(why) => {
                self.upgrade_failed(&why, reply);
                return false;
            }
        };
        // Before the new process says anything to the supervisor, which listens to the main process only.
        systemd::notify(News::MainPid(successor.pid));
        if let Err(error) = successor.go() {
            systemd::notify(News::MainPid(std::process::id()));
            self.upgrade_failed(&format!("the new process is gone: {error}"), reply);
            return false;
        }
        tracing::info!(pid = successor.pid, "another process serves from now on");
        if let Some(reply) = reply {
            let _ = reply.send(Ok(successor.pid));
        }
        true
    }

    fn upgrade_failed(&self, why: &str, reply: Option<oneshot::Sender<Outcome>>) {
        self.server.gateway().telemetry().metrics.events().upgraded(false);
        tracing::error!(why, "not upgraded; this process goes on");
        if let Some(reply) = reply {
            let _ = reply.send(Err(why.to_owned()));
        }
    }

    /// Ends in order, or at once if told again.
    pub(crate) async fn end(mut self, why: Why, mut stop: Stop) -> ExitCode {
        if let Some(upgrading) = self.upgrading.take() {
            upgrading.attempt.abandon().await;
        }
        self.watchdog = None;
        let gateway = self.server.gateway().clone();
        // Keeps the log to the last line.
        let log = self.log.clone();
        let cut = tokio::select! {
            cut = self.drain(why) => cut,
            () = stop.told() => {
                tracing::warn!("told a second time: ending at once");
                gateway.connections()
            }
        };
        if log.lost() > 0 {
            tracing::warn!(
                lines = log.lost(),
                "log lines were lost: standard error was too slow"
            );
        }
        if cut == 0 {
            return ExitCode::SUCCESS;
        }
        tracing::warn!(connections = cut, "some connections were cut off");
        ExitCode::from(CUT)
    }

    async fn drain(self, why: Why) -> usize {
        let drain = self.kept.process.drain.clone();
        let (admin, control) = match why {
            Why::Told => {
                systemd::notify(News::Stopping);
                self.server.gateway().set_leaving();
                if !drain.delay.is_zero() {
                    tracing::info!(delay = ?drain.delay.get(), "not ready any more; still accepting");
                    tokio::time::sleep(drain.delay.get()).await;
                }
                (self.admin, self.control)
            }
            Why::Replaced => {
                // They are the new process's, which answers for itself. What is being answered here may take a while.
                for side in [
                    self.admin.as_ref().map(|admin| &admin.side),
                    self.control.as_ref().map(|control| &control.side),
                ]
                .into_iter()
                .flatten()
                {
                    side.leave();
                }
                if let Some(admin) = self.admin {
                    tokio::spawn(admin.stop());
                }
                if let Some(control) = self.control {
                    tokio::spawn(control.stop());
                }
                (None, None)
            }
        };
        let patience = drain.timeout.get();
        tracing::info!(?patience, "draining");
        let cut = self
            .server
            .end(End {
                patience,
                replaced: why == Why::Replaced,
            })
            .await;
        if cut == 0 {
            tracing::info!("drained");
        }
        if let Some(control) = control {
            control.stop().await;
        }
        if let Some(admin) = admin {
            admin.stop().await;
        }
        drop(self.pid_file);
        cut
    }
}
