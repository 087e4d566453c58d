//! A tiny DNS server over UDP (RFC 1035) that says what the test wants: addresses, "no such name", or nothing.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What is said about a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These addresses (A and AAAA each get their own), for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// No answer at all.
    Silence,
}

/// The server. Names it does not know do not exist.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default, Debug)]
struct Shared {
    answers: Mutex<HashMap<String, Answer>>,
    queries: Mutex<Vec<String>>,
    stopping: AtomicBool,
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl DnsServer {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
        let address = socket.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
                if seen.stopping.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(answer) = respond(&buffer[..len], &seen) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, this is said about the name.
    pub fn set(&self, name: &str, answer: Answer) {
        self.shared
            .answers
            .lock()
            .unwrap()
            .insert(name.to_ascii_lowercase(), answer);
    }

    /// From now on, the name has this address for so many seconds.
    #[track_caller]
    pub fn address_of(&self, name: &str, address: &str, ttl: u32) {
        let address = address.parse().unwrap_or_else(|e| panic!("{address}: {e}"));
        self.set(name, Answer::Addresses(vec![address], ttl));
    }

    /// How often the name was asked for, any type.
    pub fn queries(&self, name: &str) -> usize {
        self.shared
            .queries
            .lock()
            .unwrap()
            .iter()
            .filter(|n| n.eq_ignore_ascii_case(name))
            .count()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
            let _ = socket.send_to(&[0], self.address);
        }
    }
}

fn respond(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let (name, question_end) = question_name(query)?;
    let kind = u16::from_be_bytes([*query.get(question_end)?, *query.get(question_end + 1)?]);
    let question = query.get(12..question_end + 4)?;
    shared.queries.lock().unwrap().push(name.clone());
    let answer = shared
        .answers
        .lock()
        .unwrap()
        .get(&name)
        .cloned()
        .unwrap_or(Answer::NoSuchName);
    let (code, addresses, ttl) = match answer {
        Answer::Addresses(addresses, ttl) => (0, addresses, ttl),
        Answer::NoSuchName => (3, Vec::new(), 0),
        Answer::Failure => (2, Vec::new(), 0),
        Answer::Silence => return None,
    };
    let fitting: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut out = query.get(..2)?.to_vec();
    // A response, authoritative, recursion wanted and available, and the code.
    out.extend_from_slice(&[0x85, 0x80 | code]);
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&u16::try_from(fitting.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(question);
    for data in fitting {
        // The name is the one at offset 12.
        out.extend_from_slice(&[0xC0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

/// The first question's name, lower case without the final dot, and where it ends.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + len)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_a_question() {
        let server = DnsServer::start();
        server.address_of("users.test", "127.0.0.3", 60);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(crate::wait::PATIENCE)).unwrap();
        let mut query = vec![0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(b"\x05USERS\x04test\0\0\x01\0\x01");
        socket.send_to(&query, server.address()).unwrap();
        let mut answer = [0; 512];
        let len = socket.recv(&mut answer).unwrap();
        assert_eq!(&answer[..8], [0xAB, 0xCD, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(&answer[len - 4..len], [127, 0, 0, 3]);
        assert_eq!(server.queries("users.test"), 1);
    }
}
