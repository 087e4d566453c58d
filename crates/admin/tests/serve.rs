//! The admin listener over real sockets.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use gatehouse_admin::{AdminState, Limits, Listener, serve};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

struct Server {
    address: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    phase: Arc<AtomicU8>,
}

fn state(phase: &Arc<AtomicU8>) -> AdminState {
    let phase = Arc::clone(phase);
    AdminState {
        metrics: Arc::new(|| "gatehouse_workers 2\n".into()),
        readiness: Arc::new(move || match phase.load(Relaxed) {
            0 => Err(vec!["no configuration applied yet".into()]),
            1 => Ok(()),
            _ => Err(vec!["draining".into(), "stopping".into()]),
        }),
    }
}

fn start(limits: Limits) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let phase = Arc::default();
    let stopped = async { stopped.await.unwrap_or(()) };
    let served = tokio::spawn(serve(listener, state(&phase), limits, stopped));
    Server {
        address,
        stop,
        served,
        phase,
    }
}

/// Sends bytes, reads until the other side closes.
async fn raw(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    // The server may close before it has read everything; what it said is what counts.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        raw(self.connect().await, request.as_bytes()).await
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn readiness_follows_the_gateway_and_liveness_does_not() {
    let server = start(Limits::default());
    for (phase, ready, started, reasons) in [
        (0, "503", "503", "no configuration applied yet\n"),
        (1, "200", "200", "ok\n"),
        (2, "503", "200", "draining\nstopping\n"),
    ] {
        server.phase.store(phase, Relaxed);
        let answer = server.get("/readyz").await;
        assert_eq!((status(&answer), body(&answer)), (ready, reasons));
        assert_eq!(status(&server.get("/startupz").await), started);
        assert_eq!(status(&server.get("/livez").await), "200");
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_all_answers_are_guarded() {
    let server = start(Limits::default());
    let metrics = server.get("/metrics").await;
    assert_eq!(
        (status(&metrics), body(&metrics)),
        ("200", "gatehouse_workers 2\n")
    );
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4"),
        "{metrics}"
    );
    let missing = server.get("/secrets").await;
    assert_eq!(status(&missing), "404");
    let posted = raw(
        server.connect().await,
        b"POST /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&posted), "405");
    assert!(posted.contains("allow: GET"), "{posted}");
    for answer in [metrics, missing, posted] {
        for header in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
        ] {
            assert!(answer.contains(header), "{header} in {answer}");
        }
    }
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_time() {
    let limits = Limits {
        head: 8192,
        head_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = start(limits);
    let large = format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let answer = raw(server.connect().await, large.as_bytes()).await;
    assert!(answer.is_empty() || status(&answer) == "431", "{answer}");
    // Ends by the server closing the connection: silent from the start, and in the middle of a head.
    raw(server.connect().await, b"").await;
    raw(server.connect().await, b"GET /livez HTTP/1.1\r\n").await;
    // And idle after an answer.
    let kept = raw(
        server.connect().await,
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    assert_eq!(status(&kept), "200");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_while_all_are_busy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel::<()>();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let metrics = Arc::new(move || {
        begun.send(()).unwrap();
        let _ = held.lock().unwrap().recv();
        String::new()
    });
    let state = AdminState {
        metrics,
        ..state(&Arc::default())
    };
    let limits = Limits {
        connections: 1,
        request_timeout: Duration::from_mins(10),
        ..Limits::default()
    };
    let served = tokio::spawn(serve(listener, state, limits, std::future::pending()));
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    begins.recv().await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(
        second.try_read(&mut [0; 1]).is_err(),
        "not served while the first is busy"
    );
    release.send(()).unwrap();
    assert_eq!(status(&raw(busy, b"").await), "200");
    assert_eq!(status(&raw(second, b"").await), "200");
    served.abort();
}

#[tokio::test]
async fn silent_connections_make_room_for_a_probe() {
    let server = start(Limits {
        connections: 4,
        head_timeout: Duration::from_mins(10),
        ..Limits::default()
    });
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(server.connect().await);
    }
    for _ in 0..8 {
        assert_eq!(status(&server.get("/livez").await), "200");
    }
    // The oldest had to go first.
    assert_eq!(silent.remove(0).read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_slow_answer_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let metrics = Arc::new(move || {
        let _ = held.lock().unwrap().recv();
        String::new()
    });
    let state = AdminState {
        metrics,
        ..state(&Arc::default())
    };
    let limits = Limits {
        request_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    let served = tokio::spawn(serve(listener, state, limits, std::future::pending()));
    let stream = TcpStream::connect(address).await.unwrap();
    let answer = raw(
        stream,
        b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&answer), "503");
    drop(release);
    served.abort();
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_the_server() {
    let server = start(Limits::default());
    let mut idle = server.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 12];
    idle.read_exact(&mut some).await.unwrap();
    server.stop.send(()).unwrap();
    server.served.await.unwrap().unwrap();
    assert!(
        TcpStream::connect(&server.address).await.is_err(),
        "no longer listening"
    );
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn serves_on_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("gatehouse-admin-{}.sock", std::process::id()));
    let listener: Listener = std::os::unix::net::UnixListener::bind(&path).unwrap().into();
    let served = tokio::spawn(serve(
        listener,
        state(&Arc::default()),
        Limits::default(),
        std::future::pending(),
    ));
    let stream = UnixStream::connect(&path).await.unwrap();
    let answer = raw(
        stream,
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!((status(&answer), body(&answer)), ("200", "ok\n"));
    served.abort();
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_name_from_elsewhere_is_not_answered() {
    let server = start(Limits::default());
    let ask = async |host: &str| {
        let request = format!("GET /livez HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(server.connect().await, request.as_bytes()).await;
        status(&answer).to_owned()
    };
    for host in [
        "localhost",
        "LOCALHOST:9900",
        "127.0.0.1:9900",
        "[::1]:9900",
        "10.0.0.1",
    ] {
        assert_eq!(ask(host).await, "200", "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9900",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
    ] {
        assert_eq!(ask(host).await, "421", "{host}");
    }
    let old = raw(server.connect().await, b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&old), "200");
    for head in [
        "GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\n",
        "GET http://evil.example/livez HTTP/1.0\r\n",
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n",
        "GET /livez HTTP/1.1\r\nhost:\r\n",
        "GET /livez HTTP/1.1\r\n",
    ] {
        let request = format!("{head}connection: close\r\n\r\n");
        let answer = raw(server.connect().await, request.as_bytes()).await;
        assert!(["400", "421"].contains(&status(&answer)), "{head}: {answer}");
    }
}
