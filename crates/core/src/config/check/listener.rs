//! Listeners, and the sections there is one of.

use super::Check;
use crate::config::types::{Address, Size};
use std::collections::HashMap;

impl<'a> Check<'a> {
    pub(super) fn listeners(&mut self) {
        let config = self.config;
        if config.listeners.is_empty() && self.broken.names("listeners").next().is_none() {
            self.halves(
                "listeners",
                "there are no listeners; expected such as `listeners: { main: { address: 0.0.0.0:8080 } }`",
            );
        }
        let mut taken: HashMap<&'a Address, String> = HashMap::new();
        let listeners = config
            .listeners
            .iter()
            .map(|(name, listener)| (format!("listeners.{name}"), &listener.address));
        let admin = config
            .admin
            .address
            .iter()
            .map(|address| ("admin".to_owned(), address));
        for (path, address) in listeners.chain(admin) {
            if matches!(address, Address::Tcp(address) if address.port() == 0) {
                continue;
            }
            if let Some(first) = taken.get(address) {
                let message = format!("`{address}` is the address of `{first}` already; give each its own");
                self.halves(format!("{path}.address"), message);
            } else {
                taken.insert(address, path);
            }
        }
        for (name, listener) in &config.listeners {
            let path = format!("listeners.{name}");
            self.tls(&path, listener);
            self.http3(&path, listener);
            if listener.unix_mode.is_some() && matches!(listener.address, Address::Tcp(_)) {
                self.error(
                    format!("{path}.unix_mode"),
                    "`unix_mode` is for Unix sockets, but the address is not one",
                );
            }
            if listener
                .proxy_protocol
                .as_ref()
                .is_some_and(|proxy| proxy.from.is_empty())
                && !self.broken.has(&path)
            {
                let message = "`from` is empty; expected the addresses of your load balancers";
                self.halves(format!("{path}.proxy_protocol.from"), message);
            }
        }
    }

    pub(super) fn sections(&mut self) {
        self.client();
        self.versions();
        let config = self.config;
        if let Some(via) = &config.forwarded.via {
            self.token("forwarded.via".to_owned(), "proxy", via);
        }
        let log = &config.access_log;
        if log.file.is_some() && log.syslog.is_some() {
            self.error("access_log", "both `file` and `syslog` are set; keep one");
        }
        self.in_range("access_log", "buffer", log.buffer, Size::kib(64), Size::mib(1024));
        let process = &config.process;
        self.longer_than_nothing("process.drain", [("timeout", process.drain.timeout)]);
        self.longer_than_nothing("process.upgrade", [("timeout", process.upgrade.timeout)]);
        let dns = &config.dns;
        self.longer_than_nothing("dns", [("timeout", dns.timeout), ("max_ttl", dns.max_ttl)]);
        if dns.min_ttl > dns.max_ttl {
            let message = format!(
                "`min_ttl` is `{}`; expected at most `max_ttl`, which is `{}`",
                dns.min_ttl, dns.max_ttl
            );
            self.halves("dns.min_ttl", message);
        }
    }

    fn client(&mut self) {
        let (timeouts, limits) = (&self.config.client.timeouts, &self.config.client.limits);
        let spans = [
            ("handshake", timeouts.handshake),
            ("head", timeouts.head),
            ("body_idle", timeouts.body_idle),
            ("keep_alive", timeouts.keep_alive),
            ("write_idle", timeouts.write_idle),
            ("total", timeouts.total),
        ];
        self.longer_than_nothing("client.timeouts", spans);
        self.client_http3();
        self.in_range("client.limits", "head", limits.head, Size::kib(1), Size::mib(1));
        self.in_range(
            "client.limits",
            "target",
            limits.target,
            Size::bytes(64),
            Size::mib(1),
        );
        let http2 = &self.config.client.http2;
        let at = "client.http2";
        self.in_range(
            at,
            "stream_window",
            http2.stream_window,
            Size::kib(16),
            Size::mib(16),
        );
        self.in_range(
            at,
            "connection_window",
            http2.connection_window,
            Size::kib(64),
            Size::mib(256),
        );
    }

    fn versions(&mut self) {
        let Some(versions) = &self.config.versions else {
            return;
        };
        if versions.header.is_none() && versions.media_type.is_none() && !self.broken.has("versions") {
            self.halves(
                "versions",
                "`versions` says not where a version is; give `header` or `media_type`",
            );
        }
        if let Some(header) = &versions.header {
            self.token("versions.header".to_owned(), "header", header);
        }
        if let Some(media_type) = &versions.media_type
            && (media_type.matches("{version}").count() != 1 || !media_type.contains('/'))
        {
            let message = format!(
                "`{media_type}` is not a media type with one `{{version}}`; expected such as `application/vnd.company.{{version}}+json`"
            );
            self.halves("versions.media_type", message);
        }
    }
}
