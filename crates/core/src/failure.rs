//! Failure: what went wrong with an exchange, for the client, the log and the retry loop.
//!
//! A failure is one word wide, so that results stay small on the path where nothing fails. It keeps two
//! kinds of text apart: what the client may read (title, safe detail, limits) and what only the log may
//! hold (detail and the chain of sources: addresses, versions, words of an upstream). `http/respond.rs`
//! is the one place that turns a failure into a response.

mod codes;

use std::{borrow::Cow, error::Error, fmt, fmt::Write};

pub use codes::Code;
use serde_json::Value;

use crate::telemetry::json;

/// An error of any type that can travel between threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Whose fault a failure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Fault {
    /// The caller has to change something.
    Client,
    /// The service behind the gateway has to.
    Upstream,
    /// The gateway, its configuration or its operator has to.
    Gateway,
}

impl Fault {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Upstream => "upstream",
            Fault::Gateway => "gateway",
        }
    }
}

/// When the same request may be sent again, to the same endpoint or another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Retry {
    /// Not at all: another attempt would end the same, or could do harm.
    Never,
    /// If the request is idempotent, or provably no byte of it was acted upon.
    IfUnsent,
    /// Always: no byte of the request has left the gateway.
    Safe,
}

/// The bound a request ran into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The configuration key that sets it, such as `client.limits.head`.
    pub setting: &'static str,
    /// Its value, in the unit of the setting (bytes or a count).
    pub limit: u64,
    /// What was found, if it was measured to the end or declared by the client.
    pub measured: Option<u64>,
}

/// Why an exchange failed.
pub struct Failure(Box<Inner>);

struct Inner {
    code: Code,
    retry: Retry,
    close: bool,
    detail: Cow<'static, str>,
    safe_detail: Option<Cow<'static, str>>,
    limit: Option<Limit>,
    setting: Option<&'static str>,
    problem_type: Option<&'static str>,
    members: Vec<(&'static str, Value)>,
    headers: Vec<(&'static str, String)>,
    source: Option<BoxError>,
}

/// Building one.
impl Failure {
    /// A failure with the defaults of its code.
    #[must_use]
    #[cold]
    pub fn new(code: Code) -> Self {
        Failure(Box::new(Inner {
            code,
            retry: code.retry(),
            close: code.closes(),
            detail: Cow::Borrowed(""),
            safe_detail: None,
            limit: None,
            setting: None,
            problem_type: None,
            members: Vec::new(),
            headers: Vec::new(),
            source: None,
        }))
    }

    /// Adds what happened, for the log only.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Adds what happened, for the client and the log. No addresses, versions or words of an upstream.
    #[must_use]
    pub fn safe_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.safe_detail = Some(detail.into());
        self
    }

    /// Adds the error behind it, for the log only.
    #[must_use]
    pub fn source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the bound that was hit; the client learns the setting's name, its value and what was found.
    #[must_use]
    pub fn limit(mut self, setting: &'static str, limit: u64, measured: Option<u64>) -> Self {
        self.0.limit = Some(Limit {
            setting,
            limit,
            measured,
        });
        self
    }

    /// Names the setting that decided, where it is no bound; the client learns it.
    #[must_use]
    pub fn setting(mut self, setting: &'static str) -> Self {
        self.0.setting = Some(setting);
        self
    }

    /// Gives the problem a type that others defined, in place of our own (RFC 9457 section 4.2).
    #[must_use]
    pub fn problem_type(mut self, uri: &'static str) -> Self {
        self.0.problem_type = Some(uri);
        self
    }

    /// Adds a member to the problem, for the client. `name` is none of the usual ones.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.members.push((name, value.into()));
        self
    }

    /// Adds a header field to the answer, such as `allow` or `retry-after`.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    /// Says whether the client connection closes after the answer.
    #[must_use]
    pub fn close(mut self, close: bool) -> Self {
        self.0.close = close;
        self
    }

    /// Says when another attempt may be made, where the place knows better than the code.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }
}

