//! Names and passwords that a directory knows: slapd, as Debian has it.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Authority, Gateway, HttpBackend, Request, Response, Slapd, client};

use crate::gateway;

const ENTRIES: &str = "dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=gatehouse,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: gatehouse
userPassword: service

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=admins,dc=example,dc=org
objectClass: organizationalUnit
ou: admins

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=ann,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ann
cn: Ann
sn: Example
mail: ann@example.org
mail: a@example.org
memberOf: cn=ops,ou=groups,dc=example,dc=org
memberOf: cn=root\\,ou=groups,dc=example,dc=org
userPassword: secret

dn: uid=a\\+b\\, (c)*,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: a+b, (c)*
cn: Odd
sn: Example
userPassword: secret

dn: uid=root,ou=admins,dc=example,dc=org
objectClass: inetOrgPerson
uid: root
cn: Root
sn: Example
userPassword: secret

dn: uid=twin,ou=admins,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: Example
userPassword: secret

dn: uid=twin,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: Example
userPassword: secret

dn: cn=ops,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: ops
member: uid=ann,ou=people,dc=example,dc=org

dn: cn=dev,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: dev
member: uid=a\\+b\\, (c)*,ou=people,dc=example,dc=org
";

const BIND: &str = "bind: \"uid=$${username},ou=people,dc=example,dc=org\"";
const SEARCH: &str = "search: { base: \"dc=example,dc=org\", filter: \"(uid=$${username})\", bind_dn: \"cn=gatehouse,dc=example,dc=org\", bind_password: service }";

