//! A real directory: `OpenLDAP`'s slapd, started, killed and started again on one port, with people and groups in it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::temp::TempDir;
use crate::tls::Issued;
use crate::wait::until;

/// A `slapd` of the system, with `dc=example,dc=org` in it.
#[derive(Debug)]
pub struct Slapd {
    plain: u16,
    tls: u16,
    child: Option<Child>,
    directory: TempDir,
}

impl Slapd {
    /// One with these entries (LDIF), on `ldap://`; with a certificate, also with `StartTLS` and on `ldaps://`.
    #[track_caller]
    pub fn start(entries: &str, identity: Option<&Issued>) -> Self {
        let directory = TempDir::new();
        let file = |name: &str, text: &str| directory.write(name, text).display().to_string();
        std::fs::create_dir(directory.join("data")).expect("a folder");
        let tls = identity.map_or_else(String::new, |identity| {
            let (cert, key) = (file("cert.pem", &identity.cert), file("key.pem", &identity.key));
            format!("TLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\n")
        });
        let config = format!(
            "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {pid}
{tls}database mdb
maxsize 10485760
suffix \"dc=example,dc=org\"
directory {data}
access to attrs=userPassword by anonymous auth by * none
access to * by self read by dn.exact=\"cn=gatehouse,dc=example,dc=org\" read by * none
",
            pid = directory.join("pid").display(),
            data = directory.join("data").display()
        );
        let config = file("slapd.conf", &config);
        let entries = file("entries.ldif", entries);
        let added = Command::new("/usr/sbin/slapadd")
            .args(["-q", "-f", &config, "-l", &entries])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("start slapadd (apt-get install slapd): {e}"));
        assert!(
            added.status.success(),
            "{}",
            String::from_utf8_lossy(&added.stderr)
        );
        let mut slapd = Self {
            plain: free_port(),
            tls: if identity.is_some() { free_port() } else { 0 },
            child: None,
            directory,
        };
        slapd.restart();
        slapd
    }

    /// `ldap://` and its address.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.plain)
    }

    /// The port of `ldap://`.
    pub fn port(&self) -> u16 {
        self.plain
    }

    /// The port of `ldaps://`.
    pub fn tls_port(&self) -> u16 {
        self.tls
    }

    /// Starts it, on its ports, with what it had; waits until it listens.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let mut urls = self.url();
        if self.tls != 0 {
            urls.push_str(&format!(" ldaps://127.0.0.1:{}", self.tls));
        }
        let config = self.directory.join("slapd.conf").display().to_string();
        // A debug level, even that of nothing, keeps it in the foreground.
        let child = Command::new("/usr/sbin/slapd")
            .args(["-h", &urls, "-f", &config, "-d", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("start slapd (apt-get install slapd): {e}"));
        self.child = Some(child);
        let listens = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        until("slapd to listen", || {
            listens(self.plain) && (self.tls == 0 || listens(self.tls))
        });
    }

    /// Kills it: no goodbye.
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
        kill_process(pid, signal).expect("to signal slapd");
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    listener.local_addr().expect("its address").port()
}
