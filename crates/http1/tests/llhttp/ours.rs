//! Runs our parser over an input as a connection would: message after message until the bytes end or are refused.

use gatehouse_http1::{
    Decoder, Framing, HeadError, HeadLimits, Headers, Known, Method, Parsed, RequestHead, RequestKind,
    ResponseHead, parse_request, parse_response,
};

use crate::cases::{Kind, Message, Outcome};

/// The host we add to requests without one, which llhttp does not mind.
const ADDED: &str = "added.example";

/// What we make of an input. If `must_decide` and it ends within a head, that is ended first.
pub(crate) fn run(kind: Kind, input: &[u8], skip_body: bool, must_decide: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut rest = input.to_vec();
    while !rest.is_empty() {
        match next(kind, &mut rest, skip_body) {
            Ok(Next::Message(message, after)) => {
                outcome.messages.push(message);
                if after == After::Close && !rest.is_empty() {
                    outcome.refusal = Some("bytes after the last message of the connection".to_owned());
                }
                if after != After::More {
                    break;
                }
            }
            Ok(Next::NeedsMore) if !must_decide => break,
            Ok(Next::NeedsMore) => {
                rest.extend_from_slice(b"\r\n\r\n");
                outcome.refusal = next(kind, &mut rest, skip_body).err();
                break;
            }
            Err(refusal) => {
                outcome.refusal = Some(refusal);
                break;
            }
        }
    }
    outcome
}

enum Next {
    Message(Message, After),
    NeedsMore,
}

/// What may follow a message.
#[derive(PartialEq, Eq)]
enum After {
    More,
    /// Nothing.
    Close,
    /// Something else than HTTP/1.1, or the rest of the body.
    Other,
}

fn next(kind: Kind, rest: &mut Vec<u8>, skip_body: bool) -> Result<Next, String> {
    let mut message = Message::default();
    let headers;
    let parsed;
    let mut changes = false;
    if kind == Kind::Request {
        let mut head = RequestHead::new();
        let Some(found) = request_head(rest, &mut head).map_err(|error| error.to_string())? else {
            return Ok(Next::NeedsMore);
        };
        parsed = found;
        head.method.as_str().clone_into(&mut message.method);
        head.raw_target().clone_into(&mut message.text);
        head.version.as_str()[5..].clone_into(&mut message.version);
        changes |= head.method == Method::Connect;
        headers = head.headers;
    } else {
        let mut head = ResponseHead::new();
        let to = if skip_body {
            RequestKind::Head
        } else {
            RequestKind::Other
        };
        let found =
            parse_response(rest, &HeadLimits::default(), to, &mut head).map_err(|error| error.to_string())?;
        let Some(found) = found else {
            return Ok(Next::NeedsMore);
        };
        parsed = found;
        message.method = head.status.to_string();
        message.text = latin1(head.reason());
        head.version.as_str()[5..].clone_into(&mut message.version);
        changes |= head.status == 101;
        headers = head.headers;
    }
    changes |= headers.contains(Known::Upgrade)
        && headers
            .list(Known::Connection)
            .any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    message.fields = fields(&headers);
    rest.drain(..parsed.len);

    let framing = if skip_body { Framing::None } else { parsed.framing };
    let mut decoder = Decoder::new(framing, &HeadLimits::default());
    let decoded = decoder.decode(rest).map_err(|error| error.to_string())?;
    message.body = latin1(&rest[decoded.data]);
    rest.drain(..decoded.consumed);
    let after = match decoded.done {
        true if changes => After::Other,
        true if !parsed.keep_alive => After::Close,
        true => After::More,
        false => After::Other,
    };
    Ok(Next::Message(message, after))
}

/// The request's head; a missing `Host` is added first.
fn request_head(rest: &mut Vec<u8>, head: &mut RequestHead) -> Result<Option<Parsed>, HeadError> {
    let limits = HeadLimits::default();
    let result = parse_request(rest, &limits, head);
    if result != Err(HeadError::Malformed("Host is missing")) {
        return result;
    }
    let host = if head.authority().is_empty() {
        ADDED
    } else {
        head.authority()
    };
    let start = if rest.starts_with(b"\r\n") { 2 } else { 0 };
    let line_end = start + rest[start..].windows(2).position(|pair| pair == b"\r\n").unwrap();
    let line = format!("\r\nHost: {host}");
    rest.splice(line_end..line_end, line.into_bytes());
    let result = parse_request(rest, &limits, head);
    head.headers.remove(Known::Host);
    result
}

fn fields(headers: &Headers) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|field| (latin1(field.name), latin1(field.value)))
        .collect()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
