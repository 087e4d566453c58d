//! What expressions are asked about: one request and who sends it.
//!
//! Values are made when an expression asks for them, and borrow where they can.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::types::{STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::context::VariableResolver;
use cel::{Env, ExecutionError};
use gatehouse_core::config::Cidr;
use gatehouse_core::consumer::Consumer;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::identity::Identity;
use gatehouse_core::route::decode;
use gatehouse_http1::{Headers, Known, RequestHead};
use regex::Regex;
use serde_json::Value as Json;

/// Parameters of a query that conditions may look at all together.
const MOST_PARAMS: usize = 128;

/// The names there are, but for those below `claims`. Alone, `request` and the like are no values.
pub const NAMES: [&str; 20] = [
    "request.method",
    "request.host",
    "request.path",
    "request.query",
    "request.scheme",
    "request.headers",
    "request.params",
    "source.ip",
    "source.country",
    "route.name",
    "consumer.name",
    "consumer.tier",
    "consumer.groups",
    "consumer.labels",
    "identity.subject",
    "identity.scopes",
    "identity.method",
    "identity.credential",
    "identity.known",
    "claims",
];

/// What begins the names that the rewriting makes: none that can be written.
pub const HEADER: &str = "@header:";
/// A parameter of the query.
pub const PARAM: &str = "@param:";
/// A claim by its own name.
pub const CLAIM: &str = "@claim:";
/// A regular expression by its number.
pub const PATTERN: &str = "@pattern:";

/// One request and who sends it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Method, target and fields.
    pub head: &'a RequestHead,
    /// The path the route was matched by.
    pub path: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The client's address.
    pub ip: &'a str,
    /// The client's country, if it is known.
    pub country: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// Who calls, if it is known.
    pub identity: Option<&'a Identity>,
    patterns: &'a [Pattern],
}

impl<'a> Facts<'a> {
    /// The facts of an exchange.
    pub fn of(ex: &'a Exchange) -> Self {
        Self {
            head: &ex.request.head,
            path: ex.path(),
            scheme: ex.client.scheme,
            ip: ex.client_text(),
            country: ex.client.country_text(),
            route: ex.route().map_or("", |route| &route.name),
            identity: ex.identity.as_ref(),
            patterns: &[],
        }
    }

    /// Those of no request at all, to try an expression.
    pub fn none(head: &'a RequestHead) -> Self {
        Self {
            head,
            path: "/",
            scheme: "http",
            ip: "192.0.2.1",
            country: "",
            route: "",
            identity: None,
            patterns: &[],
        }
    }

    pub(super) fn with<'b>(&self, patterns: &'b [Pattern]) -> Facts<'b>
    where
        'a: 'b,
    {
        Facts { patterns, ..*self }
    }

    /// A regular expression by its number.
    pub(super) fn pattern(&self, number: usize) -> Option<&'a Pattern> {
        self.patterns.get(number)
    }

    fn request(&'a self, name: &str) -> Option<CowVal<'a, 'a>> {
        Some(match name {
            "headers" => CowVal::owned(all_headers(&self.head.headers)),
            "params" => CowVal::owned(all_params(self.head.query().unwrap_or_default())?),
            _ => return header(&self.head.headers, name.strip_prefix("headers.")?),
        })
    }

    fn known_consumer(&self) -> Option<&'a Consumer> {
        self.identity.and_then(|identity| identity.consumer.as_deref())
    }

    fn consumer(&'a self, name: &str) -> Option<CowVal<'a, 'a>> {
        let consumer = self.known_consumer();
        Some(match name {
            "groups" => texts(consumer.map_or(&[], |consumer| &consumer.groups)),
            "labels" => {
                let labels = consumer.map_or(&[] as &[_], |consumer| &consumer.labels).iter();
                let labels = labels.map(|(name, value)| (CelMapKey::from(&**name), boxed(value)));
                CowVal::owned(CelMap::from(labels.collect::<HashMap<_, _>>()))
            }
            _ => text(consumer?.label(name.strip_prefix("labels.")?)?),
        })
    }

    fn identity(&'a self, name: &str) -> Option<CowVal<'a, 'a>> {
        let proof = self.identity.map(|identity| &*identity.proof);
        Some(match name {
            "known" => CowVal::owned(CelBool::from(self.identity.is_some())),
            "scopes" => texts(proof.map_or(&[], |proof| &proof.scopes)),
            _ => return None,
        })
    }

    fn claims(&'a self) -> CowVal<'a, 'a> {
        let claims = self.identity.map(|identity| &identity.proof.claims);
        let entries = claims.into_iter().flatten();
        let entries = entries.map(|(name, value)| (CelMapKey::from(name.as_str()), value_of(value)));
        CowVal::owned(CelMap::from(entries.collect::<HashMap<_, _>>()))
    }
}

impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(name) = name.strip_prefix(HEADER) {
            return header(&self.head.headers, name);
        }
        if let Some(name) = name.strip_prefix(PARAM) {
            return param(self.head.query().unwrap_or_default(), name);
        }
        if let Some(name) = name.strip_prefix(CLAIM) {
            let value = self.identity?.proof.claims.get(name)?;
            return Some(CowVal::Owned(value_of(value)));
        }
        if let Some(number) = name.strip_prefix(PATTERN) {
            let pattern = self.pattern(number.parse().ok()?)?;
            return Some(CowVal::Borrowed(pattern));
        }
        if name == "claims" {
            return Some(self.claims());
        }
        if let Some(get) = plain(name) {
            return Some(CowVal::owned(CelString::from(get(self))));
        }
        let (of, name) = name.split_once('.')?;
        match of {
            "request" => self.request(name),
            "consumer" => self.consumer(name),
            "identity" => self.identity(name),
            "claims" => Some(CowVal::Owned(value_of(self.identity?.claim(name)?))),
            _ => None,
        }
    }
}

/// Gets a text that every request has, if an empty one.
pub type Plain = for<'a> fn(&Facts<'a>) -> Cow<'a, str>;

/// What gets the text of that name.
pub fn plain(name: &str) -> Option<Plain> {
    Some(match name {
        "request.method" => |facts| facts.head.method.as_str().into(),
        "request.host" => |facts| lower(facts.head.authority()),
        "request.path" => |facts| facts.path.into(),
        "request.query" => |facts| facts.head.query().unwrap_or_default().into(),
        "request.scheme" => |facts| facts.scheme.into(),
        "source.ip" => |facts| facts.ip.into(),
        "source.country" => |facts| facts.country.into(),
        "route.name" => |facts| facts.route.into(),
        "consumer.name" => |facts| {
            facts
                .known_consumer()
                .map_or("", |consumer| &consumer.name)
                .into()
        },
        "consumer.tier" => |facts| {
            let consumer = facts.known_consumer();
            consumer
                .and_then(|one| one.tier.as_deref())
                .unwrap_or_default()
                .into()
        },
        "identity.subject" => |facts| facts.identity.map_or("", |one| &one.proof.subject).into(),
        "identity.method" => |facts| facts.identity.map_or("", |one| one.method).into(),
        "identity.credential" => |facts| {
            let credential = facts.identity.and_then(|one| one.proof.credential.as_deref());
            credential.unwrap_or_default().into()
        },
        _ => return None,
    })
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

fn text(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

fn owned<'a>(text: String) -> CowVal<'a, 'a> {
    CowVal::owned(CelString::from(text))
}

fn boxed(text: &str) -> Box<dyn Val + '_> {
    Box::new(CelString::from(text))
}

fn texts(texts: &[Box<str>]) -> CowVal<'_, '_> {
    CowVal::owned(CelList::from(
        texts.iter().map(|text| boxed(text)).collect::<Vec<_>>(),
    ))
}

/// All values of a field, with commas between (RFC 9110 5.3).
fn header<'a>(headers: &'a Headers, name: &str) -> Option<CowVal<'a, 'a>> {
    let name = name.as_bytes();
    let named = |field: &gatehouse_http1::Field<'a>| field.name.eq_ignore_ascii_case(name);
    let mut values: Vec<Cow<'a, str>> = if let Some(known) = Known::of(name) {
        headers.all(known).map(String::from_utf8_lossy).collect()
    } else {
        let fields = headers.iter().filter(named);
        fields.map(|field| String::from_utf8_lossy(field.value)).collect()
    };
    if values.len() > 1 {
        return Some(owned(values.join(", ")));
    }
    values.pop().map(|value| CowVal::owned(CelString::from(value)))
}

