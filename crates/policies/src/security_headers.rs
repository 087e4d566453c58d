//! Tells browsers to be careful with answers, and takes off what tells attackers too much.

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Hsts};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage, Step};
use gatehouse_http1::{self as http1, FieldName, FieldNames, Headers as Fields};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells browsers to be careful with answers, and takes off what tells attackers too much.
///
/// Without any settings every answer says `X-Content-Type-Options: nosniff`, `X-Frame-Options: DENY` and
/// `Referrer-Policy: no-referrer`, and has no `Server` and no `X-Powered-By`. What the upstream says itself by one of the
/// fields stays, unless `replace` says otherwise.
///
/// Answers of policies that stand before it are not touched: put it first, in `policies` for every request.
///
/// `Strict-Transport-Security` is sent only to clients that use HTTPS, with the gateway or with a trusted proxy before it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityHeaders {
    /// Has browsers use HTTPS only (`Strict-Transport-Security`).
    pub hsts: Option<Hsts>,
    /// Where pages may load what from (`Content-Security-Policy`).
    pub content_security_policy: Option<String>,
    /// The same, but breaches are only reported (`Content-Security-Policy-Report-Only`).
    pub content_security_policy_report_only: Option<String>,
    /// Has browsers believe the content type that is given (`X-Content-Type-Options: nosniff`).
    pub nosniff: bool,
    /// Whether the answer may be shown in a frame (`X-Frame-Options`). `Content-Security-Policy` can say it in more detail.
    pub frames: Frames,
    /// How much of the address other sites see in `Referer` (`Referrer-Policy`). Empty: not said.
    pub referrer_policy: String,
    /// Which abilities of the browser pages may use (`Permissions-Policy`).
    pub permissions_policy: Option<String>,
    /// Which other windows share the page's process (`Cross-Origin-Opener-Policy`).
    pub opener_policy: Option<String>,
    /// Who may load the answer as part of a page (`Cross-Origin-Resource-Policy`).
    pub resource_policy: Option<String>,
    /// Fields that are removed from answers.
    pub remove: Vec<String>,
    /// Whether what the upstream says by these fields is replaced.
    pub replace: bool,
}

/// Who may show an answer in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Frames {
    /// Nobody.
    #[default]
    Deny,
    /// Pages of the same origin.
    SameOrigin,
    /// Nothing is said.
    Allow,
}

impl Default for SecurityHeaders {
    fn default() -> Self {
        Self {
            hsts: None,
            content_security_policy: None,
            content_security_policy_report_only: None,
            nosniff: true,
            frames: Frames::Deny,
            referrer_policy: "no-referrer".to_owned(),
            permissions_policy: None,
            opener_policy: None,
            resource_policy: None,
            remove: vec!["Server".to_owned(), "X-Powered-By".to_owned()],
            replace: false,
        }
    }
}

impl PolicyConfig for SecurityHeaders {
    const NAME: &'static str = "security_headers";
    const STAGE: Stage = Stage::Transform;
    const EXAMPLE: &'static str = "hsts: { max_age: 365d }\ncontent_security_policy: \"default-src 'none'\"\npermissions_policy: camera=()\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        for (i, name) in self.remove.iter().enumerate() {
            if !http1::is_token(name.as_bytes()) {
                let message = format!("`{name}` cannot be the name of a header field");
                return Err(cx.error(&format!("remove[{i}]"), message));
            }
            if ["content-length", "transfer-encoding", "connection"].contains(&&*name.to_ascii_lowercase()) {
                let message = format!("`{name}` is the gateway's own and cannot be changed here");
                return Err(cx.error(&format!("remove[{i}]"), message));
            }
        }
        let frames = match self.frames {
            Frames::Deny => Some("DENY"),
            Frames::SameOrigin => Some("SAMEORIGIN"),
            Frames::Allow => None,
        };
        let fields = [
            ("content-security-policy", self.content_security_policy.as_deref()),
            (
                "content-security-policy-report-only",
                self.content_security_policy_report_only.as_deref(),
            ),
            ("x-content-type-options", self.nosniff.then_some("nosniff")),
            ("x-frame-options", frames),
            ("referrer-policy", Some(&*self.referrer_policy)),
            ("permissions-policy", self.permissions_policy.as_deref()),
            ("cross-origin-opener-policy", self.opener_policy.as_deref()),
            ("cross-origin-resource-policy", self.resource_policy.as_deref()),
        ];
        let mut plain = Fields::new();
        for (name, value) in fields {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                plain.append_name(name.as_bytes(), value.as_bytes());
            }
        }
        let mut secure = plain.clone();
        if let Some(hsts) = &self.hsts {
            secure.append_name(b"strict-transport-security", hsts.to_string().as_bytes());
        }
        let names = self.remove.iter();
        Ok(Arc::new(Careful {
            plain,
            secure,
            remove: names.filter_map(|name| FieldName::new(name.as_bytes())).collect(),
            replace: self.replace,
        }))
    }
}

/// What answers say is written once.
struct Careful {
    plain: Fields,
    /// To clients that use HTTPS.
    secure: Fields,
    remove: FieldNames,
    replace: bool,
}

impl Careful {
    fn apply(&self, is_https: bool, fields: &mut Fields) {
        fields.remove_fields(&self.remove);
        let said = if is_https { &self.secure } else { &self.plain };
        if self.replace {
            fields.set_all(said);
        } else {
            fields.append_missing(said);
        }
    }
}

impl Policy for Careful {
    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        self.apply(ex.client.scheme == "https", response.headers_mut());
        Step::CONTINUE
    }
}
