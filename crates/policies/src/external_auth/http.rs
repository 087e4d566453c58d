//! Asks over HTTP, and reads what of the answer counts.

use bytes::BytesMut;
use gatehouse_core::exchange::Exchange;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Url};

use super::answer::{Answer, Edit, MOST_BODY};
use super::ask::{Sent, Wanted, said};

/// Fields of an answer that a client may get.
const RELAYED: [&str; 5] = [
    "location",
    "set-cookie",
    "www-authenticate",
    "content-type",
    "retry-after",
];

/// The question about a request.
pub fn question(client: &Client, url: Url, ex: &Exchange, send: &[Box<str>], sent: Sent) -> RequestBuilder {
    let method = if sent.body.is_empty() {
        Method::GET
    } else {
        Method::POST
    };
    let mut fields = fields(ex, send);
    if sent.is_partial == Some(true) {
        fields.insert("x-partial-body", HeaderValue::from_static("true"));
    }
    client.request(method, url).headers(fields).body(sent.body)
}

fn fields(ex: &Exchange, send: &[Box<str>]) -> HeaderMap {
    let head = &ex.request.head;
    let mut fields = HeaderMap::with_capacity(send.len() + 8);
    let mut add = |name: &str, value: &[u8]| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    };
    for name in send {
        for value in head.headers.find_all(name.as_bytes()) {
            add(name, value);
        }
    }
    let mut target = head.path().to_owned();
    if let Some(query) = head.query() {
        target.push('?');
        target.push_str(query);
    }
    for (name, value) in [
        ("x-forwarded-method", head.method.as_str().as_bytes()),
        ("x-forwarded-uri", target.as_bytes()),
        ("x-forwarded-host", head.authority().as_bytes()),
        ("x-forwarded-proto", ex.client.scheme.as_bytes()),
        ("x-forwarded-for", ex.client_text().as_bytes()),
        ("x-request-id", ex.ids.request.as_bytes()),
    ] {
        // What the client sent of these is not what it did.
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.insert(name, value);
        }
    }
    fields
}

/// Asks, and reads the answer. The error is for the log.
pub async fn ask(request: RequestBuilder, wanted: &Wanted) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(said)?;
    let status = response.status().as_u16();
    if !(200..500).contains(&status) {
        return Err(format!("the service answered {status}"));
    }
    let mut answer = Answer {
        status,
        is_allowed: (200..300).contains(&status),
        ..Answer::default()
    };
    let fields = response.headers();
    if answer.is_allowed {
        answer.accepted = taken(fields, &wanted.accept);
        answer.relayed = taken(fields, &wanted.accept_response);
        let subject = wanted.subject.as_ref().and_then(|name| fields.get(&**name));
        answer.subject = subject
            .and_then(|value| value.to_str().ok())
            .filter(|name| !name.is_empty())
            .map(Box::from);
        return Ok(answer);
    }
    answer.relayed = taken(fields, &RELAYED.map(Box::from));
    if wanted.relay {
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(said)? {
            if body.len() + piece.len() > MOST_BODY {
                return Err(format!("the body of the answer has more than {MOST_BODY} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        answer.body = body.freeze();
    }
    Ok(answer)
}

fn taken(fields: &HeaderMap, names: &[Box<str>]) -> Vec<Edit> {
    let taken = names.iter().flat_map(|name| {
        let values = fields.get_all(&**name).iter().map(HeaderValue::as_bytes);
        Edit::all(name, values)
    });
    taken.collect()
}
