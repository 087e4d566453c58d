//! Questions to the DNS and the hosts file.
//!
//! Both families are asked at once, each with a reply of its own, so that one that fails does not take the other's
//! addresses away. The search list is walked here and not by the library: both families must come from the same name,
//! and a server that fails must not make a wildcard of a search domain answer in its place.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};

use super::answer::{Outcome, Reply, Times};
use crate::config::Dns;

/// How long the hosts file's word counts: it is a local file and cheap to read again.
const HOSTS_TTL: Duration = Duration::from_secs(30);
/// How much longer the second family may take once the first has found something.
const SECOND_FAMILY: Duration = Duration::from_secs(1);
/// More addresses than this of one name and family are cut off.
const MAX_ADDRESSES: usize = 1024;

/// A configured resolver.
pub(super) struct Backend {
    /// `None` when the servers' addresses make no resolver; then nothing resolves, and the log has said so.
    resolver: Option<TokioResolver>,
    search: Vec<Name>,
    /// Names with fewer dots are looked for in the search list first.
    ndots: usize,
    read_hosts: bool,
    pub(super) times: Times,
}

impl Backend {
    /// A resolver with the system's search list and servers, or with the servers that are configured.
    pub(super) fn new(settings: &Dns) -> Self {
        let (system, options) = system_conf::read_system_conf().unwrap_or_else(|error| {
            if settings.servers.is_empty() {
                tracing::warn!(%error, "no system DNS configuration, asking 127.0.0.1");
            }
            // What the C library does without a configuration.
            let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (
                ResolverConfig::from_parts(None, Vec::new(), vec![server]),
                ResolverOpts::default(),
            )
        });
        let (domain, mut search, mut servers) = system.into_parts();
        if search.is_empty() {
            search.extend(domain);
        }
        if !settings.servers.is_empty() {
            servers = settings
                .servers
                .iter()
                .map(|server| name_server(server.0))
                .collect();
        }
        Self::with(settings, servers, search, options)
    }

    fn with(
        settings: &Dns,
        servers: Vec<NameServerConfig>,
        search: Vec<Name>,
        mut options: ResolverOpts,
    ) -> Self {
        options.timeout = settings.timeout.get();
        // Names keep their own answers; the hosts file is read here.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let ndots = options.ndots;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder
            .build()
            .inspect_err(|error| tracing::error!(%error, "no DNS resolver"));
        Self {
            resolver: resolver.ok(),
            search,
            ndots,
            read_hosts: true,
            times: Times {
                min_ttl: settings.min_ttl.get(),
                max_ttl: settings.max_ttl.get(),
                stale: settings.stale.get(),
            },
        }
    }

    /// One that asks only the servers configured, for tests: no hosts file, and this search list.
    #[cfg(test)]
    pub(super) fn isolated(settings: &Dns, search: &[&str]) -> Self {
        let servers = settings
            .servers
            .iter()
            .map(|server| name_server(server.0))
            .collect();
        let search = search
            .iter()
            .map(|name| Name::from_ascii(name).expect("a name"))
            .collect();
        let mut options = ResolverOpts::default();
        options.attempts = 1;
        Self {
            read_hosts: false,
            ..Self::with(settings, servers, search, options)
        }
    }

    /// Asks for the addresses of a name.
    pub(super) async fn ask(&self, host: &str) -> Outcome {
        let failed = |error: &str| Outcome {
            v4: Reply::Failed(error.to_owned()),
            v6: Reply::Failed(error.to_owned()),
        };
        let Some(resolver) = &self.resolver else {
            return failed("no DNS resolver");
        };
        let Ok(name) = Name::from_ascii(host) else {
            return failed("not a DNS name");
        };
        if self.read_hosts
            && let Some(outcome) = from_hosts(&name)
        {
            return outcome;
        }
        for candidate in self.candidates(&name) {
            let outcome = both_families(resolver, candidate).await;
            let denied = outcome.v4 == Reply::Denied && outcome.v6 == Reply::Denied;
            // A server that fails ends the search: the next name might belong to somebody else.
            if !denied {
                return outcome;
            }
        }
        Outcome {
            v4: Reply::Denied,
            v6: Reply::Denied,
        }
    }

