//! HTTP/3 of listeners, and what its clients may do.

use super::Check;
use crate::config::types::{Size, Span};
use crate::config::{AltSvc, Listener, Protocol};

impl Check<'_> {
    pub(super) fn http3(&mut self, path: &str, listener: &Listener) {
        if !listener.speaks(Protocol::Http3) {
            if listener.alt_svc != AltSvc::default() {
                let message = "`alt_svc` tells of HTTP/3, which is not spoken; add `http3` to `protocols`, or leave it out";
                self.halves(format!("{path}.alt_svc"), message);
            }
            return;
        }
        let path = format!("{path}.protocols");
        if !cfg!(feature = "http3") {
            self.halves(
                path,
                "`http3` is not in this build; build it with the feature `http3`",
            );
            return;
        }
        if listener.tls.is_none() {
            self.halves(&path, "`http3` needs TLS; add `tls` to the listener");
        }
        if listener.protocols.len() == 1 {
            let message = "`http3` stands alone; add `http1` or `http2`, where clients learn of it";
            self.halves(path, message);
        }
    }

    pub(super) fn client_http3(&mut self) {
        let http3 = &self.config.client.http3;
        let at = "client.http3";
        self.in_range(
            at,
            "stream_window",
            http3.stream_window,
            Size::kib(16),
            Size::mib(16),
        );
        let (least, most) = (Size::kib(64), Size::mib(256));
        self.in_range(at, "connection_window", http3.connection_window, least, most);
        let (least, most) = (Span::from_secs(1), Span::from_secs(600));
        self.in_range(at, "idle_timeout", http3.idle_timeout, least, most);
    }
}
