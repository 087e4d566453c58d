//! What a quota's period leaves goes on into the next: in memory, and in a real Redis, by a clock that the test sets.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Clock, Gateway, Redis, Request};

use crate::gateway;

fn yaml(store: &str, stores: &str, rollover: &str) -> String {
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
admin: {{ address: "127.0.0.1:0" }}
{stores}
routes:
  clock: {{ match: {{ path: /clock }}, reply: {{ body: ok }} }}
  all:
    match: {{ path: /** }}
    policies:
      - quota:
          limit: 10
          rollover: {rollover}
          period: day
          key: "header:X-Key"
          tier: "${{request.header.X-Plan}}"
          tiers: {{ big: 20 }}
          limit_from: "${{request.header.X-Own}}"
          cost: "${{request.header.X-Cost}}"
          {store}
    reply: {{ body: ok }}
"#
    )
}

/// Gateways that count the same, each asked in turn, and their clock.
struct Bench<'a> {
    clock: &'a Clock,
    gateways: Vec<Gateway>,
    asked: usize,
}

impl Bench<'_> {
    fn go_to(&self, day: u64) {
        let date = |gateway: &Gateway| {
            let answer = Client::connect(gateway.address()).get("/clock");
            answer.header("date").unwrap()[..16].to_owned()
        };
        let before: Vec<String> = self.gateways.iter().map(date).collect();
        self.clock.set(day);
        until("gateways to see the new day", || {
            self.gateways
                .iter()
                .map(date)
                .zip(&before)
                .all(|(now, before)| now != *before)
        });
    }

    /// The status, the limit and what is left of it.
    fn ask(&mut self, key: &str, cost: u64, field: Option<(&str, &str)>) -> (u16, u64, u64) {
        let gateway = &self.gateways[self.asked % self.gateways.len()];
        self.asked += 1;
        let mut request = Request::get("/")
            .header("X-Key", key)
            .header("X-Cost", &cost.to_string());
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        let answer = Client::connect(gateway.address()).send(&request);
        let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
        let (limit, left) = (number("x-ratelimit-limit"), number("x-ratelimit-remaining"));
        let told = (
            answer.header("ratelimit-policy").unwrap(),
            answer.header("ratelimit").unwrap(),
        );
        assert_eq!(told.0, format!("\"day\";q={limit};w=86400"), "both say the same");
        assert!(told.1.starts_with(&format!("\"day\";r={left};t=4")), "{}", told.1);
        let used = (limit - left) * 100 / limit;
        let warned = answer.header("x-quota-warning").map(str::to_owned);
        let warns = answer.status == 200 && used >= 80;
        assert_eq!(warned, warns.then(|| used.to_string()), "of all that may be used");
        (answer.status, limit, left)
    }
}

fn what_is_left_goes_on(bench: &mut Bench<'_>, reloaded: &str) {
    let big = Some(("X-Plan", "big"));
    let own = Some(("X-Own", "100"));
    assert_eq!(
        bench.ask("some", 7, None),
        (200, 10, 3),
        "the first period has nothing before it"
    );
    assert_eq!(bench.ask("all", 10, None), (200, 10, 0));
    assert_eq!(bench.ask("big", 2, big), (200, 20, 18));
    assert_eq!(bench.ask("own", 30, own), (200, 100, 70));

    bench.go_to(1);
    assert_eq!(bench.ask("some", 1, None), (200, 13, 12), "what was left");
    assert_eq!(bench.ask("all", 1, None), (200, 10, 9), "nothing was left");
    assert_eq!(
        bench.ask("big", 1, big),
        (200, 30, 29),
        "half of that tier's limit"
    );
    assert_eq!(
        bench.ask("own", 1, own),
        (200, 150, 149),
        "half of the caller's own limit"
    );
    assert_eq!(
        bench.ask("late", 1, None),
        (200, 10, 9),
        "who is new has saved nothing"
    );
    for gateway in &bench.gateways {
        gateway.reload(reloaded);
    }
    assert_eq!(bench.ask("some", 11, None), (200, 13, 1), "also after a reload");
    assert_eq!(bench.ask("some", 2, None), (429, 13, 1));
    assert_eq!(bench.ask("some", 1, None), (200, 13, 0));
    assert_eq!(bench.ask("big", 12, big), (200, 30, 17));

    bench.go_to(2);
    assert_eq!(bench.ask("some", 1, None), (200, 10, 9));
    assert_eq!(bench.ask("all", 1, None), (200, 15, 14), "half the limit at most");
    assert_eq!(bench.ask("big", 1, big), (200, 30, 29));

    bench.go_to(6);
    assert_eq!(
        bench.ask("some", 1, None),
        (200, 15, 14),
        "whole periods were left"
    );
    assert_eq!(bench.ask("late", 15, None), (200, 15, 0));
}

#[test]
fn what_a_period_leaves_goes_on_in_memory() {
    let clock = Clock::at_noon();
    let mut builder = gateway(&yaml("", "", "50%"));
    for (name, value) in clock.environment(true) {
        builder = builder.environment(name, &value);
    }
    let mut bench = Bench {
        clock: &clock,
        gateways: vec![builder.start()],
        asked: 0,
    };
    what_is_left_goes_on(&mut bench, &yaml("name: day", "", "50%"));
}

#[test]
fn what_a_period_leaves_goes_on_in_redis() {
    let clock = Clock::at_noon();
    let redis = Redis::with_clock(&clock);
    let stores = format!(
        "stores: {{ shared: {{ redis: {{ addresses: [\"{}\"], timeout: 5s, retry: 50ms }} }} }}",
        redis.address()
    );
    let gateways = [(); 2].map(|()| {
        let mut builder = gateway(&yaml("store: shared", &stores, "50%"));
        for (name, value) in clock.environment(false) {
            builder = builder.environment(name, &value);
        }
        let gateway = builder.start();
        gateway.wait_metric("gatehouse_store_up", &[("store", "shared")], |up| up > 0.0);
        gateway
    });
    let mut bench = Bench {
        clock: &clock,
        gateways: gateways.into(),
        asked: 0,
    };
    what_is_left_goes_on(
        &mut bench,
        &yaml("store: shared\n          name: day", &stores, "50%"),
    );
    bench.go_to(30);
    assert_eq!(
        bench.ask("some", 1, None),
        (200, 10, 9),
        "forgotten after a dozen periods"
    );
}
