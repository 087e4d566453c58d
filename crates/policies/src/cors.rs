//! Answers browsers that ask whether a page may call an API (the CORS protocol of the Fetch standard, 3.2).

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Span};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_http1::{self as http1, FieldName, FieldNames, Headers, Known};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::origin::Origins;

/// Lets pages of other origins call the API, as browsers ask for it (CORS).
///
/// A preflight (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) is answered with 204 and never reaches the
/// upstream. It finds the route of the request that it announces, even if that route matches no `OPTIONS`; a
/// route that names `OPTIONS` in its match keeps it. Browsers send preflights without credentials: one is therefore
/// answered before any authentication of the same list, though it is clearer to put `cors` first. Authentication in
/// `policies` (for every request) comes before all policies of a route: put `cors` there too.
///
/// All other answers, failures included, tell the browser whether the page may read them, as long as they come from
/// further down the list: what stands before `cors` and refuses a request is not readable for pages. In `policies`,
/// requests that match no route are covered too. Fields of CORS that an upstream sends are replaced.
///
/// An origin that is not listed gets ordinary answers without these fields, which browsers keep from the page. This
/// stops pages, not programs: it is no access control.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins of pages that may call: `https://app.example.com`, all below a name (`https://*.example.com`), any port
    /// (`http://localhost:*`), `null`, or `*` for every page there is.
    pub origins: Vec<String>,
    /// Methods that pages may use.
    #[serde(default = "Cors::usual_methods")]
    pub methods: Vec<String>,
    /// Names of request fields that pages may send besides the harmless ones. `*`: whatever they ask for.
    #[serde(default = "Cors::any")]
    pub headers: Vec<String>,
    /// Names of response fields that pages may read besides the harmless ones.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether browsers send cookies and passwords along. Not together with `*` in `origins`.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight. Browsers have bounds of their own, such as 2 hours.
    #[serde(default = "Cors::ten_minutes")]
    pub max_age: Span,
    /// Whether pages of the public internet may call, if the gateway stands in a private network.
    #[serde(default)]
    pub private_network: bool,
}

impl Cors {
    fn usual_methods() -> Vec<String> {
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
            .map(str::to_owned)
            .into()
    }

    fn any() -> Vec<String> {
        vec!["*".to_owned()]
    }

    fn ten_minutes() -> Span {
        Span::from_secs(600)
    }
}

impl PolicyConfig for Cors {
    const NAME: &'static str = "cors";
    const STAGE: Stage = Stage::Admit;
    const EXAMPLE: &'static str =
        "origins: [\"https://app.example.com\", \"https://*.example.org\"]\ncredentials: true\nmax_age: 1h\n";
    const ANSWERS_PREFLIGHT: bool = true;

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        if self.origins.is_empty() {
            return Err(cx.error("origins", "no origin may call; name some, or `*` for all"));
        }
        let origins =
            Origins::parse(&self.origins).map_err(|(i, why)| cx.error(&format!("origins[{i}]"), why))?;
        if self.credentials && origins.is_any() {
            let message =
                "with `credentials`, `*` would give every page what the user may see; name the origins";
            return Err(cx.error("credentials", message));
        }
        let lists = [
            ("methods", &self.methods),
            ("headers", &self.headers),
            ("expose_headers", &self.expose_headers),
        ];
        for (field, names) in lists {
            for (i, name) in names.iter().enumerate() {
                let field = format!("{field}[{i}]");
                if !http1::is_token(name.as_bytes()) {
                    return Err(cx.error(&field, format!("`{name}` cannot be a name here")));
                }
                if name == "*" && self.credentials && !field.starts_with("headers") {
                    let message = "with `credentials`, browsers take `*` for a name; list the names";
                    return Err(cx.error(&field, message));
                }
            }
        }
        let join = |names: &[String]| names.join(", ").into_bytes().into_boxed_slice();
        let pages = origins.patterns().chain(origins.is_any().then_some(Some("*")));
        let pages = pages.map(|origin| Page::new(&self, origin, &origins)).collect();
        Ok(Arc::new(Sharing {
            pages,
            others: vary(&origins),
            fields: FIELDS.into_iter().filter_map(FieldName::new).collect(),
            origins,
            methods: join(&self.methods),
            headers: (!self.headers.iter().any(|name| name == "*")).then(|| join(&self.headers)),
            credentials: self.credentials,
            max_age: self.max_age.get().as_secs().to_string().into_bytes().into(),
            private_network: self.private_network,
        }))
    }
}

struct Sharing {
    origins: Origins,
    /// What pages are told that may read an answer, by the patterns of `origins`; those of `*` last.
    pages: Box<[Page]>,
    /// What an answer says that no page may read.
    others: Headers,
    /// The names of `FIELDS`.
    fields: FieldNames,
    methods: Box<[u8]>,
    /// None: whatever is asked for.
    headers: Option<Box<[u8]>>,
    credentials: bool,
    max_age: Box<[u8]>,
    private_network: bool,
}

