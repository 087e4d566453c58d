//! Compiles what is written of `oidc`.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};
use gatehouse_core::config::Diagnostic;
use gatehouse_core::policy::Compile;
use gatehouse_http1 as http1;
use indexmap::IndexMap;

use super::config::{CookieSettings, SameSite};
use super::cookies::Cookies;
use super::login::{LONGEST_LOGIN, OURS, is_safe};
use super::logout::Ended;
use super::seal::Sealer;
use super::tokens::Exchanger;
use super::{Counts, LOGINS, Login, Oidc, Provider, REFRESHES, SESSIONS};
use crate::auth::client::Client;
use crate::auth::jose::{Algorithm, KeySet};
use crate::auth::jwt::claims::Rules;
use crate::auth::jwt::issuer::{self, Keys, Trusted};
use crate::auth::jwt::keys::Settings;
use crate::auth::jwt::verify::Checker;
use crate::auth::remember::Cache;
use crate::auth::subjects::Callers;
use crate::auth::{AuthConfig, Authenticator, Common};
use crate::fetch::{self, Fetcher};

/// How many sessions are kept opened, and how many logins are known that ended.
const ROOM: usize = 10_000;

impl AuthConfig for Oidc {
    const NAME: &'static str = "oidc";

    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        self.check(cx)?;
        cx.answers("callback", &self.callback, true);
        for (field, path) in [
            ("login.path", self.login.path.as_ref()),
            ("logout.path", Some(&self.logout.path)),
            ("logout.back_channel", self.logout.back_channel.as_ref()),
        ] {
            if let Some(path) = path {
                cx.answers(field, path, false);
            }
        }
        let mut shape = Context::new(&SHA256);
        shape.update(&serde_json::to_vec(&self).unwrap_or_default());
        let secrets = self.secrets(cx)?;
        for secret in &secrets {
            shape.update(&(secret.len() as u64).to_be_bytes());
            shape.update(secret);
        }
        let client = self.client(cx)?;
        shape.update(client.secret.as_deref().unwrap_or_default().as_bytes());
        let shape = format!("{:?}", shape.finish());

