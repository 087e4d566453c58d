//! Finds out which country and network a client is in, and may refuse some.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use maxminddb::{PathElement, Reader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds out which country a client is in, by a database of addresses, and may refuse some; the same for networks by their
/// number (ASN).
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
    /// The file of the database of countries. Absent: countries are not looked at.
    #[serde(default)]
    pub database: Option<PathBuf>,
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
    /// Networks by their number. Absent: they are not looked at.
    #[serde(default)]
    pub networks: Option<Networks>,
}

/// Which networks may call. Both this and the country have to be good.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GeoNetworks")]
pub struct Networks {
    /// The file of a database of autonomous systems: GeoLite2-ASN, and what others make like it. Watched as well.
    pub database: PathBuf,
    /// Numbers of networks that may call, such as 64500. None: all that are not in `deny`.
    #[serde(default)]
    pub allow: Vec<u32>,
    /// Numbers of networks that may not call.
    #[serde(default)]
    pub deny: Vec<u32>,
    /// Whether a client may call whose network is not known. If this is not said: only without `allow`.
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
        let countries = match &self.database {
            Some(file) => Some(database(file, "database", cx)?),
            None if self.networks.is_none() || !allow.is_empty() || !deny.is_empty() => {
                let message = "there is no database of countries; write `database`, or `networks` alone";
                return Err(cx.error("database", message));
            }
            None => None,
        };
        let networks = match self.networks {
            Some(networks) => Some((
                database(&networks.database, "networks.database", cx)?,
                Lists {
                    allow_unknown: networks.allow_unknown.unwrap_or(networks.allow.is_empty()),
                    allow: networks.allow.into(),
                    deny: networks.deny.into(),
                },
            )),
            None => None,
        };
        Ok(Arc::new(Located {
            countries: countries.map(|countries| {
                let allow_unknown = self.allow_unknown.unwrap_or(allow.is_empty());
                (
                    countries,
                    Lists {
                        allow,
                        deny,
                        allow_unknown,
                    },
                )
            }),
            networks,
        }))
    }
}

type Database = Arc<Reader<Vec<u8>>>;

/// A database, in memory once for all that use it.
#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn database(path: &Path, field: &str, cx: &mut Compile<'_>) -> Result<Database, Diagnostic> {
    let file = path.display();
    let cannot = |cx: &Compile<'_>, why: String| cx.error(field, format!("cannot use `{file}`: {why}"));
    let bytes = cx.read(path).map_err(|why| cannot(cx, why))?;
    let mut digest = DefaultHasher::new();
    bytes.hash(&mut digest);
    // One that cannot be read must not become a state.
    let reader = Reader::from_source(bytes).map_err(|why| cannot(cx, why.to_string()))?;
    let shape = format!("{:x}", digest.finish());
    Ok(cx.common_state(&format!("geo {file}"), &shape, || reader))
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

/// Which may call.
struct Lists<T> {
    allow: Box<[T]>,
    deny: Box<[T]>,
    allow_unknown: bool,
}

impl<T: PartialEq> Lists<T> {
    fn allow(&self, found: Option<&T>) -> bool {
        match found {
            None => self.allow_unknown,
            Some(found) => {
                !self.deny.contains(found) && (self.allow.is_empty() || self.allow.contains(found))
            }
        }
    }
}

struct Located {
    countries: Option<(Database, Lists<Country>)>,
    networks: Option<(Database, Lists<u32>)>,
}

fn country(database: &Database, ip: IpAddr) -> Option<Country> {
    const COUNTRY: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];
    let found = database.lookup(ip.to_canonical()).ok()?;
    code(found.decode_path::<&str>(&COUNTRY).ok()??)
}

fn network(database: &Database, ip: IpAddr) -> Option<u32> {
    const NUMBER: [PathElement<'static>; 1] = [PathElement::Key("autonomous_system_number")];
    let found = database.lookup(ip.to_canonical()).ok()?;
    found.decode_path::<u32>(&NUMBER).ok()?
}

impl Located {
    fn decide(&self, ex: &mut Exchange) -> Outcome {
        if let Some((database, lists)) = &self.countries {
            let country = country(database, ex.client.ip);
            ex.client.country = country;
            if !lists.allow(country.as_ref()) {
                let detail = format!("geo: the country is `{}`", ex.client.country_text());
                return Err(Failure::new(Code::Forbidden).detail(detail));
            }
        }
        if let Some((database, lists)) = &self.networks {
            let number = network(database, ex.client.ip);
            if !lists.allow(number.as_ref()) {
                let number = number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
                let detail = format!("geo: the network is `{number}`");
                return Err(Failure::new(Code::Forbidden).detail(detail));
            }
        }
        Ok(Verdict::Continue)
    }
}

impl Policy for Located {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex).into()
    }
}
