//! Addresses of all sorts: what is read, what it prints as, and why the rest is refused.

use super::*;

fn refused<T: FromStr<Err = String> + fmt::Debug>(cases: &[(&str, &str)]) {
    for (text, reason) in cases {
        let error = text.parse::<T>().unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn addresses() {
    for text in [
        "0.0.0.0:8080",
        "[::]:80",
        "127.0.0.1:0",
        "unix:/run/gatehouse.sock",
        "unix:relative",
    ] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    let long = format!("unix:/{}", "x".repeat(200));
    refused::<Address>(&[
        (":8080", "write `0.0.0.0:8080` or `[::]:8080`"),
        ("*:8080", "write `0.0.0.0:8080`"),
        ("8080", "write `0.0.0.0:8080`"),
        ("localhost:81", "write `127.0.0.1:81`"),
        ("127.0.0.1", "has no port"),
        ("::1", "is not an address"),
        ("127.0.0.1:99999", "is not an address"),
        ("example.com:80", "is not an address"),
        ("unix:", "names no socket"),
        (&long, "is too long"),
        ("", "is not an address"),
    ]);
}

#[test]
fn blocks_of_addresses() {
    let cases = [
        ("10.0.0.0/8", "10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("10.0.0.0/8", "10.0.0.0/8", "11.0.0.0", false),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7/32", "192.0.2.7", "192.0.2.8", false),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.2.3", true),
        ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1", true),
        ("2001:db8::/32", "2001:db8::/32", "2001:db8:1::1", true),
        ("::/0", "::/0", "10.0.0.1", false),
        ("0.0.0.0/0", "0.0.0.0/0", "::1", false),
    ];
    for (text, printed, ip, inside) in cases {
        let block: Cidr = text.parse().unwrap();
        assert_eq!(block.to_string(), printed);
        assert_eq!(block.contains(ip.parse().unwrap()), inside, "{text} {ip}");
    }
    refused::<Cidr>(&[
        ("10.0.0.1/8", "did you mean `10.0.0.0/8`?"),
        ("10.0.0.0/33", "is not a block"),
        ("10.0.0", "is not a block"),
        ("localhost", "is not a block"),
        ("", "is not a block"),
    ]);
}

#[test]
fn endpoints() {
    let cases = [
        ("http://a", "http://a:80", "a"),
        ("http://A.Example/", "http://a.example:80", "a.example"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080", "10.0.0.1:8080"),
        ("http://[2001:db8::1]", "http://[2001:db8::1]:80", "[2001:db8::1]"),
        ("http://[::1]:81", "http://[::1]:81", "[::1]:81"),
        (
            "http://order_service.team-a:80",
            "http://order_service.team-a:80",
            "order_service.team-a",
        ),
        ("https://a", "https://a:443", "a"),
    ];
    for (text, printed, authority) in cases {
        let url: EndpointUrl = text.parse().unwrap();
        assert_eq!(
            (url.to_string().as_str(), url.authority().as_str()),
            (printed, authority),
            "{text}"
        );
        assert_eq!(url.to_string().parse::<EndpointUrl>().unwrap(), url);
    }
    refused::<EndpointUrl>(&[
        ("a:80", "write `http://a:80`"),
        ("tcp://a", "has the scheme `tcp`"),
        ("HTTP://a", "has the scheme `HTTP`"),
        ("http://", "has no legal host"),
        ("http://a b", "has no legal host"),
        ("http://999.1.1.1", "has no legal host"),
        ("http://[::1", "has no legal host"),
        ("http://::1", "has no legal host"),
        ("http://a:0", "has the port `0`"),
        ("http://a:x", "has the port `x`"),
        ("http://a:", "has the port ``"),
        ("http://a:99999", "has the port `99999`"),
        ("http://a/b", "has a path"),
        ("http://a//", "has a path"),
        ("http://a?b", "has a query"),
        ("http://u:p@a", "has a user name"),
    ]);
}

#[test]
fn the_rest() {
    assert_eq!(
        "192.0.2.53".parse::<DnsServer>().unwrap().to_string(),
        "192.0.2.53:53"
    );
    assert_eq!(
        "[2001:db8::53]:5353".parse::<DnsServer>().unwrap().to_string(),
        "[2001:db8::53]:5353"
    );
    refused::<DnsServer>(&[
        ("dns.example", "is not a name server"),
        ("", "is not a name server"),
    ]);
    for text in ["udp://127.0.0.1:514", "unix:/dev/log"] {
        assert_eq!(text.parse::<SyslogTarget>().unwrap().to_string(), text);
    }
    refused::<SyslogTarget>(&[
        ("tcp://127.0.0.1:514", "is not a syslog address"),
        ("udp://host:514", "is not a syslog address"),
    ]);
    assert_eq!("0660".parse::<FileMode>().unwrap(), FileMode(0o660));
    assert_eq!("660".parse::<FileMode>().unwrap().to_string(), "0660");
    refused::<FileMode>(&[
        ("999", "is not a file mode"),
        ("1777", "is not a file mode"),
        ("+660", "is not a file mode"),
        ("", "is not a file mode"),
    ]);
}
