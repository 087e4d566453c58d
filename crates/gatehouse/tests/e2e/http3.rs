//! HTTP/3: what HTTP/1.1 does must go over QUIC as well, and what only QUIC has must hold.

use std::net::SocketAddr;

use gatehouse_testkit::h3::{Http3, Http3Client, Http3Request};
use gatehouse_testkit::{Authority, Gateway, HttpBackend};

mod basics;
mod bodies;
mod connections;
mod early;
mod floods;
mod strict;
mod takeover;
mod tunnels;

/// A gateway that speaks HTTP/3, and who believes it.
struct Setup {
    gateway: Gateway,
    authority: Authority,
}

impl Setup {
    /// In front of a backend, with more sections in its configuration.
    fn new(backend: &HttpBackend, sections: &str) -> Self {
        Self::listening(backend, "", sections)
    }

    /// The same with more settings of the listener.
    fn listening(backend: &HttpBackend, listener: &str, sections: &str) -> Self {
        Self::of(backend, &yaml(listener, sections, "[http1, http3]"))
    }

    fn with_protocols(backend: &HttpBackend, protocols: &str) -> Self {
        Self::of(backend, &yaml("", "", protocols))
    }

    fn of(backend: &HttpBackend, yaml: &str) -> Self {
        Self::over(&backend.url(), yaml)
    }

    fn over(backend: &str, yaml: &str) -> Self {
        let authority = Authority::new();
        let issued = authority.server(&["localhost"]);
        let gateway = crate::gateway(yaml)
            .bind("api", backend)
            .file("cert.pem", &issued.cert)
            .file("key.pem", &issued.key)
            .start();
        Self { gateway, authority }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// The configuration with another route, at this path.
    fn yaml_with(action: &str, path: &str) -> String {
        let route = format!("routes: {{ one: {{ match: {{ path: {path} }}, {action} }} }}\n");
        let yaml = yaml("", "", "[http1, http3]");
        let listeners = yaml.split("routes:").next().unwrap_or_default();
        format!("{listeners}{route}")
    }

    fn client(&self) -> Http3Client {
        Http3Client::trusting(&self.authority)
    }

    fn connect(&self) -> Http3 {
        self.client().connect(self.address())
    }
}

fn yaml(listener: &str, sections: &str, protocols: &str) -> String {
    format!(
        r#"
listeners:
  main:
    address: "127.0.0.1:0"
    protocols: {protocols}
    tls: {{ certificates: [ {{ cert: cert.pem, key: key.pem }} ] }}
    {listener}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["${{api}}"] }} }}
{sections}"#
    )
}

fn post(path: &str, body: impl AsRef<[u8]>) -> Http3Request {
    Http3Request::new("POST", path).body(body)
}
