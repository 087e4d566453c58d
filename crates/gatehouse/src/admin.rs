//! The admin listener: bound with the others, served on the background runtime, handed over on an upgrade.

use std::sync::Arc;

use anyhow::Context as _;
use gatehouse_admin::{AdminState, Limits};
use gatehouse_core::config::{Address, Config};
use gatehouse_core::gateway::Gateway;
use gatehouse_core::listen::handover::{Handed, Inherited, Role, Socket, Taken};
use gatehouse_core::listen::socket::{self, Bound};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A socket that this process listens on beside those of its listeners.
pub(crate) struct Side {
    role: Role,
    name: &'static str,
    written: Address,
    socket: Bound,
    held: bool,
}

impl Side {
    /// Takes it from `inherited`, or binds it.
    pub(crate) fn prepare(
        role: Role,
        name: &'static str,
        written: &Address,
        inherited: &mut Inherited,
    ) -> anyhow::Result<Self> {
        let options = socket::Options {
            backlog: 128,
            unix_mode: Some(0o600),
        };
        let Taken { bound, held } = match inherited.take(role, name, written, options) {
            Some(taken) => taken.with_context(|| format!("cannot use the socket `{written}`"))?,
            None => Taken {
                bound: socket::bind(written, options)?,
                held: false,
            },
        };
        Ok(Self {
            role,
            name,
            written: written.clone(),
            socket: bound,
            held,
        })
    }

    /// A handle to accept on. From now on a Unix socket's file is ours.
    pub(crate) fn listener(&self) -> anyhow::Result<Bound> {
        self.socket.own_file();
        self.socket.try_clone().context("cannot listen")
    }

    /// A handle for a successor.
    pub(crate) fn hand(&self) -> std::io::Result<Handed> {
        Ok(Handed {
            role: Some(self.role),
            name: self.name.to_owned(),
            written: self.written.clone(),
            socket: Socket::Stream(self.socket.try_clone()?),
            held: self.held,
        })
    }

    /// Leaves a Unix socket's file to a successor.
    pub(crate) fn leave(&self) {
        self.socket.keep_file();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        self.socket.address().unwrap_or_else(|_| self.written.clone())
    }
}

/// The admin listener while it runs.
pub(crate) struct Admin {
    pub(crate) side: Side,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Admin {
    /// Gets the socket, if the document asks for one.
    pub(crate) fn prepare(config: &Config, inherited: &mut Inherited) -> anyhow::Result<Option<Side>> {
        let address = config.admin.address.as_ref();
        address
            .map(|address| {
                let side = Side::prepare(Role::Admin, "admin", address, inherited);
                side.context("no admin listener (`admin.address` says where, or `off`)")
            })
            .transpose()
    }

    /// Begins to serve.
    pub(crate) fn serve(side: Side, gateway: &Arc<Gateway>) -> anyhow::Result<Self> {
        let listener = match side.listener()? {
            Bound::Tcp(listener) => gatehouse_admin::Listener::Tcp(listener),
            // The file goes when `side` does.
            Bound::Unix(listener, _) => gatehouse_admin::Listener::Unix(listener),
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
        Ok(Self { side, stop, task })
    }

    /// Stops accepting; what is being answered is finished.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
