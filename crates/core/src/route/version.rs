//! Which version of an API a request asks for: by a header, by the media type it accepts, or by default.
//!
//! A header, when it is there, decides alone. Otherwise each media range of `Accept` that fits the template names a
//! version, any other range stands for the default, and they are tried by quality, then in the order sent
//! (RFC 9110 12.5.1). Versions are compared without regard to ASCII case, as media types are.

use crate::config;
use gatehouse_http1::{Headers, Known};

/// Where requests say which version they want.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    header: Option<String>,
    /// What stands before and after the version.
    media_type: Option<(String, String)>,
    default: Option<String>,
    vary: Option<String>,
}

/// The most versions of one `Accept` that are tried.
const MAX_CHOICES: usize = 8;

/// What one request asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    choices: [(u16, &'a str); MAX_CHOICES],
    len: usize,
    pub(super) source: Source,
}

/// What a request's version was taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Source {
    /// The request names none; there may be a default.
    #[default]
    Default,
    Header,
    /// The request accepts nothing but versions it names.
    Accept,
}

impl Versions {
    /// Reads the settings; the media type holds `{version}` once, such as `application/vnd.company.{version}+json`.
    ///
    /// # Errors
    /// What is wrong with the media type.
    pub fn new(written: &config::Versions) -> Result<Self, String> {
        let header = written.header.clone();
        let media_type = match &written.media_type {
            None => None,
            Some(text) => {
                let parts = text.split_once("{version}").filter(|(before, after)| {
                    before.contains('/') && !after.contains("{version}") && !text.contains([';', ',', ' '])
                });
                let (before, after) = parts.ok_or_else(|| {
                    format!("`{text}` is no media type with one `{{version}}`; expected such as `application/vnd.company.{{version}}+json`")
                })?;
                Some((before.to_owned(), after.to_owned()))
            }
        };
        let vary = match (media_type.is_some(), &header) {
            (true, Some(name)) => Some(format!("accept, {}", name.to_ascii_lowercase())),
            (true, None) => Some("accept".to_owned()),
            (false, Some(name)) => Some(name.to_ascii_lowercase()),
            (false, None) => None,
        };
        Ok(Self {
            header,
            media_type,
            default: written.default.clone(),
            vary,
        })
    }

    /// What `Vary` must say on the answers of requests that were routed by version.
    pub fn vary(&self) -> Option<&str> {
        self.vary.as_deref()
    }

    /// What the request asks for.
    pub(super) fn wanted<'a>(&'a self, headers: &'a Headers) -> Wanted<'a> {
        let mut wanted = Wanted::default();
        let header = self
            .header
            .as_deref()
            .and_then(|name| text(headers.find(name.as_bytes())?));
        if let Some(version) = header.filter(|version| !version.is_empty()) {
            wanted.source = Source::Header;
            wanted.add(version, 1000);
            return wanted;
        }
        if let Some(template) = &self.media_type
            && headers.contains(Known::Accept)
        {
            wanted.source = Source::Accept;
            for range in headers
                .all(Known::Accept)
                .flat_map(|value| value.split(|&byte| byte == b','))
            {
                self.add_range(template, range, &mut wanted);
            }
            if wanted.len > 0 {
                return wanted;
            }
            // An empty `Accept` accepts everything; one that refuses everything is left to the upstream.
            wanted.source = Source::Default;
        }
        if let Some(default) = &self.default {
            wanted.add(default, 1000);
        }
        wanted
    }

    fn add_range<'a>(&'a self, template: &(String, String), range: &'a [u8], wanted: &mut Wanted<'a>) {
        let Some(range) = text(range) else { return };
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = quality.map_or(Some(1000), thousandths).unwrap_or(0);
        if quality == 0 || media_type.is_empty() {
            return;
        }
        if let Some(version) = between(media_type, &template.0, &template.1) {
            wanted.add(version, quality);
        } else {
            // The client takes something without a version, so nothing it gets is unacceptable.
            wanted.source = Source::Default;
            if let Some(default) = &self.default {
                wanted.add(default, quality);
            }
        }
    }
}

impl<'a> Wanted<'a> {
    /// The versions asked for, the most wanted first.
    pub(super) fn choice(&self, at: usize) -> Option<&'a str> {
        self.choices
            .get(at)
            .filter(|_| at < self.len)
            .map(|(_, version)| *version)
    }

    /// Keeps the choices by quality, equal ones in the order sent. More than there is room for are ignored.
    fn add(&mut self, version: &'a str, quality: u16) {
        let held = self.choices.get(..self.len).unwrap_or_default();
        if self.len == MAX_CHOICES || held.iter().any(|(q, held)| *q >= quality && *held == version) {
            return;
        }
        let at = held.iter().take_while(|(held, _)| *held >= quality).count();
        self.len += 1;
        if let Some(tail) = self.choices.get_mut(at..self.len) {
            tail.rotate_right(1);
            tail[0] = (quality, version);
        }
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(str::trim)
}

