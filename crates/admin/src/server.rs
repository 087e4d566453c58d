//! Accepts admin connections and drives them, within bounds.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    task::JoinSet,
    time,
};

use crate::{AdminState, routes};

/// Where the admin listener accepts. Bound by the caller, so that a failure to bind stops the start.
#[derive(Debug)]
pub enum Listener {
    /// An address.
    Tcp(std::net::TcpListener),
    /// A path; who may connect is a matter of its permissions.
    Unix(std::os::unix::net::UnixListener),
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

/// The bounds of the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; more wait in the accept queue.
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
    let router = routes::router(state, limits.request_timeout);
    match listener.into() {
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
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stopping, stopped) = watch::channel(());
    // Dropping the set aborts what is left in it.
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            // Never closed, so there is a slot sooner or later.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, accept().await)
        };
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (slot, accepted) = next => match accepted {
                Ok(stream) => {
                    let served = drive(stream, router.clone(), limits, stopped.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin connection not accepted");
                    // Out of file descriptors, most likely: trying at once would only burn time.
                    time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    // The receivers see the end of the sender.
    drop(stopping);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = time::timeout(limits.grace, all).await;
}

/// Serves one connection until it ends, has lived long enough, or the server stops.
async fn drive<S>(stream: S, router: Router, limits: Limits, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
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

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}
