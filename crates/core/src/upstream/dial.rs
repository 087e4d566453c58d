//! New connections to endpoints: TCP or a Unix socket, TLS around it, and which HTTP is spoken.
//!
//! All of it together may take the upstream's `timeouts.connect`. Whatever fails here has sent nothing of a request.

use std::cell::Cell;
use std::fmt::Write;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::Upstream;
use super::endpoint::Endpoint;
use crate::config::types::{EndpointUrl, Scheme};
use crate::config::{Address, UpstreamProtocol};
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::io::{Phase, Stream, Tls};
use crate::tls::client::{self, ClientTls};

/// How an upstream's endpoints are spoken to.
pub struct Transport {
    protocol: UpstreamProtocol,
    /// There if an endpoint is `https`.
    tls: Option<Arc<ClientTls>>,
    may_multiplex: bool,
}

/// What a new connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// What the upstream's `protocol` allows.
    Any,
    /// HTTP/1.1, whatever else is allowed.
    Http1,
}

/// A new connection, by what is spoken on it.
pub(super) enum Dialled {
    Http1(Stream),
    Http2(Stream),
}

impl Transport {
    /// The transport of an upstream. `tls` must be there if an endpoint is `https`.
    pub fn new(protocol: UpstreamProtocol, tls: Option<Arc<ClientTls>>) -> Self {
        let may_multiplex = match protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Auto => tls.is_some(),
        };
        Self {
            protocol,
            tls,
            may_multiplex,
        }
    }

    /// HTTP/1.1 in the clear.
    pub fn plain() -> Self {
        Self::new(UpstreamProtocol::Http1, None)
    }

    /// True if some endpoint may speak HTTP/2.
    pub(super) fn may_multiplex(&self) -> bool {
        self.may_multiplex
    }

    /// True if its endpoints are spoken nothing but HTTP/2 to.
    pub(crate) fn is_http2_only(&self) -> bool {
        self.protocol == UpstreamProtocol::Http2
    }

    /// True if `only_http1` would be refused: the endpoint is to be spoken HTTP/2 to.
    fn wants_http2(&self, url: &EndpointUrl) -> bool {
        match self.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            // Decided by the handshake.
            UpstreamProtocol::Auto => url.scheme == Scheme::Https,
        }
    }

    /// What of the transport makes an endpoint another one, so that connections made under other settings are not its
    /// own. Empty for HTTP/1.1 in the clear.
    pub(super) fn identity(&self, url: &EndpointUrl) -> Arc<str> {
        let mut identity = String::new();
        if self.wants_http2(url) {
            let _ = write!(identity, "{:?}", self.protocol);
        }
        if let (Scheme::Https, Some(tls)) = (url.scheme, &self.tls) {
            let _ = write!(identity, " {:016x}", tls.fingerprint());
        }
        identity.into()
    }
}

/// Connects to an endpoint within the upstream's time, and counts how it went.
pub(super) async fn dial(
    ex: &Exchange,
    upstream: &Upstream,
    endpoint: &Endpoint,
    offer: Offer,
) -> Result<Dialled, Failure> {
    let stage = Cell::new(Stage::Connect);
    let mut dialling = pin!(establish(&upstream.transport, endpoint, offer, &stage));
    let dialled = poll_fn(|cx| match dialling.as_mut().poll(cx) {
        Poll::Ready(result) => {
            Poll::Ready(result.map_err(|error| stage.get().failure(endpoint).source(error)))
        }
        Poll::Pending => ex
            .clock
            .wait(cx, Phase::Connect, upstream.timeouts.connect)
            .map(|failure| match stage.get() {
                Stage::Connect => Err(failure),
                // The exchange's own time may be what is over.
                Stage::Handshake if failure.code() != Code::ConnectFailed => Err(failure),
                Stage::Handshake => Err(Stage::Handshake.failure(endpoint).source("not done in time")),
            }),
    })
    .await;
    ex.clock.leave();
    match &dialled {
        Ok(_) => endpoint.connected(),
        Err(_) => endpoint.connect_failed(),
    }
    dialled
}

/// How far a connection has come.
#[derive(Clone, Copy)]
enum Stage {
    Connect,
    Handshake,
}

impl Stage {
    fn failure(self, endpoint: &Endpoint) -> Failure {
        let (code, what) = match self {
            Self::Connect => (Code::ConnectFailed, "cannot connect to"),
            Self::Handshake => (Code::TlsFailed, "no TLS with"),
        };
        Failure::new(code).detail(format!("{what} {}", endpoint.label))
    }
}

async fn establish(
    transport: &Transport,
    endpoint: &Endpoint,
    offer: Offer,
    stage: &Cell<Stage>,
) -> io::Result<Dialled> {
    let stream = connect(endpoint).await?;
    match (endpoint.url().scheme, stream) {
        (Scheme::Https, Stream::Tcp(tcp)) => {
            stage.set(Stage::Handshake);
            // The handshake's state is large and short of life; plain connections need no room for it.
            Box::pin(secure(transport, endpoint, tcp, offer)).await
        }
        (_, stream) if offer == Offer::Any && transport.protocol == UpstreamProtocol::Http2 => {
            Ok(Dialled::Http2(stream))
        }
        (_, stream) => Ok(Dialled::Http1(stream)),
    }
}

async fn secure(
    transport: &Transport,
    endpoint: &Endpoint,
    tcp: tokio::net::TcpStream,
    offer: Offer,
) -> io::Result<Dialled> {
    let Some(tls) = &transport.tls else {
        return Err(io::Error::other("the upstream has no TLS"));
    };
    let stream = tls
        .connect(&endpoint.url().host, tcp, offer == Offer::Http1)
        .await?;
    let http2 = client::chose_http2(stream.get_ref().1);
    if transport.protocol == UpstreamProtocol::Http2 && offer == Offer::Any && !http2 {
        return Err(io::Error::other(
            "the endpoint did not agree to HTTP/2 (ALPN `h2`)",
        ));
    }
    let stream = Stream::Tls(Box::new(Tls::new(stream)));
    Ok(if http2 {
        Dialled::Http2(stream)
    } else {
        Dialled::Http1(stream)
    })
}

/// Connects to an endpoint's address, then to its other one if it has one.
async fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
    match (Stream::connect(endpoint.address()).await, endpoint.alternate) {
        (Err(_), Some(other)) => Stream::connect(&Address::Tcp(other)).await,
        (result, _) => result,
    }
}
