//! Accepts admin connections and drives them, within bounds.

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::watch,
    task::{self, AbortHandle, JoinSet},
    time,
};

use crate::{
    AdminState,
    routes::{self, Hosts},
};

/// Where the admin listener accepts. Bound by the caller, so that a failure to bind stops the start.
#[derive(Debug)]
pub enum Listener {
    /// An address.
    Tcp(std::net::TcpListener),
    /// A path; who may connect is a matter of its permissions.
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// What requests to it may name as their host.
    fn hosts(&self) -> Hosts {
        match self {
            Listener::Tcp(listener) if listener.local_addr().is_ok_and(|at| at.ip().is_loopback()) => {
                Hosts::Local
            }
            _ => Hosts::Any,
        }
    }
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Self {
        Listener::Tcp(listener)
    }
}

impl From<std::os::unix::net::UnixListener> for Listener {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Listener::Unix(listener)
    }
}

/// How often it is looked whether there is room again, and the pause when the process has run out of something.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A connection that was answered so long ago may have to go to make room.
const IDLE: Duration = Duration::from_secs(1);

/// The bounds of the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once. For one more, one that asks for nothing is closed; if all are busy it waits.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// For a head to arrive, from the connection's start or the end of the answer before.
    pub head_timeout: Duration,
    /// For a request to be answered.
    pub request_timeout: Duration,
    /// For a connection; then it ends after the answer it is at.
    pub lifetime: Duration,
    /// For connections to end when the server stops, or when their lifetime is over.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 64,
            head: 16 * 1024,
            head_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            lifetime: Duration::from_mins(5),
            grace: Duration::from_secs(5),
        }
    }
}

/// Serves until `stop` ends, then lets connections end within the grace. To be run on the background
/// runtime. Fails only if the listener cannot be used at all.
pub async fn serve(
    listener: impl Into<Listener>,
    state: AdminState,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = listener.into();
    let hosts = listener.hosts();
    let router = routes::router(state, limits.request_timeout, hosts);
    match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
            run(accept, router, limits, stop).await;
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
            run(accept, router, limits, stop).await;
        }
    }
    Ok(())
}

async fn run<S, F>(accept: impl Fn() -> F, router: Router, limits: Limits, stop: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let (stopping, stopped) = watch::channel(());
    // Dropping the set aborts what is left in it.
    let mut tasks = JoinSet::new();
    let mut open = Open::default();
    // Accepted, but there is no room yet.
    let mut waiting: Option<S> = None;
    tokio::pin!(stop);
    loop {
        if let Some(stream) = waiting.take() {
            if open.make_room(limits.connections) {
                let quiet = Arc::<Quiet>::default();
                let served = drive(
                    stream,
                    router.clone(),
                    limits,
                    stopped.clone(),
                    Arc::clone(&quiet),
                );
                open.add(tasks.spawn(served), quiet);
            } else {
                waiting = Some(stream);
            }
        }
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = tasks.join_next_with_id() => open.remove(match &ended {
                Ok((id, ())) => *id,
                Err(error) => error.id(),
            }),
            () = time::sleep(LOOK_AGAIN), if waiting.is_some() => {}
            accepted = accept(), if waiting.is_none() => match accepted {
                Ok(stream) => waiting = Some(stream),
                Err(error) => {
                    tracing::warn!(%error, "admin connection not accepted");
                    // Out of file descriptors, most likely: trying at once would only burn time.
                    time::sleep(LOOK_AGAIN).await;
                }
            },
        }
    }
    // The receivers see the end of the sender.
    drop(stopping);
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = time::timeout(limits.grace, all).await;
}

/// Serves one connection until it ends, has lived long enough, or the server stops.
async fn drive<S>(
    stream: S,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
    quiet: Arc<Quiet>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        quiet.set(State::Busy);
        let answer = router.call(request);
        let quiet = Arc::clone(&quiet);
        async move {
            let answer = answer.await;
            quiet.set(State::Answered(Instant::now()));
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head.max(8 * 1024)) // hyper accepts no less
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log(ended),
        _ = stopped.changed() => {}
        () = time::sleep(limits.lifetime) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = time::timeout(limits.grace, connection).await {
        log(ended);
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Open(Vec<(AbortHandle, Arc<Quiet>)>);

impl Open {
    fn add(&mut self, task: AbortHandle, quiet: Arc<Quiet>) {
        self.0.push((task, quiet));
    }

    fn remove(&mut self, task: task::Id) {
        self.0.retain(|(open, _)| open.id() != task);
    }

    /// Makes room for one more, if there is none, by ending one that asks for nothing: the oldest of those that
    /// never did, else of those that have their answer for a while. So nobody who only holds connections keeps a
    /// probe from its answer. False if all are busy.
    fn make_room(&mut self, most: usize) -> bool {
        if self.0.len() < most {
            return true;
        }
        let silent = |(_, quiet): &(_, Arc<Quiet>)| matches!(quiet.get(), State::Silent);
        let idle =
            |(_, quiet): &(_, Arc<Quiet>)| matches!(quiet.get(), State::Answered(at) if at.elapsed() >= IDLE);
        let victim = self.0.iter().position(silent);
        match victim.or_else(|| self.0.iter().position(idle)) {
            None => false,
            Some(at) => {
                self.0.remove(at).0.abort();
                true
            }
        }
    }
}

/// What a connection is at, as far as making room is concerned.
#[derive(Default)]
struct Quiet(Mutex<State>);

#[derive(Clone, Copy, Default)]
enum State {
    /// Nothing was asked yet.
    #[default]
    Silent,
    Busy,
    /// An answer was given then; it may not have left yet.
    Answered(Instant),
}

impl Quiet {
    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn get(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}