    /// The full names to try for a name, as `resolv.conf` has it.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() {
            return vec![absolute];
        }
        let searched = self
            .search
            .iter()
            .filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut candidates: Vec<_> = searched.collect();
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let position = if dots >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(position, absolute);
        candidates
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    // A server's NXDOMAIN is final, as it is for the C library.
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// Asks for both families at once. The slower one must not hold up the first answer for long.
async fn both_families(resolver: &TokioResolver, name: Name) -> Outcome {
    let v4 = pin!(one_family(resolver, name.clone(), RecordType::A));
    let v6 = pin!(one_family(resolver, name, RecordType::AAAA));
    match select(v4, v6).await {
        Either::Left((v4, v6)) => {
            let v6 = second(&v4, v6).await;
            Outcome { v4, v6 }
        }
        Either::Right((v6, v4)) => {
            let v4 = second(&v6, v4).await;
            Outcome { v4, v6 }
        }
    }
}

async fn second(first: &Reply, other: impl Future<Output = Reply>) -> Reply {
    if !matches!(first, Reply::Found { .. }) {
        return other.await;
    }
    let late = |_| Reply::Failed("too slow".to_owned());
    tokio::time::timeout(SECOND_FAMILY, other)
        .await
        .unwrap_or_else(late)
}

async fn one_family(resolver: &TokioResolver, name: Name, family: RecordType) -> Reply {
    // The library keeps an answer for a moment even with a cache of size zero.
    resolver.clear_lookup_cache(name.clone(), family);
    match resolver.lookup(name, family).await {
        Ok(lookup) => found(&lookup),
        Err(error) => reply_of(&error),
    }
}

fn reply_of(error: &NetError) -> Reply {
    if error.is_no_records_found() {
        Reply::Denied
    } else {
        Reply::Failed(error.to_string())
    }
}

/// The usable addresses of an answer, and the shortest lifetime on the way to them.
fn found(lookup: &Lookup) -> Reply {
    let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
    let addresses: Vec<_> = addresses.filter(|ip| is_host(*ip)).take(MAX_ADDRESSES).collect();
    let ttl = lookup
        .answers()
        .iter()
        .map(|record| record.ttl)
        .min()
        .unwrap_or(0);
    if addresses.is_empty() {
        return Reply::Denied;
    }
    Reply::Found {
        addresses,
        ttl: Duration::from_secs(ttl.into()),
    }
}

/// False for addresses nobody can serve at. Filters that block names answer `0.0.0.0`, which would connect to the
/// gateway's own machine.
fn is_host(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// What the hosts file says, if it knows the name. Read each time, so that a change counts.
fn from_hosts(name: &Name) -> Option<Outcome> {
    in_hosts(&Hosts::from_system().ok()?, name)
}

fn in_hosts(hosts: &Hosts, name: &Name) -> Option<Outcome> {
    let look = |family| {
        let lookup = hosts.lookup_static_host(&Query::query(name.clone(), family));
        match lookup.as_ref().map(found) {
            Some(Reply::Found { addresses, .. }) => Reply::Found {
                addresses,
                ttl: HOSTS_TTL,
            },
            _ => Reply::Denied,
        }
    };
    let outcome = Outcome {
        v4: look(RecordType::A),
        v6: look(RecordType::AAAA),
    };
    outcome.error().is_none().then_some(outcome)
}

/// The addresses of `localhost` and the names below it, which never reach the DNS (RFC 6761, 6.3).
pub(super) fn loopback(host: &str) -> Option<Vec<IpAddr>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_localhost = host == "localhost" || host.ends_with(".localhost");
    is_localhost.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// Leaves out a family this machine has no route for, as long as that leaves something. Sends nothing.
pub(super) fn reachable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    keep_routable(addresses, |ip| {
        let any: IpAddr = if ip.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        UdpSocket::bind((any, 0))
            .and_then(|socket| socket.connect((ip, 53)))
            .is_ok()
    })
}

fn keep_routable(mut addresses: Vec<IpAddr>, routable: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
    let one_of = |v4: bool| addresses.iter().copied().find(|ip| ip.is_ipv4() == v4);
    // The first address of a family stands for all: what is missing is a default route.
    if let (Some(v4), Some(v6)) = (one_of(true), one_of(false)) {
        match (routable(v4), routable(v6)) {
            (true, false) => addresses.retain(IpAddr::is_ipv4),
            (false, true) => addresses.retain(IpAddr::is_ipv6),
            _ => {}
        }
    }
    addresses
}

