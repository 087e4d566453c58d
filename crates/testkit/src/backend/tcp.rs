//! Servers below HTTP: one that hands each connection to the test, one that refuses, one that never accepts.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Hands each connection, with its number from 0, to a function on a thread of its own.
#[derive(Debug)]
pub struct TcpBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default, Debug)]
struct Shared {
    stopping: AtomicBool,
    connections: AtomicUsize,
    live: Mutex<HashMap<usize, TcpStream>>,
}

impl TcpBackend {
    pub fn start(serve: impl Fn(TcpStream, usize) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on a free port");
        let address = listener.local_addr().expect("the address listened on");
        let shared = Arc::new(Shared::default());
        let (seen, serve) = (shared.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if seen.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                if let Ok(handle) = stream.try_clone() {
                    seen.live.lock().unwrap().insert(number, handle);
                }
                let (serve, seen) = (serve.clone(), seen.clone());
                std::thread::spawn(move || {
                    let result = serve(stream, number);
                    // The connection ends when its last handle does.
                    seen.live.lock().unwrap().remove(&number);
                    result
                });
            }
        });
        Self { address, shared }
    }

    /// Accepts, reads whatever comes and never says a word.
    pub fn silent() -> Self {
        Self::start(|mut stream, _| {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer)? > 0 {}
            Ok(())
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for TcpBackend {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for (_, stream) in self.shared.live.lock().unwrap().drain() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// A port that refuses connections for as long as this lives: bound, but not listening, so nobody else gets it.
#[derive(Debug)]
pub struct Refusing {
    address: SocketAddr,
    _socket: Socket,
}

impl Refusing {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).expect("a free port");
        let address = socket
            .local_addr()
            .expect("its address")
            .as_socket()
            .expect("an internet address");
        Self {
            address,
            _socket: socket,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for Refusing {
    fn default() -> Self {
        Self::new()
    }
}

/// A port where connecting hangs: its accept queue is full and nobody takes from it.
#[derive(Debug)]
pub struct Blackhole {
    address: SocketAddr,
    _listener: Socket,
    _filling: Vec<Socket>,
}

impl Blackhole {
    pub fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        listener.bind(&any.into()).expect("a free port");
        listener.listen(0).expect("listen");
        let address = listener
            .local_addr()
            .expect("its address")
            .as_socket()
            .expect("an internet address");
        let mut filling = Vec::new();
        for _ in 0..64 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let full = socket
                .connect_timeout(&address.into(), Duration::from_millis(300))
                .is_err();
            filling.push(socket);
            if full {
                return Self {
                    address,
                    _listener: listener,
                    _filling: filling,
                };
            }
        }
        panic!("the accept queue never filled up");
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Default for Blackhole {
    fn default() -> Self {
        Self::new()
    }
}
