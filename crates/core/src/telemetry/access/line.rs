//! One line of the access log, as JSON.
//!
//! Written by hand: the fields are known, and this runs for every request. What a client chose (path, user
//! agent, host) is escaped and cut to a bound. A credential appears by its id, never by its value, and the
//! query not at all: it may hold secrets.

use super::Stamp;
use crate::{failure::Code, telemetry::json};

/// What is said of one exchange. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the request began.
    pub timestamp: Stamp,
    /// The id all records of this request share.
    pub request_id: &'a [u8],
    /// The id that ties requests of one piece of work together; written if it is not the request's.
    pub correlation_id: &'a [u8],
    /// As received.
    pub method: &'a [u8],
    /// As received, without the query.
    pub path: &'a [u8],
    /// The status sent; 499 if the client left before.
    pub status: u16,
    /// First byte of the request to last byte of the answer.
    pub latency: u64,
    /// The part of it the gateway itself took.
    pub overhead: u64,
    /// The part of it spent waiting for upstreams, if one was asked.
    pub upstream_time: Option<u64>,
    /// The id of the credential the caller used; never the key.
    pub api_key: Option<&'a str>,
    /// The consumer's name, or what its proof calls the caller; written if an authentication found out.
    pub consumer: Option<&'a str>,
    /// As received.
    pub user_agent: Option<&'a [u8]>,
    /// Who is really calling, through trusted proxies.
    pub client_ip: &'a str,
    /// The country it is in; written if a policy found out.
    pub country: Option<&'a str>,
    /// As received; empty if there was none.
    pub host: &'a [u8],
    /// `HTTP/1.1` and so on.
    pub protocol: &'static str,
    /// The version of TLS; none in the clear.
    pub tls_version: Option<&'a str>,
    /// The name the client asked for in the handshake.
    pub tls_sni: Option<&'a str>,
    /// Whose certificate the client showed.
    pub tls_client: Option<&'a str>,
    /// The listener's name.
    pub listener: &'a str,
    /// The route's name, if one matched.
    pub route: Option<&'a str>,
    /// The route's version label.
    pub version: Option<&'a str>,
    /// The upstream's name, if one was chosen.
    pub upstream: Option<&'a str>,
    /// The last endpoint tried.
    pub endpoint: Option<&'a str>,
    /// How many times something was sent to an endpoint.
    pub attempts: u32,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// What went wrong, if something did.
    pub code: Option<Code>,
}

const MAX_PATH: usize = 2048;
const MAX_USER_AGENT: usize = 512;
const MAX_HOST: usize = 256;
const MAX_ID: usize = 128;
const MAX_METHOD: usize = 32;
const MAX_SUBJECT: usize = 512;

impl Line<'_> {
    /// Appends the line and its line feed.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        out.extend_from_slice(self.timestamp.as_bytes());
        out.extend_from_slice(b"\",\"request_id\":");
        json::string_up_to(out, self.request_id, MAX_ID);
        if self.correlation_id != self.request_id && !self.correlation_id.is_empty() {
            out.extend_from_slice(b",\"correlation_id\":");
            json::string_up_to(out, self.correlation_id, MAX_ID);
        }
        out.extend_from_slice(b",\"method\":");
        json::string_up_to(out, self.method, MAX_METHOD);
        out.extend_from_slice(b",\"path\":");
        json::string_up_to(out, self.path, MAX_PATH);
        out.extend_from_slice(b",\"status\":");
        json::integer(out, u64::from(self.status));
        out.extend_from_slice(b",\"latency_ms\":");
        json::milliseconds(out, self.latency);
        out.extend_from_slice(b",\"overhead_ms\":");
        json::milliseconds(out, self.overhead);
        out.extend_from_slice(b",\"upstream_ms\":");
        match self.upstream_time {
            Some(time) => json::milliseconds(out, time),
            None => out.extend_from_slice(b"null"),
        }
        named(out, b",\"api_key\":", self.api_key);
        if let Some(consumer) = self.consumer {
            out.extend_from_slice(b",\"consumer\":");
            json::string_up_to(out, consumer.as_bytes(), MAX_SUBJECT);
        }
        out.extend_from_slice(b",\"user_agent\":");
        match self.user_agent {
            Some(agent) => json::string_up_to(out, agent, MAX_USER_AGENT),
            None => out.extend_from_slice(b"null"),
        }
        named(out, b",\"client_ip\":", Some(self.client_ip));
        if self.country.is_some() {
            named(out, b",\"country\":", self.country);
        }
        out.extend_from_slice(b",\"host\":");
        json::string_up_to(out, self.host, MAX_HOST);
        named(out, b",\"protocol\":", Some(self.protocol));
        if self.tls_version.is_some() {
            named(out, b",\"tls_version\":", self.tls_version);
            named(out, b",\"tls_sni\":", self.tls_sni);
            out.extend_from_slice(b",\"tls_client\":");
            match self.tls_client {
                Some(subject) => json::string_up_to(out, subject.as_bytes(), MAX_SUBJECT),
                None => out.extend_from_slice(b"null"),
            }
        }
        named(out, b",\"listener\":", Some(self.listener));
        named(out, b",\"route\":", self.route);
        named(out, b",\"version\":", self.version);
        named(out, b",\"upstream\":", self.upstream);
        named(out, b",\"endpoint\":", self.endpoint);
        out.extend_from_slice(b",\"attempts\":");
        json::integer(out, u64::from(self.attempts));
        out.extend_from_slice(b",\"bytes_in\":");
        json::integer(out, self.bytes_in);
        out.extend_from_slice(b",\"bytes_out\":");
        json::integer(out, self.bytes_out);
        named(out, b",\"code\":", self.code.map(Code::name));
        out.extend_from_slice(b"}\n");
    }
}

