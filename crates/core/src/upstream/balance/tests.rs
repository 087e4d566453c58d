use super::*;
use crate::upstream::endpoint::Endpoints;

struct Rig {
    set: EndpointSet,
    cursor: Cell<u32>,
}

fn rig(weights: &[u32]) -> Rig {
    let endpoints = Endpoints::new(
        crate::telemetry::metrics::Metrics::new(&crate::telemetry::metrics::Options::default())
            .endpoints()
            .clone(),
    );
    let members = (1u16..).zip(weights).map(|(port, weight)| {
        let address = format!("10.0.0.1:{port}").parse().expect("an address");
        let url = format!("http://10.0.0.1:{port}").parse().expect("a URL");
        Member {
            endpoint: endpoints.find_or_make(&"u".into(), &url, address, None, "".into()),
            weight: *weight,
        }
    });
    Rig {
        set: EndpointSet::new(1, members.collect(), Vec::new()),
        cursor: start(0),
    }
}

impl Rig {
    fn picks(&self, balance: Balance, count: usize, exclude: &[u32]) -> Vec<u32> {
        (0..count)
            .filter_map(|_| self.set.pick(balance, &self.cursor, exclude).map(|e| e.id))
            .collect()
    }
}

fn counts(picks: &[u32], endpoints: usize) -> Vec<usize> {
    (0..endpoints)
        .map(|id| picks.iter().filter(|pick| **pick as usize == id).count())
        .collect()
}

const BOTH: [Balance; 2] = [Balance::RoundRobin, Balance::LeastRequest];

#[test]
fn equal_weights_take_turns() {
    for balance in BOTH {
        assert_eq!(rig(&[1, 1, 1]).picks(balance, 7, &[]), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(rig(&[7, 7]).picks(balance, 4, &[]), [0, 1, 0, 1]);
    }
}

#[test]
fn weights_are_kept_exactly_and_mixed() {
    assert_eq!(
        rig(&[5, 1, 1]).picks(Balance::RoundRobin, 7, &[]),
        [0, 0, 0, 1, 2, 0, 0]
    );
    for balance in BOTH {
        assert_eq!(counts(&rig(&[90, 10]).picks(balance, 1000, &[]), 2), [900, 100]);
        assert_eq!(
            counts(&rig(&[3, 0, 1]).picks(balance, 400, &[]), 3),
            [300, 0, 100]
        );
    }
}

#[test]
fn huge_weights_are_rounded_but_nobody_is_left_out() {
    let rig = rig(&[u32::MAX, 1, u32::MAX - 1]);
    assert!(rig.set.order.len() as u64 <= MAX_ORDER + 1);
    let counts = counts(&rig.picks(Balance::RoundRobin, rig.set.order.len(), &[]), 3);
    assert_eq!((counts[0], counts[1]), (4096, 1));
}

#[test]
fn excluded_endpoints_are_passed_over() {
    for balance in BOTH {
        let rig = rig(&[1, 1, 1]);
        assert_eq!(counts(&rig.picks(balance, 30, &[1]), 3)[1], 0);
        assert_eq!(rig.picks(balance, 2, &[0, 2]), [1, 1]);
        assert!(rig.picks(balance, 1, &[0, 1, 2]).is_empty());
    }
}

#[test]
fn nothing_to_pick_is_no_endpoint() {
    for balance in BOTH {
        assert!(rig(&[]).picks(balance, 1, &[]).is_empty());
        assert!(rig(&[0, 0]).picks(balance, 1, &[]).is_empty());
    }
    assert!(!EndpointSet::default().is_unresolved());
    assert!(EndpointSet::new(1, Vec::new(), vec!["a".into()]).is_unresolved());
}

#[test]
fn workers_begin_at_different_endpoints_and_stay_even() {
    let Rig { set, .. } = rig(&[1, 1, 1, 1]);
    let cursors: Vec<_> = (0..4).map(start).collect();
    let first = |cursor| set.round_robin(cursor, &[]).map(|e| e.id);
    assert_eq!(
        cursors.iter().map(first).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2), Some(3)]
    );
}

#[test]
fn a_cursor_may_wrap() {
    let rig = rig(&[1, 1, 1]);
    rig.cursor.set(u32::MAX);
    assert_eq!(rig.picks(Balance::RoundRobin, 4, &[]).len(), 4);
}

#[test]
fn least_request_avoids_the_busy() {
    let rig = rig(&[1, 1, 1]);
    let busy: Vec<_> = [0, 0, 1]
        .map(|index: usize| rig.set.members()[index].endpoint.begin())
        .into();
    assert_eq!(rig.picks(Balance::LeastRequest, 3, &[]), [2, 2, 2]);
    assert_eq!(rig.picks(Balance::LeastRequest, 3, &[2]), [1, 1, 1]);
    drop(busy);
    assert_eq!(counts(&rig.picks(Balance::LeastRequest, 6, &[]), 3), [2, 2, 2]);
}

#[test]
fn least_request_fills_in_proportion_to_the_weight() {
    let rig = rig(&[1, 3]);
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(
            rig.set
                .least_request(&rig.cursor, &[])
                .expect("an endpoint")
                .begin(),
        );
    }
    let filled: Vec<_> = rig.set.members().iter().map(|m| m.endpoint.in_flight()).collect();
    assert_eq!(filled, [100, 300]);
}

#[test]
fn of_many_the_better_of_two_is_taken() {
    let rig = rig(&[1; 100]);
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(
            rig.set
                .least_request(&rig.cursor, &[])
                .expect("an endpoint")
                .begin(),
        );
    }
    let busiest = rig.set.members().iter().map(|m| m.endpoint.in_flight()).max();
    assert!(
        busiest <= Some(13),
        "{busiest:?} on one of 100 with 10 on average"
    );
    let _one = rig.set.members()[5].endpoint.begin();
    assert!(!rig.picks(Balance::LeastRequest, 300, &[5]).contains(&5));
}

#[test]
fn an_endpoint_that_is_there_twice_has_both_weights() {
    let Rig { set, .. } = rig(&[1, 1]);
    let twice = [set.members(), set.members(), &set.members()[..1]].concat();
    let set = EndpointSet::new(2, twice, Vec::new());
    assert_eq!(set.members().iter().map(|m| m.weight).collect::<Vec<_>>(), [3, 2]);
}
