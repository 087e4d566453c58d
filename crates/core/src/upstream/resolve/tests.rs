//! Names and upstreams against a real name server, in this process.

use std::time::Duration;

use super::answer::{Outcome, Reply};
use super::*;
use crate::config::Span;
use crate::config::types::DnsServer;
use server::{Kind, Say, Server};

mod server;

fn settings(server: &Server) -> Dns {
    Dns {
        servers: vec![DnsServer(server.address)],
        // Asks again at once, in effect.
        min_ttl: Span::from_millis(1),
        timeout: Span::from_millis(200),
        ..Dns::default()
    }
}

fn ips(text: &[&str]) -> Vec<IpAddr> {
    text.iter().map(|ip| ip.parse().expect("an address")).collect()
}

fn addresses(text: &[&str], ttl: u32) -> Say {
    Say::Addresses(ips(text), ttl)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn ask(server: &Server, host: &str, search: &[&str]) -> Outcome {
    runtime().block_on(async { Backend::isolated(&settings(server), search).ask(host).await })
}

fn specs(urls: &[&str]) -> Vec<EndpointSpec> {
    let spec = |url: &&str| EndpointSpec {
        url: url.parse().expect("a URL"),
        weight: 2,
    };
    urls.iter().map(spec).collect()
}

fn labels(discovery: &Discovery) -> Vec<String> {
    discovery
        .set()
        .members()
        .iter()
        .map(|member| member.endpoint.label.to_string())
        .collect()
}

/// A resolver with its runtime and server.
struct Rig {
    server: Server,
    runtime: tokio::runtime::Runtime,
    resolver: Arc<Resolver>,
    endpoints: Arc<Endpoints>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Dns)) -> Self {
        let (server, runtime) = (Server::start(), runtime());
        let mut settings = settings(&server);
        change(&mut settings);
        let resolver = Resolver::make(
            Backend::isolated(&settings, &[]),
            Some(runtime.handle().clone()),
            Arc::default(),
        );
        Self {
            server,
            runtime,
            resolver,
            endpoints: Endpoints::new(
                crate::telemetry::metrics::Metrics::new(&crate::telemetry::metrics::Options::default())
                    .endpoints()
                    .clone(),
            ),
        }
    }

    fn discover(&self, upstream: &str, urls: &[&str]) -> Arc<Discovery> {
        Discovery::new(
            &self.resolver,
            &self.endpoints,
            upstream,
            &specs(urls),
            &Transport::plain(),
        )
    }

    fn settle(&self, discovery: &Discovery) {
        self.runtime.block_on(discovery.settled());
    }

    /// Waits for two more answers: the first of them may have been under way already.
    fn next_answer(&self, discovery: &Discovery) {
        for name in discovery.names() {
            let mut answers = name.answers.subscribe();
            let goal = *answers.borrow() + 2;
            self.runtime
                .block_on(answers.wait_for(|answers| *answers >= goal))
                .expect("held");
        }
    }
}

#[test]
fn both_families_are_asked() {
    let server = Server::start();
    server.say(
        "users.test.",
        Kind::A,
        addresses(&["192.0.2.1", "192.0.2.2", "0.0.0.0"], 60),
    );
    server.say("users.test.", Kind::Aaaa, addresses(&["2001:db8::1"], 30));
    let outcome = ask(&server, "users.test", &[]);
    let v4 = Reply::Found {
        addresses: ips(&["192.0.2.1", "192.0.2.2"]),
        ttl: Duration::from_mins(1),
    };
    let v6 = Reply::Found {
        addresses: ips(&["2001:db8::1"]),
        ttl: Duration::from_secs(30),
    };
    assert_eq!(outcome, Outcome { v4, v6 });
}