/// What pages are told that may read an answer.
struct Page {
    made: Headers,
    /// True if the origin itself is still to be said: it is another one each time.
    wants_origin: bool,
}

impl Page {
    fn new(cors: &Cors, origin: Option<&str>, origins: &Origins) -> Self {
        let mut made = vary(origins);
        if let Some(origin) = origin {
            made.append_name(ALLOW_ORIGIN, origin.as_bytes());
        }
        if cors.credentials {
            made.append_name(ALLOW_CREDENTIALS, b"true");
        }
        if !cors.expose_headers.is_empty() {
            let exposed = cors.expose_headers.join(", ");
            made.append_name(b"access-control-expose-headers", exposed.as_bytes());
        }
        Self {
            made,
            wants_origin: origin.is_none(),
        }
    }
}

/// RFC 9110 12.5.5: also the answer to those who sent no origin, or a cache would give it to all.
fn vary(origins: &Origins) -> Headers {
    let mut made = Headers::new();
    if !origins.is_any() {
        made.append(Known::Vary, b"origin");
    }
    made
}

/// The place in `pages` of what the page is told, if it may read the answer, and its origin where that is needed; kept,
/// since later policies may change the request.
struct Allowed(usize, Option<Box<[u8]>>);

const ALLOW_ORIGIN: &[u8] = b"access-control-allow-origin";
const ALLOW_CREDENTIALS: &[u8] = b"access-control-allow-credentials";

/// What only the gateway says once it has been told to.
const FIELDS: [&[u8]; 7] = [
    ALLOW_ORIGIN,
    ALLOW_CREDENTIALS,
    b"access-control-allow-methods",
    b"access-control-allow-headers",
    b"access-control-allow-private-network",
    b"access-control-expose-headers",
    b"access-control-max-age",
];

impl Sharing {
    fn preflight(&self, ex: &Exchange) -> Response {
        let asked = &ex.request.head.headers;
        let mut response = Response::new(204);
        let headers = response.headers_mut();
        if self.origins.is_any() {
            headers.append(Known::Vary, b"access-control-request-headers");
        } else {
            headers.append(Known::Vary, b"origin, access-control-request-headers");
        }
        let origin = asked.get(Known::Origin).unwrap_or_default();
        if !self.origins.have(origin) {
            return response;
        }
        self.allow(headers, origin);
        headers.append_name(b"access-control-allow-methods", &self.methods);
        match &self.headers {
            Some(names) if names.is_empty() => {}
            Some(names) => {
                headers.append_name(b"access-control-allow-headers", names);
            }
            None => {
                for names in asked.find_all(b"access-control-request-headers") {
                    headers.append_name(b"access-control-allow-headers", names);
                }
            }
        }
        if self.private_network && asked.find(b"access-control-request-private-network") == Some(b"true") {
            headers.append_name(b"access-control-allow-private-network", b"true");
        }
        headers.append_name(b"access-control-max-age", &self.max_age);
        response
    }

    fn allow(&self, headers: &mut Headers, origin: &[u8]) {
        let origin = if self.origins.is_any() { b"*" } else { origin };
        headers.append_name(ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.append_name(ALLOW_CREDENTIALS, b"true");
        }
    }

    /// Whether the page may read the answer.
    fn allowed(&self, origin: &[u8]) -> Option<Allowed> {
        let text = str::from_utf8(origin).ok()?;
        let place = if self.origins.is_any() {
            self.pages.len().checked_sub(1)
        } else {
            self.origins.place(text)
        };
        let page = self.pages.get(place?)?;
        Some(Allowed(place?, page.wants_origin.then(|| origin.into())))
    }

    fn share(&self, headers: &mut Headers, allowed: Option<&Allowed>) {
        headers.remove_fields(&self.fields);
        let told = allowed.and_then(|Allowed(place, origin)| Some((self.pages.get(*place)?, origin)));
        let Some((page, origin)) = told else {
            return headers.append_all(&self.others);
        };
        headers.append_all(&page.made);
        if let Some(origin) = origin {
            headers.append_name(ALLOW_ORIGIN, origin);
        }
    }
}

impl Policy for Sharing {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        if ex.is_preflight() {
            return Ok(Verdict::Respond(Box::new(self.preflight(ex)))).into();
        }
        let origin = ex.request.head.headers.get(Known::Origin);
        if let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) {
            ex.keep(allowed);
        }
        Step::CONTINUE
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        if !ex.is_preflight() {
            self.share(response.headers_mut(), ex.keeps());
        }
        Step::CONTINUE
    }
}
