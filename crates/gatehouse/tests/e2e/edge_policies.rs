//! Policies that let requests in: what text cases cannot say, such as lists in files and bodies of unknown length.

use gatehouse_testkit::temp::replace;
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, HttpBackend, Reply, Request, client, countries};

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
    replace(&list, "127.0.0.0/8 ; everybody here\n");
    until("the list to be noticed", || status() == 403);
    replace(&list, "127.0.0.0/33\n");
    gateway.wait_log("line 1: `127.0.0.0/33` is not a block of addresses");
    assert_eq!(status(), 403);
    replace(&list, "");
    until("the list to be noticed", || status() == 200);
}

#[test]
fn lists_of_addresses_are_fetched_and_the_last_good_one_stays() {
    let lists = HttpBackend::start();
    lists.on("/bad", Reply::ok("# nobody yet\n").header("ETag", "\"1\""));
    lists.on("/good", Reply::ok("127.0.0.0/8\n::1\n"));
    let config = format!(
        "
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
routes:
  denied: {{ match: {{ path: /denied }}, policies: [ {{ ip_filter: {{ deny_feeds: [ {{ url: \"{0}/bad?key=s3cret\", refresh: 20ms }} ] }} }} ], reply: {{ body: in }} }}
  allowed: {{ match: {{ path: /allowed }}, policies: [ {{ ip_filter: {{ allow_feeds: [ {{ url: \"{0}/good\" }} ] }} }} ], reply: {{ body: in }} }}
",
        lists.url()
    );
    let gateway = gateway(&config).start();
    let status = |path: &str| client::get(gateway.address(), path).status;
    until("the list of those allowed", || status("/allowed") == 200);
    assert_eq!(status("/denied"), 200);

    // Who has the list already is told so, and asks with its tag.
    lists.script("/bad", |call| {
        let known = call.request().header("if-none-match") == Some("\"1\"");
        call.reply(&Reply::new(if known { 304 } else { 500 }))
    });
    let good = [("result", "ok"), ("feed", "127.0.0.1/bad")];
    let before = gateway
        .metrics()
        .sum("gatehouse_ip_filter_feed_fetches_total", &good);
    gateway.wait_metric("gatehouse_ip_filter_feed_fetches_total", &good, |n| {
        n > before + 2.0
    });
    assert_eq!(status("/denied"), 200);

    lists.on(
        "/bad",
        Reply::ok("192.0.2.0/24\n127.0.0.1 ; this machine\n").header("ETag", "\"2\""),
    );
    until("the new list", || status("/denied") == 403);
    let blocks = gateway
        .metrics()
        .sum("gatehouse_ip_filter_feed_blocks", &[("feed", "127.0.0.1/bad")]);
    assert!((blocks - 2.0).abs() < 0.1, "{blocks}");

    // A page that is no list, an error, and nothing at all: the last good list stays.
    lists.on("/bad", Reply::ok("<html>down for maintenance</html>"));
    gateway.wait_log("line 1: `<html>down for maintenance</html>`");
    lists.on("/bad", Reply::new(503));
    gateway.wait_log("the answer is 503");
    assert_eq!(status("/denied"), 403);
    lists.on("/bad", Reply::ok(""));
    gateway.wait_log("the list is empty");
    lists.on("/bad", Reply::ok("64.0.0.0/2").until_close());
    gateway.wait_log("the answer has no length");
    // It also stays when other settings of it change.
    gateway.reload(&config.replace("refresh: 20ms", "refresh: 20ms, timeout: 7s"));
    assert_eq!(status("/denied"), 403);
    lists.on("/bad", Reply::ok("# nobody\n"));
    until("everybody to be let in again", || status("/denied") == 200);
    assert!(!gateway.log().contains("s3cret"), "{}", gateway.log());
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

#[test]
fn clients_are_let_in_by_their_country() {
    let backend = HttpBackend::start();
    let config = format!(
        "
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
forwarded: {{ trusted: [127.0.0.1] }}
routes:
  tell:
    match: {{ path: /tell }}
    policies:
      - geo: {{ database: geo/countries.mmdb, deny: [XX] }}
      - headers: {{ request: {{ set: {{ X-Country: \"${{client.country}}\" }} }} }}
      - access: {{ conditions: {{ not_there: \"source.country != 'FR'\" }} }}
    forward: {{ upstream: api }}
  home:
    match: {{ path: /home }}
    policies: [ {{ geo: {{ database: geo/countries.mmdb, allow: [DE, at] }} }} ]
    forward: {{ upstream: api }}
upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}
",
        backend.url()
    );
    let blocks = [
        ("192.0.2.0/25", "DE"),
        ("198.51.100.0/24", "XX"),
        ("203.0.113.0/24", "FR"),
        ("2001:db8::/32", "AT"),
    ];
    let gateway = gateway(&config);
    let file = gateway.directory().join("geo/countries.mmdb");
    std::fs::create_dir(gateway.directory().join("geo")).unwrap();
    std::fs::write(&file, countries::database(&blocks)).unwrap();
    let gateway = gateway.start();
    // On one connection: lines of several come in any order.
    let mut client = Client::connect(gateway.address());
    let mut ask = |path: &str, ip: &str| {
        let request = Request::new("GET", path).header("X-Forwarded-For", ip);
        client.send(&request).status
    };
    assert_eq!(ask("/tell", "192.0.2.7"), 200);
    assert_eq!(backend.last().header("x-country"), Some("DE"));
    assert_eq!(ask("/tell", "192.0.2.200"), 200, "not known");
    assert_eq!(backend.last().header("x-country"), Some(""));
    assert_eq!(ask("/tell", "198.51.100.7"), 403);
    assert_eq!(ask("/tell", "203.0.113.7"), 403, "by a condition");
    assert_eq!(ask("/home", "192.0.2.7"), 200);
    assert_eq!(ask("/home", "2001:db8::1"), 200);
    assert_eq!(ask("/home", "203.0.113.7"), 403);
    assert_eq!(ask("/home", "10.0.0.1"), 403, "not known");
    let lines = gateway.access_log(8);
    let known: Vec<_> = lines.iter().map(|line| line["country"].as_str()).collect();
    let (de, at) = (Some("DE"), Some("AT"));
    assert_eq!(
        known,
        [de, None, Some("XX"), Some("FR"), de, at, Some("FR"), None]
    );

    // The file is watched, and a bad one changes nothing.
    replace(&file, "rubbish");
    gateway.wait_log("cannot use `geo/countries.mmdb`");
    assert_eq!(ask("/home", "192.0.2.7"), 200);
    replace(&file, countries::database(&[("10.0.0.0/8", "DE")]));
    until("the new database", || ask("/home", "10.0.0.1") == 200);
    assert_eq!(ask("/home", "192.0.2.7"), 403);
}

#[test]
fn clients_are_let_in_by_their_network() {
    let config = "
listeners: { main: { address: \"127.0.0.1:0\" } }
forwarded: { trusted: [127.0.0.1] }
routes:
  some: { match: { path: /some }, policies: [ { geo: { networks: { database: asn.mmdb, allow: [64500, 64501], deny: [64501] } } } ], reply: {} }
  most: { match: { path: /most }, policies: [ { geo: { networks: { database: asn.mmdb, deny: [64501] } } } ], reply: {} }
";
    let gateway = gateway(config);
    let blocks = [
        ("192.0.2.0/24", 64_500),
        ("198.51.100.0/24", 64_501),
        ("203.0.113.0/24", 4_200_000_000),
    ];
    std::fs::write(gateway.directory().join("asn.mmdb"), countries::networks(&blocks)).unwrap();
    let gateway = gateway.start();
    let ask = |ip: &str| {
        ["/some", "/most"].map(|path| {
            let request = Request::new("GET", path).header("X-Forwarded-For", ip);
            client::once(gateway.address(), &request).status
        })
    };
    assert_eq!(ask("192.0.2.7"), [200, 200]);
    assert_eq!(ask("198.51.100.7"), [403, 403]);
    assert_eq!(ask("203.0.113.7"), [403, 200]);
    assert_eq!(ask("10.0.0.1"), [403, 200], "not known");
}