        // A session is good for the same client at the same provider, whichever gateway, route or policy made it.
        let bound_to = [self.issuer.as_str(), &self.client_id, &self.cookie.name];
        let sealer = |purpose| Sealer::new(&secrets, purpose, &bound_to);
        let sealers = sealer("session").and_then(|session| Ok((session, sealer("login")?)));
        let (session_sealer, pending_sealer) =
            sealers.map_err(|(at, why)| cx.error(&format!("session.keys[{at}]"), why))?;
        let provider = self.provider(client, cx)?;
        let keys = provider.as_ref().map_or_else(
            || Keys::Fixed(KeySet::default()),
            |provider| Keys::Remote(provider.remote.clone()),
        );
        if let Some(field) = &self.forward_access_token
            && !field.eq_ignore_ascii_case("authorization")
        {
            cx.reserve(field);
        }
        let checker = Checker {
            issuers: vec![Trusted {
                name: Some(self.issuer.clone()),
                audiences: vec![self.client_id.clone()],
                algorithms: Algorithm::ALL.into_iter().skip(3).collect(), // what is fetched is public
                keys,
            }],
            rules: Rules {
                leeway: self.leeway.get().as_secs(),
                require_expiry: true,
                claims: IndexMap::new(),
            },
            scopes: Vec::new(),
            kinds: Vec::new(),
            subject: "sub".to_owned(),
            scope_claim: None,
        };
        // Routes with the same client share what is known of its sessions: who logs out at one has logged out at all.
        let client_of = self.client_name();
        let after = self.logout.after.clone();
        let callers = Callers::of(cx, <Self as AuthConfig>::NAME, self.require_consumer)?;
        let login = Login {
            cookies: Cookies::of(&self.cookie),
            session_sealer,
            pending_sealer,
            checker,
            callers,
            opened: cx.state(&shape, || Cache::new(ROOM)),
            spent: cx.common_state(&client_of, "", || Cache::new(ROOM)),
            ended: cx.common_state(&client_of, "", Ended::new),
            provider,
            counts: Counts::of(cx),
            issuer: self.issuer,
            client_id: self.client_id,
            scopes: self.scopes,
            parameters: self.parameters.into_iter().collect(),
            callback: self.callback,
            base_url: self.base_url.map(|url| url.trim_end_matches('/').to_owned()),
            start_path: self.login.path,
            time_limit: self.login.timeout.get(),
            logout_path: self.logout.path,
            back_channel: self.logout.back_channel,
            logout_after: after,
            logout_at_provider: self.logout.provider,
            keep_id_token: self.logout.provider,
            unauthenticated: self.unauthenticated,
            userinfo: self.userinfo,
            lifetime: self.session.lifetime.get(),
            idle: Some(self.session.idle.get()).filter(|idle| !idle.is_zero()),
            refresh: self.session.refresh,
            refresh_before: self.session.refresh_before.get(),
            forward_access_token: self.forward_access_token,
            hide_credential: self.hide_credential,
            subject: self.subject,
            allow_http: self.allow_http,
        };
        let common = Common {
            forward: self.forward,
            hide_credential: self.hide_credential,
            anonymous: self.anonymous,
        };
        Ok((Arc::new(login), common))
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
impl Oidc {
    /// What can be said of the settings by themselves.
    fn check(&self, cx: &Compile<'_>) -> Result<(), Diagnostic> {
        let paths = [
            ("callback", Some(&self.callback)),
            ("login.path", self.login.path.as_ref()),
            ("logout.path", Some(&self.logout.path)),
            ("logout.back_channel", self.logout.back_channel.as_ref()),
        ];
        for (at, (field, path)) in paths.iter().enumerate() {
            let Some(path) = path else { continue };
            if !is_safe(path) || path.contains(['?', '#']) {
                return Err(cx.error(
                    field,
                    format!(
                        "`{path}` is no path; expected such as `/oauth2/{}`",
                        field.split('.').next().unwrap_or_default()
                    ),
                ));
            }
            // The provider itself has no cookie.
            if *field != "logout.back_channel" && !is_below(path, &self.cookie.path) {
                let below = &self.cookie.path;
                return Err(cx.error(
                    field,
                    format!("browsers do not send the cookie there: it is for `{below}` (`cookie.path`)"),
                ));
            }
            if paths.iter().take(at).any(|(_, other)| other == &Some(*path)) {
                return Err(cx.error(
                    field,
                    format!("`{path}` is the path of something else here; expected another"),
                ));
            }
        }
        if let Some(url) = &self.base_url {
            let url = fetch::url(url, true).map_err(|why| cx.error("base_url", why))?;
            if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
                return Err(cx.error(
                    "base_url",
                    "expected a scheme and a host, such as `https://shop.example.com`",
                ));
            }
        }
        if let Some(after) = self.logout.after.as_deref().filter(|after| !is_safe(after)) {
            fetch::url(after, true).map_err(|why| cx.error("logout.after", why))?;
        }
        if self.client_id.is_empty() {
            return Err(cx.error("client_id", "the client has no name"));
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err(cx.error(
                "scopes",
                "without `openid` the provider does not say who logged in; add it",
            ));
        }
        if let Some(name) = self.parameters.keys().find(|name| OURS.contains(&name.as_str())) {
            return Err(cx.error(
                &format!("parameters.{name}"),
                format!("`{name}` is set by the gateway; leave it out"),
            ));
        }
        let spans = [
            ("login.timeout", self.login.timeout),
            ("session.lifetime", self.session.lifetime),
            ("timeout", self.timeout),
        ];
        if let Some((field, _)) = spans
            .into_iter()
            .find(|(_, span)| span.get().as_secs() == 0 && span.get().is_zero())
        {
            return Err(cx.error(field, "expected more than no time at all"));
        }
        if self.login.timeout.get() > LONGEST_LOGIN {
            return Err(cx.error(
                "login.timeout",
                "a login takes no longer than a day; expected less, such as `10m`",
            ));
        }
        if self.concurrency == 0 {
            return Err(cx.error("concurrency", "nobody could ever log in; expected at least 1"));
        }
        if self.unauthenticated == super::Unauthenticated::Deny && self.login.path.is_none() {
            return Err(cx.error(
                "unauthenticated",
                "nothing begins a login; set `login.path`, or use `auto`",
            ));
        }
        if let Some(field) = &self.forward_access_token
            && !http1::is_token(field.as_bytes())
        {
            return Err(cx.error(
                "forward_access_token",
                format!("`{field}` cannot be the name of a header field"),
            ));
        }
        check_cookie(&self.cookie, cx)
    }

    fn client_name(&self) -> String {
        format!("client {} of {}", self.client_id, self.issuer)
    }

    fn secrets(&self, cx: &Compile<'_>) -> Result<Vec<Vec<u8>>, Diagnostic> {
        let secrets = self.session.keys.iter().enumerate().map(|(at, secret)| {
            let read = secret.read(cx.reader);
            read.map_err(|why| cx.error(&format!("session.keys[{at}]"), why))
        });
        secrets.collect()
    }

