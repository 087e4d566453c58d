//! Our reading of a run of bytes, in terms that other parsers can be compared in.

use gatehouse_http1::{
    Decoder, Framing, HeadLimits, Headers, Known, Method, RequestHead, RequestKind, ResponseHead, TargetForm,
    parse_request, parse_response,
};

/// A complete message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// Method and target, or the status.
    pub(crate) first: String,
    /// Names in lower case; sorted by name, the values of one name in order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

/// The requests on a connection, up to the first that is incomplete or refused or the last that may be.
pub(crate) fn requests(mut wire: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut head = RequestHead::new();
    let limits = HeadLimits::default();
    while let Ok(Some(parsed)) = parse_request(wire, &limits, &mut head) {
        wire = &wire[parsed.len..];
        let Some((body, trailers)) = body(&mut wire, parsed.framing) else {
            break;
        };
        let first = format!("{} {}", head.method.as_str(), target(&head));
        messages.push(Message {
            first,
            fields: fields(&head.headers),
            body,
            trailers,
        });
        if !parsed.keep_alive || head.method == Method::Connect || head.headers.contains(Known::Upgrade) {
            break;
        }
    }
    messages
}

/// The target as hyper's `Uri` writes it.
fn target(head: &RequestHead) -> String {
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    match head.form() {
        TargetForm::Origin => head.path().to_owned() + &query,
        TargetForm::Absolute => {
            let path = if head.path() == "*" { "/" } else { head.path() };
            format!("{}://{}{path}{query}", head.scheme().unwrap(), head.authority())
        }
        TargetForm::Authority => head.authority().to_owned(),
        TargetForm::Asterisk => "*".to_owned(),
    }
}

/// The first final response of a connection, if it is complete.
pub(crate) fn response(mut wire: &[u8]) -> Option<Message> {
    let mut head = ResponseHead::new();
    loop {
        let parsed = parse_response(wire, &HeadLimits::default(), RequestKind::Other, &mut head).ok()??;
        wire = &wire[parsed.len..];
        if (100..200).contains(&head.status) && head.status != 101 {
            continue;
        }
        let (body, trailers) = body(&mut wire, parsed.framing)?;
        return Some(Message {
            first: head.status.to_string(),
            fields: fields(&head.headers),
            body,
            trailers,
        });
    }
}

type Body = (Vec<u8>, Vec<(String, Vec<u8>)>);

fn body(wire: &mut &[u8], framing: Framing) -> Option<Body> {
    let mut decoder = Decoder::new(framing, &HeadLimits::default());
    let mut buf = wire.to_vec();
    let decoded = decoder.decode(&mut buf).ok()?;
    *wire = &wire[decoded.consumed..];
    decoder.finish().ok()?;
    Some((
        buf[decoded.data].to_vec(),
        decoder.trailers().map(fields).unwrap_or_default(),
    ))
}

fn fields(headers: &Headers) -> Vec<(String, Vec<u8>)> {
    sorted(headers.iter().map(|field| (field.name, field.value)))
}

pub(crate) fn sorted<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    let lower = |name: &[u8]| String::from_utf8(name.to_ascii_lowercase()).unwrap();
    let mut fields: Vec<_> = fields
        .map(|(name, value)| (lower(name), value.to_vec()))
        .collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}
