//! The socket of `gatehouse upgrade`: one line of JSON asks, one line answers when it is over.
//!
//! Whoever may use it decides which program this process starts, so only its own user and root may: by the permissions
//! of the file and, once more, by what the system says of the peer.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use gatehouse_core::config::{Address, Config};
use gatehouse_core::listen::handover::{Inherited, Role};
use gatehouse_core::listen::socket::Bound;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::admin::Side;

/// More than any line takes.
const LINE: u64 = 16 * 1024;
/// How long the asking side may take to say what it wants, or to read the answer.
const PROMPT: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the asking side waits: longer than any sensible `process.upgrade.timeout`.
const PATIENCE: Duration = Duration::from_hours(1);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Wish {
    Upgrade { binary: Option<PathBuf> },
}

/// How it went: the id of the process that serves now, or why it is still the same.
pub(crate) type Outcome = Result<u32, String>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(u32),
    Failed(String),
}

/// Somebody wants this process to be replaced.
pub(crate) struct Request {
    /// The program to start; `None`: the same path as this one.
    pub(crate) binary: Option<PathBuf>,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// The socket while it is listened on.
pub(crate) struct Control {
    pub(crate) side: Side,
    pub(crate) requests: mpsc::Receiver<Request>,
    task: JoinHandle<()>,
}

impl Control {
    /// Gets the socket, if the document asks for one.
    pub(crate) fn prepare(config: &Config, inherited: &mut Inherited) -> anyhow::Result<Option<Side>> {
        let Some(path) = &config.process.upgrade.socket else {
            return Ok(None);
        };
        let address = Address::Unix(path.clone());
        let side = Side::prepare(Role::Upgrade, "upgrade", &address, inherited);
        side.map(Some)
            .context("no socket for upgrades (`process.upgrade.socket`)")
    }

    /// Begins to listen.
    pub(crate) fn serve(side: Side) -> anyhow::Result<Self> {
        let Bound::Unix(listener, _) = side.listener()? else {
            bail!("the socket of `process.upgrade` is not a Unix socket");
        };
        let listener = UnixListener::from_std(listener)?;
        let (sender, requests) = mpsc::channel(1);
        let task = tokio::spawn(listen(listener, sender));
        Ok(Self { side, requests, task })
    }

    /// Ends it, once the last answer was read.
    pub(crate) async fn stop(self) {
        drop(self.requests);
        let mut task = self.task;
        if timeout(PROMPT, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// One after another: there can be only one attempt at a time anyway.
async fn listen(listener: UnixListener, requests: mpsc::Sender<Request>) {
    loop {
        let accepted = tokio::select! {
            () = requests.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = serve(stream, &requests).await {
                    tracing::warn!(%error, "a request on the upgrade socket was not served");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the upgrade socket cannot accept");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, requests: &mpsc::Sender<Request>) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("user {peer} may not"),
        ));
    }
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(read.take(LINE));
    timeout(PROMPT, reader.read_line(&mut line)).await??;
    let Wish::Upgrade { binary } = serde_json::from_str(&line)?;
    let (reply, outcome) = oneshot::channel();
    let stopped = || Err("the process was told to stop".to_owned());
    let outcome = match requests.send(Request { binary, reply }).await {
        Ok(()) => outcome.await.unwrap_or_else(|_| stopped()),
        Err(_) => stopped(),
    };
    let answer = match outcome {
        Ok(pid) => Answer::Done(pid),
        Err(why) => Answer::Failed(why),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    timeout(PROMPT, write.write_all(&text)).await?
}

/// Asks the process behind this socket to be replaced, and waits until it is. Returns the new process's id.
pub(crate) fn ask(socket: &Path, binary: Option<&Path>) -> anyhow::Result<u32> {
    let nobody = || format!("no gateway answers on `{}`", socket.display());
    let mut stream = std::os::unix::net::UnixStream::connect(socket).with_context(nobody)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let binary = binary.map(std::path::absolute).transpose()?;
    let mut text = serde_json::to_vec(&Wish::Upgrade { binary })?;
    text.push(b'\n');
    stream.write_all(&text).with_context(nobody)?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE)).read_line(&mut line)?;
    if line.is_empty() {
        bail!("the gateway hung up; its log says why");
    }
    match serde_json::from_str(&line).context("an answer that cannot be understood")? {
        Answer::Done(pid) => Ok(pid),
        Answer::Failed(why) => bail!("{why}\nthe old process goes on"),
    }
}
