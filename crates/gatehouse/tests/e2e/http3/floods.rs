//! Those who send much and mean nothing.

use std::net::{Ipv4Addr, UdpSocket};

use gatehouse_testkit::HttpBackend;
use gatehouse_testkit::digest::Noise;

use super::Setup;

#[test]
fn clients_show_their_address_when_it_must_be() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "client: { http3: { retry_above: 0 } }\n");
    let mut client = setup.connect();
    assert_eq!(client.get("/").status, 200);
    setup
        .gateway
        .wait_metric("gatehouse_http3_address_checks_total", &[], |n| n >= 1.0);
}

#[test]
fn handshakes_are_capped() {
    let backend = HttpBackend::start();
    let settings = "client: { timeouts: { handshake: 6s }, limits: { handshakes: 4 } }\n";
    let setup = Setup::new(&backend, settings);
    let mut kept = setup.connect();
    // They begin and say nothing more.
    let client = setup.client();
    let silent: Vec<_> = (0..8)
        .map(|_| client.begin_shown(setup.address(), Ipv4Addr::LOCALHOST))
        .collect();
    let labels = [("listener", "main"), ("reason", "too_many")];
    setup
        .gateway
        .wait_metric("gatehouse_tls_handshake_failures_total", &labels, |n| n >= 1.0);
    assert_eq!(kept.get("/").status, 200);
    let labels = [("listener", "main"), ("reason", "timeout")];
    setup
        .gateway
        .wait_metric("gatehouse_tls_handshake_failures_total", &labels, |n| n >= 1.0);
    drop(silent);
    assert_eq!(setup.connect().get("/").status, 200);
}

#[test]
fn one_client_does_not_take_all_handshakes() {
    let backend = HttpBackend::start();
    let settings =
        "client: { timeouts: { handshake: 1m }, limits: { handshakes: 16 }, http3: { retry_above: 0 } }\n";
    let setup = Setup::new(&backend, settings);
    // Sixteen of another address, which has shown itself, begin and say nothing more.
    let (client, other) = (setup.client(), Ipv4Addr::new(127, 0, 0, 2));
    let silent: Vec<_> = (0..16)
        .map(|_| client.begin_shown(setup.address(), other))
        .collect();
    let labels = [("listener", "main"), ("reason", "too_many")];
    setup
        .gateway
        .wait_metric("gatehouse_tls_handshake_failures_total", &labels, |n| {
            (7.5..8.5).contains(&n)
        });
    assert_eq!(setup.connect().get("/").status, 200);
    // Whoever only says that it is somebody uses up nothing.
    let liars: Vec<_> = (0..16).map(|_| client.begin_only(setup.address())).collect();
    setup
        .gateway
        .wait_metric("gatehouse_http3_address_checks_total", &[], |n| {
            n >= 16.0 + 1.0 + 16.0
        });
    assert_eq!(setup.connect().get("/").status, 200);
    drop((silent, liars));
}

#[test]
fn datagrams_of_noise_are_dropped() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let mut kept = setup.connect();
    assert_eq!(kept.get("/").status, 200);
    let before = setup.gateway.peak_kib();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise = Noise::new(7);
    let mut datagram = [0; 1200];
    for i in 0..3000_usize {
        noise.fill(&mut datagram);
        let len = [1, 20, 60, 1200][i % 4];
        match i % 5 {
            // A long header of version 1, of a version nobody knows, of version negotiation; a short header.
            0 => datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]),
            1 => datagram[..6].copy_from_slice(&[0xc3, 0x1a, 0x2a, 0x3a, 0x4a, 8]),
            2 => datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 0, 8]),
            3 => datagram[0] = 0x40,
            _ => {}
        }
        // What the system does not take now is lost, as datagrams are.
        let _ = socket.send_to(&datagram[..len], setup.address());
        if i % 500 == 0 {
            assert_eq!(kept.get("/").status, 200);
        }
    }
    assert_eq!(kept.get("/").status, 200);
    assert_eq!(setup.connect().get("/").status, 200);
    if let (Some(before), Some(after)) = (before, setup.gateway.peak_kib()) {
        assert!(after < before + 24 * 1024, "grew from {before} to {after} KiB");
    }
}

#[test]
fn streams_of_noise_end_their_connection_at_most() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let (mut kept, clients) = (setup.connect(), setup.client());
    for seed in 0..40 {
        assert_eq!(kept.get("/").status, 200);
        let client = clients.frames(setup.address());
        let noise = Noise::bytes(seed, 300);
        // As it is; as a frame of headers; and a good head with noise behind it.
        let _ = client.request(&noise, true);
        let _ = client.request(&gatehouse_testkit::h3::frame(1, &noise), true);
        let _control = client.try_one_way(&[&[0][..], &noise].concat());
    }
    assert_eq!(kept.get("/").status, 200);
    assert_eq!(setup.connect().get("/").status, 200);
}
