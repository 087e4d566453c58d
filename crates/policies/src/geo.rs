//! Finds out which country a client is in, and may refuse some.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use maxminddb::{PathElement, Reader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds out which country a client is in, by a database of addresses, and may refuse some.
///
/// The country stands in the access log (`country`), in templates (`${client.country}`) and in conditions of `access`
/// (`source.country`) from here on. It is the code of ISO 3166-1 with two letters, such as `DE`. Whoever is refused gets `403`
/// (`forbidden`).
///
/// The database is a file in the format of `MaxMind` with countries: GeoLite2-Country, GeoLite2-City, and what others make like
/// them. It is watched, and read again when it changes. It is kept in memory once, however many policies use it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Geo {
    /// The file of the database.
    pub database: PathBuf,
    /// Countries that may call. None: all that are not in `deny`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Countries that may not call.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Whether a client may call whose country is not known, such as one of a private network. If this is not said: only
    /// without `allow`.
    #[serde(default)]
    pub allow_unknown: Option<bool>,
}

impl PolicyConfig for Geo {
    const NAME: &'static str = "geo";
    const STAGE: Stage = Stage::Admit;
    const EXAMPLE: &'static str = "database: geo/countries.mmdb\ndeny: [XX]\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let allow = codes(&self.allow, "allow", cx)?;
        let deny = codes(&self.deny, "deny", cx)?;
        let file = self.database.display();
        let cannot =
            |cx: &Compile<'_>, why: String| cx.error("database", format!("cannot use `{file}`: {why}"));
        let bytes = cx.read(&self.database).map_err(|why| cannot(cx, why))?;
        let mut digest = DefaultHasher::new();
        bytes.hash(&mut digest);
        // One that cannot be read must not become a state.
        let reader = Reader::from_source(bytes).map_err(|why| cannot(cx, why.to_string()))?;
        let shape = format!("{:x}", digest.finish());
        let identity = format!("geo {file}");
        Ok(Arc::new(Located {
            database: cx.common_state(&identity, &shape, || reader),
            allow_unknown: self.allow_unknown.unwrap_or(allow.is_empty()),
            allow,
            deny,
        }))
    }
}

type Country = [u8; 2];

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn codes(written: &[String], field: &str, cx: &Compile<'_>) -> Result<Box<[Country]>, Diagnostic> {
    let codes = written.iter().enumerate().map(|(i, text)| {
        code(text).ok_or_else(|| {
            let message = format!("`{text}` is no country; expected two letters such as `DE`");
            cx.error(&format!("{field}[{i}]"), message)
        })
    });
    codes.collect()
}

fn code(text: &str) -> Option<Country> {
    let code: Country = text.as_bytes().try_into().ok()?;
    let is_code = code.iter().all(u8::is_ascii_alphabetic);
    is_code.then(|| code.map(|letter| letter.to_ascii_uppercase()))
}

struct Located {
    database: Arc<Reader<Vec<u8>>>,
    allow: Box<[Country]>,
    deny: Box<[Country]>,
    allow_unknown: bool,
}

impl Located {
    fn country(&self, ip: IpAddr) -> Option<Country> {
        const COUNTRY: [PathElement<'static>; 2] =
            [PathElement::Key("country"), PathElement::Key("iso_code")];
        let found = self.database.lookup(ip.to_canonical()).ok()?;
        code(found.decode_path::<&str>(&COUNTRY).ok()??)
    }

    fn decide(&self, ex: &mut Exchange) -> Outcome {
        let country = self.country(ex.client.ip);
        ex.client.country = country;
        let is_allowed = match country {
            None => self.allow_unknown,
            Some(country) => {
                !self.deny.contains(&country) && (self.allow.is_empty() || self.allow.contains(&country))
            }
        };
        if is_allowed {
            return Ok(Verdict::Continue);
        }
        let detail = format!("geo: the country is `{}`", ex.client.country_text());
        Err(Failure::new(Code::Forbidden).detail(detail))
    }
}

impl Policy for Located {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }
}
