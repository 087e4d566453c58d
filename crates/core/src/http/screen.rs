//! What a request must satisfy before it is routed, and what its route allows.

use gatehouse_http1::{Known, Method, Version};

use super::hop;
use super::normalize::{self, Form, Shape};
use super::upgrade;
use crate::body::Body;
use crate::config::Underscores;
use crate::exchange::Exchange;
use crate::failure::{Code, Failure};
use crate::plan::Route;
use crate::route::Miss;

/// Refuses what no route may have, and puts the path into its normal form. The shape says whether that
/// form still depends on the route.
pub(crate) fn request(ex: &mut Exchange) -> Result<Shape, Failure> {
    let head = &mut ex.request.head;
    if head.method == Method::Connect {
        // A tunnel has no path: to routes it is `/`. Whether there may be one is for the route to say.
        head.set_path("/");
        if head.version == Version::Http10 {
            return Err(upgrade::no_connect());
        }
        ex.upgrade = Some(upgrade::connect());
    }
    if head.headers.has_underscore_lookalike() {
        match ex.plan.client.underscores {
            Underscores::Allow => {}
            Underscores::Drop => head.headers.retain(|_, name, _| !imitates_known(name)),
            Underscores::Refuse => {
                if let Some(field) = head.headers.iter().find(|field| imitates_known(field.name)) {
                    let name = String::from_utf8_lossy(field.name).into_owned();
                    let text =
                        format!("the field name `{name}` looks like another; see `client.underscores`");
                    return Err(Failure::new(Code::BadRequest).safe_detail(text).close(true));
                }
            }
        }
    }
    if head.headers.contains(Known::Expect) {
        let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        if head.version != Version::Http10 && !head.headers.list(Known::Expect).all(is_known) {
            return Err(Failure::new(Code::ExpectationFailed));
        }
        if head.version == Version::Http10 || matches!(ex.request.body, Body::Empty) {
            head.headers.remove(Known::Expect);
        }
    }
    ex.accepts_trailers = head
        .headers
        .list(Known::Te)
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    if head.headers.contains(Known::Upgrade) && ex.upgrade.is_none() {
        ex.upgrade = upgrade::asked(head);
    }
    hop::clean_request(&mut head.headers, false);
    // The usual path is in normal form already. One with doubled or escaped slashes is normalised by
    // the table, in the form of the route it matches.
    let shape = normalize::shape(head.path());
    if shape != Shape::Plain {
        return Ok(shape);
    }
    let mut path = String::with_capacity(head.path().len());
    normalize::write(head.path(), Form::ALL[0], &mut path).map_err(refused)?;
    head.set_path(&path);
    Ok(Shape::Normal)
}

/// Refuses a body that is longer than the route allows, before anything is sent anywhere.
pub(crate) fn limits(ex: &mut Exchange, route: &Route) -> Result<(), Failure> {
    let limit = route.max_body.unwrap_or(ex.plan.client.limits.body);
    let setting = if route.max_body.is_some() {
        "routes.*.max_body"
    } else {
        "client.limits.body"
    };
    let (limit, setting) = match ex.body_limit {
        Some((tighter, by)) if tighter < limit => (tighter, by),
        _ => (limit, setting),
    };
    bound_body(ex, limit, setting)
}

/// Refuses a body that is longer than this, now if its length is known, else when it turns out.
pub(crate) fn bound_body(ex: &mut Exchange, limit: u64, setting: &'static str) -> Result<(), Failure> {
    ex.request.body.set_limit(limit, setting);
    match ex.request.body.exact_len() {
        Some(measured) if measured > limit => {
            Err(Failure::new(Code::BodyTooLarge).limit(setting, limit, Some(measured)))
        }
        _ => Ok(()),
    }
}

/// True for a name that some upstreams would take for a known one, because to them `_` is `-`.
fn imitates_known(name: &[u8]) -> bool {
    Known::lookalike(name).is_some()
}

/// The failure for a request that no route answers.
pub(crate) fn missed(miss: &Miss<'_>) -> Failure {
    match miss {
        Miss::NotFound => Failure::new(Code::RouteNotFound),
        Miss::MethodNotAllowed { allow } => {
            Failure::new(Code::MethodNotAllowed).header("allow", allow.join(", "))
        }
        Miss::VersionUnknown { given, known } => {
            let text = match given {
                Some(given) => format!("there is no version `{given}`; there are {}", known.join(", ")),
                None => format!("say which version you want; there are {}", known.join(", ")),
            };
            Failure::new(Code::VersionUnknown).safe_detail(text)
        }
        Miss::NotAcceptable { known } => Failure::new(Code::NotAcceptable)
            .safe_detail(format!("there are the versions {}", known.join(", "))),
        Miss::Refused(refusal) => refused(*refusal),
    }
}

pub(crate) fn refused(refusal: normalize::Refusal) -> Failure {
    let failure = Failure::new(Code::BadRequest).safe_detail(refusal.to_string());
    match refusal.setting() {
        Some(setting) => failure.setting(setting),
        None => failure,
    }
}
