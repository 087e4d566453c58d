//! TLS of listeners, as far as it can be judged without the files.

use super::Check;
use crate::config::types::{Address, Span};
use crate::config::{ClientAuthMode, Listener, ListenerTls};

const DAY: u64 = 24 * 3600;

impl Check<'_> {
    pub(super) fn tls(&mut self, path: &str, listener: &Listener) {
        if listener.protocols.is_empty() && !self.broken.has(path) {
            self.halves(
                format!("{path}.protocols"),
                "`protocols` is empty; expected such as `[http1]`",
            );
        }
        for (index, protocol) in listener.protocols.iter().enumerate() {
            if listener
                .protocols
                .iter()
                .take(index)
                .any(|before| before == protocol)
            {
                self.error(
                    format!("{path}.protocols[{index}]"),
                    "this protocol is there twice",
                );
            }
        }
        if listener.tls.is_some() && listener.redirect_to_https.is_some_and(|to| to.port().is_some()) {
            self.halves(
                format!("{path}.redirect_to_https"),
                "`redirect_to_https` is on a listener that has `tls`; keep one",
            );
        }
        let Some(tls) = &listener.tls else { return };
        if matches!(listener.address, Address::Unix(_)) {
            self.halves(
                format!("{path}.tls"),
                "`tls` is on a Unix socket; expected an IP address and a port",
            );
        }
        let path = format!("{path}.tls");
        if tls.certificates.is_empty() && !self.broken.has(path.trim_end_matches(".tls")) {
            let message =
                "there are no `certificates`; expected such as `[ { cert: tls/api.pem, key: tls/api.key } ]`";
            self.halves(format!("{path}.certificates"), message);
        }
        let rotate = tls.session_tickets.rotate;
        let (least, most) = (Span::from_secs(60), Span::from_secs(7 * DAY));
        self.in_range(&format!("{path}.session_tickets"), "rotate", rotate, least, most);
        self.client_auth(&format!("{path}.client_auth"), tls);
        if let Some(hsts) = &tls.hsts
            && hsts.preload
            && (!hsts.include_subdomains || hsts.max_age < Span::from_secs(365 * DAY))
        {
            self.halves(
                format!("{path}.hsts.preload"),
                "`preload` needs `include_subdomains` and a `max_age` of a year; set them, or leave it out",
            );
        }
    }

    fn client_auth(&mut self, path: &str, tls: &ListenerTls) {
        let auth = &tls.client_auth;
        if auth.mode == ClientAuthMode::None {
            let idle = [
                ("ca", auth.ca.is_some()),
                ("crl", auth.crl.is_some()),
                ("forward", !auth.forward.is_empty()),
            ];
            for (field, _) in idle.iter().filter(|(_, is_set)| *is_set) {
                self.halves(
                    format!("{path}.{field}"),
                    format!(
                        "`{field}` without `mode` does nothing; set `mode: required` or `mode: optional`"
                    ),
                );
            }
        } else if auth.ca.is_none() {
            self.halves(
                format!("{path}.mode"),
                "clients are asked for certificates, but there is no `ca` to believe; name the file of your authorities",
            );
        }
    }
}
