//! What a supervisor such as systemd is told, and the sockets it gives.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, channel};

use gatehouse_testkit::temp::TempDir;
use gatehouse_testkit::wait::PATIENCE;
use gatehouse_testkit::{Gateway, HttpBackend, Raw, Request, client};

use crate::{BINARY, PLAIN, gateway};

/// The socket that systemd would listen on. A thread reads it, as systemd would, whatever the test is at.
struct Supervisor {
    news: Receiver<String>,
    folder: TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let folder = TempDir::new();
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        let (sender, news) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1000];
            while let Ok(n) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                if n == 0 || sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self { news, folder }
    }

    fn path(&self) -> String {
        self.folder.join("notify").display().to_string()
    }

    /// The next message.
    #[track_caller]
    fn hears(&self) -> String {
        self.news.recv_timeout(PATIENCE).expect("a message")
    }

    /// The next message that is not about the watchdog.
    #[track_caller]
    fn hears_news(&self) -> String {
        loop {
            let message = self.hears();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Ends the thread.
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(&[], self.path()));
    }
}

fn supervised(supervisor: &Supervisor, backend: &HttpBackend) -> gatehouse_testkit::gateway::Builder {
    gateway(&format!(
        "{PLAIN}process: {{ workers: 2, pid_file: '${{dir}}/pid' }}\n"
    ))
    .bind("api", backend.url())
    .environment("NOTIFY_SOCKET", &supervisor.path())
}

#[test]
fn it_says_when_it_is_ready_reloads_and_stops() {
    let (supervisor, backend) = (Supervisor::new(), HttpBackend::start());
    let mut gateway = supervised(&supervisor, &backend).start();
    assert_eq!(supervisor.hears(), "READY=1\n");
    gateway.signal("HUP");
    let reloading = supervisor.hears();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(supervisor.hears(), "READY=1\n");
    gateway.signal("TERM");
    assert_eq!(supervisor.hears(), "STOPPING=1\n");
    assert!(gateway.wait_exit().success());
}

#[test]
fn it_names_the_new_main_process_before_that_says_that_it_is_ready() {
    let (supervisor, backend) = (Supervisor::new(), HttpBackend::start());
    let mut gateway = supervised(&supervisor, &backend).start();
    assert_eq!(supervisor.hears(), "READY=1\n");
    gateway.signal("USR2");
    gateway.wait_upgraded();
    assert_eq!(supervisor.hears(), format!("MAINPID={}\n", gateway.pid()));
    assert_eq!(supervisor.hears(), "READY=1\n");
    assert!(gateway.wait_replaced_exit().success());
    gateway.signal("TERM");
    // Nothing from the process that was replaced.
    assert_eq!(supervisor.hears(), "STOPPING=1\n");
    assert!(gateway.wait_exit().success());
}

#[test]
fn a_supervisor_that_does_not_listen_hinders_nothing() {
    let (folder, backend) = (TempDir::new(), HttpBackend::start());
    // Its queue of messages is full already.
    let path = folder.join("notify");
    let _deaf = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &path).is_ok() {}
    let mut gateway = gateway(PLAIN)
        .bind("api", backend.url())
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .start();
    gateway.wait_log("the supervisor cannot be told");
    assert_eq!(client::get(gateway.address(), "/").status, 200);
    assert!(gateway.stop().success());
}

#[test]
fn it_feeds_the_watchdog_and_so_does_its_successor() {
    let (supervisor, backend) = (Supervisor::new(), HttpBackend::start());
    let mut gateway = supervised(&supervisor, &backend)
        .environment("WATCHDOG_USEC", "20000")
        .start();
    assert_eq!(supervisor.hears(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(supervisor.hears(), "WATCHDOG=1\n");
    }
    gateway.signal("USR2");
    gateway.wait_upgraded();
    assert!(supervisor.hears_news().starts_with("MAINPID="));
    assert_eq!(supervisor.hears_news(), "READY=1\n");
    assert!(gateway.wait_replaced_exit().success());
    for _ in 0..3 {
        assert_eq!(supervisor.hears(), "WATCHDOG=1\n");
    }
}

/// A script that turns its standard input into the socket that a supervisor gives to the gateway.
fn activated(folder: &TempDir, name: &str) -> String {
    let path = folder.write(
        "activate",
        &format!(
            "#!/bin/sh\nexport LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}\nexec '{BINARY}' \"$@\" 3<&0 </dev/null\n"
        ),
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_listener_takes_the_socket_that_has_its_address() {
    let (backend, folder) = (HttpBackend::start(), TempDir::new());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // This client comes before the gateway is there.
    let mut early = Raw::connect(address);
    early.send(Request::get("/").encode());
    let held = socket.try_clone().unwrap();
    let yaml = PLAIN.replace("127.0.0.1:0", &address.to_string());
    let yaml = format!("{yaml}process: {{ workers: 2, pid_file: '${{dir}}/pid' }}\n");
    let mut gateway = Gateway::builder(&activated(&folder, "unknown"), &yaml)
        .bind("api", backend.url())
        .stdin(socket)
        .start();
    assert_eq!(gateway.address(), address);
    assert_eq!(early.response("GET").status, 200);
    drop(early);
    // It goes over like any other.
    gateway.signal("USR2");
    gateway.wait_upgraded();
    assert!(gateway.wait_replaced_exit().success());
    assert_eq!(client::get(address, "/").status, 200);
    // The supervisor still listens when the gateway has gone: who comes now waits for the next one.
    assert!(gateway.stop().success());
    let _late = Raw::connect(address);
    assert!(held.accept().is_ok());
}

#[test]
fn a_listener_takes_the_socket_that_has_its_name() {
    let (backend, folder) = (HttpBackend::start(), TempDir::new());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut gateway = Gateway::builder(&activated(&folder, "main"), PLAIN)
        .bind("api", backend.url())
        .stdin(socket)
        .start();
    assert_eq!(gateway.address(), address);
    assert_eq!(client::get(address, "/").status, 200);
    assert!(gateway.stop().success());
}

#[test]
fn sockets_meant_for_another_process_are_left_alone() {
    let backend = HttpBackend::start();
    let mut gateway = gateway(PLAIN)
        .bind("api", backend.url())
        .environment("LISTEN_PID", "1")
        .environment("LISTEN_FDS", "1")
        .start();
    assert_eq!(client::get(gateway.address(), "/").status, 200);
    assert!(gateway.stop().success());
}