    fn client(&self, cx: &Compile<'_>) -> Result<Client, Diagnostic> {
        let secret = self.client_secret.as_ref().map(|secret| {
            let secret = secret
                .read(cx.reader)
                .map_err(|why| cx.error("client_secret", why))?;
            String::from_utf8(secret).map_err(|_| cx.error("client_secret", "the secret is no text"))
        });
        Ok(Client {
            id: self.client_id.clone(),
            secret: secret.transpose()?,
            proof: self.client_auth,
        })
    }

    fn provider(&self, client: Client, cx: &mut Compile<'_>) -> Result<Option<Provider>, Diagnostic> {
        let url = issuer::discovery(&self.issuer, self.allow_http).map_err(|why| cx.error("issuer", why))?;
        let fetcher = Fetcher::compile(cx, "ca", self.ca.as_deref())?;
        let Some(background) = cx.background else {
            return Ok(None);
        };
        let settings = Settings {
            url: None,
            discovery: Some((self.issuer.clone(), url)),
            allow_http: self.allow_http,
            timeout: self.timeout.get(),
            refresh: std::time::Duration::from_mins(10),
            // Tokens come from the provider itself: that one names an unknown key is worth a look, at any time.
            refetch: std::time::Duration::from_secs(1),
            stale: std::time::Duration::from_hours(24),
        };
        let remote = issuer::share(&settings, &fetcher, background, cx);
        let most = usize::try_from(self.concurrency).unwrap_or(usize::MAX);
        let timeout = self.timeout.get();
        // Shared by all who are the same client: a refresh token is used once, whichever routes its requests are for.
        let secret = digest(&SHA256, client.secret.as_deref().unwrap_or_default().as_bytes());
        let shape = format!(
            "{secret:?} {:?} {timeout:?} {most} {:?}",
            self.client_auth,
            Arc::as_ptr(&fetcher)
        );
        let exchanger = cx.common_state(&self.client_name(), &shape, || {
            Exchanger::start(background, client, timeout, most, fetcher)
        });
        Ok(Some(Provider { remote, exchanger }))
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn check_cookie(cookie: &CookieSettings, cx: &Compile<'_>) -> Result<(), Diagnostic> {
    let is_text = |text: &str| {
        text.bytes()
            .all(|b| matches!(b, b'!'..=b'~') && b != b';' && b != b',')
    };
    if !http1::is_token(cookie.name.as_bytes()) || cookie.name.len() > 64 {
        return Err(cx.error(
            "cookie.name",
            format!("`{}` cannot be the name of a cookie", cookie.name),
        ));
    }
    if cookie.name.starts_with("__") {
        return Err(cx.error(
            "cookie.name",
            "the prefix is put before the name by itself; leave it out",
        ));
    }
    if !cookie.path.starts_with('/') || !is_text(&cookie.path) {
        return Err(cx.error("cookie.path", format!("`{}` is no path", cookie.path)));
    }
    if let Some(domain) = cookie
        .domain
        .as_deref()
        .filter(|domain| domain.is_empty() || !is_text(domain))
    {
        return Err(cx.error(
            "cookie.domain",
            format!("`{domain}` is no domain; expected such as `example.com`"),
        ));
    }
    if cookie.same_site == SameSite::None && !cookie.secure {
        return Err(cx.error(
            "cookie.same_site",
            "browsers take `none` with `secure: true` only",
        ));
    }
    Ok(())
}

/// Whether a cookie for one path is sent to another (RFC 6265 5.1.4).
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || above.ends_with('/') || rest.starts_with('/'))
}

impl Counts {
    fn of(cx: &Compile<'_>) -> Self {
        let login = |result| cx.tally(&LOGINS, &[result]);
        let session = |result| cx.tally(&SESSIONS, &[result]);
        let refresh = |result| cx.tally(&REFRESHES, &[result]);
        Self {
            begun: login("begun"),
            done: login("done"),
            denied: login("denied"),
            state: login("state"),
            code: login("code"),
            id_token: login("id_token"),
            too_large: login("too_large"),
            error: login("error"),
            unavailable: login("unavailable"),
            known: session("known"),
            opened: session("opened"),
            expired: session("expired"),
            ended: session("ended"),
            invalid: session("invalid"),
            refreshed: refresh("ok"),
            not_refreshed: refresh("refused"),
            no_refresh: refresh("unavailable"),
        }
    }
}
