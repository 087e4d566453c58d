//! A name server that says what it is told to, over UDP.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// How a question is answered.
#[derive(Clone)]
pub(super) enum Say {
    Addresses(Vec<IpAddr>, u32),
    NoSuchName,
    ServerFailure,
    Nothing,
}

/// `A` or `AAAA`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    A = 1,
    Aaaa = 28,
}

type Script = Arc<Mutex<HashMap<(String, u8), Say>>>;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    script: Script,
}

impl Server {
    /// A server that knows no name. Its thread ends with the process.
    pub(super) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("address");
        let script = Script::default();
        let told = Arc::clone(&script);
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = answer(&buffer[..length], &told) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { address, script }
    }

    /// Sets what a name is answered with; the other family has no addresses then, unless told.
    pub(super) fn say(&self, name: &str, kind: Kind, say: Say) {
        self.script
            .lock()
            .expect("unpoisoned")
            .insert((name.to_owned(), kind as u8), say);
    }
}

fn answer(question: &[u8], script: &Script) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        name += std::str::from_utf8(&question[at + 1..end]).expect("text");
        name.push('.');
        at = end;
    }
    let kind = question[at + 2];
    let script = script.lock().expect("unpoisoned");
    let known = script.keys().any(|(other, _)| *other == name);
    let say = script.get(&(name, kind)).cloned();
    let (code, addresses, ttl) = match say {
        Some(Say::Addresses(addresses, ttl)) => (0, addresses, ttl),
        Some(Say::ServerFailure) => (2, Vec::new(), 0),
        Some(Say::Nothing) => return None,
        // A name with the other kind of address exists.
        None if known => (0, Vec::new(), 0),
        Some(Say::NoSuchName) | None => (3, Vec::new(), 0),
    };
    let mut bytes = question[..2].to_vec();
    let count = u8::try_from(addresses.len()).expect("few");
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    bytes.extend(&question[12..at + 5]);
    for address in addresses {
        // The name as a pointer to the question's, the kind, class IN.
        bytes.extend([0xC0, 12, 0, kind, 0, 1]);
        bytes.extend(ttl.to_be_bytes());
        match address {
            IpAddr::V4(ip) => {
                bytes.extend([0, 4]);
                bytes.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                bytes.extend([0, 16]);
                bytes.extend(ip.octets());
            }
        }
    }
    Some(bytes)
}