/// Reading one.
impl Failure {
    /// What went wrong.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        self.0.code.status()
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.0.code.fault()
    }

    /// When another attempt may be made.
    pub fn retryable(&self) -> Retry {
        self.0.retry
    }

    /// Whether the client connection closes after the answer.
    pub fn closes(&self) -> bool {
        self.0.close
    }

    /// Header fields the answer carries.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.0.headers
    }

    /// The bound that was hit, if it was one.
    pub fn exceeded(&self) -> Option<&Limit> {
        self.0.limit.as_ref()
    }

    /// What the client may be told beyond the title.
    pub fn client_detail(&self) -> Option<Cow<'_, str>> {
        if let Some(detail) = &self.0.safe_detail {
            return Some(Cow::Borrowed(detail));
        }
        self.0.limit.as_ref().map(|limit| Cow::Owned(limit.to_string()))
    }

    /// What only the log may hold: the detail and the chain of sources. Empty if there is neither.
    pub fn log_detail(&self) -> Cow<'_, str> {
        let (detail, source) = (&self.0.detail, self.cause());
        let Some(mut source) = source else {
            return Cow::Borrowed(detail);
        };
        let mut text = detail.to_string();
        loop {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&source.to_string());
            match source.source() {
                Some(next) => source = next,
                None => return Cow::Owned(text),
            }
        }
    }

    /// The error behind it.
    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }

    /// The body of the answer, `application/problem+json` (RFC 9457 section 3.1).
    pub fn problem(&self, request_id: &str) -> Vec<u8> {
        let code = self.code();
        let mut out = Vec::with_capacity(192);
        out.extend_from_slice(b"{\"type\":\"");
        if let Some(uri) = self.0.problem_type {
            out.extend_from_slice(uri.as_bytes());
        } else {
            out.extend_from_slice(b"urn:gatehouse:failure:");
            out.extend_from_slice(code.name().as_bytes());
        }
        out.extend_from_slice(b"\",\"title\":");
        json::string(&mut out, code.title().as_bytes());
        out.extend_from_slice(b",\"status\":");
        json::integer(&mut out, u64::from(code.status()));
        if let Some(detail) = self.client_detail() {
            out.extend_from_slice(b",\"detail\":");
            json::string(&mut out, detail.as_bytes());
        }
        out.extend_from_slice(b",\"code\":");
        json::string(&mut out, code.name().as_bytes());
        out.extend_from_slice(b",\"request_id\":");
        json::string(&mut out, request_id.as_bytes());
        if let Some(limit) = &self.0.limit {
            out.extend_from_slice(b",\"setting\":");
            json::string(&mut out, limit.setting.as_bytes());
            out.extend_from_slice(b",\"limit\":");
            json::integer(&mut out, limit.limit);
            if let Some(measured) = limit.measured {
                out.extend_from_slice(b",\"measured\":");
                json::integer(&mut out, measured);
            }
        }
        if let (Some(setting), None) = (self.0.setting, &self.0.limit) {
            out.extend_from_slice(b",\"setting\":");
            json::string(&mut out, setting.as_bytes());
        }
        for (name, value) in &self.0.members {
            out.push(b',');
            json::string(&mut out, name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value.to_string().as_bytes());
        }
        out.push(b'}');
        out
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().name())?;
        for text in [self.client_detail().unwrap_or_default(), self.log_detail()] {
            if !text.is_empty() {
                write!(f, ": {text}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.code())
            .field("retry", &self.retryable())
            .field("close", &self.closes())
            .field("client_detail", &self.client_detail())
            .field("log_detail", &self.log_detail())
            .finish()
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit `{}` is {}", self.setting, self.limit)?;
        match self.measured {
            Some(measured) => write!(f, ", the request has {measured}"),
            None => Ok(()),
        }
    }
}

/// The text of `docs/reference/failures.md`.
pub fn failures_markdown() -> String {
    let mut out = String::from(
        "# Failures\n\n\
         When the gateway itself answers with an error, the body is `application/problem+json` (RFC 9457):\n\n\
         ```json\n",
    );
    let example = Failure::new(Code::UriTooLong).limit("client.limits.target", 8192, Some(9000));
    out.push_str(&String::from_utf8_lossy(&example.problem("01j9zq3v5n8k")));
    out.push_str(
        "\n```\n\n\
         `code` is one of the names below and never changes its meaning. The same name is in the access log \
         (`code`) and in the metric `gatehouse_failures_total`. `setting` names \
         the setting that decided, and `limit` and `measured` are there when it is a bound that was hit. The reason in full is in the gateway's log under the same \
         `request_id`, never in the answer.\n\n\
         | code | status | fault | title |\n|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let (name, status, fault) = (code.name(), code.status(), code.fault().name());
        let _ = writeln!(
            out,
            "| [`{name}`](#{name}) | {status} | {fault} | {} |",
            code.title()
        );
    }
    for code in Code::ALL {
        let closes = if code.closes() {
            " The connection is closed after the answer."
        } else {
            ""
        };
        let retry = match code.retry() {
            Retry::Never => "",
            Retry::IfUnsent => " The gateway may try again if the request is idempotent or was not sent.",
            Retry::Safe => " The gateway may try another endpoint.",
        };
        let _ = write!(
            out,
            "\n## {}\n\nStatus {}, fault: {}.{closes}{retry}\n\n{}\n\n**What to do.** {}\n",
            code.name(),
            code.status(),
            code.fault().name(),
            code.meaning(),
            code.remedy(),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(failure: &Failure) -> Value {
        serde_json::from_slice(&failure.problem("id-\"1\"")).expect("valid JSON")
    }

    #[test]
    fn is_one_word_wide() {
        assert_eq!(size_of::<Failure>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Failure>>(), size_of::<usize>());
    }

    #[test]
    fn the_client_never_sees_what_is_for_the_log() {
        let source = std::io::Error::other("connect 10.0.0.3:8080: refused");
        let failure = Failure::new(Code::ConnectFailed)
            .detail("endpoint 10.0.0.3")
            .source(source);
        let body = String::from_utf8(failure.problem("r1")).unwrap();
        assert!(!body.contains("10.0.0.3"), "{body}");
        assert_eq!(
            failure.log_detail(),
            "endpoint 10.0.0.3: connect 10.0.0.3:8080: refused"
        );
        assert_eq!(
            body,
            r#"{"type":"urn:gatehouse:failure:connect_failed","title":"could not connect to the upstream","status":502,"code":"connect_failed","request_id":"r1"}"#
        );
    }

    #[test]
    fn limits_name_setting_limit_and_measure() {
        let failure = Failure::new(Code::HeaderTooLarge).limit("client.limits.head", 16384, Some(20000));
        let body = parsed(&failure);
        assert_eq!(body["setting"], "client.limits.head");
        assert_eq!(
            (&body["limit"], &body["measured"]),
            (&16384.into(), &20000.into())
        );
        assert_eq!(
            body["detail"],
            "the limit `client.limits.head` is 16384, the request has 20000"
        );
        assert!(
            parsed(&Failure::new(Code::BodyTooLarge).limit("x", 1, None))
                .get("measured")
                .is_none()
        );
    }

    #[test]
    fn a_problem_may_have_a_type_and_members_of_others() {
        let failure = Failure::new(Code::RateLimited)
            .problem_type("https://example.org/quota")
            .member("violated-policies", vec!["a", "b\"c"]);
        let body = parsed(&failure);
        assert_eq!(body["type"], "https://example.org/quota");
        assert_eq!(body["violated-policies"], serde_json::json!(["a", "b\"c"]));
        assert_eq!(body["code"], "rate_limited");
    }

    #[test]
    fn what_is_said_is_escaped() {
        let failure =
            Failure::new(Code::BadRequest).safe_detail("line\r\nbreak, \"quote\", \u{1} and \u{e9}");
        let body = parsed(&failure);
        assert_eq!(body["detail"], "line\r\nbreak, \"quote\", \u{1} and \u{e9}");
        assert_eq!(body["request_id"], "id-\"1\"");
    }

    #[test]
    fn a_place_may_know_better_than_the_code() {
        let failure = Failure::new(Code::MethodNotAllowed).header("allow", "GET, HEAD");
        assert_eq!(failure.headers(), [("allow", "GET, HEAD".to_owned())]);
        assert!(!failure.closes() && failure.retryable() == Retry::Never);
        let failure = failure.close(true).retry(Retry::Safe);
        assert!(failure.closes() && failure.retryable() == Retry::Safe);
    }

    #[test]
    fn the_reference_has_every_code() {
        let text = failures_markdown();
        for code in Code::ALL {
            assert!(
                text.contains(&format!("\n## {}\n", code.name())),
                "{}",
                code.name()
            );
        }
    }
}
