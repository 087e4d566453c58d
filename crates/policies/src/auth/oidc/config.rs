//! What is written of `oidc`.

use std::path::PathBuf;

use gatehouse_core::config::{Secret, Span, Template};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::client::ClientProof;
use crate::auth::forwarded;

/// Has people log in with their browsers at an OpenID provider (OpenID Connect, authorization code with PKCE).
///
/// A browser that shows no session is sent to the provider, and back to the page it asked for. What the provider said of
/// the person is then in a cookie, encrypted: nothing is stored here. All gateways with the same `session.keys` and the same
/// client take the session. Tokens are refreshed before they expire, once for all requests that wait for it.
///
/// `callback`, `login.path` and `logout.path` are answered by the policy itself: requests for them must come to a route that
/// has it, and no other `oidc` there may have the same `callback`. The provider must know the callback as a redirect URI: the address of the site with `callback` behind it.
///
/// A browser is who asks by `GET` or `HEAD` for a page: `Accept` has `text/html`, and neither `Sec-Fetch-Mode` nor
/// `X-Requested-With` says that a script asks. Everybody else gets `401` (`Authentication required`). Beside other methods
/// in `authenticate`, scripts and programs can use tokens or keys on the same routes.
///
/// A login that the provider or the person refused gets `403` (`login_refused`), an answer that belongs to no login
/// under way `400` (`login_invalid`), a provider whose answer is not good `502` (`login_failed`), and one that does not
/// answer `503` (`auth_unavailable`). A session that cannot be read, has expired or is of another client is as good as none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The provider's name, to the letter: what tokens have in `iss`. What it offers is discovered at this address with
    /// `/.well-known/openid-configuration` behind it.
    pub issuer: String,
    /// Who we are at the provider.
    pub client_id: String,
    /// Our password there. Absent: we are a public client, and only PKCE protects the exchange of the code.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// How we say who we are.
    #[serde(default)]
    pub client_auth: ClientProof,
    /// What the provider is asked for. `openid` must be among it; many providers want `offline_access` for a refresh token.
    #[serde(default = "Oidc::usual_scopes")]
    pub scopes: Vec<String>,
    /// The path to which the provider sends browsers back.
    #[serde(default = "Oidc::usual_callback")]
    pub callback: String,
    /// Where the site is, as browsers see it, such as `https://shop.example.com`. Absent: by the scheme and the host of the request.
    #[serde(default)]
    pub base_url: Option<String>,
    /// More parameters for the provider's login page, such as `prompt: select_account` or `audience`.
    #[serde(default)]
    pub parameters: IndexMap<String, String>,
    /// Whether the provider's userinfo endpoint is asked as well; what it says counts as claims. For providers whose ID tokens say little.
    #[serde(default)]
    pub userinfo: bool,
    /// How logins go.
    #[serde(default)]
    pub login: LoginSettings,
    /// Sessions.
    pub session: SessionSettings,
    /// The cookie that a session is in.
    #[serde(default)]
    pub cookie: CookieSettings,
    /// How people log out.
    #[serde(default)]
    pub logout: LogoutSettings,
    /// What callers without a session are answered.
    #[serde(default)]
    pub unauthenticated: Unauthenticated,
    /// A field in which the upstream gets the access token: `Authorization` (as `Bearer`), or another (the token alone). What clients send in it does
    /// not get through, and a session ends with its token, if that cannot be refreshed. Absent: the upstream does not get the token, and it is not kept.
    #[serde(default)]
    pub forward_access_token: Option<String>,
    /// The claim that names the caller, by path: `${identity.subject}`, and what `credentials.subjects` of consumers refer to.
    #[serde(default = "Oidc::sub")]
    pub subject: String,
    /// Whether people who are no consumers get `403`.
    #[serde(default)]
    pub require_consumer: bool,
    /// How much the provider's clock may differ from ours.
    #[serde(default = "Oidc::half_a_minute")]
    pub leeway: Span,
    /// The time for each answer of the provider.
    #[serde(default = "Oidc::five_seconds")]
    pub timeout: Span,
    /// How many questions to the provider may be under way; logins past that get `503` at once.
    #[serde(default = "Oidc::sixty_four")]
    pub concurrency: u32,
    /// A file of certificates in PEM: the authorities that the provider's certificate must be from. Absent: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Whether a provider at an address of HTTP, in the clear, is allowed. One of this machine always is.
    #[serde(default)]
    pub allow_http: bool,
    /// Fields of the request that tell the upstream who calls, with templates for their values. What clients send in these fields is taken off, on every route.
    #[serde(default = "forwarded")]
    pub forward: IndexMap<String, Template>,
    /// Whether the cookies of the session are taken off the request before it goes to the upstream.
    #[serde(default = "Oidc::yes")]
    pub hide_credential: bool,
    /// The consumer that callers are who have no session. Absent: they are asked to log in, or get `401`.
    #[serde(default)]
    pub anonymous: Option<String>,
}