fn all_headers(headers: &Headers) -> CelMap<'_> {
    let mut joined: HashMap<String, Cow<'_, str>> = HashMap::with_capacity(headers.len());
    for field in headers.iter() {
        let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
        let value = String::from_utf8_lossy(field.value);
        joined
            .entry(name)
            .and_modify(|all| {
                let _ = write!(all.to_mut(), ", {value}");
            })
            .or_insert(value);
    }
    let entries = joined.into_iter().map(|(name, value)| {
        let value: Box<dyn Val + '_> = Box::new(CelString::from(value));
        (CelMapKey::from(name), value)
    });
    CelMap::from(entries.collect::<HashMap<_, _>>())
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |part| String::from_utf8_lossy(&decode(part)).into_owned();
        (text(name), text(value))
    })
}

fn param<'a>(query: &str, name: &str) -> Option<CowVal<'a, 'a>> {
    let (_, value) = pairs(query).find(|(known, _)| known == name)?;
    Some(owned(value))
}

/// The first of each name. None if there are too many: what looks at all of them would be work for whoever sends them.
fn all_params<'a>(query: &str) -> Option<CelMap<'a>> {
    if query.split('&').count() > MOST_PARAMS {
        return None;
    }
    let mut all: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
    for (name, value) in pairs(query) {
        all.entry(CelMapKey::from(name))
            .or_insert_with(|| Box::new(CelString::from(value)));
    }
    Some(CelMap::from(all))
}

fn value_of(value: &Json) -> Box<dyn Val + '_> {
    match value {
        Json::Null => Box::new(CelNull),
        Json::Bool(is) => Box::new(CelBool::from(*is)),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => boxed(text),
        Json::Array(items) => Box::new(CelList::from(items.iter().map(value_of).collect::<Vec<_>>())),
        Json::Object(map) => {
            let entries = map
                .iter()
                .map(|(name, value)| (CelMapKey::from(name.as_str()), value_of(value)));
            Box::new(CelMap::from(entries.collect::<HashMap<_, _>>()))
        }
    }
}

static PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

/// A regular expression that was compiled with the expression it stands in.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// The name of the function that takes a compiled pattern.
pub const MATCHES: &str = "@matches";

/// Declares our functions.
pub fn declare(env: &mut Env) {
    // Fails only for names that are declared already, which these are not.
    let pattern = Type::new_unspecified_type("pattern");
    let _ = env.add_overload(MATCHES, "matches_pattern", vec![STRING_TYPE, pattern], |args| {
        let [text, pattern] = args.as_slice() else {
            return Err(ExecutionError::invalid_argument_count(2, args.len()));
        };
        let (Some(text), Some(pattern)) = (
            text.downcast_ref::<CelString<'_>>(),
            pattern.downcast_ref::<Pattern>(),
        ) else {
            return Err(ExecutionError::no_such_overload("matches", Vec::new()));
        };
        Ok(CowVal::owned(CelBool::from(pattern.0.is_match(text.inner()))))
    });
    let _ = env.add_overload(
        "in_cidr",
        "in_cidr_texts",
        vec![STRING_TYPE, STRING_TYPE],
        |args| {
            let [ip, block] = args.as_slice() else {
                return Err(ExecutionError::invalid_argument_count(2, args.len()));
            };
            let (Some(ip), Some(block)) = (
                ip.downcast_ref::<CelString<'_>>(),
                block.downcast_ref::<CelString<'_>>(),
            ) else {
                return Err(ExecutionError::no_such_overload("in_cidr", Vec::new()));
            };
            let block: Cidr = block
                .inner()
                .parse()
                .map_err(|why| ExecutionError::function_error("in_cidr", why))?;
            let ip: IpAddr = ip
                .inner()
                .parse()
                .map_err(|_| ExecutionError::function_error("in_cidr", "not an address"))?;
            Ok(CowVal::owned(CelBool::from(block.contains(ip))))
        },
    );
}