fn named(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    out.extend_from_slice(key);
    match value {
        Some(value) => json::string(out, value.as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::telemetry::access::Clock;
    use std::time::UNIX_EPOCH;

    /// A usual line, for the tests of this module's siblings too.
    pub(in super::super) fn usual(request_id: &[u8]) -> Line<'_> {
        Line {
            timestamp: Clock::new().stamp(UNIX_EPOCH),
            request_id,
            correlation_id: b"",
            method: b"GET",
            path: b"/v1/users/42",
            status: 200,
            latency: 1_234_567,
            overhead: 40_000,
            upstream_time: Some(1_194_567),
            api_key: None,
            consumer: None,
            user_agent: Some(b"curl/8.5.0"),
            client_ip: "192.0.2.7",
            country: None,
            host: b"api.example.com",
            protocol: "HTTP/1.1",
            tls_version: None,
            tls_sni: None,
            tls_client: None,
            listener: "public",
            route: Some("users"),
            version: None,
            upstream: Some("users"),
            endpoint: Some("10.0.0.3:8080"),
            attempts: 1,
            bytes_in: 0,
            bytes_out: 512,
            code: None,
        }
    }

    fn parsed(line: &Line<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        line.write(&mut out);
        assert_eq!(
            out.iter().position(|&b| b == b'\n'),
            Some(out.len() - 1),
            "one line"
        );
        serde_json::from_slice(&out).expect("valid JSON")
    }

    #[test]
    fn the_usual_line_word_for_word() {
        let mut out = Vec::new();
        usual(b"r1").write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"timestamp":"1970-01-01T00:00:00.000Z","request_id":"r1","method":"GET","#,
                r#""path":"/v1/users/42","status":200,"latency_ms":1.234,"overhead_ms":0.040,"#,
                r#""upstream_ms":1.194,"api_key":null,"user_agent":"curl/8.5.0","client_ip":"192.0.2.7","#,
                r#""host":"api.example.com","protocol":"HTTP/1.1","listener":"public","route":"users","#,
                r#""version":null,"upstream":"users","endpoint":"10.0.0.3:8080","attempts":1,"bytes_in":0,"#,
                r#""bytes_out":512,"code":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn tls_has_fields_of_its_own() {
        let line = Line {
            tls_version: Some("TLSv1.3"),
            tls_sni: Some("api.example.com"),
            ..usual(b"r1")
        };
        let value = parsed(&line);
        assert_eq!(
            (&value["tls_version"], &value["tls_sni"]),
            (&"TLSv1.3".into(), &"api.example.com".into())
        );
        assert!(value["tls_client"].is_null());
    }

    #[test]
    fn a_failure_before_routing_has_nulls() {
        let line = Line {
            status: 400,
            upstream_time: None,
            user_agent: None,
            route: None,
            upstream: None,
            endpoint: None,
            attempts: 0,
            code: Some(Code::BadRequest),
            api_key: Some("mobile-app"),
            correlation_id: b"c1",
            ..usual(b"r1")
        };
        let value = parsed(&line);
        for key in ["upstream_ms", "user_agent", "route", "upstream", "endpoint"] {
            assert!(value[key].is_null(), "{key}");
        }
        assert_eq!(
            (&value["code"], &value["api_key"]),
            (&"bad_request".into(), &"mobile-app".into())
        );
        assert_eq!(value["correlation_id"], "c1");
    }

    #[test]
    fn what_clients_choose_cannot_break_or_fill_the_log() {
        let path = [b"/a\"\n\xff".as_slice(), &[b'x'; 9000]].concat();
        let agent = "\u{1b}[31m\u{e9}".repeat(400);
        let line = Line {
            path: &path,
            user_agent: Some(agent.as_bytes()),
            host: &[0x80; 500],
            ..usual(b"r")
        };
        let value = parsed(&line);
        assert!(value["path"].as_str().unwrap().starts_with("/a\"\n\u{fffd}xxx"));
        let mut out = Vec::new();
        line.write(&mut out);
        assert!(out.len() < 8192, "{}", out.len());
        assert!(value["user_agent"].as_str().unwrap().ends_with("..."));
    }
}