#[test]
fn denials_differ_from_failures() {
    let server = Server::start();
    let denied = Outcome {
        v4: Reply::Denied,
        v6: Reply::Denied,
    };
    assert_eq!(ask(&server, "nobody.test", &[]), denied);
    server.say("gone.test.", Kind::Aaaa, Say::NoSuchName);
    assert_eq!(ask(&server, "gone.test", &[]), denied);
    server.say("sick.test.", Kind::A, Say::ServerFailure);
    assert!(matches!(
        ask(&server, "sick.test", &[]),
        Outcome {
            v4: Reply::Failed(_),
            v6: Reply::Denied
        }
    ));
    server.say("half.test.", Kind::A, addresses(&["192.0.2.1"], 60));
    server.say("half.test.", Kind::Aaaa, Say::Nothing);
    let half = ask(&server, "half.test", &[]);
    assert!(
        matches!(
            half,
            Outcome {
                v4: Reply::Found { .. },
                v6: Reply::Failed(_)
            }
        ),
        "{half:?}"
    );
    server.say("blocked.test.", Kind::A, addresses(&["0.0.0.0"], 60));
    assert_eq!(ask(&server, "blocked.test", &[]), denied);
}

#[test]
fn the_search_list_goes_on_after_denials_only() {
    let server = Server::start();
    server.say("users.a.test.", Kind::A, addresses(&["192.0.2.1"], 60));
    let found = ask(&server, "users", &["b.test", "a.test"]);
    assert!(matches!(
        found,
        Outcome {
            v4: Reply::Found { .. },
            v6: Reply::Denied
        }
    ));
    // The first name cannot be asked: its successor must not stand in for it.
    server.say("users.b.test.", Kind::A, Say::ServerFailure);
    let failed = ask(&server, "users", &["b.test", "a.test"]);
    assert!(
        matches!(
            failed,
            Outcome {
                v4: Reply::Failed(_),
                ..
            }
        ),
        "{failed:?}"
    );
}

#[test]
fn literal_addresses_need_no_server() {
    let (resolver, endpoints) = (
        Resolver::offline(),
        Endpoints::new(
            crate::telemetry::metrics::Metrics::new(&crate::telemetry::metrics::Options::default())
                .endpoints()
                .clone(),
        ),
    );
    let urls = [
        "http://10.0.0.1:8080",
        "http://[2001:db8::1]",
        "http://localhost:3000",
    ];
    let discovery = Discovery::new(&resolver, &endpoints, "users", &specs(&urls), &Transport::plain());
    assert_eq!(
        labels(&discovery),
        ["10.0.0.1:8080", "[2001:db8::1]:80", "127.0.0.1:3000"]
    );
    let set = discovery.set();
    assert!(set.unresolved.is_empty());
    assert!(set.members().iter().all(|member| member.weight == 2));
    let alternates: Vec<_> = set
        .members()
        .iter()
        .map(|member| member.endpoint.alternate)
        .collect();
    assert_eq!(
        alternates,
        [None, None, Some("[::1]:3000".parse().expect("an address"))]
    );
    runtime().block_on(discovery.settled());
}

#[test]
fn a_name_that_does_not_resolve_joins_later_and_addresses_come_and_go() {
    let rig = Rig::new(|_| {});
    rig.server.say("late.test.", Kind::A, addresses(&[], 0));
    let discovery = rig.discover("users", &["http://late.test:8080"]);
    assert!(discovery.set().is_unresolved());
    rig.settle(&discovery);
    assert_eq!(discovery.set().unresolved, ["late.test".into()]);

    rig.server
        .say("late.test.", Kind::A, addresses(&["127.0.0.2", "127.0.0.1"], 0));
    rig.next_answer(&discovery);
    let before = discovery.generation();
    assert_eq!(labels(&discovery), ["127.0.0.1:8080", "127.0.0.2:8080"]);
    let kept = discovery.set().members()[1].endpoint.id;

    rig.next_answer(&discovery);
    assert_eq!(discovery.generation(), before, "the same answer is no new set");

    rig.server
        .say("late.test.", Kind::A, addresses(&["127.0.0.3", "127.0.0.2"], 0));
    rig.next_answer(&discovery);
    assert_eq!(labels(&discovery), ["127.0.0.2:8080", "127.0.0.3:8080"]);
    assert_eq!(
        discovery.set().members()[0].endpoint.id,
        kept,
        "the address that stayed is the same endpoint"
    );
    assert!(discovery.generation() > before);
    assert_eq!(discovery.set().generation, discovery.generation());
    assert_eq!(rig.endpoints.list().len(), 2, "the one that went is forgotten");
}

