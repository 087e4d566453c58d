use super::*;
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

const OPTIONS: Options = Options {
    backlog: 16,
    unix_mode: None,
};

/// A directory of its own for each test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "gatehouse-socket-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn address(&self) -> Address {
        Address::Unix(self.0.join("s"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse().expect("an address"))
}

fn listener(bound: &Bound) -> (&TcpListener, SocketAddr) {
    let Bound::Tcp(listener) = bound else {
        panic!("TCP expected")
    };
    listener.set_nonblocking(false).expect("blocking");
    (listener, listener.local_addr().expect("address"))
}

#[test]
fn connections_inherit_their_options() {
    let bound = bind(&tcp("127.0.0.1:0"), OPTIONS).expect("bound");
    let (listener, address) = listener(&bound);
    assert_eq!(bound.address().expect("address"), Address::Tcp(address));
    let _client = TcpStream::connect(address).expect("connected");
    let (stream, _) = listener.accept().expect("accepted");
    accepted(&stream).expect("options");
    let socket = SockRef::from(&stream);
    assert!(socket.tcp_nodelay().expect("option"));
    assert!(socket.keepalive().expect("option"));
    assert_eq!(socket.tcp_keepalive_time().expect("option"), KEEPALIVE.0);
    assert_eq!(socket.tcp_keepalive_interval().expect("option"), KEEPALIVE.1);
    assert_eq!(socket.tcp_keepalive_retries().expect("option"), KEEPALIVE.2);
    #[cfg(target_os = "linux")]
    assert_eq!(socket.tcp_user_timeout().expect("option"), Some(USER_TIMEOUT));
}

#[test]
fn listeners_do_not_block() {
    let Bound::Tcp(listener) = bind(&tcp("127.0.0.1:0"), OPTIONS).expect("bound") else {
        panic!("TCP expected")
    };
    assert_eq!(
        listener.accept().expect_err("nobody there").kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn all_of_ipv6_serves_ipv4_too() {
    let Ok(bound) = bind(&tcp("[::]:0"), OPTIONS) else {
        return; /* a machine without IPv6 */
    };
    let (listener, address) = listener(&bound);
    let _client = TcpStream::connect(("127.0.0.1", address.port())).expect("connected");
    let (_, peer) = listener.accept().expect("accepted");
    assert_eq!(peer.ip().to_canonical(), IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn a_taken_port_is_explained() {
    let first = bind(&tcp("127.0.0.1:0"), OPTIONS).expect("bound");
    let address = first.address().expect("address");
    let error = bind(&address, OPTIONS).expect_err("taken");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on `{address}`: address already in use")
    );
    assert!(error.help.expect("help").contains("ss -ltnp"));
}

#[test]
fn a_foreign_address_is_explained() {
    // TEST-NET-1, which no machine has.
    let error = bind(&tcp("192.0.2.1:0"), OPTIONS).expect_err("not here");
    assert!(
        error.to_string().ends_with("this machine has no such address"),
        "{error}"
    );
}

#[test]
fn unix_sockets_get_their_mode_and_go_away() {
    let folder = Folder::new();
    let Address::Unix(path) = folder.address() else {
        panic!("a path")
    };
    let bound = bind(
        &folder.address(),
        Options {
            unix_mode: Some(0o660),
            ..OPTIONS
        },
    )
    .expect("bound");
    assert_eq!(
        fs::metadata(&path).expect("file").permissions().mode() & 0o7777,
        0o660
    );
    assert_eq!(
        bound.address().expect("address").to_string(),
        format!("unix:{}", path.display())
    );
    UnixStream::connect(&path).expect("connected");
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_in_use_is_left_alone() {
    let folder = Folder::new();
    let _first = bind(&folder.address(), OPTIONS).expect("bound");
    let error = bind(&folder.address(), OPTIONS).expect_err("taken");
    assert!(error.to_string().ends_with("address already in use"), "{error}");
    let Address::Unix(path) = folder.address() else {
        panic!("a path")
    };
    UnixStream::connect(path).expect("the first still listens");
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let folder = Folder::new();
    let Address::Unix(path) = folder.address() else {
        panic!("a path")
    };
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists());
    let _bound = bind(&folder.address(), OPTIONS).expect("bound");
    UnixStream::connect(path).expect("connected");
}

#[test]
fn other_files_are_never_removed() {
    let folder = Folder::new();
    let Address::Unix(path) = folder.address() else {
        panic!("a path")
    };
    fs::write(&path, "precious").expect("written");
    let error = bind(&folder.address(), OPTIONS).expect_err("a file");
    assert!(error.to_string().ends_with("is not a socket"), "{error}");
    assert_eq!(fs::read(&path).expect("file"), b"precious");
}

#[test]
fn a_successors_file_is_left_alone() {
    let folder = Folder::new();
    let Address::Unix(path) = folder.address() else {
        panic!("a path")
    };
    let bound = bind(&folder.address(), OPTIONS).expect("bound");
    fs::rename(&path, folder.0.join("old")).expect("renamed");
    let _successor = UnixListener::bind(&path).expect("bound");
    drop(bound);
    assert!(path.exists());

    let kept = bind(&Address::Unix(folder.0.join("kept")), OPTIONS).expect("bound");
    kept.keep_file();
    drop(kept);
    assert!(folder.0.join("kept").exists());
}

#[test]
fn a_missing_directory_and_a_long_path_are_explained() {
    let folder = Folder::new();
    let error = bind(&Address::Unix(folder.0.join("none/s")), OPTIONS).expect_err("no directory");
    assert!(error.to_string().ends_with("no such directory"), "{error}");
    let long = Address::Unix(folder.0.join("x".repeat(200)));
    assert!(bind(&long, OPTIONS).is_err());
}
