use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn admission(total: u32, per_client: u32) -> Arc<Admission> {
    Admission::new(Limits { total, per_client })
}

fn clients(admission: &Admission) -> usize {
    admission
        .shards
        .iter()
        .map(|shard| shard.lock().expect("unpoisoned").len())
        .sum()
}

#[test]
fn the_total_is_a_limit_and_dropping_makes_room() {
    let admission = admission(2, 10);
    let first = admission.admit(Some(ip("192.0.2.1"))).expect("room");
    let second = admission.admit(None).expect("room");
    assert_eq!(admission.admit(Some(ip("192.0.2.2"))).err(), Some(Refused::Total));
    assert_eq!(admission.open(), 2);
    drop(first);
    let third = admission.admit(Some(ip("192.0.2.2"))).expect("room again");
    drop((second, third));
    assert_eq!((admission.open(), clients(&admission)), (0, 0));
}

#[test]
fn each_client_has_its_own_limit() {
    let admission = admission(100, 2);
    let held: Vec<_> = (0..2)
        .map(|_| admission.admit(Some(ip("192.0.2.1"))).expect("room"))
        .collect();
    assert_eq!(
        admission.admit(Some(ip("192.0.2.1"))).err(),
        Some(Refused::Client)
    );
    assert_eq!(
        admission.admit(Some(ip("::ffff:192.0.2.1"))).err(),
        Some(Refused::Client),
        "the same client"
    );
    let other = admission.admit(Some(ip("192.0.2.2"))).expect("room");
    assert_eq!(admission.open(), 3, "a refused connection is not counted");
    drop((held, other));
    assert_eq!((admission.open(), clients(&admission)), (0, 0));
}

#[test]
fn ipv6_is_counted_by_network() {
    let admission = admission(100, 1);
    let _held = admission.admit(Some(ip("2001:db8:0:1::1"))).expect("room");
    assert_eq!(
        admission.admit(Some(ip("2001:db8:0:1:ffff::2"))).err(),
        Some(Refused::Client)
    );
    assert!(admission.admit(Some(ip("2001:db8:0:2::1"))).is_ok());
}

#[test]
fn a_client_known_late_is_counted_then() {
    let admission = admission(100, 1);
    let mut first = admission.admit(None).expect("room");
    let mut second = admission.admit(None).expect("room");
    let client = ip("192.0.2.1");
    assert_eq!(first.claim(client), Ok(()));
    assert_eq!(first.claim(client), Ok(()), "it is its own already");
    assert_eq!(second.claim(client), Err(Refused::Client));
    assert_eq!(first.claim(ip("192.0.2.9")), Ok(()));
    assert_eq!(second.claim(client), Ok(()), "the first let it go");
    drop((first, second));
    assert_eq!((admission.open(), clients(&admission)), (0, 0));
}

#[test]
fn limits_may_change_under_way() {
    let admission = admission(1, 1);
    let _first = admission.admit(Some(ip("192.0.2.1"))).expect("room");
    assert!(admission.admit(Some(ip("192.0.2.1"))).is_err());
    admission.set_limits(Limits {
        total: u32::MAX,
        per_client: u32::MAX,
    });
    let second = admission.admit(Some(ip("192.0.2.1")));
    assert!(second.is_ok());
    admission.set_limits(Limits {
        total: 1,
        per_client: 1,
    });
    assert_eq!(admission.open(), 2);
    assert_eq!(admission.admit(None).err(), Some(Refused::Total));
}

#[test]
fn shards_give_memory_back_after_a_flood() {
    let admission = admission(u32::MAX, 1);
    let flood = |from: u32| (from..from + 20_000).map(|bits| IpAddr::V4(bits.into()));
    let held: Vec<_> = flood(1)
        .map(|ip| admission.admit(Some(ip)).expect("room"))
        .collect();
    assert_eq!(clients(&admission), 20_000);
    drop(held);
    let capacity = |shard: &Mutex<HashMap<Client, u32>>| shard.lock().expect("unpoisoned").capacity();
    assert!(admission.shards.iter().map(capacity).max() <= Some(2 * KEPT_CAPACITY));
}

#[test]
fn threads_agree_on_the_count() {
    let admission = admission(50, 7);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let admission = &admission;
            scope.spawn(move || {
                for round in 0..2000 {
                    let client = IpAddr::V4((round % (thread + 1)).into());
                    let held = [
                        admission.admit(Some(client)),
                        admission.admit(None),
                        admission.admit(Some(client)),
                    ];
                    assert!(admission.open() <= 50);
                    drop(held);
                }
            });
        }
    });
    assert_eq!((admission.open(), clients(&admission)), (0, 0));
}
