//! Policies that let requests in: what text cases cannot say, such as lists in files and bodies of unknown length.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, HttpBackend, Request, client};

use crate::gateway;

#[test]
fn lists_of_addresses_in_files_are_watched() {
    let config = "
listeners: { main: { address: \"127.0.0.1:0\" } }
routes:
  all: { match: {}, policies: [ { ip_filter: { deny_files: [lists/bad.txt] } } ], reply: { body: in } }
";
    let gateway = gateway(config)
        .file("lists/bad.txt", "# nobody yet\n192.0.2.0/24\n")
        .start();
    let status = || client::get(gateway.address(), "/").status;
    assert_eq!(status(), 200);
    let list = gateway.directory().join("lists/bad.txt");
    std::fs::write(&list, "127.0.0.0/8 ; everybody here\n").unwrap();
    until("the list to be noticed", || status() == 403);
    std::fs::write(&list, "127.0.0.0/33\n").unwrap();
    gateway.wait_log("line 1: `127.0.0.0/33` is not a block of addresses");
    assert_eq!(status(), 403);
    std::fs::write(&list, "").unwrap();
    until("the list to be noticed", || status() == 200);
}

#[test]
fn a_body_of_unknown_length_is_cut_off_at_the_limit_of_a_policy() {
    let backend = HttpBackend::start();
    let config = format!(
        "
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
policies: [ {{ size_limit: {{ body: 1000 }} }} ]
routes: {{ all: {{ match: {{}}, max_body: 5000, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}
",
        backend.url()
    );
    let gateway = gateway(&config).start();
    let chunked = |length: usize| Request::new("POST", "/").chunked(&[&vec![b'x'; length]]);
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.send(&chunked(1000)).status, 200);
    let refused = client::once(gateway.address(), &chunked(1001));
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("size_limit.body"), "{}", refused.text());
}
