//! Cost of finding a route among 10, 1,000 and 10,000, and of bringing a path into normal form.
//!
//! The number of routes should not matter. `cargo bench -p gatehouse-core --bench route`

use criterion::{Criterion, criterion_group, criterion_main};
use gatehouse_core::config::{Match, Paths};
use gatehouse_core::http::normalize::{self, Form};
use gatehouse_core::route::{Captures, Query, Rule, Table, Versions};
use gatehouse_http1::{Headers, Method};
use std::hint::black_box;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn rule(id: usize, matches: Match) -> Rule {
    Rule {
        id,
        name: format!("route-{id:05}"),
        matches,
        paths: Paths::default(),
    }
}

/// Services with a prefix and a template each, all on any host.
fn by_path(count: usize) -> Table {
    let rules = (0..count).map(|id| {
        let service = id / 2;
        let path = match id % 2 {
            0 => format!("/api/service-{service:05}/**"),
            _ => format!("/api/service-{service:05}/users/{{id}}"),
        };
        rule(
            id,
            Match {
                path: path.parse().ok(),
                methods: vec!["GET".to_owned()],
                ..Match::default()
            },
        )
    });
    Table::build(rules, Versions::default()).unwrap_or_default()
}

/// A host for each route, some under wildcards.
fn by_host(count: usize) -> Table {
    let rules = (0..count).map(|id| {
        let host = match id % 2 {
            0 => format!("api-{id:05}.example.com"),
            _ => format!("*.tenant-{id:05}.example.com"),
        };
        let hosts = host.parse().into_iter().collect();
        rule(
            id,
            Match {
                hosts,
                path: "/v1/**".parse().ok(),
                ..Match::default()
            },
        )
    });
    Table::build(rules, Versions::default()).unwrap_or_default()
}

fn headers() -> Headers {
    let mut headers = Headers::new();
    for (name, value) in [
        ("Host", "api.example.com"),
        ("User-Agent", "bench"),
        ("Accept", "*/*"),
        ("X-Tenant", "a"),
    ] {
        headers.append_name(name.as_bytes(), value.as_bytes());
    }
    headers
}

fn find(criterion: &mut Criterion) {
    let headers = headers();
    for count in SIZES {
        let middle = count / 4;
        let host = count / 2 / 2 * 2;
        let cases = [
            (
                "prefix",
                by_path(count),
                "api.example.com".to_owned(),
                format!("/api/service-{middle:05}/orders/7"),
            ),
            (
                "template",
                by_path(count),
                "api.example.com".to_owned(),
                format!("/api/service-{middle:05}/users/7"),
            ),
            (
                "miss",
                by_path(count),
                "api.example.com".to_owned(),
                "/api/nothing/here".to_owned(),
            ),
            (
                "host",
                by_host(count),
                format!("api-{host:05}.example.com"),
                "/v1/x".to_owned(),
            ),
            (
                "wildcard",
                by_host(count),
                format!("a.tenant-{:05}.example.com", host + 1),
                "/v1/x".to_owned(),
            ),
        ];
        for (name, table, host, path) in cases {
            let query = Query {
                host: &host,
                path: &path,
                query: None,
                method: &Method::Get,
                headers: &headers,
                client: [10, 0, 0, 1].into(),
                listener: "main",
            };
            let mut captures = Captures::default();
            assert_eq!(
                table.resolve(&query, &mut captures).is_ok(),
                name != "miss",
                "{name}"
            );
            criterion.bench_function(&format!("route/{name}/{count}"), |bencher| {
                bencher.iter(|| table.resolve(black_box(&query), &mut captures).is_ok());
            });
        }
    }
}

fn build(criterion: &mut Criterion) {
    criterion.bench_function("route/build/10000", |bencher| bencher.iter(|| by_path(10_000)));
}

fn normalise(criterion: &mut Criterion) {
    criterion.bench_function("path/shape/plain", |bencher| {
        bencher.iter(|| normalize::shape(black_box("/api/service-00042/users/7/orders")));
    });
    let mut out = String::new();
    criterion.bench_function("path/write/escapes", |bencher| {
        bencher.iter(|| normalize::write(black_box("/api/%7Euser/./a/../b%20c"), Form::ALL[0], &mut out));
    });
}

criterion_group!(benches, find, build, normalise);
criterion_main!(benches);
