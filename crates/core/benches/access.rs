//! What telling about a request costs: the access line, the counters, a rate-limit window.
#![allow(clippy::expect_used, reason = "a bench whose set-up fails has failed")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use criterion::{Criterion, criterion_group, criterion_main};
use gatehouse_core::{
    state::meter::{Algorithm, Meters, Rule},
    telemetry::{
        access::{AccessBuffer, AccessLog, Clock, Counts, Line, Options, Output, Stamp},
        metrics::{self, Done, Metrics},
    },
};

fn line(timestamp: Stamp) -> Line<'static> {
    Line {
        timestamp,
        request_id: b"01j9zq3v5n8k7m2x4c6b8d0f1g",
        correlation_id: b"01j9zq3v5n8k7m2x4c6b8d0f1g",
        method: b"GET",
        path: b"/api/v1/users/8f14e45f/orders",
        status: 200,
        latency: 1_834_567,
        overhead: 41_238,
        upstream_time: Some(1_793_329),
        api_key: None,
        consumer: None,
        user_agent: Some(
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
        ),
        client_ip: "203.0.113.195",
        country: None,
        host: b"api.example.com",
        protocol: "HTTP/1.1",
        listener: "public",
        route: Some("users"),
        version: Some("v1"),
        upstream: Some("users"),
        endpoint: Some("10.0.0.3:8080"),
        tls_version: None,
        tls_sni: None,
        tls_client: None,
        attempts: 1,
        bytes_in: 0,
        bytes_out: 5_312,
        code: None,
    }
}

fn buffer() -> (AccessLog, AccessBuffer) {
    let options = Options {
        output: Output::File("/dev/null".into()),
        capacity: 1 << 20,
        workers: 1,
    };
    let (log, mut buffers) = AccessLog::start(&options, Counts::default()).expect("/dev/null opens");
    (log, buffers.remove(0))
}

fn access(c: &mut Criterion) {
    let stamp = Clock::new().stamp(SystemTime::now());
    let mut out = Vec::with_capacity(4096);
    c.bench_function("access/line", |b| {
        b.iter(|| {
            out.clear();
            black_box(line(stamp)).write(&mut out);
            out.len()
        });
    });
    let mut clock = Clock::new();
    c.bench_function("access/stamp", |b| b.iter(|| clock.stamp(SystemTime::now())));
    let (_log, mut buffer) = buffer();
    c.bench_function("access/stamp_line_and_hand_over", |b| {
        b.iter(|| buffer.write(black_box(&line(clock.stamp(SystemTime::now())))));
    });
}

fn counters(c: &mut Criterion) {
    let metrics = Metrics::new(&metrics::Options::default());
    let (shard, route) = (metrics.shard(0), metrics.series().route("users", "v1"));
    c.bench_function("metrics/request", |b| {
        b.iter(|| {
            shard.in_flight.inc();
            shard.bytes_in.add(black_box(300));
            shard.bytes_out.add(black_box(5_600));
            shard.overhead.observe(black_box(41_238));
            let done = Done {
                status: 200,
                duration: 1_834_567,
                bytes_in: 0,
                bytes_out: 5_312,
            };
            route.record(0, black_box(&done));
            shard.in_flight.dec();
        });
    });
    let mut series = metrics.series();
    let routes: Vec<_> = (0..2_000)
        .map(|i| series.route(&format!("route-{i}"), ""))
        .collect();
    for route in &routes {
        route.record(
            0,
            &Done {
                status: 200,
                duration: 1_834_567,
                bytes_in: 0,
                bytes_out: 5_312,
            },
        );
    }
    c.bench_function("metrics/render_2000_routes", |b| {
        b.iter(|| metrics.render().len());
    });
}

fn windows(c: &mut Criterion) {
    let epoch = Instant::now();
    let windows = Meters::new(1, 100_000, epoch, Duration::ZERO, Arc::default());
    let rules = [Rule {
        algorithm: Algorithm::SlidingWindow,
        limit: 100,
        window: 1_000_000_000,
        burst: 100,
        ahead: 0,
    }];
    let mut key = 0_u32;
    c.bench_function("window/count", |b| {
        b.iter(|| {
            key = (key + 7_919) % 10_000;
            windows.count(&key.to_le_bytes(), &rules, 1, Instant::now())
        });
    });
    let mut key = 0_u64;
    c.bench_function("window/count_strangers_when_full", |b| {
        b.iter(|| {
            key += 1;
            windows.count(&key.to_le_bytes(), &rules, 1, epoch)
        });
    });
}

criterion_group!(benches, access, counters, windows);
criterion_main!(benches);
