//! A scripted HTTP/1.1 server on a real socket that remembers everything it was sent.
//!
//! It reads as strictly as [`crate::wire`] does: if the gateway ever sends it something malformed, the test that
//! owns the backend fails when it ends, whatever it was about.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::call::{Call, Counted};
use super::reply::Reply;
use crate::digest::Digest;
use crate::headers::Headers;
use crate::wait::PATIENCE;
use crate::wire::{Framing, Head, Reader, request_framing};

/// What a backend does with a request.
pub type Script = Arc<dyn Fn(&mut Call<'_>) -> io::Result<()> + Send + Sync>;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Headers,
    /// The first 256 KiB.
    pub body: Vec<u8>,
    /// Length and hash of the whole body, as far as it has come.
    pub digest: (u64, u64),
    pub trailers: Headers,
    /// The head, byte by byte.
    pub raw_head: Vec<u8>,
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// Its place on that connection, from 0.
    pub nth: usize,
    /// Whether all of the body has come.
    pub complete: bool,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The target up to its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

#[derive(Default, Debug)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Received>,
    connections: usize,
    ended: usize,
    malformed: Vec<String>,
}

pub(crate) struct Shared {
    scripts: Mutex<HashMap<String, Script>>,
    pub(crate) log: Mutex<Log>,
    pub(crate) changed: Condvar,
    pub(crate) bytes: AtomicU64,
    stopping: AtomicBool,
    live: Mutex<HashMap<usize, TcpStream>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// The server. Until told otherwise it answers every request with 200 and the body `ok`.
#[derive(Debug)]
pub struct HttpBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// The path of the script for all paths that have none.
const ANY: &str = "*";

impl HttpBackend {
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    /// A backend on a given address, `[::1]:0` for example.
    #[track_caller]
    pub fn start_on(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("listen on {address}: {e}"));
        let address = listener.local_addr().expect("the address listened on");
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            log: Mutex::default(),
            changed: Condvar::new(),
            bytes: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            live: Mutex::default(),
        });
        let backend = Self {
            address,
            shared: shared.clone(),
        };
        backend.otherwise(Reply::ok("ok"));
        std::thread::spawn(move || accept(&listener, &shared));
        backend
    }

    /// A backend that answers everything alike.
    pub fn replying(reply: Reply) -> Self {
        let backend = Self::start();
        backend.otherwise(reply);
        backend
    }

    /// A backend that runs one script for everything.
    pub fn scripted(script: impl Fn(&mut Call<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let backend = Self::start();
        backend.script(ANY, script);
        backend
    }

    /// Answers requests to this path (without query).
    pub fn on(&self, path: &str, reply: Reply) -> &Self {
        self.script(path, move |call| reply.play(call))
    }

    /// Answers requests to all other paths.
    pub fn otherwise(&self, reply: Reply) -> &Self {
        self.on(ANY, reply)
    }

    /// Runs a script for requests to this path; `*` for all that have none.
    pub fn script(
        &self,
        path: &str,
        script: impl Fn(&mut Call<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> &Self {
        self.shared
            .scripts
            .lock()
            .unwrap()
            .insert(path.to_owned(), Arc::new(script));
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As an endpoint of a configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, whose heads were complete.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.lock().unwrap().requests.clone()
    }

    pub fn count(&self) -> usize {
        self.shared.log.lock().unwrap().requests.len()
    }

    /// The latest request, complete.
    #[track_caller]
    pub fn last(&self) -> Received {
        let n = self.count();
        assert!(n > 0, "no request reached the backend");
        self.wait_complete(n).pop().expect("a request")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.log.lock().unwrap().connections
    }

    /// Bytes received so far, whether or not they made sense.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// Waits for the head of the n-th request.
    #[track_caller]
    pub fn wait_requests(&self, n: usize) -> Vec<Received> {
        self.wait(&format!("{n} requests at the backend"), |log| {
            log.requests.len() >= n
        })
    }

    /// Waits until n requests came with all of their bodies.
    #[track_caller]
    pub fn wait_complete(&self, n: usize) -> Vec<Received> {
        self.wait(&format!("{n} complete requests at the backend"), |log| {
            log.requests.iter().filter(|r| r.complete).count() >= n
        })
    }

    /// Waits until the n-th request has at least that much of its body.
    #[track_caller]
    pub fn wait_body(&self, n: usize, len: u64) {
        self.wait(&format!("{len} bytes of body in request {n}"), |log| {
            log.requests.get(n).is_some_and(|r| r.digest.0 >= len)
        });
    }

    /// Waits until n connections have ended.
    #[track_caller]
    pub fn wait_ended(&self, n: usize) {
        self.wait(&format!("{n} connections of the backend to end"), |log| {
            log.ended >= n
        });
    }

    #[track_caller]
    fn wait(&self, what: &str, holds: impl Fn(&Log) -> bool) -> Vec<Received> {
        let log = self.shared.log.lock().unwrap();
        let (log, late) = self
            .shared
            .changed
            .wait_timeout_while(log, PATIENCE, |log| !holds(log))
            .unwrap();
        let requests = log.requests.clone();
        // Released before the panic: the test's unwinding looks into the log again.
        drop(log);
        assert!(
            !late.timed_out(),
            "waited {PATIENCE:?} in vain for {what}; got {requests:#?}"
        );
        requests
    }

    /// Ends every connection now (the gateway's idle ones above all), without a word. New ones are accepted.
    pub fn drop_connections(&self) {
        for stream in self.shared.live.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Requests that were no valid HTTP/1.1.
    pub fn malformed(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().malformed.clone()
    }
}

impl Drop for HttpBackend {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accept loop, which then ends and closes the listener.
        let _ = TcpStream::connect(self.address);
        self.drop_connections();
        let malformed = self.malformed();
        assert!(
            malformed.is_empty() || std::thread::panicking(),
            "the gateway sent something malformed upstream: {malformed:?}"
        );
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let _ = stream.set_nodelay(true);
        let number = {
            let mut log = shared.log.lock().unwrap();
            log.connections += 1;
            log.connections - 1
        };
        if let Ok(handle) = stream.try_clone() {
            shared.live.lock().unwrap().insert(number, handle);
        }
        let shared = shared.clone();
        std::thread::spawn(move || {
            let result = serve(stream, number, &shared);
            shared.live.lock().unwrap().remove(&number);
            let mut log = shared.log.lock().unwrap();
            log.ended += 1;
            if let Err(e) = result
                && e.kind() == io::ErrorKind::InvalidData
            {
                log.malformed.push(e.to_string());
            }
            drop(log);
            shared.changed.notify_all();
        });
    }
}

fn serve(stream: TcpStream, connection: usize, shared: &Arc<Shared>) -> io::Result<()> {
    let mut reader = Reader::new(Counted {
        stream,
        shared: shared.clone(),
    });
    let mut nth = 0;
    while let Some(head) = reader.read_head()? {
        let request = received(&head, connection, nth)?;
        let framing = request_framing(&request.headers)?;
        let script = find(shared, &request);
        let index = {
            let mut log = shared.log.lock().unwrap();
            log.requests.push(request.clone());
            log.requests.len() - 1
        };
        shared.changed.notify_all();
        let left = if let Framing::Length(n) = framing { n } else { 0 };
        let mut call = Call {
            reader: &mut reader,
            shared: shared.clone(),
            index,
            request,
            framing,
            left,
            body_done: false,
            continued: false,
            ended: false,
            digest: Digest::new(),
        };
        script(&mut call)?;
        if call.ended {
            return Ok(());
        }
        call.read_body()?;
        nth += 1;
    }
    Ok(())
}

fn received(head: &Head, connection: usize, nth: usize) -> io::Result<Received> {
    let wrong = || crate::wire::bad(format!("bad request line: {:?}", head.start));
    let mut parts = head.start.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    if version != "HTTP/1.1" || head.headers.count("host") != 1 {
        return Err(wrong());
    }
    Ok(Received {
        method: method.to_owned(),
        target: target.to_owned(),
        version: version.to_owned(),
        raw_head: head.raw.clone(),
        headers: head.headers.clone(),
        connection,
        nth,
        ..Received::default()
    })
}

fn find(shared: &Shared, request: &Received) -> Script {
    let scripts = shared.scripts.lock().unwrap();
    scripts
        .get(request.path())
        .or_else(|| scripts.get(ANY))
        .expect("a script for all paths")
        .clone()
}
