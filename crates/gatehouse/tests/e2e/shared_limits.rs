//! Limits that gateways count together in a real Redis: exact whatever their clocks say, and no request lost with it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use gatehouse_testkit::redis::clock_shifter;
use gatehouse_testkit::tls::{Authority, Leaf};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gateway, HttpBackend, Redis, Reply, Request};

use crate::gateway;

/// A gateway with one limited route; `store` is what follows `redis:`.
fn yaml(store: &str, policy: &str) -> String {
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
admin: {{ address: "127.0.0.1:0" }}
stores: {{ shared: {{ redis: {store} }} }}
routes:
  all: {{ match: {{ path: /** }}, policies: [ {{ rate_limit: {{ store: shared, {policy} }} }} ], reply: {{ body: ok }} }}
"#
    )
}

/// Where it is; patient, because the machine may be busy.
fn at(redis: &Redis) -> String {
    format!(
        "{{ addresses: [\"{}\"], timeout: 5s, retry: 50ms }}",
        redis.address()
    )
}

fn is_up(gateway: &Gateway, up: bool) {
    gateway.wait_metric("gatehouse_store_up", &[("store", "shared")], |value| {
        (value > 0.0) == up
    });
}

fn start(yaml: &str) -> Gateway {
    let gateway = gateway(yaml).start();
    is_up(&gateway, true);
    gateway
}

/// Sends so many requests to each, from four clients at once; how many got in. Everything else was refused.
fn admitted(gateways: &[Gateway], each: usize) -> usize {
    thread::scope(|scope| {
        let clients = gateways.iter().flat_map(|gateway| [gateway.address(); 4]);
        let clients: Vec<_> = clients
            .map(|address| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let mut admitted = 0;
                    for _ in 0..each / 4 {
                        match client.get("/").status {
                            200 => admitted += 1,
                            status => assert_eq!(status, 429),
                        }
                    }
                    admitted
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

#[test]
fn three_gateways_admit_exactly_the_limit_whatever_their_clocks_say() {
    for algorithm in ["sliding_window", "token_bucket", "fixed_window"] {
        let redis = Redis::start();
        // A window of a hundred years does not turn while this runs, but for whoever has the wrong clock.
        let window = if algorithm == "fixed_window" {
            "36500d"
        } else {
            "1h"
        };
        let policy = format!("limit: 60, window: {window}, key: global, algorithm: {algorithm}");
        let gateways = ["+0", "+200y", "-3h"].map(|shift| {
            let shifted = gateway(&yaml(&at(&redis), &policy))
                .environment("LD_PRELOAD", &clock_shifter())
                .environment("FAKETIME", shift)
                .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .start();
            is_up(&shifted, true);
            shifted
        });
        assert_eq!(admitted(&gateways, 100), 60, "{algorithm}");
        let refused = Client::connect(gateways[1].address()).get("/");
        let date = refused.headers.get("date").unwrap();
        assert!(
            refused.status == 429 && date.contains(" 22"),
            "its clock is shifted: {date}"
        );
        let commands = [("result", "answered")];
        let asked: f64 = gateways
            .iter()
            .map(|g| g.metrics().sum("gatehouse_store_commands_total", &commands))
            .sum();
        assert_eq!(asked.to_string(), "301", "each request is one decision");
    }
}

#[test]
fn a_redis_that_dies_costs_no_request_and_is_found_again() {
    let mut redis = Redis::start();
    let gateway = start(&yaml(&at(&redis), "limit: 1000000, window: 1h, key: global"));
    let (address, done) = (gateway.address(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !done.load(Relaxed) {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
        for _ in 0..3 {
            redis.kill();
            is_up(&gateway, false);
            redis.restart();
            is_up(&gateway, true);
            // Counted there again, from nothing: the script has to be told anew.
            until("counts in Redis", || redis.ask(&["DBSIZE"]).starts_with(":1"));
        }
        done.store(true, Relaxed);
    });
    let without = gateway
        .metrics()
        .sum("gatehouse_limit_without_store_total", &[("decided", "local")]);
    assert!(without > 0.0, "somebody asked while it was gone");
    assert_eq!(gateway.logged("store does not answer"), 3, "told once each time");
}

#[test]
fn without_its_store_a_gateway_does_what_it_was_told() {
    // Nobody listens there.
    let gone = { Redis::start().address() };
    let store = format!("{{ addresses: [\"{gone}\"] }}");
    let statuses = |policy: &str| {
        let gateway = gateway(&yaml(
            &store,
            &format!("limit: 6, window: 1h, key: global, {policy}"),
        ))
        .start();
        let mut client = Client::connect(gateway.address());
        let statuses: Vec<u16> = (0..4).map(|_| client.get("/").status).collect();
        gateway.wait_log("store cannot be reached");
        statuses
    };
    assert_eq!(
        statuses("nodes: 3"),
        [200, 200, 429, 429],
        "its share of the limit"
    );
    assert_eq!(statuses("on_failure: open"), [200; 4]);
    assert_eq!(statuses("on_failure: closed"), [503; 4]);
}

#[test]
fn a_redis_that_hangs_is_asked_no_more_until_it_answers() {
    let redis = Redis::start();
    let store = format!(
        "{{ addresses: [\"{}\"], timeout: 100ms, failures: 2, retry: 50ms }}",
        redis.address()
    );
    let gateway = start(&yaml(
        &store,
        "limit: 1000, window: 1h, key: global, on_failure: closed",
    ));
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").status, 200);
    redis.freeze();
    until("nobody to wait any more", || {
        let before = Instant::now();
        assert_eq!(client.get("/").status, 503);
        gateway.metrics().sum("gatehouse_store_up", &[]) == 0.0 && before.elapsed().as_secs() < 5
    });
    let asked = gateway.metrics().sum("gatehouse_store_commands_total", &[]);
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 503);
    }
    let later = gateway.metrics().sum("gatehouse_store_commands_total", &[]);
    assert_eq!(asked.to_string(), later.to_string(), "it is not asked");
    redis.thaw();
    is_up(&gateway, true);
    until("counts to go on", || client.get("/").status == 200);
}

#[test]
fn a_server_that_forgot_the_script_is_told_again() {
    let redis = Redis::start();
    let gateway = start(&yaml(
        &at(&redis),
        "limit: 10, window: 1h, key: global, on_failure: closed",
    ));
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").headers.get("x-ratelimit-remaining"), Some("9"));
    redis.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.get("/").headers.get("x-ratelimit-remaining"), Some("8"));
}

#[test]
fn all_limits_count_or_none_and_answers_tell_of_them() {
    let redis = Redis::start();
    let policy = "limits: [ { limit: 2, window: 1h }, { limit: 3, window: 36500d } ], key: \"header:X-Key\"";
    let gateway = start(&yaml(&at(&redis), policy));
    let mut client = Client::connect(gateway.address());
    let told = |client: &mut Client| client.get("/").headers.get("ratelimit").unwrap().to_owned();
    assert!(told(&mut client).starts_with("\"1h\";r=1;t=7200, \"36500d\";r=2;t="));
    assert!(told(&mut client).starts_with("\"1h\";r=0;t="));
    let refused = client.get("/");
    assert_eq!(refused.status, 429);
    assert!(
        refused
            .headers
            .get("ratelimit")
            .unwrap()
            .contains("\"36500d\";r=1;"),
        "not counted there"
    );
    let wait: u64 = refused.headers.get("retry-after").unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    // Nobody who reads there learns who called.
    assert!(redis.ask(&["RANDOMKEY"]).contains("gatehouse:limit:"));
}

#[test]
fn gateways_that_take_ahead_stay_within_a_tenth() {
    let redis = Redis::start();
    let policy = "limit: 300, window: 1h, key: global, mode: approximate, nodes: 3";
    let gateways = [(); 3].map(|()| start(&yaml(&at(&redis), policy)));
    let before = redis.info("total_commands_processed");
    let admitted = admitted(&gateways, 400);
    assert!((270..=300).contains(&admitted), "{admitted}");
    // Each decision of the store is three or four commands there.
    let asked = (redis.info("total_commands_processed") - before) / 3;
    assert!(asked < 600, "{asked} questions for 1200 requests");
}

#[test]
fn passwords_and_tls() {
    let redis = Redis::with_password("s3cret");
    let store = format!(
        "{{ addresses: [\"{}\"], password: s3cret, timeout: 5s }}",
        redis.address()
    );
    let with_password = start(&yaml(&store, "limit: 1, window: 1h"));
    assert_eq!(admitted(&[with_password], 4), 1);

    let authority = Authority::named("stores");
    let redis = Redis::with_tls(&authority.server(&["127.0.0.1"]), &authority);
    let us = authority.issue(&Leaf::client("gateway"));
    let store = format!(
        "{{ addresses: [\"{}\"], timeout: 5s, tls: {{ ca: ca.pem, certificate: us.pem, key: us.key }} }}",
        redis.address()
    );
    let with_tls = gateway(&yaml(&store, "limit: 1, window: 1h"))
        .file("ca.pem", &authority.pem())
        .file("us.pem", &us.cert)
        .file("us.key", &us.key)
        .start();
    is_up(&with_tls, true);
    assert_eq!(admitted(&[with_tls], 4), 1);
}

#[test]
fn sentinels_say_where_it_is() {
    let master = Redis::start();
    let sentinel = Redis::sentinel("orders", &master);
    let store = format!(
        "{{ mode: sentinel, master: orders, addresses: [\"{}\"], timeout: 5s }}",
        sentinel.address()
    );
    let gateway = start(&yaml(&store, "limit: 1, window: 1h"));
    assert_eq!(admitted(&[gateway], 4), 1);
    assert!(master.ask(&["DBSIZE"]).starts_with(":1"));
}

#[test]
fn clusters() {
    let node = Redis::cluster();
    let store = format!(
        "{{ mode: cluster, addresses: [\"{}\"], timeout: 5s }}",
        node.address()
    );
    let gateway = start(&yaml(
        &store,
        "limit: 1, window: 1h, key: [\"header:X-A\", client_ip]",
    ));
    assert_eq!(admitted(&[gateway], 4), 1);
    assert!(node.ask(&["DBSIZE"]).starts_with(":1"));
}

#[test]
fn a_quota_outlives_the_gateways_that_count_it() {
    let redis = Redis::start();
    let with_quota = |key: &str| {
        let policy = format!("quota: {{ store: shared, limit: 10, key: {key}, name: partners }}");
        yaml(&at(&redis), "").replace("rate_limit: { store: shared,  }", &policy)
    };
    let statuses = |gateway: &Gateway, n: usize| {
        let mut client = Client::connect(gateway.address());
        (0..n).map(|_| client.get("/").status).collect::<Vec<_>>()
    };
    let two = [(); 2].map(|()| start(&with_quota("global")));
    assert_eq!(statuses(&two[0], 4), [200; 4]);
    assert_eq!(statuses(&two[1], 4), [200; 4]);
    let warned = two[1]
        .metrics()
        .sum("gatehouse_quota_total", &[("outcome", "warned")]);
    assert_eq!(warned.to_string(), "1", "the eighth of ten");
    drop(two);
    let another = start(&with_quota("global"));
    assert_eq!(statuses(&another, 3), [200, 200, 429]);
}

#[test]
fn what_an_answer_says_it_cost_is_counted_together() {
    let redis = Redis::start();
    let backend = HttpBackend::scripted(|call| {
        let cost = call.request().header("x-says").unwrap_or("").to_owned();
        call.reply(&Reply::ok("done").header("X-Cost", &cost))
    });
    for algorithm in ["sliding_window", "token_bucket", "fixed_window"] {
        for store in ["store: shared", ""] {
            let window = "36500d";
            let policy = format!(
                "limit: 10, window: {window}, key: \"header:X-Key\", algorithm: {algorithm}, final_cost: {{ header: X-Cost, status: {{ 4xx: 0 }} }}, {store}"
            );
            let yaml = yaml(&at(&redis), &policy)
                .replace("store: shared, limit", "limit")
                .replace("reply: { body: ok }", "forward: { upstream: api }");
            let yaml = format!(
                "{yaml}upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}\n",
                backend.url()
            );
            let gateway = if store.is_empty() {
                gateway(&yaml).start()
            } else {
                start(&yaml)
            };
            let mut client = Client::connect(gateway.address());
            let key = format!("{algorithm} {store}");
            let mut ask = |says: &str| {
                let request = Request::get("/").header("X-Key", &key).header("X-Says", says);
                let answer = client.send(&request);
                assert_eq!(answer.header("x-cost"), None, "it is for us");
                let left = answer.header("x-ratelimit-remaining").map(str::to_owned);
                (answer.status, left.unwrap())
            };
            let left = |left: &str| (200, left.to_owned());
            assert_eq!(ask("4"), left("9"), "{key}");
            until("the cost to be counted", || ask("0") == left("5"));
            // One was taken for it and given back, again and again; then more than there is.
            until("what was taken to be given back", || ask("0") == left("5"));
            assert_eq!(ask("nothing").0, 200, "{key}");
            assert_eq!(ask("100").0, 200, "{key}");
            until("the cost to be counted", || ask("0").0 == 429);
        }
    }
}

#[test]
fn turns_are_given_out_by_all_together() {
    let redis = Redis::start();
    let policy =
        "limit: 4, window: 1s, algorithm: token_bucket, burst: 2, key: global, queue: { max_wait: 30s }";
    let gateways = [(); 2].map(|()| start(&yaml(&at(&redis), policy)));
    let mut clients: Vec<_> = gateways
        .iter()
        .map(|gateway| Client::connect(gateway.address()))
        .collect();
    let begun = Instant::now();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200);
        }
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "four of six waited for 250 ms each"
    );
    let delayed: f64 = gateways
        .iter()
        .map(|gateway| {
            gateway
                .metrics()
                .sum("gatehouse_rate_limit_total", &[("outcome", "delayed")])
        })
        .sum();
    assert!(delayed > 0.5, "{delayed}");
}
