use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, UNIX_EPOCH},
};

use crate::{
    failure::Code,
    telemetry::metrics::{Closed, Done, FAMILIES, Lookup, Metrics, NONE, Options, Phase, Refused, Type},
};

fn samples(text: &str) -> BTreeMap<&str, &str> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        value.parse::<f64>().expect("a number");
        assert!(samples.insert(series, value).is_none(), "{series} twice");
    }
    samples
}

#[test]
fn everything_declared_is_exposed_and_nothing_else() {
    let metrics = Metrics::new(&Options {
        workers: 2,
        ..Options::default()
    });
    let text = metrics.render();
    let declared: Vec<_> = FAMILIES
        .iter()
        .map(|f| format!("# TYPE {} {}", f.name, f.kind.name()))
        .collect();
    let exposed: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .map(str::to_owned)
        .collect();
    let unique: HashSet<_> = exposed.iter().collect();
    assert_eq!(unique.len(), exposed.len());
    assert_eq!(unique, declared.iter().collect());
    for series in samples(&text).keys() {
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        let known = FAMILIES.iter().any(|family| match family.kind {
            Type::Histogram => Some(family.name) == base,
            _ => family.name == name,
        });
        assert!(known, "{series}");
    }
}

#[test]
fn what_workers_wrote_is_summed() {
    let metrics = Metrics::new(&Options {
        workers: 3,
        version: "1.2.3",
        ..Options::default()
    });
    let mut series = metrics.series();
    let route = series.route("orders", "v1");
    let done = Done {
        status: 200,
        duration: 2_000_000,
        bytes_in: 10,
        bytes_out: 100,
    };
    route.record(0, &done);
    route.record(2, &done);
    route.record(2, &Done { status: 418, ..done });
    metrics.unmatched().record(1, &Done { status: 404, ..done });
    let upstream = series.upstream("orders");
    upstream.shard(0).attempts.inc();
    upstream.shard(1).answered(200);
    upstream.shard(1).failed(Code::UpstreamReset);
    upstream.shard(1).closed(Closed::Peer);
    upstream.shard(1).idle.inc();
    upstream.shard(0).idle.dec();
    let endpoint = metrics.endpoints().of("orders", "10.0.0.1:80");
    endpoint.shard(1).failures.inc();
    let listener = series.listener("main");
    listener.opened(0);
    listener.refused(1, Refused::PerClient);
    let shard = metrics.shard(1);
    shard.failed(Code::RouteNotFound);
    shard.timed_out(Phase::FirstByte);
    shard.limit_hit("client.limits.head");
    shard.overhead.observe(20_000);
    metrics.events().reloaded(false);
    metrics.events().looked_up(Lookup::Stale);
    metrics.applied("abc", UNIX_EPOCH + Duration::from_millis(1_500));

    let text = metrics.render();
    for line in WRITTEN.trim().lines() {
        assert!(text.lines().any(|exposed| exposed == line), "{line}\n{text}");
    }
}

const WRITTEN: &str = r#"
gatehouse_requests_total{route="orders",version="v1",status="200"} 2
gatehouse_requests_total{route="orders",version="v1",status="4xx"} 1
gatehouse_requests_total{route="_none",version="",status="404"} 1
gatehouse_request_duration_seconds_bucket{route="orders",version="v1",le="0.001"} 0
gatehouse_request_duration_seconds_bucket{route="orders",version="v1",le="0.0025"} 3
gatehouse_request_duration_seconds_bucket{route="orders",version="v1",le="+Inf"} 3
gatehouse_request_duration_seconds_sum{route="orders",version="v1"} 0.006
gatehouse_request_duration_seconds_count{route="orders",version="v1"} 3
gatehouse_response_bytes_total{route="orders",version="v1"} 300
gatehouse_upstream_attempts_total{upstream="orders"} 1
gatehouse_upstream_responses_total{upstream="orders",class="2xx"} 1
gatehouse_upstream_failures_total{upstream="orders",code="upstream_reset"} 1
gatehouse_upstream_connections_closed_total{upstream="orders",reason="peer"} 1
gatehouse_upstream_connections_idle{upstream="orders"} 0
gatehouse_endpoint_failures_total{upstream="orders",endpoint="10.0.0.1:80"} 1
gatehouse_connections_active{listener="main"} 1
gatehouse_connections_refused_total{listener="main",reason="per_client"} 1
gatehouse_failures_total{code="route_not_found",fault="client"} 1
gatehouse_timeouts_total{phase="first_byte"} 1
gatehouse_limits_hit_total{setting="client.limits.head"} 1
gatehouse_overhead_seconds_bucket{le="0.000025"} 1
gatehouse_config_reloads_total{result="failed"} 1
gatehouse_dns_lookups_total{result="stale"} 1
gatehouse_config_applied_timestamp_seconds 1.5
gatehouse_config_info{hash="abc"} 1
gatehouse_workers 3
gatehouse_build_info{version="1.2.3"} 1
"#;

#[test]
fn label_values_are_escaped_and_idle_routes_are_absent() {
    let metrics = Metrics::new(&Options::default());
    let mut series = metrics.series();
    let odd = series.route("a\"b\\c\nd", "");
    let idle = series.route("idle", "");
    odd.record(
        0,
        &Done {
            status: 200,
            ..Done::default()
        },
    );
    let text = metrics.render();
    assert!(text.contains(r#"route="a\"b\\c\nd""#), "{text}");
    assert!(!text.contains("route=\"idle\"") && text.contains(NONE));
    drop(idle);
}

#[test]
fn a_gauge_below_zero_for_a_moment_reads_as_zero() {
    let metrics = Metrics::new(&Options::default());
    metrics.shard(0).in_flight.dec();
    assert_eq!(samples(&metrics.render())["gatehouse_requests_in_flight"], "0");
}