fn start(url: &str, backend: &HttpBackend, settings: &str, authority: Option<&Authority>) -> Gateway {
    let settings = settings.replace("$$", "$");
    let config = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
consumers: {{ staff: {{ credentials: {{ subjects: [ {{ subject: ann }} ] }} }} }}
routes:
  ops: {{ match: {{ path: /ops }}, policies: [ {{ ldap_auth: &ldap {{ url: "{url}", {settings} }} }}, access: {{ roles: {{ any: [ops] }} }} ], forward: {{ upstream: api }} }}
  all: {{ match: {{ path: /all }}, policies: [ {{ ldap_auth: {{ url: "{url}", forward: {{ X-User-Id: "${{identity.subject}}", X-Mail: "${{claims.mail}}", X-Roles: "${{claims.roles}}", X-Consumer: "${{consumer.name}}" }}, {settings} }} }} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        backend.url()
    );
    let config = config.replace("&ldap ", "");
    let pem = authority.map_or_else(String::new, Authority::pem);
    gateway(&config).file("ca.pem", &pem).start()
}

fn ask(gateway: &Gateway, path: &str, name: &str, password: &str) -> Response {
    let text = BASE64_STANDARD.encode(format!("{name}:{password}"));
    let request = Request::get(path).header("Authorization", &format!("Basic {text}"));
    client::once(gateway.address(), &request)
}

#[test]
fn a_bind_says_who_calls_and_what_they_are() {
    let (slapd, backend) = (Slapd::start(ENTRIES, None), HttpBackend::start());
    let settings =
        format!("{BIND}, attributes: [mail], groups: {{ base: \"ou=groups, dc=Example,dc=org\" }}");
    let gateway = start(&slapd.url(), &backend, &settings, None);
    // To a directory all of these are one name; the caller is called as it is written there.
    for name in ["ann", "ANN", "ann"] {
        assert_eq!(ask(&gateway, "/all", name, "secret").status, 200, "{name}");
        let seen = backend.last();
        assert_eq!(seen.header("x-user-id"), Some("ann"));
        assert_eq!(seen.header("x-consumer"), Some("staff"));
        assert_eq!(seen.header("x-mail"), Some("ann@example.org,a@example.org"));
        // Not that of a group elsewhere, whose name only looks as if.
        assert_eq!(seen.header("x-roles"), Some("ops"));
        assert_eq!(seen.header("authorization"), None);
    }
    assert_eq!(ask(&gateway, "/ops", "ann", "secret").status, 200);
    assert_eq!(ask(&gateway, "/ops", "a+b, (c)*", "secret").status, 403);
    let asked = backend.count();
    for (name, password) in [
        ("ann", "Secret"),
        ("ann", ""),
        ("", ""),
        ("", "secret"),
        (" ann", "secret"),
        ("nobody", "secret"),
        ("nobody", ""),
        ("root", "secret"),
        // Another entry, if the name were put there as it is.
        ("root,ou=admins,dc=example,dc=org", "secret"),
        ("ann,ou=people,dc=example,dc=org", "secret"),
        ("root\\2cou=admins", "secret"),
        ("*", "secret"),
    ] {
        let answer = ask(&gateway, "/all", name, password);
        assert_eq!(answer.status, 401, "{name}:{password}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Basic realm=\"api\", charset=\"UTF-8\"")
        );
        assert!(
            answer.text().contains("Invalid username or password"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(client::get(gateway.address(), "/all").status, 401);
    assert_eq!(backend.count(), asked);
    for (result, wanted) in [("known", 1.0), ("good", 4.0), ("wrong", 12.0)] {
        let labels = [("result", result)];
        assert_eq!(
            gateway.metrics().sum("gatehouse_ldap_auth_checks_total", &labels),
            wanted,
            "{result}"
        );
    }
}

#[test]
fn a_search_finds_the_one_entry_whatever_is_typed() {
    let (slapd, backend) = (Slapd::start(ENTRIES, None), HttpBackend::start());
    let groups = "groups: { base: \"ou=groups,dc=example,dc=org\", filter: \"(&(objectClass=groupOfNames)(member=$${dn}))\" }";
    let gateway = start(
        &slapd.url(),
        &backend,
        &format!("{SEARCH}, {groups}, remember: 0s"),
        None,
    );
    for (name, roles) in [
        ("ann", Some("ops")),
        ("a+b, (c)*", Some("dev")),
        ("root", None),
        ("ann", Some("ops")),
    ] {
        assert_eq!(ask(&gateway, "/all", name, "secret").status, 200, "{name}");
        let seen = backend.last();
        assert_eq!(
            (seen.header("x-user-id"), seen.header("x-roles")),
            (Some(name), roles)
        );
    }
    assert_eq!(ask(&gateway, "/ops", "ann", "secret").status, 200);
    assert_eq!(ask(&gateway, "/ops", "root", "secret").status, 403);
    for (name, password) in [
        ("*", "secret"),
        ("ann)(cn=*", "secret"),
        ("ann*", "secret"),
        ("a\\2a", "secret"),
        ("twin", "secret"),
        ("nobody", "secret"),
        ("ann", "wrong"),
        ("ann", ""),
    ] {
        assert_eq!(
            ask(&gateway, "/all", name, password).status,
            401,
            "{name}:{password}"
        );
    }
    let labels = [("result", "good")];
    assert_eq!(
        gateway.metrics().sum("gatehouse_ldap_auth_checks_total", &labels),
        6.0
    );
    // A service that may not log in finds nobody, and lets nobody in.
    let wrong = SEARCH.replace("bind_password: service", "bind_password: wrong");
    let gateway = start(&slapd.url(), &backend, &wrong, None);
    let answer = ask(&gateway, "/all", "ann", "secret");
    assert_eq!((answer.status, answer.code().as_str()), (503, "auth_unavailable"));
}

#[test]
fn passwords_travel_by_tls_that_is_believed() {
    let (authority, stranger) = (Authority::new(), Authority::named("Another"));
    let identity = authority.server(&["localhost"]);
    let (slapd, backend) = (Slapd::start(ENTRIES, Some(&identity)), HttpBackend::start());
    let (ldap, ldaps) = (
        format!("ldap://localhost:{}", slapd.port()),
        format!("ldaps://localhost:{}", slapd.tls_port()),
    );
    for (url, more) in [(&ldaps, "ca: ca.pem"), (&ldap, "ca: ca.pem, start_tls: true")] {
        for how in [BIND, SEARCH] {
            let settings = format!("{how}, {more}");
            let gateway = start(url, &backend, &settings, Some(&authority));
            assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 200, "{settings}");
            assert_eq!(ask(&gateway, "/all", "ann", "wrong").status, 401, "{settings}");
        }
        let gateway = start(url, &backend, &format!("{BIND}, {more}"), Some(&stranger));
        assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 503, "{more}");
    }
    // One without TLS cannot begin it, and nothing is said in the clear instead.
    let plain = Slapd::start(ENTRIES, None);
    let url = format!("ldap://localhost:{}", plain.port());
    let gateway = start(
        &url,
        &backend,
        &format!("{BIND}, start_tls: true, ca: ca.pem"),
        Some(&authority),
    );
    assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 503);
}

#[test]
fn a_directory_that_answers_too_much_is_cut_off() {
    let entry = |name: &str, length: usize| {
        let long = "x".repeat(length);
        format!(
            "\ndn: uid={name},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\nuserPassword: secret\ndescription: {long}\n"
        )
    };
    let entries = format!(
        "{ENTRIES}{}{}",
        entry("long", 1_000_000),
        entry("longer", 1_100_000)
    );
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let (slapd, backend) = (Slapd::start(&entries, Some(&identity)), HttpBackend::start());
    let ldaps = format!("ldaps://localhost:{}", slapd.tls_port());
    for (url, more) in [(slapd.url(), ""), (ldaps, ", ca: ca.pem")] {
        for how in [BIND, SEARCH] {
            let start = |attributes: &str| {
                let settings = format!("{how}, remember: 0s, attributes: [{attributes}]{more}");
                start(&url, &backend, &settings, Some(&authority))
            };
            let gateway = start("description");
            let status = |name: &str| ask(&gateway, "/all", name, "secret").status;
            assert_eq!(
                ["ann", "long", "longer", "ann"].map(status),
                [200, 200, 503, 200],
                "{url} {how}"
            );
            gateway.wait_log("a directory answers more than is taken");
            // What nobody asks for is not sent.
            assert_eq!(ask(&start("mail"), "/all", "longer", "secret").status, 200);
        }
    }
}

#[test]
fn a_directory_that_is_gone_lets_nobody_in_until_it_is_back() {
    let (mut slapd, backend) = (Slapd::start(ENTRIES, None), HttpBackend::start());
    for how in [BIND, SEARCH] {
        let gateway = start(&slapd.url(), &backend, &format!("{how}, remember: 0s"), None);
        assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 200);
        // Its connections are closed, which a good request does not notice.
        slapd.restart();
        assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 200);
        slapd.kill();
        for _ in 0..5 {
            let answer = ask(&gateway, "/all", "ann", "secret");
            assert_eq!((answer.status, answer.code().as_str()), (503, "auth_unavailable"));
            assert!(answer.header("retry-after").is_some());
        }
        slapd.restart();
        until("the directory to be asked again", || {
            ask(&gateway, "/all", "ann", "secret").status == 200
        });
        assert_eq!(ask(&gateway, "/all", "ann", "wrong").status, 401);
    }
}

#[test]
fn a_directory_that_is_slow_holds_up_no_more_than_it_may() {
    let (slapd, backend) = (Slapd::start(ENTRIES, None), HttpBackend::start());
    let gateway = start(
        &slapd.url(),
        &backend,
        &format!("{BIND}, timeout: 1s, connections: 1, queue: 0"),
        None,
    );
    assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 200);
    slapd.freeze();
    // What was good is known without it.
    assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 200);
    let statuses = std::thread::scope(|scope| {
        let asked = (0..4).map(|i| {
            let gateway = &gateway;
            scope.spawn(move || ask(gateway, "/all", "ann", &format!("wrong{i}")).status)
        });
        let asked: Vec<_> = asked.collect();
        asked
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(statuses, [503; 4]);
    slapd.thaw();
    until("the directory to be asked again", || {
        ask(&gateway, "/all", "ann", "wrong").status == 401
    });
    // Nor does what answers nothing at all.
    let silent = TcpBackend::silent();
    let url = silent.url().replace("http://", "ldap://");
    let gateway = start(&url, &backend, &format!("{BIND}, timeout: 300ms"), None);
    assert_eq!(ask(&gateway, "/all", "ann", "secret").status, 503);
}
