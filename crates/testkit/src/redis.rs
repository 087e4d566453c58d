//! A real Redis: started, killed and started again on one port; single, watched by a sentinel, or a cluster of one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::Clock;
use crate::temp::TempDir;
use crate::tls::{Authority, Issued};
use crate::wait::{PATIENCE, until};

/// A `redis-server` of the system.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    /// In the clear even if `port` speaks TLS: for the test itself.
    plain: u16,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    password: Option<String>,
    child: Option<Child>,
    directory: TempDir,
}

impl Redis {
    /// One server, in the clear.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One server with more arguments.
    #[track_caller]
    pub fn with(arguments: &[&str]) -> Self {
        let port = free_port();
        let mut redis = Self {
            port,
            plain: port,
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            environment: Vec::new(),
            password: None,
            child: None,
            directory: TempDir::new(),
        };
        redis.restart();
        redis
    }

    /// One that believes that clock.
    #[track_caller]
    pub fn with_clock(clock: &Clock) -> Self {
        let mut redis = Self::with(&[]);
        let environment = clock.environment(false).map(|(name, value)| {
            // Its own allocator asks for the time before the time can be told.
            let also = if name == "LD_PRELOAD" { ":libc.so.6" } else { "" };
            (name, value + also)
        });
        redis.environment = environment.into();
        redis.restart();
        redis
    }

    /// One that asks for a password.
    #[track_caller]
    pub fn with_password(password: &str) -> Self {
        let mut redis = Self::with(&["--requirepass", password]);
        redis.password = Some(password.to_owned());
        redis
    }

    /// One that speaks TLS, and wants a certificate of that authority.
    #[track_caller]
    pub fn with_tls(identity: &Issued, clients: &Authority) -> Self {
        let (port, plain, directory) = (free_port(), free_port(), TempDir::new());
        let file = |name: &str, text: &str| directory.write(name, text).display().to_string();
        let arguments = [
            ["--tls-port".to_owned(), port.to_string()],
            ["--tls-cert-file".to_owned(), file("cert.pem", &identity.cert)],
            ["--tls-key-file".to_owned(), file("key.pem", &identity.key)],
            ["--tls-ca-cert-file".to_owned(), file("ca.pem", &clients.pem())],
        ];
        let mut redis = Self {
            port,
            plain,
            arguments: arguments.concat(),
            environment: Vec::new(),
            password: None,
            child: None,
            directory,
        };
        redis.restart();
        redis
    }

    /// A cluster of one node.
    #[track_caller]
    pub fn cluster() -> Self {
        let redis = Self::with(&["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
        redis.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        until("the cluster to be whole", || {
            redis.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        });
        redis
    }

    /// A sentinel that watches `master` under that name.
    #[track_caller]
    pub fn sentinel(name: &str, master: &Redis) -> Self {
        let directory = TempDir::new();
        let text = format!("sentinel monitor {name} 127.0.0.1 {} 1\n", master.port);
        let config = directory.write("sentinel.conf", &text).display().to_string();
        let port = free_port();
        let mut sentinel = Self {
            port,
            plain: port,
            arguments: vec![config, "--sentinel".to_owned()],
            environment: Vec::new(),
            password: None,
            child: None,
            directory,
        };
        sentinel.restart();
        sentinel
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it, on its port, with nothing in it; waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        let mut arguments = self.arguments.clone();
        let is_sentinel = arguments.iter().any(|argument| argument == "--sentinel");
        if is_sentinel {
            // Its file comes first.
            command.arg(arguments.remove(0));
        } else {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        let child = command
            .args(["--port", &self.plain.to_string(), "--bind", "127.0.0.1"])
            .args(["--dir", &self.directory.path().display().to_string()])
            .args(&arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("start redis-server (apt-get install redis-server): {e}"));
        self.child = Some(child);
        until("redis-server to answer", || {
            self.try_ask(&["PING"])
                .is_some_and(|answer| answer.contains("PONG") || answer.contains("NOAUTH"))
        });
    }

    /// Kills it: no goodbye, and what it knew is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it in its tracks: connections stay, nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        let pid = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("to signal redis-server");
    }

    /// Sends a command; the answer as it came, errors included.
    #[track_caller]
    pub fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command).expect("an answer of redis-server")
    }

    /// The number of a line such as `total_commands_processed:12` of `INFO`.
    #[track_caller]
    pub fn info(&self, name: &str) -> u64 {
        let info = self.ask(&["INFO"]);
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok())
            .expect("a number of INFO")
    }

    fn try_ask(&self, command: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.plain)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        if let Some(password) = &self.password {
            send(&mut stream, &["AUTH", password])?;
        }
        send(&mut stream, command)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn send(stream: &mut TcpStream, command: &[&str]) -> Option<String> {
    let mut bytes = format!("*{}\r\n", command.len());
    for part in command {
        bytes.push_str(&format!("${}\r\n{part}\r\n", part.len()));
    }
    stream.write_all(bytes.as_bytes()).ok()?;
    let (mut answer, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        answer.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n") else {
            continue;
        };
        // Only strings have a length; nothing longer than a line is asked for otherwise.
        let length = head
            .strip_prefix('$')
            .and_then(|length| length.parse::<usize>().ok());
        if length.is_none_or(|length| body.len() >= length + 2) {
            return Some(text.into_owned());
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Where the library is that shifts a process' clock; with `FAKETIME` in the environment, preload it.
#[track_caller]
pub fn clock_shifter() -> String {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let file = |place| format!("/usr/lib/{place}/faketime/libfaketimeMT.so.1");
    let found = places
        .into_iter()
        .map(file)
        .find(|file| std::path::Path::new(file).exists());
    found.expect("libfaketime (apt-get install libfaketime)")
}