/// A quality in thousandths: 0 to 1 with at most three digits (RFC 9110 12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = part
        .bytes()
        .chain(*b"000")
        .take(3)
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

/// What stands between a beginning and an end, neither regarding case; none if it is empty.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.get(..before.len())?;
    let rest = text.get(before.len()..)?;
    let split = rest.len().checked_sub(after.len())?;
    let (version, end) = (rest.get(..split)?, rest.get(split..)?);
    let fits = start.eq_ignore_ascii_case(before) && end.eq_ignore_ascii_case(after) && !version.is_empty();
    fits.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(
        header: Option<&str>,
        media_type: Option<&str>,
        default: Option<&str>,
    ) -> Result<Versions, String> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let written = config::Versions {
            header: owned(header),
            media_type: owned(media_type),
            default: owned(default),
        };
        Versions::new(&written)
    }

    fn wanted(versions: &Versions, fields: &[(&str, &str)]) -> (Vec<String>, Source) {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append_name(name.as_bytes(), value.as_bytes());
        }
        let wanted = versions.wanted(&headers);
        let choices = (0..)
            .map_while(|at| wanted.choice(at))
            .map(str::to_owned)
            .collect();
        (choices, wanted.source)
    }

    #[test]
    fn the_header_then_accept_then_the_default() {
        let media = Some("application/vnd.company.{version}+json");
        let versions = versions(Some("X-API-Version"), media, Some("v1")).unwrap();
        let accept = |value| wanted(&versions, &[("Accept", value)]);
        let is = |list: &[&str], source| (list.iter().map(|&v| v.to_owned()).collect::<Vec<_>>(), source);
        assert_eq!(wanted(&versions, &[]), is(&["v1"], Source::Default));
        assert_eq!(
            wanted(&versions, &[("x-api-version", "v2")]),
            is(&["v2"], Source::Header)
        );
        assert_eq!(
            wanted(&versions, &[("x-api-version", "")]),
            is(&["v1"], Source::Default)
        );
        let both = [
            ("x-api-version", "v2"),
            ("accept", "application/vnd.company.v3+json"),
        ];
        assert_eq!(wanted(&versions, &both), is(&["v2"], Source::Header));
        assert_eq!(
            accept("application/vnd.company.v2+json"),
            is(&["v2"], Source::Accept)
        );
        assert_eq!(
            accept("Application/VND.Company.v2+JSON"),
            is(&["v2"], Source::Accept)
        );
        assert_eq!(accept("application/json"), is(&["v1"], Source::Default));
        assert_eq!(accept(""), is(&["v1"], Source::Default));
        assert_eq!(
            accept("application/vnd.company.+json"),
            is(&["v1"], Source::Default)
        );
        let many =
            "application/vnd.company.v3+json;q=0.5, application/vnd.company.v2+json ; Q=0.9, */*;q=0.1";
        assert_eq!(accept(many), is(&["v2", "v3", "v1"], Source::Default));
        let ties = "application/vnd.company.v4+json, application/vnd.company.v3+json;q=1.000";
        assert_eq!(accept(ties), is(&["v4", "v3"], Source::Accept));
        let none = "application/vnd.company.v3+json;q=0, application/vnd.company.v2+json;q=2";
        assert_eq!(accept(none), is(&["v1"], Source::Default));
    }

    #[test]
    fn accept_is_bounded_and_counts_each_version_once() {
        let versions = versions(None, Some("a/{version}"), None).unwrap();
        let all: Vec<_> = (0..50).map(|n| format!("a/v{}", n % 10)).collect();
        let (choices, source) = wanted(&versions, &[("accept", &all.join(","))]);
        assert_eq!((choices.len(), source), (MAX_CHOICES, Source::Accept));
        assert_eq!(choices[0], "v0");
    }

    #[test]
    fn vary_names_what_was_looked_at() {
        let vary = |header, media| versions(header, media, None).unwrap().vary().map(str::to_owned);
        assert_eq!(vary(None, None), None);
        assert_eq!(
            vary(Some("X-API-Version"), None).as_deref(),
            Some("x-api-version")
        );
        assert_eq!(vary(None, Some("a/{version}")).as_deref(), Some("accept"));
        assert_eq!(vary(Some("V"), Some("a/{version}")).as_deref(), Some("accept, v"));
    }

    #[test]
    fn a_media_type_holds_the_version_once() {
        for bad in [
            "application/json",
            "{version}",
            "a/{version}.{version}",
            "a/{version};q=1",
            "",
        ] {
            assert!(versions(None, Some(bad), None).is_err(), "{bad}");
        }
    }
}