/// The wait and up to a tenth more, so that names that were asked together, by one gateway or by many, drift apart.
pub(super) fn jittered(wait: Duration) -> Duration {
    // Each `RandomState` has keys of its own.
    let share = u32::try_from(RandomState::new().hash_one(0_u8) % 1000).unwrap_or(0);
    wait.saturating_add(wait.saturating_mul(share) / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|ip| ip.parse().expect("an address")).collect()
    }

    #[test]
    fn localhost_is_always_here() {
        for host in ["localhost", "localhost.", "api.localhost"] {
            assert_eq!(loopback(host), Some(ips(&["127.0.0.1", "::1"])), "{host}");
        }
        for host in ["localhosts", "notlocalhost", "localhost.example"] {
            assert_eq!(loopback(host), None, "{host}");
        }
    }

    #[test]
    fn a_family_without_a_route_is_left_out() {
        let both = || ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
        assert_eq!(
            keep_routable(both(), |ip| ip.is_ipv4()),
            ips(&["10.0.0.1", "10.0.0.2"])
        );
        assert_eq!(keep_routable(both(), |ip| ip.is_ipv6()), ips(&["2001:db8::1"]));
        assert_eq!(keep_routable(both(), |_| true), both());
        assert_eq!(keep_routable(both(), |_| false), both(), "better than none");
        assert_eq!(
            keep_routable(ips(&["2001:db8::1"]), |_| false),
            ips(&["2001:db8::1"])
        );
    }

    #[test]
    fn addresses_nobody_can_have_are_ignored() {
        for ip in ips(&[
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:0.0.0.0",
        ]) {
            assert!(!is_host(ip), "{ip}");
        }
        for ip in ips(&["10.0.0.1", "127.0.0.1", "2001:db8::1", "fe80::1"]) {
            assert!(is_host(ip), "{ip}");
        }
    }

    #[test]
    fn jitter_only_adds_and_at_most_a_tenth() {
        let wait = Duration::from_secs(10);
        for _ in 0..100 {
            assert!((wait..wait + Duration::from_secs(1)).contains(&jittered(wait)));
        }
    }

    #[test]
    fn the_search_list_follows_the_number_of_dots() {
        let mut backend = Backend::isolated(&Dns::default(), &["a.example", "b.example"]);
        let names = |backend: &Backend, host: &str| -> Vec<String> {
            let name = Name::from_ascii(host).expect("a name");
            backend.candidates(&name).iter().map(Name::to_ascii).collect()
        };
        assert_eq!(names(&backend, "db"), ["db.a.example.", "db.b.example.", "db."]);
        assert_eq!(
            names(&backend, "db.prod"),
            ["db.prod.", "db.prod.a.example.", "db.prod.b.example."]
        );
        assert_eq!(names(&backend, "db.prod."), ["db.prod."]);
        backend.ndots = 5;
        assert_eq!(
            names(&backend, "db.prod").last().map(String::as_str),
            Some("db.prod.")
        );
    }

    #[test]
    fn the_hosts_file_speaks_for_both_families() {
        let mut hosts = Hosts::default();
        hosts
            .read_hosts_conf(&b"10.0.0.1 users my_app # ours\n10.0.0.2 users\n2001:db8::1 orders\n"[..])
            .expect("read");
        let look = |name: &str| in_hosts(&hosts, &Name::from_ascii(name).expect("a name"));
        let found = |text: &[&str]| Reply::Found {
            addresses: ips(text),
            ttl: HOSTS_TTL,
        };
        let users = Outcome {
            v4: found(&["10.0.0.1", "10.0.0.2"]),
            v6: Reply::Denied,
        };
        assert_eq!(look("users"), Some(users.clone()));
        assert_eq!(look("users."), Some(users));
        assert_eq!(
            look("orders"),
            Some(Outcome {
                v4: Reply::Denied,
                v6: found(&["2001:db8::1"])
            })
        );
        assert!(look("my_app").is_some());
        assert_eq!(look("unknown"), None);
    }
}
