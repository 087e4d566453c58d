//! What a listener itself demands of requests and responses: HTTPS, the right host, HSTS, the client's certificate.
//!
//! A plan without such demands has no [`Edges`], and requests pay one look at that.

use std::collections::HashMap;
use std::sync::Arc;

use gatehouse_http1::{Headers, Version};
use indexmap::IndexMap;

use crate::config::{AltSvc, ForwardCertificate, Listener};
use crate::exchange::{Exchange, Response};
use crate::failure::{Code, Failure};
use crate::tls::server::ServerTls;

/// The demands of all listeners that have any, by name.
pub(crate) struct Edges(HashMap<Box<str>, Edge>);

/// The demands of one listener.
#[derive(Default)]
struct Edge {
    /// Where HTTPS is.
    redirect: Option<u16>,
    /// Set if the host must be one of the connection's certificate.
    strict: Option<Arc<ServerTls>>,
    hsts: Option<Box<str>>,
    /// Where HTTP/3 is.
    alt_svc: Option<AltSvc>,
    forward: Box<[ForwardCertificate]>,
}

impl Edges {
    /// None if no listener demands anything.
    pub(crate) fn new(
        listeners: &IndexMap<String, Listener>,
        tls: &HashMap<Box<str>, Arc<ServerTls>>,
    ) -> Option<Box<Self>> {
        let mut edges = HashMap::new();
        for (name, listener) in listeners {
            let mut edge = Edge {
                redirect: listener
                    .redirect_to_https
                    .and_then(crate::config::RedirectToHttps::port),
                ..Edge::default()
            };
            if let Some(settings) = &listener.tls {
                edge.strict = tls.get(&**name).filter(|_| settings.strict_sni).cloned();
                edge.hsts = settings.hsts.as_ref().map(|hsts| hsts.to_string().into());
                edge.forward = settings.client_auth.forward.clone().into();
            }
            edge.alt_svc = listener.advertises_http3().then(|| listener.alt_svc.clone());
            if !edge.is_nothing() {
                edges.insert(name.as_str().into(), edge);
            }
        }
        (!edges.is_empty()).then(|| Box::new(Self(edges)))
    }

    fn of(&self, ex: &Exchange) -> Option<&Edge> {
        self.0.get(&ex.connection.listener.name)
    }

    /// What the listener answers in place of everything else.
    pub(crate) fn screen(&self, ex: &Exchange) -> Result<Option<Response>, Failure> {
        let Some(edge) = self.of(ex) else { return Ok(None) };
        if let Some(port) = edge.redirect
            && ex.client.scheme == "http"
        {
            return redirect(ex, port).map(Some);
        }
        if let Some(tls) = &edge.strict {
            let sni = ex.connection.tls.as_ref().and_then(|tls| tls.sni.as_deref());
            if !tls.covers(sni, host(ex.request.head.authority())) {
                return Err(Failure::new(Code::Misdirected)
                    .safe_detail("this connection's certificate is not for this host"));
            }
        }
        Ok(None)
    }

    /// Adds what every response carries. RFC 6797 7.2: only what came over TLS.
    pub(crate) fn finish(&self, ex: &Exchange, headers: &mut Headers) {
        if ex.connection.tls.is_none() {
            return;
        }
        let Some(edge) = self.of(ex) else { return };
        if let Some(hsts) = edge.hsts.as_deref() {
            headers.set_name(b"strict-transport-security", hsts.as_bytes());
        }
        if let Some(settings) = &edge.alt_svc {
            alt_svc(ex, settings, headers);
        }
    }

    /// True if upstreams are told of this client's certificate.
    pub(crate) fn forwards_certificate(&self, ex: &Exchange) -> bool {
        ex.connection.tls.as_ref().is_some_and(|tls| tls.client.is_some())
            && self.of(ex).is_some_and(|edge| !edge.forward.is_empty())
    }

    /// Tells the upstream of the client's certificate, in a request that says nothing of it yet.
    pub(crate) fn forward_certificate(&self, ex: &mut Exchange) {
        let connection = ex.connection.clone();
        let (Some(edge), Some(tls)) = (self.of(ex), &connection.tls) else {
            return;
        };
        let Some(client) = &tls.client else { return };
        let headers = &mut ex.request.head.headers;
        for field in &edge.forward {
            let (name, value): (&[u8], _) = match field {
                ForwardCertificate::ClientCert => (b"client-cert", client.client_cert()),
                ForwardCertificate::ClientCertChain => (b"client-cert-chain", client.client_cert_chain()),
                ForwardCertificate::Xfcc => (b"x-forwarded-client-cert", client.xfcc()),
            };
            if !value.is_empty() {
                headers.set_name(name, value.as_bytes());
            }
        }
    }
}

impl Edge {
    fn is_nothing(&self) -> bool {
        self.redirect.is_none()
            && self.strict.is_none()
            && self.hsts.is_none()
            && self.forward.is_empty()
            && self.alt_svc.is_none()
    }
}

/// Says where HTTP/3 is (RFC 7838 3), to those who do not use it, and while it may be used.
fn alt_svc(ex: &Exchange, settings: &AltSvc, headers: &mut Headers) {
    if ex.request.head.version == Version::Http3 {
        return;
    }
    let connection = &ex.connection;
    if ex.worker.is_draining() || connection.listener.is_draining() {
        headers.set_name(b"alt-svc", b"clear");
        return;
    }
    let max_age = settings.max_age.get().as_secs();
    let value = match settings.port {
        Some(port) => format!("h3=\":{port}\"; ma={max_age}"),
        None => format!("h3=\":{}\"; ma={max_age}", connection.lines.port()),
    };
    headers.set_name(b"alt-svc", value.as_bytes());
}

/// To the same place over HTTPS. Method and body go with it.
fn redirect(ex: &Exchange, port: u16) -> Result<Response, Failure> {
    let head = &ex.request.head;
    let host = host(head.authority());
    if host.is_empty() {
        return Err(
            Failure::new(Code::BadRequest).safe_detail("without a host there is no place to redirect to")
        );
    }
    let mut location = match port {
        443 => format!("https://{host}{}", head.path()),
        port => format!("https://{host}:{port}{}", head.path()),
    };
    if let Some(query) = head.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = Response::new(308);
    response.headers_mut().set_name(b"location", location.as_bytes());
    Ok(response)
}

/// An authority without its port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}