/// How logins go.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoginSettings {
    /// A path that begins a login, for links such as `/login?return_to=/orders`: the way to choose among several providers,
    /// and to log in where an anonymous consumer stands in. It leads back to paths of the same site only.
    pub path: Option<String>,
    /// How long a login may take.
    pub timeout: Span,
}

/// Sessions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// Secrets of at least 32 bytes (`openssl rand -base64 32`). The first encrypts, all decrypt: to change the key, put the
    /// new one before the old one, and take the old one out when all sessions of it have ended.
    pub keys: Vec<Secret>,
    /// How long a session lasts, however much it is used.
    #[serde(default = "SessionSettings::half_a_day")]
    pub lifetime: Span,
    /// How long a session lasts that is not used. `0s`: as long as any. It is noted in steps of a tenth of it.
    #[serde(default = "SessionSettings::hour")]
    pub idle: Span,
    /// Whether tokens are refreshed, if the provider gave a refresh token: so the session ends when the provider ends it.
    #[serde(default = "Oidc::yes")]
    pub refresh: bool,
    /// How long before they expire tokens are refreshed; never longer than half of the time they are good for.
    #[serde(default = "SessionSettings::minute")]
    pub refresh_before: Span,
}

/// The cookie that a session is in. It is always `HttpOnly`: scripts have no use for it.
///
/// A session that is too large for one cookie is in up to three, of 3.8 KB each; requests need `client.limits.head` for
/// them. A larger one is refused with `login_failed`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CookieSettings {
    /// Its name. `__Host-` is put before it if it is `secure`, for `/` and without a `domain`, else `__Secure-` if it is `secure`.
    pub name: String,
    /// The domain it is for, with all below it. Absent: the one host, which is safer.
    pub domain: Option<String>,
    /// The paths it is for.
    pub path: String,
    /// Whether it comes with requests from other sites.
    pub same_site: SameSite,
    /// Whether browsers send it over HTTPS only. False: for tests without TLS.
    pub secure: bool,
}

/// Whether a cookie comes with requests from other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// If a link was followed.
    Lax,
    /// Never.
    Strict,
    /// Always; only with `secure`.
    None,
}

/// How people log out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogoutSettings {
    /// The path that ends the session, by `GET` or `POST`.
    pub path: String,
    /// Whether the browser is then sent to the provider, to end the session there too (OpenID Connect RP-Initiated Logout 1.0).
    /// For that the session keeps the ID token.
    pub provider: bool,
    /// A path to which the provider posts that a session has ended (OpenID Connect Back-Channel Logout 1.0). This gateway knows of it
    /// as long as it runs, for 10,000 logouts at most; others have to be told as well. Absent: none.
    pub back_channel: Option<String>,
    /// Where the browser ends up: a path of the site, or a URL; better one that needs no login. The provider must know it as a
    /// post-logout redirect URI. Absent: the provider's own page, or `/` if it has none.
    pub after: Option<String>,
}

/// What callers without a session are answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unauthenticated {
    /// Browsers that ask for a page are sent to the login, others get `401`.
    #[default]
    Auto,
    /// All who ask by `GET` or `HEAD` are sent to the login.
    Redirect,
    /// All get `401`: they have to go to `login.path`.
    Deny,
}

impl Default for LoginSettings {
    fn default() -> Self {
        Self {
            path: None,
            timeout: Span::from_secs(600),
        }
    }
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self {
            name: "gatehouse_session".to_owned(),
            domain: None,
            path: "/".to_owned(),
            same_site: SameSite::Lax,
            secure: true,
        }
    }
}

impl Default for LogoutSettings {
    fn default() -> Self {
        Self {
            path: "/oauth2/logout".to_owned(),
            provider: true,
            back_channel: None,
            after: None,
        }
    }
}

impl SessionSettings {
    fn half_a_day() -> Span {
        Span::from_secs(12 * 3600)
    }

    fn hour() -> Span {
        Span::from_secs(3600)
    }

    fn minute() -> Span {
        Span::from_secs(60)
    }
}

impl Oidc {
    fn usual_scopes() -> Vec<String> {
        ["openid", "profile", "email"].map(str::to_owned).to_vec()
    }

    fn usual_callback() -> String {
        "/oauth2/callback".to_owned()
    }

    fn sub() -> String {
        "sub".to_owned()
    }

    fn half_a_minute() -> Span {
        Span::from_secs(30)
    }

    fn five_seconds() -> Span {
        Span::from_secs(5)
    }

    fn sixty_four() -> u32 {
        64
    }

    fn yes() -> bool {
        true
    }
}