#[test]
fn a_failing_server_leaves_the_last_answer() {
    let rig = Rig::new(|_| {});
    rig.server
        .say("users.test.", Kind::A, addresses(&["127.0.0.1"], 0));
    let discovery = rig.discover("users", &["http://users.test"]);
    rig.settle(&discovery);
    rig.server.say("users.test.", Kind::A, Say::ServerFailure);
    rig.next_answer(&discovery);
    assert_eq!(labels(&discovery), ["127.0.0.1:80"]);
}

#[test]
fn without_staleness_a_failing_server_empties_the_set() {
    let rig = Rig::new(|dns| dns.stale = Span::ZERO);
    rig.server
        .say("users.test.", Kind::A, addresses(&["127.0.0.1"], 0));
    let discovery = rig.discover("users", &["http://users.test"]);
    rig.settle(&discovery);
    rig.server.say("users.test.", Kind::A, Say::ServerFailure);
    rig.next_answer(&discovery);
    assert!(discovery.set().is_unresolved());
}

#[test]
fn a_new_plan_starts_with_what_the_old_one_knows() {
    let rig = Rig::new(|_| {});
    rig.server
        .say("users.test.", Kind::A, addresses(&["127.0.0.1"], 60));
    let old = rig.discover("users", &["http://users.test"]);
    rig.settle(&old);
    let new = rig.discover("users", &["http://users.test", "http://10.0.0.1"]);
    assert_eq!(labels(&new), ["127.0.0.1:80", "10.0.0.1:80"]);
    assert_eq!(
        new.set().members()[0].endpoint.id,
        old.set().members()[0].endpoint.id
    );
    let other = rig.discover("orders", &["http://users.test"]);
    assert_ne!(
        other.set().members()[0].endpoint.id,
        old.set().members()[0].endpoint.id
    );
    assert_eq!(lock(&rig.resolver.names).len(), 1, "one name, asked once");
}

#[test]
fn a_name_ends_with_its_last_user() {
    let rig = Rig::new(|_| {});
    rig.server
        .say("users.test.", Kind::A, addresses(&["127.0.0.1"], 60));
    let (first, second) = (
        rig.discover("a", &["http://users.test"]),
        rig.discover("b", &["http://users.test"]),
    );
    rig.settle(&first);
    let name = first.names().next().map(Arc::downgrade).expect("a name");
    let task = name
        .upgrade()
        .and_then(|name| lock(&name.task).clone())
        .expect("a task");
    drop(first);
    assert!(name.upgrade().is_some() && !task.is_finished());
    drop(second);
    // The task may have been publishing just now.
    while !task.is_finished() {
        std::thread::yield_now();
    }
    assert!(name.upgrade().is_none());
    assert!(lock(&rig.resolver.names).is_empty());
    assert!(rig.endpoints.list().is_empty());
}

#[test]
fn changed_settings_count_from_the_next_question() {
    let rig = Rig::new(|_| {});
    let other = Server::start();
    rig.server
        .say("users.test.", Kind::A, addresses(&["127.0.0.1"], 0));
    other.say("users.test.", Kind::A, addresses(&["127.0.0.2"], 0));
    let discovery = rig.discover("users", &["http://users.test"]);
    rig.settle(&discovery);
    rig.resolver.configure(&settings(&other));
    rig.next_answer(&discovery);
    assert_eq!(labels(&discovery), ["127.0.0.2:80"]);
}
